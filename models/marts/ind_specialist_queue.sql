with queue as (

    select * from {{ ref('stg_care_queue') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

last_censuses as (

    select max(census_date) as census_date
    from queue
    group by report_year

),

waits as (

    select
        queue.report_year,
        queue.patient_key,
        case when queue.report_month = 12 then 'census_december' else 'census' end as basis,
        case
            when {{ days_between('queue.need_confirmed_on', 'queue.census_date') }} > 180 then 1 else 0
        end as is_over_180_days,
        case
            when queue.need_confirmed_on < {{ months_before('queue.census_date', 6) }} then 1 else 0
        end as is_over_6_months
    from queue
    inner join last_censuses on queue.census_date = last_censuses.census_date

),

-- A patient may wait for several specialties: one row per patient, long waiting when any of the waits is.
patients as (

    select
        report_year,
        basis,
        count(*) as row_count,
        sum(is_over_180_days) as row_over_180_days_count,
        max(is_over_180_days) as is_over_180_days,
        max(is_over_6_months) as is_over_6_months
    from waits
    group by report_year, basis, patient_key

),

yearly as (

    select
        'specialist_care' as service,
        report_year,
        basis,
        sum(row_count) as row_count,
        sum(row_over_180_days_count) as row_over_180_days_count,
        count(*) as patient_count,
        sum(is_over_180_days) as over_180_days_count,
        sum(is_over_6_months) as over_6_months_count
    from patients
    group by report_year, basis

),

figures as (

    {{ count_figure('specialist_queue', counted='patient_count', event_count='row_count', basis='basis') }}

    union all

    {{ count_figure('specialist_queue_over_180_days',
        counted='over_180_days_count', event_count='row_over_180_days_count', basis='basis') }}

    union all

    {{ share_figure('specialist_queue_over_180_days_share',
        part='over_180_days_count', whole='patient_count', event_count='row_count', basis='basis') }}

    union all

    {{ share_figure('specialist_queue_over_6_months_share',
        part='over_6_months_count', whole='patient_count', event_count='row_count', basis='basis') }}

)

{{ figures_with_basis() }}
