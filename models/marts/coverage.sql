with feed_months as (

    select * from {{ ref('int_coverage') }}

)

select
    feed,
    report_year,
    report_month as month,
    row_count,
    service_count
from feed_months
