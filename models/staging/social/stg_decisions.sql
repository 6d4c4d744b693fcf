with source as (

    select * from {{ source('raw', 'decisions') }}

)

select
    case_id,
    process,
    initiated_on,
    decided_on,
    coalesce(special_reason, false) as has_special_reason,
    year(decided_on) as report_year,
    month(decided_on) as report_month
from source
where not _is_superseded
