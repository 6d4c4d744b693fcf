with feed_calendar as (

    select * from {{ ref('stg_feed_calendar') }}

)

select
    feed,
    report_year,
    state,
    last_full_month,
    expected_by,
    very_late_by
from feed_calendar
