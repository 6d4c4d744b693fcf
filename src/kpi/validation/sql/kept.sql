-- What is told of deliveries that were deleted by their retention. Grain, one row per year and build whose figures are
-- kept, and per year and feed of which deliveries were deleted.
with deleted as (
    select distinct feed, unnest(generate_series(first_year, last_year)) as report_year
    from deleted_deliveries
),

kept as (
    select report_year, kept_from, count(*) as figure_count
    from indicator_origins
    where origin = 'kept' and report_year <= $last_year
    group by report_year, kept_from
),

gone as (
    select
        d.report_year,
        d.feed,
        string_agg(distinct f.kept_from, ', ' order by f.kept_from) as kept_from,
        count(*) as file_count
    from deleted as d
    inner join deleted_deliveries as f
        on d.feed = f.feed and d.report_year between f.first_year and f.last_year
    where d.report_year <= $last_year
    group by d.report_year, d.feed
)

select
    report_year,
    'kept from build ' || kept_from || ': ' || figure_count || ' figures' as label,
    cast(null as varchar) as feed,
    cast(figure_count as double) as value,
    'lukuja koonnista ' || kept_from as note_fi,
    case
        when exists (select 1 from deleted_deliveries as d where d.kept_from = kept.kept_from) then 'ok'
        else 'no deletion recorded'
    end as kept_is
from kept

union all

select
    report_year,
    'deliveries of ' || feed || ' deleted: ' || file_count as label,
    feed,
    cast(file_count as double) as value,
    feed || ': poistettuja toimituksia, koonnista ' || kept_from as note_fi,
    'ok' as kept_is
from gone
order by report_year, feed nulls first, label
