{% set families = ['calls', 'callbacks', 'nps', 'rescue', 'specialist_queue', 'changes'] -%}

with figures as (
    {% for family in families %}
    select
        figure_id,
        service,
        report_year,
        basis,
        numerator,
        denominator,
        value,
        event_count
    from {{ ref('ind_' ~ family) }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
)

select
    figure_id,
    service,
    report_year,
    basis,
    numerator,
    denominator,
    value,
    event_count
from figures
