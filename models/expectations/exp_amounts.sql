with figure_values as (

    select * from {{ ref('exp_figure_values') }}

),

feed_rows as (

    select * from {{ ref('exp_feed_rows') }}

),

-- A change of a year that is not finished is from the same months of the year before, which are no figure.
whole_figures as (

    select
        report_year,
        figure_id,
        service,
        basis,
        value,
        numerator
    from figure_values
    where basis <> 'year_to_date' or coalesce(kind, '') <> 'change'

)

select
    report_year,
    figure_id as name,
    service,
    basis,
    'value' as amount,
    cast(value as double) as number
from whole_figures

union all

select
    report_year,
    figure_id as name,
    service,
    basis,
    'numerator' as amount,
    cast(numerator as double) as number
from whole_figures

union all

select
    report_year,
    figure_id as name,
    service,
    basis,
    'denominator' as amount,
    cast(denominator as double) as number
from figure_values

union all

select
    report_year,
    figure_id as name,
    service,
    basis,
    'event_count' as amount,
    cast(event_count as double) as number
from figure_values

union all

select
    report_year,
    feed as name,
    '' as service,
    '' as basis,
    amount,
    row_count as number
from feed_rows
