with source as (

    select * from {{ source('raw', 'digital_users') }}

)

select
    census_date,
    age_from,
    age_to,
    registered_users,
    active_users,
    year(census_date) as report_year,
    month(census_date) as report_month
from source
where not _is_superseded
