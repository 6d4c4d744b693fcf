with feed_months as (

    select * from {{ source('raw', 'feed_months') }}

)

select
    feed,
    report_year,
    report_month,
    row_count,
    service_count
from feed_months
where report_year is not null
