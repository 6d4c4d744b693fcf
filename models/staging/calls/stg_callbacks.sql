with source as (

    select * from {{ source('raw', 'callbacks') }}

)

select
    callback_id,
    service_line,
    requested_at_utc as requested_at,
    reached_at_utc as reached_at,
    cast(requested_at as date) as requested_on,
    cast(reached_at as date) as reached_on,
    year(requested_at) as report_year,
    month(requested_at) as report_month
from source
where not _is_superseded
