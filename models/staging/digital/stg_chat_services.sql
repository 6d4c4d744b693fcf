with source as (

    select * from {{ source('raw', 'chat_services') }}

)

select
    service_id,
    opened_on,
    closed_on,
    year(opened_on) as report_year,
    month(opened_on) as report_month
from source
where not _is_superseded
