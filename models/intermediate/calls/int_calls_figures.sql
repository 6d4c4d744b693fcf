{{ config(materialized='table') }}

with monthly as (

    select * from {{ ref('int_calls_monthly') }}

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
        {{ period_columns('monthly') }},
        sum(monthly.call_count) as call_count,
        sum(monthly.answered_count) as answered_count,
        sum(monthly.answered_in_time_count) as answered_in_time_count,
        sum(monthly.total_wait_seconds) as total_wait_seconds,
        sum(monthly.handled_count) as handled_count,
        sum(monthly.total_handling_seconds) as total_handling_seconds
    from monthly
    inner join line_services on monthly.service_line = line_services.service_line
    {{ join_unfinished_months('monthly', 'calls') }}
    {{ by_year_and_month('monthly', 'line_services.service') }}

),

figures as (

    {{ count_figure('calls_received', counted='call_count', event_count='call_count') }}

    union all

    {{ mean_figure('call_mean_wait_seconds',
        total='total_wait_seconds', cases='answered_count', event_count='call_count') }}

    union all

    {{ share_figure('calls_answered_within_5_minutes_share',
        part='answered_in_time_count', whole='answered_count', event_count='call_count') }}

    union all

    {{ mean_figure('call_mean_handling_seconds',
        total='total_handling_seconds', cases='handled_count', event_count='call_count') }}

)

{{ figures_with_basis() }}
