with care_paths as (

    select * from {{ ref('stg_digital_care_paths') }}

),

coverage as (

    select * from {{ ref('int_coverage') }}

),

calendar as (

    select * from {{ ref('int_calendar') }}

),

unfinished_months as (

    select * from {{ ref('int_unfinished_months') }}

),

first_openings as (

    select min(report_year) as report_year from care_paths

),

latest_years as (

    select max(report_year) as report_year from coverage

),

period_ends as (

    select
        calendar.report_year,
        calendar.calendar_date as period_end,
        false as is_comparison,
        unfinished_months.last_full_month
    from calendar
    left join unfinished_months
        on unfinished_months.feed = 'digital_care_paths'
        and calendar.report_year = unfinished_months.period_year
        and unfinished_months.period_month = 12
    where calendar.is_year_end and unfinished_months.last_full_month is null

    {% for month, is_comparison in [('last_full_month', 'false'), ('compared_month', 'true')] %}
    union all

    select
        period_year as report_year,
        last_day(make_date(period_year, period_month, 1)) as period_end,
        {{ is_comparison }} as is_comparison,
        {{ month }} as last_full_month
    from unfinished_months
    where feed = 'digital_care_paths' and period_month = {{ month }}
    {% endfor %}

)

select
    period_ends.report_year,
    period_ends.period_end,
    period_ends.is_comparison,
    period_ends.last_full_month
from period_ends
inner join first_openings on period_ends.report_year >= first_openings.report_year
inner join latest_years on period_ends.report_year <= latest_years.report_year
