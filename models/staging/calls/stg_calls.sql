with source as (

    select * from {{ source('raw', 'calls') }}

)

select
    call_id,
    service_line,
    arrived_at_utc as arrived_at,
    answered_at_utc as answered_at,
    ended_at_utc as ended_at,
    cast(arrived_at as date) as arrived_on,
    year(arrived_at) as report_year,
    month(arrived_at) as report_month
from source
where not _is_superseded
