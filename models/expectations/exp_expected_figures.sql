with figure_values as (

    select * from {{ ref('exp_figure_values') }}

),

figure_feeds as (

    select * from {{ ref('exp_figure_feeds') }}

),

described_figures as (

    select * from {{ ref('exp_described_figures') }}

),

delivered_years as (

    select * from {{ ref('exp_delivered_years') }}

),

accepted_changes as (

    select * from {{ ref('accepted_changes') }}

),

targets as (

    select * from {{ ref('targets') }}

)

select
    figure_id,
    service,
    report_year,
    'described' as reason
from described_figures

union all

-- There the year before, and known to have ended by no accepted change.
select
    figure_values.figure_id,
    figure_values.service,
    figure_values.report_year + 1 as report_year,
    case when max(case when figure_values.is_main_volume then figure_values.value end) >= 1000 then 'main' else 'again'
    end as reason
from figure_values
inner join delivered_years
    on figure_values.feed = delivered_years.feed
    and figure_values.report_year + 1 = delivered_years.report_year
left join accepted_changes
    on figure_values.figure_id = accepted_changes.figure_id
    and figure_values.service = accepted_changes.service
    and figure_values.report_year + 1 = accepted_changes.report_year
where figure_values.family not in ('manual', 'changes')
    and not delivered_years.is_unfinished
    and accepted_changes.figure_id is null
group by figure_values.figure_id, figure_values.service, figure_values.report_year

union all

select
    targets.figure_id,
    targets.service,
    targets.report_year,
    'target' as reason
from targets
inner join figure_feeds
    on targets.figure_id = figure_feeds.figure_id
    and targets.service = figure_feeds.service
inner join delivered_years
    on figure_feeds.feed = delivered_years.feed
    and targets.report_year = delivered_years.report_year
where not delivered_years.is_unfinished
