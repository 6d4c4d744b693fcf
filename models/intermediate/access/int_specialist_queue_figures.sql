{{ config(materialized='table') }}

with queue_censuses as (

    select * from {{ ref('int_queue_censuses') }}

),

unfinished_months as (

    select * from {{ ref('int_unfinished_months') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

censuses as (

    select
        'specialist_care' as service,
        year(census_date) as report_year,
        month(census_date) as report_month,
        case when month(census_date) = 12 then 'census_december' else 'census' end as basis,
        census_date,
        row_count,
        row_over_days_count,
        patient_count,
        over_days_count,
        over_months_count
    from queue_censuses

),

{{ census_periods(['service', 'basis', 'row_count', 'row_over_days_count', 'patient_count', 'over_days_count',
    'over_months_count'], 'care_queue') }},

figures as (

    {{ count_figure('specialist_queue', counted='patient_count', event_count='row_count', basis='basis') }}

    union all

    {{ count_figure('specialist_queue_over_180_days',
        counted='over_days_count', event_count='row_over_days_count', basis='basis') }}

    union all

    {{ share_figure('specialist_queue_over_180_days_share',
        part='over_days_count', whole='patient_count', event_count='row_count', basis='basis') }}

    union all

    {{ share_figure('specialist_queue_over_6_months_share',
        part='over_months_count', whole='patient_count', event_count='row_count', basis='basis') }}

)

{{ figures_with_basis() }}
