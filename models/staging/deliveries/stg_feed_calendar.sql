with source as (

    select * from {{ source('raw', 'feed_calendar') }}

)

select
    feed,
    report_year,
    state,
    last_full_month,
    expected_by,
    very_late_by
from source
