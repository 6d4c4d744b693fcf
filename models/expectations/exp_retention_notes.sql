with deleted_deliveries as (

    select * from {{ ref('deleted_deliveries') }}

),

calendar_years as (

    select distinct report_year from {{ ref('int_calendar') }}

)

select distinct
    calendar_years.report_year,
    deleted_deliveries.feed,
    deleted_deliveries.kept_from as note_fi
from deleted_deliveries
inner join calendar_years
    on calendar_years.report_year between deleted_deliveries.first_year and deleted_deliveries.last_year
