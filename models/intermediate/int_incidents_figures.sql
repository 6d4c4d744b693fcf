{{ config(materialized='table') }}

with incidents as (

    select * from {{ ref('stg_safety_incidents') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        'all_services' as service,
        report_year,
        report_month,
        count(*) as incident_count,
        count(case when harm in ('moderate', 'severe') then 1 end) as harmful_count
    from incidents
    {{ by_year_and_month() }}

),

figures as (

    {{ count_figure('safety_incidents', counted='incident_count', event_count='incident_count') }}

    union all

    {{ share_figure('safety_incidents_moderate_or_severe_share',
        part='harmful_count', whole='incident_count', event_count='incident_count') }}

)

{{ figures_with_basis() }}
