with indicators as (

    select * from {{ ref('indicators') }}

),

described_figures as (

    select * from {{ ref('figures') }}

),

figure_expectations as (

    select * from {{ ref('figure_expectations') }}

)

-- An infinite value is no value. `kind` is what its unit makes of a figure, save for changes and rates.
select
    indicators.figure_id,
    indicators.service,
    indicators.report_year,
    indicators.basis,
    indicators.numerator,
    indicators.denominator,
    case when abs(indicators.value) <= 1.7976931348623157e308 then indicators.value end as value,
    indicators.event_count,
    described_figures.family,
    described_figures.unit,
    described_figures.basis as described_basis,
    described_figures.figure_id is not null as is_described,
    coalesce(figure_expectations.feed, described_figures.family) as feed,
    coalesce(figure_expectations.volume in ('main', 'stock'), false) as is_main_volume,
    coalesce(figure_expectations.value_from, 'parts') as value_from,
    coalesce(figure_expectations.events, 'records') as events,
    case
        when right(indicators.figure_id, 7) = '_change' or right(indicators.figure_id, 11) = '_change_pct' then 'change'
        when right(indicators.figure_id, 14) = '_response_rate' then 'response_rate'
        when described_figures.unit in ('count', 'count_per_day', 'persons') then 'count'
        when described_figures.unit = 'percent' then 'share'
        when described_figures.unit = 'points' then 'nps'
        when described_figures.unit in ('seconds', 'days') then 'duration'
        when described_figures.unit = 'score_1_to_5' then 'score'
    end as kind
from indicators
left join described_figures on indicators.figure_id = described_figures.figure_id
left join figure_expectations on indicators.figure_id = figure_expectations.figure_id
