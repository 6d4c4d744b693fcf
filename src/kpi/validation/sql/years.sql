-- Every year that has a figure or a record, with the feeds it has records of. Grain, one row per year.
with found as (
    select report_year, null as feed
    from indicators

    union all

    select report_year, feed
    from coverage
    where row_count > 0
)

select
    report_year,
    report_year || coalesce(' (' || string_agg(distinct feed, ' and ' order by feed) || ')', '') as label,
    string_agg(distinct feed, ', ' order by feed) as note_fi
from found
where report_year is not null
group by report_year
order by report_year
