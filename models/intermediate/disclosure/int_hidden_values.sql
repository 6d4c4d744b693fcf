{{ config(materialized='table') }}

with figure_counts as (

    select * from {{ ref('int_figure_counts') }}

),

hidden_years as (

    select * from {{ ref('int_hidden_years') }}

),

hidden_months as (

    select * from {{ ref('int_hidden_months') }}

),

described_figures as (

    select * from {{ ref('figures') }}

),

dependencies as (

    select * from {{ ref('figure_dependencies') }}

),

cells as (

    select distinct figure_id, service, report_year, basis from figure_counts

),

hidden_units as (

    select unit_id, service, report_year, false as is_of_months from hidden_years
    union all
    select unit_id, service, report_year, true as is_of_months from hidden_months

),

by_count as (

    select distinct
        figure_counts.figure_id, figure_counts.service, figure_counts.report_year, figure_counts.basis
    from figure_counts
    inner join hidden_units
        on figure_counts.unit_id = hidden_units.unit_id
        and figure_counts.count_service = hidden_units.service
        and figure_counts.report_year = hidden_units.report_year
        and (figure_counts.basis = 'month') = hidden_units.is_of_months

),

-- A figure that would tell a hidden one, of its year or of the year before.
by_dependency as (

    select
        cells.figure_id, cells.service, cells.report_year, cells.basis
    from cells
    inner join dependencies on cells.figure_id = dependencies.figure_id
    inner join by_count
        on dependencies.depends_on = by_count.figure_id
        and coalesce(dependencies.depends_on_service, cells.service) = by_count.service
        and (cells.basis = 'month') = (by_count.basis = 'month')
        and (
            cells.report_year = by_count.report_year
            or (dependencies.is_over_years and cells.report_year = by_count.report_year + 1)
        )

),

-- A change of an unfinished year tells some months of the year before, and nobody judges whether these are small.
of_months as (

    select
        cells.figure_id, cells.service, cells.report_year, cells.basis
    from cells
    inner join described_figures on cells.figure_id = described_figures.figure_id
    where described_figures.family = 'changes' and cells.basis = 'year_to_date'

)

select figure_id, service, report_year, basis from by_count
union
select figure_id, service, report_year, basis from by_dependency
union
select figure_id, service, report_year, basis from of_months
