with reconciliation as (

    select * from {{ ref('reconciliation') }}

),

figure_values as (

    select * from {{ ref('exp_figure_values') }}

),

figure_feeds as (

    select * from {{ ref('exp_figure_feeds') }}

),

described_figures as (

    select * from {{ ref('figures') }}

),

delivered_years as (

    select * from {{ ref('exp_delivered_years') }}

)

-- A printed figure without a value, for want of another feed, is not missing.
select
    reconciliation.report_year,
    reconciliation.figure_id,
    reconciliation.service,
    reconciliation.basis,
    reconciliation.value,
    reconciliation.published_value as compared,
    reconciliation.status,
    case
        when reconciliation.status <> 'not_delivered' then 'ok'
        when delivered_years.feed is null or figure_values.figure_id is not null or delivered_years.is_unfinished
            then null
        when reconciliation.basis <> 'change_from_previous_year' or delivered_years.has_year_before then 'missing'
    end as told_is,
    case
        when described_figures.unit = reconciliation.unit then 'ok'
        when described_figures.unit <> reconciliation.unit then 'other'
    end as unit_is
from reconciliation
left join figure_values
    on reconciliation.figure_id = figure_values.figure_id
    and reconciliation.service = figure_values.service
    and reconciliation.report_year = figure_values.report_year
    and reconciliation.basis = figure_values.basis
left join described_figures on reconciliation.figure_id = described_figures.figure_id
left join figure_feeds
    on reconciliation.figure_id = figure_feeds.figure_id
    and reconciliation.service = figure_feeds.service
left join delivered_years
    on figure_feeds.feed = delivered_years.feed
    and reconciliation.report_year = delivered_years.report_year
