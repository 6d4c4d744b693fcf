{{ config(materialized='table') }}

with queue as (

    select * from {{ ref('stg_care_queue') }}

),

statutory_limits as (

    select * from {{ ref('statutory_limits') }}

),

last_censuses as (

    select max(census_date) as census_date
    from queue
    group by report_year, report_month

),

limits as (

    select
        last_censuses.census_date,
        max(case when statutory_limits.subject = 'specialist_care_statistics' then statutory_limits.limit_count end)
            as limit_days,
        max(case when statutory_limits.subject = 'specialist_care' then statutory_limits.limit_count end)
            as limit_months
    from last_censuses
    left join statutory_limits
        on last_censuses.census_date between statutory_limits.valid_from and statutory_limits.valid_to
    group by last_censuses.census_date

),

-- A patient may wait for several specialties: one row per patient, long waiting when any of the waits is.
patients as (

    select
        queue.census_date,
        count(*) as row_count,
        count(
            case when queue.need_confirmed_on < {{ days_after('limits.census_date', '-limits.limit_days') }} then 1 end
        ) as row_over_days_count,
        count(
            case
                when queue.need_confirmed_on < {{ months_before('limits.census_date', 'limits.limit_months') }} then 1
            end
        ) as row_over_months_count
    from queue
    inner join limits on queue.census_date = limits.census_date
    group by queue.census_date, queue.patient_key

)

select
    census_date,
    sum(row_count) as row_count,
    sum(row_over_days_count) as row_over_days_count,
    count(*) as patient_count,
    count(case when row_over_days_count > 0 then 1 end) as over_days_count,
    count(case when row_over_months_count > 0 then 1 end) as over_months_count
from patients
group by census_date
