-- A unit, basis, family, theme, service or status that no code list names would stand as a code on a page.
with named as (

    select 'unit' as list, unit as code, cast(null as string) as name from {{ ref('figures') }}
    union all
    select 'basis' as list, basis as code, cast(null as string) as name from {{ ref('figures') }}
    union all
    select 'family' as list, family as code, cast(null as string) as name from {{ ref('figures') }}
    union all
    select 'theme' as list, theme as code, cast(null as string) as name from {{ ref('figures') }}
    union all
    select 'theme' as list, theme as code, cast(null as string) as name from {{ ref('report_sections') }}
    union all
    select 'basis' as list, basis as code, cast(null as string) as name from {{ ref('published_figures') }}
    union all
    select 'basis' as list, basis as code, cast(null as string) as name from {{ ref('figure_counts') }}
    where basis is not null
    union all
    select 'basis' as list, basis as code, cast(null as string) as name from {{ ref('report_lines') }}
    where basis is not null
    union all
    select 'basis' as list, basis as code, cast(null as string) as name from {{ ref('indicators') }}
    union all
    select 'qualifier' as list, qualifier as code, cast(null as string) as name from {{ ref('published_figures') }}
    union all
    select 'inconsistency' as list, kind as code, cast(null as string) as name
    from {{ ref('documented_inconsistencies') }}
    union all
    select 'break_kind' as list, kind as code, cast(null as string) as name from {{ ref('comparability_breaks') }}
    union all
    select 'service' as list, service as code, service_name_fi as name from {{ ref('figure_services') }}

)

select distinct
    named.list,
    named.code,
    named.name
from named
left join {{ ref('code_lists') }} as code_lists
    on named.list = code_lists.list
    and named.code = code_lists.code
    and coalesce(named.name, code_lists.name_fi) = code_lists.name_fi
where code_lists.code is null
