-- A part is never more than its whole; the mean of shares has a sum of percents for numerator.
select
    figure_id,
    service,
    report_year,
    basis,
    value
from {{ ref('indicators') }}
where right(figure_id, 6) = '_share'
    and (
        value < 0
        or value > 100
        or (numerator > denominator and figure_id <> 'social_processes_on_time_share')
    )
