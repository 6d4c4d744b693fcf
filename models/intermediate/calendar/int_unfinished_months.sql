with feed_calendar as (

    select * from {{ ref('stg_feed_calendar') }}

),

month_numbers as (

    select {{ whole_numbers(1, 12) }} as month_number

),

unfinished_years as (

    select
        feed,
        report_year,
        last_full_month
    from feed_calendar
    where last_full_month is not null

),

-- The unfinished years, and the years before them, of which the same months are compared with them.
years as (

    select
        feed,
        report_year,
        last_full_month,
        cast(null as bigint) as compared_month
    from unfinished_years

    union all

    select
        feed,
        report_year - 1 as report_year,
        cast(null as bigint) as last_full_month,
        last_full_month as compared_month
    from unfinished_years

),

periods as (

    select
        feed,
        report_year,
        max(last_full_month) as last_full_month,
        max(compared_month) as compared_month
    from years
    group by feed, report_year

)

select
    periods.feed,
    periods.report_year as period_year,
    cast(month_numbers.month_number as bigint) as period_month,
    periods.last_full_month,
    periods.last_full_month is null or month_numbers.month_number <= periods.last_full_month as is_counted,
    periods.compared_month,
    coalesce(month_numbers.month_number <= periods.compared_month, false) as is_compared
from periods
cross join month_numbers
