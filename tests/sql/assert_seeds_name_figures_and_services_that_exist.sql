-- A target, a national value, a limit, an owner or an accepted change of something that no figure tells would be of no
-- use.
with named as (

    select 'targets' as seed, figure_id, service from {{ ref('targets') }}
    union all
    select 'national_comparisons' as seed, figure_id, service from {{ ref('national_comparisons') }}
    union all
    select 'figure_limits' as seed, figure_id, service from {{ ref('figure_limits') }}
    union all
    select 'manual_figure_owners' as seed, figure_id, service from {{ ref('manual_figure_owners') }}
    union all
    select 'accepted_changes' as seed, figure_id, service from {{ ref('accepted_changes') }}

)

select
    named.seed,
    named.figure_id,
    named.service
from named
left join {{ ref('figure_services') }} as figure_services
    on named.figure_id = figure_services.figure_id and named.service = figure_services.service
where figure_services.figure_id is null
