{{ config(materialized='table') }}

with missions as (

    select * from {{ ref('stg_rescue_missions') }}

),

unfinished_months as (

    select * from {{ ref('int_unfinished_months') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

timed_missions as (

    select
        report_year,
        report_month,
        mission_type,
        mission_type = 'rescue' and urgency in ('A', 'B', 'C') as is_urgent_rescue,
        {{ seconds_between('alarmed_at', 'first_unit_at_scene_at') }} as response_seconds
    from missions

),

counted_missions as (

    select
        'rescue' as service,
        {{ period_columns('timed_missions') }},
        count(*) as mission_count,
        count(case when timed_missions.mission_type = 'rescue' then 1 end) as rescue_count,
        count(case when timed_missions.mission_type = 'ems' then 1 end) as ems_count,
        count(case when timed_missions.is_urgent_rescue then 1 end) as urgent_rescue_count,
        count(case when timed_missions.is_urgent_rescue then timed_missions.response_seconds end) as timed_count,
        median(case when timed_missions.is_urgent_rescue then timed_missions.response_seconds end)
            as median_response_seconds
    from timed_missions
    {{ join_unfinished_months('timed_missions', 'rescue_missions') }}
    {{ by_year_and_month('timed_missions') }}

),

-- Missions are told per day of what is counted: of an unfinished year that ends with its last full month.
periods as (

    select
        service,
        report_year,
        report_month,
        is_comparison,
        last_full_month,
        case
            when report_month is not null then {{ days_in_month('report_year', 'report_month') }}
            when last_full_month is not null then {{ days_through_month('report_year', 'last_full_month') }}
            else {{ days_in_year('report_year') }}
        end as day_count,
        mission_count,
        rescue_count,
        ems_count,
        urgent_rescue_count,
        timed_count,
        median_response_seconds
    from counted_missions

),

figures as (

    {{ count_figure('rescue_department_missions', counted='mission_count', event_count='mission_count') }}

    union all

    {{ count_figure('rescue_missions', counted='rescue_count', event_count='rescue_count') }}

    union all

    {{ count_figure('ems_missions', counted='ems_count', event_count='ems_count') }}

    union all

    {{ mean_figure('rescue_unit_alarms_per_day',
        total='mission_count', cases='day_count', event_count='mission_count') }}

    union all

    {{ median_figure('first_unit_response_seconds',
        median='median_response_seconds', cases='timed_count', event_count='urgent_rescue_count') }}

)

{{ figures_with_basis() }}
