with figure_services as (

    select * from {{ ref('figure_services') }}

),

described_figures as (

    select * from {{ ref('figures') }}

),

comparability_events as (

    select * from {{ ref('comparability_events') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

definition_changes as (

    select * from {{ ref('int_definition_changes') }}

),

breaks as (

    select
        figure_services.figure_id,
        figure_services.service,
        comparability_events.starts_on,
        comparability_events.kind,
        comparability_events.reason_fi,
        comparability_events.reason_sv,
        comparability_events.reason_en,
        comparability_events.source
    from figure_services
    inner join described_figures on figure_services.figure_id = described_figures.figure_id
    inner join comparability_events
        on described_figures.family = comparability_events.family
        and figure_services.service = coalesce(comparability_events.service, figure_services.service)

    union all

    select
        figure_services.figure_id,
        figure_services.service,
        service_starts.started_on as starts_on,
        'service_start' as kind,
        service_starts.reason_fi,
        service_starts.reason_sv,
        service_starts.reason_en,
        service_starts.source
    from figure_services
    inner join service_starts
        on figure_services.service = coalesce(service_starts.service, figure_services.service)
        and {{ begins_with('figure_services.figure_id', "coalesce(service_starts.figure_id_prefix, '')") }}

    union all

    select
        figure_id,
        service,
        starts_on,
        'definition' as kind,
        reason_fi,
        reason_sv,
        reason_en,
        source
    from definition_changes

)

select
    figure_id,
    service,
    starts_on,
    kind,
    reason_fi,
    reason_sv,
    reason_en,
    source
from breaks
