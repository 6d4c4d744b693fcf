with source as (

    select * from {{ source('raw', 'digital_care_paths') }}

)

select
    path_id,
    opened_on,
    closed_on,
    self_care as is_self_care,
    year(opened_on) as report_year,
    month(opened_on) as report_month
from source
where not _is_superseded
