{{ config(materialized='table') }}

with incidents as (

    select * from {{ ref('stg_safety_incidents') }}

),

unfinished_months as (

    select * from {{ ref('int_unfinished_months') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        'all_services' as service,
        {{ period_columns('incidents') }},
        count(*) as incident_count,
        count(case when incidents.harm in ('moderate', 'severe') then 1 end) as harmful_count
    from incidents
    {{ join_unfinished_months('incidents', 'safety_incidents') }}
    {{ by_year_and_month('incidents') }}

),

figures as (

    {{ count_figure('safety_incidents', counted='incident_count', event_count='incident_count') }}

    union all

    {{ share_figure('safety_incidents_moderate_or_severe_share',
        part='harmful_count', whole='incident_count', event_count='incident_count') }}

)

{{ figures_with_basis() }}
