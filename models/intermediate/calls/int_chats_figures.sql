{{ config(materialized='table') }}

with chats as (

    select * from {{ ref('stg_chats') }}

),

line_services as (

    select * from {{ ref('int_line_services') }}

),

unfinished_months as (

    select * from {{ ref('int_unfinished_months') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        line_services.service,
        {{ period_columns('chats') }},
        count(*) as chat_count
    from chats
    inner join line_services on chats.service_line = line_services.service_line
    {{ join_unfinished_months('chats', 'chats') }}
    {{ by_year_and_month('chats', 'line_services.service') }}

),

all_chats as (

    select
        {{ period_columns('chats') }},
        count(*) as chat_count,
        count(chats.is_resolved_without_visit) as known_count,
        count(case when chats.is_resolved_without_visit then 1 end) as resolved_count
    from chats
    {{ join_unfinished_months('chats', 'chats') }}
    {{ by_year_and_month('chats') }}

),

figures as (

    {{ count_figure('chats_received', counted='chat_count', event_count='chat_count') }}

    union all

    {{ share_figure('chats_resolved_without_visit_share',
        part='resolved_count', whole='known_count', event_count='chat_count',
        service="'all_chats'", rows='all_chats') }}

)

{{ figures_with_basis() }}
