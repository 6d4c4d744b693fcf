{{ config(materialized='table') }}

with care_paths as (

    select * from {{ ref('stg_digital_care_paths') }}

),

period_ends as (

    select * from {{ ref('int_care_path_periods') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        'oma_kymenlaakso' as service,
        period_ends.report_year,
        cast(null as bigint) as report_month,
        period_ends.is_comparison,
        period_ends.last_full_month,
        count(care_paths.path_id) as path_count,
        count(case when care_paths.is_self_care then 1 end) as self_care_path_count
    from period_ends
    left join care_paths
        on care_paths.opened_on <= period_ends.period_end
        and (care_paths.closed_on is null or care_paths.closed_on > period_ends.period_end)
    group by period_ends.report_year, period_ends.is_comparison, period_ends.last_full_month

),

figures as (

    {{ count_figure('digital_care_paths',
        counted='path_count', event_count='path_count', basis="'end_of_year'") }}

    union all

    {{ count_figure('digital_self_care_paths',
        counted='self_care_path_count', event_count='self_care_path_count', basis="'end_of_year'") }}

)

{{ figures_with_basis() }}
