{{ config(materialized='table') }}

with inspections as (

    select * from {{ ref('stg_safety_inspections') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        'rescue' as service,
        report_year,
        report_month,
        count(*) as inspection_count
    from inspections
    {{ by_year_and_month() }}

),

figures as (

    {{ count_figure('safety_inspections', counted='inspection_count', event_count='inspection_count') }}

)

{{ figures_with_basis() }}
