{{ config(materialized='table') }}

with chat_services as (

    select * from {{ ref('stg_chat_services') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        'all_services' as service,
        report_year,
        report_month,
        count(*) as opened_count
    from chat_services
    {{ by_year_and_month() }}

),

figures as (

    {{ count_figure('new_chat_services', counted='opened_count', event_count='opened_count') }}

)

{{ figures_with_basis() }}
