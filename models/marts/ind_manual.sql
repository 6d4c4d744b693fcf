with manual_figures as (

    select * from {{ ref('stg_manual_figures') }}

),

described_figures as (

    select * from {{ ref('figures') }}

),

feed_calendar as (

    select * from {{ ref('stg_feed_calendar') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

-- Nobody knows which months of a running year a value entered by hand is about: its last full month is null.
-- A derived figure is never overridden: a row with its id is left out here, and a test warns of it.
figures as (

    select
        manual_figures.figure_id,
        manual_figures.service,
        manual_figures.report_year,
        case
            when feed_calendar.feed is not null then 'year_to_date'
            else coalesce(described_figures.basis, 'calendar_year')
        end as basis,
        cast(manual_figures.value as double) as numerator,
        cast(null as double) as denominator,
        cast(manual_figures.value as double) as value,
        cast(1 as bigint) as event_count,
        cast(null as bigint) as last_full_month
    from manual_figures
    left join described_figures on manual_figures.figure_id = described_figures.figure_id
    left join feed_calendar
        on feed_calendar.feed = 'manual_figures'
        and feed_calendar.state = 'running'
        and manual_figures.report_year = feed_calendar.report_year
    where coalesce(described_figures.family, 'manual') = 'manual'

)

{{ figures_with_basis(has_months=false) }}
