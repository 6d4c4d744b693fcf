{{ config(materialized='table') }}

with placements as (

    select * from {{ ref('stg_housing_placements') }}

),

unfinished_months as (

    select * from {{ ref('int_unfinished_months') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

waits as (

    select
        report_year,
        report_month,
        {{ days_between('initiated_on', 'placed_on') }} as wait_days,
        case when report_month = 12 then {{ days_between('initiated_on', 'placed_on') }} end as december_wait_days
    from placements
    where placed_on is not null

),

periods as (

    select
        'elderly_housing' as service,
        {{ period_columns('waits') }},
        count(*) as placement_count,
        sum(waits.wait_days) as total_wait_days,
        count(waits.december_wait_days) as december_placement_count,
        coalesce(sum(waits.december_wait_days), 0) as december_total_wait_days
    from waits
    {{ join_unfinished_months('waits', 'housing_placements') }}
    {{ by_year_and_month('waits') }}

),

figures as (

    {{ mean_figure('elderly_housing_mean_wait_days',
        total='total_wait_days', cases='placement_count', event_count='placement_count') }}

    union all

    {{ mean_figure('elderly_housing_mean_wait_days',
        total='december_total_wait_days', cases='december_placement_count',
        event_count='december_placement_count', basis="'december'",
        only='report_month is null and last_full_month is null') }}

)

{{ figures_with_basis() }}
