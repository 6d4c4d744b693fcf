select
    branch,
    year(counted_on) as report_year,
    month(counted_on) as report_month,
    visitors
from {{ source('raw', 'visits') }}
where not _is_superseded
