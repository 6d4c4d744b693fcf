{% for feed in var('figure_families') %}
select
    '{{ feed }}' as feed,
    report_year,
    report_month as month,
    count(*) as row_count
from {{ ref('stg_' ~ feed) }}
group by report_year, report_month
{% if not loop.last %}union all{% endif %}
{% endfor %}
