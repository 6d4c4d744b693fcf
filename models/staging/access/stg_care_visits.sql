with source as (

    select * from {{ source('raw', 'care_visits') }}

)

select
    visit_id,
    service,
    need_assessed_on,
    visited_on,
    age_years,
    year(visited_on) as report_year,
    month(visited_on) as report_month
from source
where not _is_superseded
