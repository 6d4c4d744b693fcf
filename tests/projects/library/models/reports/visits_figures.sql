select
    'visits' as figure_id,
    branch as service,
    report_year,
    sum(visitors) as numerator,
    cast(null as bigint) as denominator,
    count(*) as event_count
from {{ ref('stg_visits') }}
group by branch, report_year
