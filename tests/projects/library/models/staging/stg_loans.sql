select
    loan_id,
    branch,
    year(lent_on) as report_year,
    month(lent_on) as report_month,
    date_diff('day', lent_on, returned_on) as days_lent
from {{ source('raw', 'loans') }}
where not _is_superseded
