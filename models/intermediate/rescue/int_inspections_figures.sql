{{ config(materialized='table') }}

with inspections as (

    select * from {{ ref('stg_safety_inspections') }}

),

unfinished_months as (

    select * from {{ ref('int_unfinished_months') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        'rescue' as service,
        {{ period_columns('inspections') }},
        count(*) as inspection_count
    from inspections
    {{ join_unfinished_months('inspections', 'safety_inspections') }}
    {{ by_year_and_month('inspections') }}

),

figures as (

    {{ count_figure('safety_inspections', counted='inspection_count', event_count='inspection_count') }}

)

{{ figures_with_basis() }}
