with source as (

    select * from {{ source('raw', 'care_contacts') }}

)

select
    month as month_starts_on,
    sector,
    mode,
    replaces_visit as is_visit_replacing,
    contacts,
    year(month) as report_year,
    month(month) as report_month
from source
where not _is_superseded
