{{ config(materialized='table') }}

{#- Of each feed: where its rows in force are counted, how, and what tells its services apart. -#}
{% set feeds = [
    ('calls', 'int_calls_monthly', 'sum(call_count)', 'service_line'),
    ('callbacks', 'int_callbacks_monthly', 'sum(request_count)', 'service_line'),
    ('chats', 'stg_chats', 'count(*)', 'service_line'),
    ('helpline_contacts', 'stg_helpline_contacts', 'count(*)', "'emergency_helpline'"),
    ('nps_responses', 'stg_nps_responses', 'count(*)', 'survey'),
    ('nps_invitations', 'stg_nps_invitations', 'count(*)', 'survey'),
    ('experience_answers', 'stg_experience_answers', 'count(*)', 'statement'),
    ('feedback', 'stg_feedback', 'count(*)', 'service_area'),
    ('feedback_labels', 'int_feedback_labels', 'count(*)', 'content'),
    ('rescue_missions', 'stg_rescue_missions', 'count(*)', 'mission_type'),
    ('safety_inspections', 'stg_safety_inspections', 'count(*)', "'rescue'"),
    ('care_queue', 'stg_care_queue', 'count(*)', 'specialty'),
    ('care_visits', 'stg_care_visits', 'count(*)', 'service'),
    ('housing_placements', 'stg_housing_placements', 'count(*)', "'elderly_housing'"),
    ('decisions', 'stg_decisions', 'count(*)', 'process'),
    ('ombudsman_contacts', 'stg_ombudsman_contacts', 'count(*)', 'client_type'),
    ('safety_incidents', 'stg_safety_incidents', 'count(*)', "'all_services'"),
    ('digital_users', 'stg_digital_users', 'count(*)', "'oma_kymenlaakso'"),
    ('digital_care_paths', 'stg_digital_care_paths', 'count(*)', "'oma_kymenlaakso'"),
    ('chat_services', 'stg_chat_services', 'count(*)', 'service_id'),
    ('care_contacts', 'stg_care_contacts', 'count(*)', 'sector'),
    ('manual_figures', 'stg_manual_figures', 'count(*)', 'service'),
] -%}

with feed_months as (
    {% for feed, relation, row_count, service in feeds %}
    select
        '{{ feed }}' as feed,
        report_year,
        {{ 'report_month' if feed != 'manual_figures' else 'cast(null as bigint) as report_month' }},
        cast({{ row_count }} as bigint) as row_count,
        count(distinct {{ service }}) as service_count
    from {{ ref(relation) }}
    where report_year is not null
    group by report_year{{ ', report_month' if feed != 'manual_figures' }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
)

select
    feed,
    report_year,
    report_month,
    row_count,
    service_count
from feed_months
