with figure_feeds as (

    select * from {{ ref('exp_figure_feeds') }}

),

delivered_years as (

    select * from {{ ref('exp_delivered_years') }}

),

services_there as (

    select distinct
        family,
        service,
        report_year
    from {{ ref('exp_figure_values') }}

)

-- Described and begun. Not before the first full month of an unfinished year has records.
select
    figure_feeds.figure_id,
    figure_feeds.service,
    delivered_years.report_year
from figure_feeds
inner join delivered_years
    on figure_feeds.feed = delivered_years.feed
    and figure_feeds.since <= make_date(delivered_years.report_year, 12, 31)
left join services_there
    on figure_feeds.family = services_there.family
    and figure_feeds.service = services_there.service
    and delivered_years.report_year = services_there.report_year
where figure_feeds.family not in ('manual', 'changes')
    and (services_there.family is not null or figure_feeds.services = 'all')
    and delivered_years.has_counted_rows
