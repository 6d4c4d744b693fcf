{{ config(materialized='table') }}

with chats as (

    select * from {{ ref('stg_chats') }}

),

line_services as (

    select * from {{ ref('int_line_services') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        line_services.service,
        chats.report_year,
        chats.report_month,
        count(*) as chat_count
    from chats
    inner join line_services on chats.service_line = line_services.service_line
    {{ by_year_and_month('service') }}

),

all_chats as (

    select
        report_year,
        report_month,
        count(*) as chat_count,
        count(is_resolved_without_visit) as known_count,
        count(case when is_resolved_without_visit then 1 end) as resolved_count
    from chats
    {{ by_year_and_month() }}

),

figures as (

    {{ count_figure('chats_received', counted='chat_count', event_count='chat_count') }}

    union all

    {{ share_figure('chats_resolved_without_visit_share',
        part='resolved_count', whole='known_count', event_count='chat_count',
        service="'all_chats'", rows='all_chats') }}

)

{{ figures_with_basis() }}
