{{ config(materialized='table') }}

with care_paths as (

    select * from {{ ref('stg_digital_care_paths') }}

),

coverage as (

    select * from {{ ref('int_coverage') }}

),

calendar as (

    select * from {{ ref('int_calendar') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

first_openings as (

    select min(report_year) as report_year from care_paths

),

latest_years as (

    select max(report_year) as report_year from coverage

),

year_ends as (

    select
        calendar.report_year,
        calendar.calendar_date as year_end
    from calendar
    cross join first_openings
    cross join latest_years
    where calendar.is_year_end
        and calendar.report_year between first_openings.report_year and latest_years.report_year

),

periods as (

    select
        'oma_kymenlaakso' as service,
        year_ends.report_year,
        cast(null as bigint) as report_month,
        count(care_paths.path_id) as path_count,
        count(case when care_paths.is_self_care then 1 end) as self_care_path_count
    from year_ends
    left join care_paths
        on care_paths.opened_on <= year_ends.year_end
        and (care_paths.closed_on is null or care_paths.closed_on > year_ends.year_end)
    group by year_ends.report_year

),

figures as (

    {{ count_figure('digital_care_paths',
        counted='path_count', event_count='path_count', basis="'end_of_year'") }}

    union all

    {{ count_figure('digital_self_care_paths',
        counted='self_care_path_count', event_count='self_care_path_count', basis="'end_of_year'") }}

)

{{ figures_with_basis() }}
