with source as (

    select * from {{ source('raw', 'housing_placements') }}

)

select
    application_id,
    initiated_on,
    placed_on,
    year(placed_on) as report_year,
    month(placed_on) as report_month
from source
where not _is_superseded
