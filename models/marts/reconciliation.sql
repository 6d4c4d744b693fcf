with published_figures as (

    select * from {{ ref('published_figures') }}

),

indicators as (

    select * from {{ ref('indicators') }}

),

documented_inconsistencies as (

    select * from {{ ref('documented_inconsistencies') }}

),

paired as (

    select
        published_figures.report_year,
        published_figures.figure_id,
        published_figures.service,
        published_figures.basis,
        published_figures.unit,
        published_figures.value as published_value,
        published_figures.qualifier,
        published_figures.decimals,
        indicators.value,
        {{ rounded_as_published('indicators.value', 'published_figures.decimals') }} as rounded_value,
        documented_inconsistencies.reason,
        documented_inconsistencies.reason_fi,
        documented_inconsistencies.reason_sv,
        documented_inconsistencies.kind as reason_kind,
        published_figures.source_report,
        published_figures.section,
        published_figures.note
    from published_figures
    left join indicators
        on published_figures.figure_id = indicators.figure_id
        and published_figures.service = indicators.service
        and published_figures.report_year = indicators.report_year
        and published_figures.basis = indicators.basis
    left join documented_inconsistencies
        on published_figures.figure_id = documented_inconsistencies.figure_id
        and published_figures.service = documented_inconsistencies.service
        and published_figures.report_year = documented_inconsistencies.report_year
        and published_figures.basis = documented_inconsistencies.basis

)

-- A figure without a value is one whose records, or those it is divided by, were not delivered. Only an inconsistency
-- of the value itself excuses another value.
select
    report_year,
    figure_id,
    service,
    basis,
    unit,
    cast(published_value as double) as published_value,
    qualifier,
    decimals,
    value,
    cast(rounded_value as double) as rounded_value,
    case
        when value is null then 'not_delivered'
        when qualifier = 'exact' and rounded_value = published_value then 'reproduced'
        when qualifier = 'about' and {{ is_about('value', 'published_value') }} then 'reproduced'
        when qualifier = 'more_than' and value > cast(published_value as double) then 'reproduced'
        when qualifier = 'less_than' and value < cast(published_value as double) then 'reproduced'
        when reason_kind = 'value' then 'documented_inconsistency'
        else 'differs'
    end as status,
    reason,
    reason_kind,
    source_report,
    section,
    note,
    reason_fi,
    reason_sv
from paired
