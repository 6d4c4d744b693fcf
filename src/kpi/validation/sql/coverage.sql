-- The rows in force of every feed. Grain, one row per feed, year and month; the month is null when the feed has none.
select
    feed,
    report_year,
    month,
    sum(row_count) as row_count
from coverage
where row_count > 0 and report_year <= $last_year
group by feed, report_year, month
order by feed, report_year, month
