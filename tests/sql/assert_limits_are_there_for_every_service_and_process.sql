-- What is measured by a limit that nobody gave would never be in time.
with measured as (

    select distinct service as subject from {{ ref('stg_care_visits') }}
    union all
    select distinct process as subject from {{ ref('stg_decisions') }}
    union all
    select 'specialist_care' as subject
    union all
    select 'specialist_care_statistics' as subject

)

select measured.subject
from measured
left join {{ ref('statutory_limits') }} as statutory_limits on measured.subject = statutory_limits.subject
where statutory_limits.subject is null
