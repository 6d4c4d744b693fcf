with source as (

    select * from {{ source('raw', 'ombudsman_contacts') }}

)

select
    contact_id,
    contacted_on,
    client_type,
    resolved_in_one_call as is_resolved_in_one_call,
    year(contacted_on) as report_year,
    month(contacted_on) as report_month
from source
where not _is_superseded
