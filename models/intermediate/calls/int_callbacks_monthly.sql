{{ config(materialized='table') }}

with callbacks as (

    select * from {{ ref('stg_callbacks') }}

),

timed_callbacks as (

    select
        service_line,
        report_year,
        report_month,
        {{ seconds_between('requested_at', 'reached_at') }} as callback_seconds,
        reached_on = requested_on as is_same_day
    from callbacks

)

select
    service_line,
    report_year,
    report_month,
    count(*) as request_count,
    count(callback_seconds) as reached_count,
    count(case when is_same_day then 1 end) as same_day_count,
    cast(coalesce(sum(callback_seconds), 0) as bigint) as total_callback_seconds
from timed_callbacks
group by service_line, report_year, report_month
