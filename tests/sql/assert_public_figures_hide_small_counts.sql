-- Every figure is there, and none has a value that rests on a count which is small, in its year or in a month of it.
with figure_counts as (

    select * from {{ ref('int_figure_counts') }}

),

small_counts as (

    select * from {{ ref('int_small_counts') }}

),

public_indicators as (

    select * from {{ ref('public_indicators') }}

),

public_monthly_series as (

    select * from {{ ref('public_monthly_series') }}

),

small_figures as (

    select distinct
        figure_counts.figure_id,
        figure_counts.service,
        figure_counts.report_year,
        figure_counts.basis,
        small_counts.unit_id is not null as is_small
    from figure_counts
    left join small_counts
        on figure_counts.unit_id = small_counts.unit_id
        and figure_counts.count_service = small_counts.service
        and figure_counts.report_year = small_counts.report_year
        and (figure_counts.basis = 'month') = small_counts.is_of_months

)

select
    small_figures.figure_id,
    small_figures.service,
    small_figures.report_year,
    small_figures.basis
from small_figures
left join public_indicators
    on small_figures.figure_id = public_indicators.figure_id
    and small_figures.service = public_indicators.service
    and small_figures.report_year = public_indicators.report_year
    and small_figures.basis = public_indicators.basis
where
    small_figures.basis <> 'month'
    and (public_indicators.figure_id is null or (small_figures.is_small and public_indicators.value is not null))

union all

select
    small_figures.figure_id,
    small_figures.service,
    small_figures.report_year,
    small_figures.basis
from small_figures
inner join public_monthly_series
    on small_figures.figure_id = public_monthly_series.figure_id
    and small_figures.service = public_monthly_series.service
    and small_figures.report_year = public_monthly_series.report_year
where small_figures.basis = 'month' and small_figures.is_small and public_monthly_series.value is not null
