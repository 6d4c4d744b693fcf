{% for family in var('figure_families') %}
select
    figure_id,
    service,
    report_year,
    'calendar_year' as basis,
    cast(numerator as double) as numerator,
    cast(denominator as double) as denominator,
    case
        when denominator is null then cast(numerator as double)
        else cast(numerator as double) / nullif(denominator, 0)
    end as value,
    cast(event_count as bigint) as event_count
from {{ ref(family ~ '_figures') }}
{% if not loop.last %}union all{% endif %}
{% endfor %}
