with coverage as (

    select * from {{ ref('coverage') }}

),

unfinished_years as (

    select * from {{ ref('unfinished_years') }}

),

feed_years as (

    select
        coverage.feed,
        coverage.report_year,
        max(case when unfinished_years.feed is not null then 1 else 0 end) = 1 as is_unfinished,
        max(case when coverage.month <= unfinished_years.last_full_month then 1 else 0 end) = 1 as has_full_month
    from coverage
    left join unfinished_years
        on coverage.feed = unfinished_years.feed
        and coverage.report_year = unfinished_years.report_year
        and unfinished_years.state <> 'future'
    where coverage.row_count > 0
    group by coverage.feed, coverage.report_year

)

select
    feed_years.feed,
    feed_years.report_year,
    feed_years.is_unfinished,
    not feed_years.is_unfinished or feed_years.has_full_month as has_counted_rows,
    years_before.feed is not null as has_year_before
from feed_years
left join feed_years as years_before
    on feed_years.feed = years_before.feed
    and feed_years.report_year = years_before.report_year + 1
