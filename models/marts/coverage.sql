{#- Of each feed: where its rows in force are counted, how, and the column that tells its services apart. -#}
{% set feeds = [
    ('calls', 'int_calls_monthly', 'sum(call_count)', 'service_line'),
    ('callbacks', 'int_callbacks_monthly', 'sum(request_count)', 'service_line'),
    ('nps_responses', 'stg_nps_responses', 'count(*)', 'survey'),
    ('nps_invitations', 'stg_nps_invitations', 'count(*)', 'survey'),
    ('rescue_missions', 'stg_rescue_missions', 'count(*)', 'mission_type'),
    ('care_queue', 'stg_care_queue', 'count(*)', 'specialty'),
] -%}

with feed_months as (
    {% for feed, relation, row_count, service in feeds %}
    select
        '{{ feed }}' as feed,
        report_year,
        report_month as month,
        cast({{ row_count }} as bigint) as row_count,
        count(distinct {{ service }}) as service_count
    from {{ ref(relation) }}
    group by report_year, report_month
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
)

select
    feed,
    report_year,
    month,
    row_count,
    service_count
from feed_months
