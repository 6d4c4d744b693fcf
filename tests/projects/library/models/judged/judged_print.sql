select
    report_year,
    figure_id,
    service,
    basis,
    value,
    published_value as compared,
    status
from {{ ref('printed_against_counted') }}
