-- A part is never more than its whole.
select
    figure_id,
    service,
    report_year,
    basis,
    value
from {{ ref('indicators') }}
where right(figure_id, 6) = '_share' and (value < 0 or value > 100 or numerator > denominator)
