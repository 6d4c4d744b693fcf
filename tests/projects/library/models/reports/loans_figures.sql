select
    'loans' as figure_id,
    branch as service,
    report_year,
    count(*) as numerator,
    cast(null as bigint) as denominator,
    count(*) as event_count
from {{ ref('stg_loans') }}
group by branch, report_year

union all

select
    'mean_loan_days' as figure_id,
    branch as service,
    report_year,
    sum(days_lent) as numerator,
    count(days_lent) as denominator,
    count(*) as event_count
from {{ ref('stg_loans') }}
group by branch, report_year
