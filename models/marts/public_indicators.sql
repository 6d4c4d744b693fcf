with indicators as (

    select * from {{ ref('indicators') }}

),

described_figures as (

    select * from {{ ref('figures') }}

),

hidden_values as (

    select * from {{ ref('int_hidden_values') }}

),

unfinished_years as (

    select * from {{ ref('unfinished_years') }}

)

-- Rounded, because an exact quotient tells the counts it was made of.
select
    indicators.figure_id,
    indicators.service,
    indicators.report_year,
    indicators.basis,
    described_figures.unit,
    case
        when hidden_values.figure_id is null
            then
                cast(
                    {{ presented(
                        'indicators.value', "coalesce(described_figures.decimals, '2')", 'described_figures.unit'
                    ) }}
                    as double
                )
    end as value,
    hidden_values.figure_id is not null as is_suppressed,
    indicators.last_full_month,
    indicators.basis = 'year_to_date'
    or exists (
        select f.report_year from unfinished_years as f
        where f.state = 'future' and f.report_year = indicators.report_year
    ) as is_unfinished
from indicators
left join described_figures on indicators.figure_id = described_figures.figure_id
left join hidden_values
    on indicators.figure_id = hidden_values.figure_id
    and indicators.service = hidden_values.service
    and indicators.report_year = hidden_values.report_year
    and indicators.basis = hidden_values.basis
