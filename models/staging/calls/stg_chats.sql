with source as (

    select * from {{ source('raw', 'chats') }}

)

select
    chat_id,
    service_line,
    started_at_utc as started_at,
    resolved_without_visit as is_resolved_without_visit,
    year(started_at) as report_year,
    month(started_at) as report_month
from source
where not _is_superseded
