with compared as (

    select
        released.release,
        released.figure_id,
        released.service,
        released.report_year,
        released.basis,
        released.unit,
        released.value as released_value,
        statuses.value,
        cast(released.printed_value as double) as released_printed_value,
        statuses.printed_value,
        md5(released.release || released.figure_id || released.service || coalesce(cast(statuses.value as varchar), ''))
            as revision_id
    from {{ ref('releases_of_figures') }} as released
    left join {{ ref('statuses') }} as statuses using (figure_id, service, report_year, basis)
    where released.is_latest

)

select
    compared.*,
    compared.value - compared.released_value as change,
    case when acknowledged.revision_id is null then 'open' else 'acknowledged' end as status,
    acknowledged.reason,
    reasons.is_planned,
    acknowledged.note,
    acknowledged.acknowledged_by,
    acknowledged.acknowledged_at
from compared
left join {{ source('raw', 'acknowledged_revisions') }} as acknowledged
    on compared.release = acknowledged.release
    and compared.revision_id = acknowledged.revision_id
left join {{ ref('reasons') }} as reasons on acknowledged.reason = reasons.reason
where compared.value is distinct from compared.released_value
    or compared.printed_value is distinct from compared.released_printed_value
