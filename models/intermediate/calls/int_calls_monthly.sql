{{ config(materialized='table') }}

with calls as (

    select * from {{ ref('stg_calls') }}

),

answer_time_limits as (

    select * from {{ ref('answer_time_limits') }}

),

-- A wait is a whole number of seconds, so one under the limit is at most the limit less a second.
longest_waits as (

    select
        service_line,
        valid_from,
        valid_to,
        case comparison
            when 'at_most' then limit_seconds
            when 'under' then limit_seconds - 1
        end as longest_wait_seconds
    from answer_time_limits

),

timed_calls as (

    select
        service_line,
        arrived_on,
        report_year,
        report_month,
        {{ seconds_between('arrived_at', 'answered_at') }} as wait_seconds,
        {{ seconds_between('answered_at', 'ended_at') }} as handling_seconds
    from calls

)

select
    timed_calls.service_line,
    timed_calls.report_year,
    timed_calls.report_month,
    count(*) as call_count,
    count(timed_calls.wait_seconds) as answered_count,
    count(
        case when timed_calls.wait_seconds <= longest_waits.longest_wait_seconds then 1 end
    ) as answered_in_time_count,
    cast(coalesce(sum(timed_calls.wait_seconds), 0) as bigint) as total_wait_seconds,
    count(timed_calls.handling_seconds) as handled_count,
    cast(coalesce(sum(timed_calls.handling_seconds), 0) as bigint) as total_handling_seconds
from timed_calls
left join longest_waits
    on timed_calls.service_line = longest_waits.service_line
    and timed_calls.arrived_on between longest_waits.valid_from and longest_waits.valid_to
group by timed_calls.service_line, timed_calls.report_year, timed_calls.report_month
