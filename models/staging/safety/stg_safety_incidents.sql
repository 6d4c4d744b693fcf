with source as (

    select * from {{ source('raw', 'safety_incidents') }}

)

select
    incident_id,
    reported_on,
    incident_type,
    harm,
    year(reported_on) as report_year,
    month(reported_on) as report_month
from source
where not _is_superseded
