{{ config(materialized='table') }}

with indicators as (

    select * from {{ ref('indicators') }}

),

described_figures as (

    select * from {{ ref('figures') }}

),

-- A change of an unfinished year tells some months of the year before, and nobody judges whether these are small.
-- Of a mean its cases are counted, of anything else its numerator: a figure nobody described is taken for a count.
counted_cells as (

    select
        indicators.figure_id,
        indicators.service,
        indicators.report_year,
        indicators.basis,
        case
            when described_figures.unit in ('seconds', 'days', 'score_1_to_5', 'points') then indicators.denominator
            else indicators.numerator
        end as counted,
        indicators.denominator as whole_counted,
        case when described_figures.unit = 'percent' then indicators.denominator - indicators.numerator end
            as rest_counted,
        case when coalesce(described_figures.family, 'manual') <> 'manual' then indicators.event_count end
            as event_count,
        coalesce(described_figures.small_counts, 'suppress') = 'suppress' as is_judged,
        described_figures.family = 'changes' and indicators.basis = 'year_to_date' as is_of_months
    from indicators
    left join described_figures on indicators.figure_id = described_figures.figure_id

)

select
    figure_id,
    service,
    report_year,
    basis,
    counted,
    whole_counted,
    coalesce(is_of_months, false) or (is_judged and (
        coalesce({{ is_small('counted') }}, false)
        or coalesce({{ is_small('whole_counted') }}, false)
        or coalesce({{ is_small('rest_counted') }}, false)
        or coalesce({{ is_small('event_count') }}, false)
    )) as is_hidden
from counted_cells
