{{ config(materialized='table') }}

with monthly as (

    select * from {{ ref('int_callbacks_monthly') }}

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
        sum(monthly.request_count) as request_count,
        sum(monthly.reached_count) as reached_count,
        sum(monthly.same_day_count) as same_day_count,
        sum(monthly.total_callback_seconds) as total_callback_seconds
    from monthly
    inner join line_services on monthly.service_line = line_services.service_line
    {{ join_unfinished_months('monthly', 'callbacks') }}
    {{ by_year_and_month('monthly', 'line_services.service') }}

),

figures as (

    {{ count_figure('callbacks_received', counted='request_count', event_count='request_count') }}

    union all

    {{ count_figure('callbacks_never_reached',
        counted='request_count - reached_count', event_count='request_count') }}

    union all

    {{ share_figure('same_day_callback_share',
        part='same_day_count', whole='reached_count', event_count='request_count') }}

    union all

    {{ mean_figure('callback_mean_seconds',
        total='total_callback_seconds', cases='reached_count', event_count='request_count') }}

)

{{ figures_with_basis() }}
