{{ config(materialized='table') }}

{#- Each process with the figure and the service it is told as. -#}
{% set processes = [
    ('disability_service', 'disability_decisions_on_time_share', 'disability_services'),
    ('child_welfare_notification', 'child_welfare_notifications_on_time_share', 'child_welfare'),
    ('supplementary_income_support', 'income_support_on_time_share', 'income_support'),
    ('service_needs_assessment', 'service_needs_assessments_on_time_share', 'service_needs_assessment'),
] -%}

with cases as (

    select * from {{ ref('int_decisions') }}

),

unfinished_months as (

    select * from {{ ref('int_unfinished_months') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        {{ period_columns('cases') }},
        count(*) as case_count,
        {% for process, figure_id, service in processes %}
        count(case when cases.process = '{{ process }}' then 1 end) as {{ process }}_count,
        count(case when cases.process = '{{ process }}' and cases.is_on_time then 1 end) as {{ process }}_on_time_count
        {%- if not loop.last %},{% endif %}
        {% endfor %}
    from cases
    {{ join_unfinished_months('cases', 'decisions') }}
    {{ by_year_and_month('cases') }}

),

-- Null for a process that decided no cases. Added in a fixed order: a sum of doubles depends on it.
shares as (

    select
        report_year,
        report_month,
        is_comparison,
        last_full_month,
        case_count,
        {% for process, figure_id, service in processes %}
        case when {{ process }}_count > 0 then 1 else 0 end {% if loop.last %}as process_count,{% else %}+{% endif %}
        {% endfor %}
        {% for process, figure_id, service in processes %}
        coalesce(cast(100 * {{ process }}_on_time_count as double) / nullif({{ process }}_count, 0), 0)
        {%- if loop.last %} as total_percent{% else %} +{% endif %}
        {% endfor %}
    from periods

),

figures as (

    {% for process, figure_id, service in processes %}
    {{ share_figure(figure_id, part=process ~ '_on_time_count', whole=process ~ '_count',
        event_count=process ~ '_count', service="'" ~ service ~ "'", only=process ~ '_count > 0') }}

    union all
    {% endfor %}

    {{ mean_figure('social_processes_on_time_share',
        total='total_percent', cases='process_count', event_count='case_count',
        service="'social_services'", rows='shares') }}

)

{{ figures_with_basis() }}
