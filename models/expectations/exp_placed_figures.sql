with figure_values as (

    select * from {{ ref('exp_figure_values') }}

),

figure_services as (

    select * from {{ ref('figure_services') }}

),

reconciliation as (

    select * from {{ ref('reconciliation') }}

),

unfinished_years as (

    select * from {{ ref('unfinished_years') }}

)

-- Each figure with what is known of its service, its year and its basis.
select
    figure_values.figure_id,
    figure_values.service,
    figure_values.report_year,
    figure_values.basis,
    figure_values.numerator,
    figure_values.denominator,
    figure_values.value,
    figure_values.event_count,
    figure_values.family,
    figure_values.unit,
    figure_values.described_basis,
    figure_values.is_described,
    figure_values.is_main_volume,
    figure_values.value_from,
    figure_values.events,
    figure_values.kind,
    figure_services.since,
    figure_values.service is not null
    and figure_services.figure_id is null
    and exists (
        select 1 from figure_services as other_services where other_services.figure_id = figure_values.figure_id
    ) as is_stranger,
    exists(
        select 1
        from unfinished_years
        where unfinished_years.feed = figure_values.feed
            and unfinished_years.report_year = figure_values.report_year
            and unfinished_years.state <> 'future'
    ) as is_unfinished,
    exists(
        select 1
        from unfinished_years
        where unfinished_years.report_year = figure_values.report_year and unfinished_years.state <> 'future'
    ) as is_provisional,
    exists(
        select 1
        from reconciliation
        where reconciliation.figure_id = figure_values.figure_id
            and reconciliation.basis = figure_values.basis
            and reconciliation.basis <> 'partial_year'
    ) as is_printed_basis
from figure_values
left join figure_services
    on figure_values.figure_id = figure_services.figure_id
    and figure_values.service = figure_services.service
