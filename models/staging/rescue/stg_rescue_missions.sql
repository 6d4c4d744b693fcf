with source as (

    select * from {{ source('raw', 'rescue_missions') }}

)

select
    mission_id,
    mission_type,
    urgency,
    alarmed_at_utc as alarmed_at,
    first_unit_at_scene_at_utc as first_unit_at_scene_at,
    year(alarmed_at) as report_year,
    month(alarmed_at) as report_month
from source
where not _is_superseded
