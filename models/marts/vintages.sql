{{ config(
    materialized='incremental',
    incremental_strategy=strategy_of_vintages(),
    unique_key=['figure_id', 'service', 'report_year', 'basis', 'valid_from'],
    full_refresh=false,
    meta={'allow': {'getvariable': 'the build that is made now; where there is none, as in dbt, it has no name'}}
) }}

with indicators as (

    select * from {{ ref('indicators') }}

),

as_of_now as (

    select
        figure_id,
        service,
        report_year,
        basis,
        value,
        coalesce(cast({{ build_in_progress() }} as string), '') as build
    from indicators

),

in_force as (

    select
        figure_id,
        service,
        report_year,
        basis,
        value,
        {{ 'valid_from' if is_incremental() else 'build as valid_from' }}
    from {{ this if is_incremental() else 'as_of_now' }}
    where {{ 'valid_to is null' if is_incremental() else 'false' }}

),

paired as (

    select
        coalesce(as_of_now.figure_id, in_force.figure_id) as figure_id,
        coalesce(as_of_now.service, in_force.service) as service,
        coalesce(as_of_now.report_year, in_force.report_year) as report_year,
        coalesce(as_of_now.basis, in_force.basis) as basis,
        as_of_now.value,
        in_force.value as old_value,
        as_of_now.build,
        in_force.valid_from as old_valid_from,
        coalesce(cast({{ build_in_progress() }} as string), '') as this_build,
        (
            as_of_now.figure_id is null
            or in_force.figure_id is null
            or {{ differ('as_of_now.value', 'in_force.value') }}
        ) as is_changed
    from as_of_now
    full join in_force
        on as_of_now.figure_id = in_force.figure_id
        and as_of_now.service = in_force.service
        and as_of_now.report_year = in_force.report_year
        and as_of_now.basis = in_force.basis

)

-- What began in this build and is another already is replaced: nobody saw it.
select
    figure_id,
    service,
    report_year,
    basis,
    value,
    build as valid_from,
    cast(null as string) as valid_to
from paired
where is_changed and build is not null

union all

select
    figure_id,
    service,
    report_year,
    basis,
    old_value as value,
    old_valid_from as valid_from,
    this_build as valid_to
from paired
where is_changed and old_valid_from <> coalesce(build, '')
