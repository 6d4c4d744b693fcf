with flow_months as (

    select * from {{ ref('exp_flow_months') }}

),

figure_feeds as (

    select * from {{ ref('exp_figure_feeds') }}

),

accepted_changes as (

    select * from {{ ref('accepted_changes') }}

),

unfinished_years as (

    select * from {{ ref('unfinished_years') }}

)

-- Up to the last full month, and not of a year that a change was accepted of.
select
    flow_months.report_year,
    flow_months.figure_id,
    flow_months.service,
    flow_months.month,
    coalesce(flow_months.value, 0) as value,
    flow_months.usual as compared,
    case when flow_months.total >= 600 then coalesce(flow_months.value, 0) end as months_present,
    case
        when flow_months.total >= 1200 and not flow_months.is_first and flow_months.value > 0
            then flow_months.value / nullif(greatest(flow_months.usual, 1), 0)
    end as month_ratio,
    case
        when flow_months.value is null or figure_feeds.since is null then null
        when 12 * flow_months.report_year + flow_months.month
            < 12 * year(figure_feeds.since) + month(figure_feeds.since)
            then 'before'
        else 'ok'
    end as start_is
from flow_months
left join figure_feeds
    on flow_months.figure_id = figure_feeds.figure_id
    and flow_months.service = figure_feeds.service
left join unfinished_years
    on figure_feeds.feed = unfinished_years.feed
    and flow_months.report_year = unfinished_years.report_year
    and unfinished_years.state <> 'future'
left join accepted_changes
    on flow_months.figure_id = accepted_changes.figure_id
    and flow_months.service = accepted_changes.service
    and flow_months.report_year = accepted_changes.report_year
where accepted_changes.figure_id is null
    and (unfinished_years.feed is null or flow_months.month <= unfinished_years.last_full_month)
