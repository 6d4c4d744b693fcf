with source as (

    select * from {{ source('raw', 'nps_responses') }}

)

select
    response_id,
    survey,
    channel,
    responded_at_utc as responded_at,
    score,
    year(responded_at) as report_year,
    month(responded_at) as report_month
from source
where not _is_superseded
