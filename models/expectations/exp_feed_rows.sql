with coverage as (

    select * from {{ ref('coverage') }}

),

deleted_deliveries as (

    select * from {{ ref('deleted_deliveries') }}

),

unfinished_years as (

    select * from {{ ref('unfinished_years') }}

),

covered_years as (

    select distinct report_year from coverage

),

-- Of a year that is not finished the records of the full months count, as in its figures.
feed_years as (

    select
        coverage.feed,
        coverage.report_year,
        cast(sum(coverage.row_count) as double) as row_count
    from coverage
    left join unfinished_years
        on coverage.feed = unfinished_years.feed
        and coverage.report_year = unfinished_years.report_year
        and unfinished_years.state <> 'future'
    where unfinished_years.feed is null or coverage.month <= unfinished_years.last_full_month
    group by coverage.feed, coverage.report_year

)

-- What is there of a feed whose deliveries were deleted is not all that was delivered.
select
    feed_years.feed,
    feed_years.report_year,
    'rows' as amount,
    feed_years.row_count
from feed_years
where not exists (
        select 1
        from deleted_deliveries
        where deleted_deliveries.feed = feed_years.feed
            and feed_years.report_year between deleted_deliveries.first_year and deleted_deliveries.last_year
    )

union all

select
    feed_years.feed,
    covered_years.report_year,
    'rows_until' as amount,
    sum(feed_years.row_count) as row_count
from covered_years
inner join feed_years on covered_years.report_year >= feed_years.report_year
where not exists (
        select 1
        from deleted_deliveries
        where deleted_deliveries.feed = feed_years.feed and deleted_deliveries.first_year <= covered_years.report_year
    )
group by feed_years.feed, covered_years.report_year
