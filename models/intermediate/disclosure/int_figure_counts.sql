{{ config(materialized='table') }}

{#- What a figure that the seed figure_counts does not list tells: of a mean its cases, else its numerator and what that
    is a share of. A figure nobody described is taken for a count. -#}
{% set is_mean = "coalesce(cells.unit, 'count') in ('seconds', 'days', 'score_1_to_5', 'points')" -%}
{% set parts = [
    ('', 'case when ' ~ is_mean ~ ' then cells.denominator else cells.numerator end', 'true'),
    (' of', 'cells.denominator', 'not ' ~ is_mean ~ ' and cells.denominator is not null'),
    (' rest', 'cells.denominator - cells.numerator', "cells.unit = 'percent' and cells.denominator is not null"),
] -%}

with cells as (

    select * from {{ ref('int_figure_periods') }}

),

figure_counts as (

    select * from {{ ref('figure_counts') }}

),

count_units as (

    select * from {{ ref('int_count_units') }}

),

listed as (

    select
        cells.figure_id, cells.service, cells.report_year, cells.basis, cells.report_month, cells.is_judged,
        cells.event_count, figure_counts.count_id, coalesce(figure_counts.service, cells.service) as count_service,
        figure_counts.per_person,
        case figure_counts.taken_from
            when 'numerator' then cells.numerator
            when 'denominator' then cells.denominator
            when 'remainder' then cells.denominator - cells.numerator
        end as counted
    from cells
    inner join figure_counts
        on cells.figure_id = figure_counts.figure_id
        and coalesce(figure_counts.basis, cells.basis) = cells.basis
    where
        figure_counts.basis is not null
        or not exists (
            select named.basis from figure_counts as named
            where named.figure_id = cells.figure_id and named.basis = cells.basis
        )

),

unlisted as (
    {% for suffix, counted, condition in parts %}
    select
        cells.figure_id, cells.service, cells.report_year, cells.basis, cells.report_month, cells.is_judged,
        cells.event_count, cells.figure_id || '{{ suffix }}' as count_id, cells.service as count_service,
        cast(1 as bigint) as per_person, {{ counted }} as counted
    from cells
    where {{ condition }} and cells.figure_id not in (select figure_counts.figure_id from figure_counts)
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
)

select
    listed.figure_id, listed.service, listed.report_year, listed.basis, listed.report_month, listed.count_id,
    listed.count_service, count_units.unit_id, count_units.level, count_units.whole_count_id, listed.counted,
    listed.per_person, listed.is_judged, listed.event_count
from listed
inner join count_units on listed.count_id = count_units.count_id

union all

select
    figure_id, service, report_year, basis, report_month, count_id, count_service, figure_id as unit_id,
    cast(0 as bigint) as level, cast(null as string) as whole_count_id, counted, per_person, is_judged, event_count
from unlisted
