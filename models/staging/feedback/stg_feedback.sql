with source as (

    select * from {{ source('raw', 'feedback') }}

)

select
    feedback_id,
    received_at_utc as received_at,
    service_area,
    year(received_at) as report_year,
    month(received_at) as report_month
from source
where not _is_superseded
