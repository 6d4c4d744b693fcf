{{ config(materialized='table') }}

with chat_services as (

    select * from {{ ref('stg_chat_services') }}

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
        {{ period_columns('chat_services') }},
        count(*) as opened_count
    from chat_services
    {{ join_unfinished_months('chat_services', 'chat_services') }}
    {{ by_year_and_month('chat_services') }}

),

figures as (

    {{ count_figure('new_chat_services', counted='opened_count', event_count='opened_count') }}

)

{{ figures_with_basis() }}
