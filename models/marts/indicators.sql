{% set families = [
    'calls', 'callbacks', 'chats', 'helpline', 'nps', 'experience', 'feedback', 'rescue', 'inspections',
    'specialist_queue', 'care_visits', 'housing', 'decisions', 'ombudsman', 'incidents', 'digital_users',
    'care_paths', 'chat_services', 'care_contacts', 'changes', 'manual',
] -%}

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
