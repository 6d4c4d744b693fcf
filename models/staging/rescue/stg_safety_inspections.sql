with source as (

    select * from {{ source('raw', 'safety_inspections') }}

)

select
    inspection_id,
    inspected_on,
    kind,
    year(inspected_on) as report_year,
    month(inspected_on) as report_month
from source
where not _is_superseded
