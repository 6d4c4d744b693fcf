with figures as (
    {% for family in var('figure_families') %}
    select
        figure_id,
        service,
        report_year,
        last_full_month,
        numerator,
        denominator,
        value,
        event_count
    from {{ ref('int_' ~ family ~ '_figures') }}
    where report_month is null and is_comparison
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
)

select
    figure_id,
    service,
    report_year,
    last_full_month,
    numerator,
    denominator,
    value,
    event_count
from figures
