with source as (

    select * from {{ source('raw', 'care_queue') }}

)

select
    census_date,
    patient_key,
    specialty,
    need_confirmed_on,
    year(census_date) as report_year,
    month(census_date) as report_month
from source
where not _is_superseded
