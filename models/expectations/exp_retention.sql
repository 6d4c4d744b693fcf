with indicator_origins as (

    select * from {{ ref('indicator_origins') }}

),

deleted_deliveries as (

    select * from {{ ref('deleted_deliveries') }}

),

calendar_years as (

    select distinct report_year from {{ ref('int_calendar') }}

),

kept_years as (

    select
        report_year,
        kept_from,
        count(*) as figure_count
    from indicator_origins
    where origin = 'kept'
    group by report_year, kept_from

),

recorded_builds as (

    select distinct kept_from from deleted_deliveries

),

deleted_years as (

    select
        calendar_years.report_year,
        deleted_deliveries.feed,
        count(*) as file_count
    from deleted_deliveries
    inner join calendar_years
        on calendar_years.report_year between deleted_deliveries.first_year and deleted_deliveries.last_year
    group by calendar_years.report_year, deleted_deliveries.feed

)

select
    kept_years.report_year,
    'build' as subject,
    cast(null as varchar) as feed,
    kept_years.kept_from as build,
    cast(kept_years.figure_count as double) as value,
    'lukuja koonnista ' || kept_years.kept_from as note_fi,
    case when recorded_builds.kept_from is not null then 'ok' else 'no deletion recorded' end as kept_is
from kept_years
left join recorded_builds on kept_years.kept_from = recorded_builds.kept_from

union all

select
    report_year,
    'feed' as subject,
    feed,
    cast(null as varchar) as build,
    cast(file_count as double) as value,
    feed || ': poistettuja toimituksia, koonnista ' as note_fi,
    'ok' as kept_is
from deleted_years
