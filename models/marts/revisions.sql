{{ config(meta={'allow': {'md5': 'the same on both engines, and only an id'}}) }}

with released_pairs as (

    select * from {{ ref('int_released_pairs') }}

),

acknowledged as (

    select * from {{ ref('stg_acknowledged_revisions') }}

),

reasons as (

    select * from {{ ref('revision_reasons') }}

),

-- The same difference has the same id every night; when the value moves on it is another revision.
differing as (

    select
        release,
        figure_id,
        service,
        report_year,
        basis,
        unit,
        released_value,
        value,
        released_printed_value,
        printed_value,
        left(md5(
            release || ' ' || figure_id || ' ' || service || ' ' || basis || ' ' || coalesce(cast(value as string), '')
        ), 10) as revision_id
    from released_pairs
    where {{ is_revised('released_value', 'value', 'released_printed_value', 'printed_value') }}

)

select
    differing.revision_id,
    differing.release,
    differing.figure_id,
    differing.service,
    differing.report_year,
    differing.basis,
    differing.unit,
    differing.released_value,
    differing.value,
    differing.released_printed_value,
    differing.printed_value,
    differing.value - differing.released_value as change,
    case when acknowledged.revision_id is null then 'open' else 'acknowledged' end as status,
    acknowledged.causes,
    acknowledged.reason,
    reasons.is_planned,
    acknowledged.note,
    acknowledged.acknowledged_by,
    acknowledged.acknowledged_at
from differing
left join acknowledged
    on differing.release = acknowledged.release
    and differing.revision_id = acknowledged.revision_id
left join reasons on acknowledged.reason = reasons.reason
