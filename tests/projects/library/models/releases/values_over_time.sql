{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['figure_id', 'service', 'report_year', 'basis', 'valid_from'],
    full_refresh=false
) }}

with counted as (

    select figure_id, service, report_year, basis, value, coalesce(getvariable('kpi_build'), '') as build
    from {{ ref('yearly_figures') }}

),

in_force as (

    {% if is_incremental() %}
    select figure_id, service, report_year, basis, value, valid_from from {{ this }} where valid_to is null
    {% else %}
    select figure_id, service, report_year, basis, value, build as valid_from from counted where false
    {% endif %}

)

select counted.figure_id, counted.service, counted.report_year, counted.basis, counted.value,
    counted.build as valid_from, cast(null as varchar) as valid_to
from counted
left join in_force using (figure_id, service, report_year, basis)
where in_force.valid_from is null or counted.value is distinct from in_force.value

union all

select in_force.figure_id, in_force.service, in_force.report_year, in_force.basis, in_force.value,
    in_force.valid_from, coalesce(getvariable('kpi_build'), '') as valid_to
from in_force
left join counted using (figure_id, service, report_year, basis)
where counted.build is null
    or (counted.value is distinct from in_force.value and in_force.valid_from <> counted.build)
