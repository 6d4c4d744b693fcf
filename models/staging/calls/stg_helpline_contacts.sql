with source as (

    select * from {{ source('raw', 'helpline_contacts') }}

)

select
    contact_id,
    contacted_at_utc as contacted_at,
    outcome,
    advice_sufficient as is_advice_sufficient,
    year(contacted_at) as report_year,
    month(contacted_at) as report_month
from source
where not _is_superseded
