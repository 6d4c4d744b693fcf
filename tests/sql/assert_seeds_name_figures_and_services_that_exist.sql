-- A target, a printed or national value, a limit, an owner, an accepted change, a start or a break of something that no
-- figure tells would be of no use: nothing would be compared, hidden or marked by it.
with named as (

    select 'targets' as seed, figure_id, service from {{ ref('targets') }}
    union all
    select 'published_figures' as seed, figure_id, service from {{ ref('published_figures') }}
    union all
    select 'national_comparisons' as seed, figure_id, service from {{ ref('national_comparisons') }}
    union all
    select 'figure_limits' as seed, figure_id, service from {{ ref('figure_limits') }}
    union all
    select 'manual_figure_owners' as seed, figure_id, service from {{ ref('manual_figure_owners') }}
    union all
    select 'accepted_changes' as seed, figure_id, service from {{ ref('accepted_changes') }}

),

named_services as (

    select 'service_starts' as seed, service from {{ ref('service_starts') }}
    union all
    select 'comparability_events' as seed, service from {{ ref('comparability_events') }}
    union all
    select 'figure_counts' as seed, service from {{ ref('figure_counts') }}

),

services as (

    select distinct service from {{ ref('figure_services') }}

)

select
    named.seed,
    named.figure_id,
    named.service
from named
left join {{ ref('figure_services') }} as figure_services
    on named.figure_id = figure_services.figure_id and named.service = figure_services.service
where figure_services.figure_id is null
union all
select
    named_services.seed,
    cast(null as string) as figure_id,
    named_services.service
from named_services
left join services on named_services.service = services.service
where named_services.service is not null and services.service is null
union all
select
    'service_starts' as seed,
    service_starts.figure_id_prefix as figure_id,
    service_starts.service
from {{ ref('service_starts') }} as service_starts
left join {{ ref('figures') }} as figures
    on {{ begins_with('figures.figure_id', 'service_starts.figure_id_prefix') }}
where service_starts.figure_id_prefix is not null and figures.figure_id is null
