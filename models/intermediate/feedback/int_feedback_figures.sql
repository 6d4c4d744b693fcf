{{ config(materialized='table') }}

{#- Every area and content of the contracts, so that one nobody named has zero. -#}
{% set areas = ['health', 'social', 'rescue', 'other'] -%}
{% set contents = ['thanks', 'suggestion', 'criticism', 'other'] -%}

with feedback as (

    select * from {{ ref('stg_feedback') }}

),

labels as (

    select * from {{ ref('int_feedback_labels') }}

),

unfinished_months as (

    select * from {{ ref('int_unfinished_months') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        {{ period_columns('feedback') }},
        count(*) as item_count,
        {% for area in areas %}
        count(case when feedback.service_area = '{{ area }}' then 1 end) as {{ area }}_count
        {%- if not loop.last %},{% endif %}
        {% endfor %}
    from feedback
    {{ join_unfinished_months('feedback', 'feedback') }}
    {{ by_year_and_month('feedback') }}

),

label_periods as (

    select
        {{ period_columns('labels') }},
        {% for content in contents %}
        count(case when labels.content = '{{ content }}' then 1 end) as {{ content }}_count
        {%- if not loop.last %},{% endif %}
        {% endfor %}
    from labels
    {{ join_unfinished_months('labels', 'feedback_labels') }}
    {{ by_year_and_month('labels') }}

),

figures as (

    {{ count_figure('feedback_received',
        counted='item_count', event_count='item_count', service="'all_services'") }}

    {% for area in areas %}
    union all

    {{ share_figure('feedback_share',
        part=area ~ '_count', whole='item_count', event_count='item_count', service="'" ~ area ~ "'") }}
    {% endfor %}

    {% for content in contents %}
    union all

    {{ count_figure('feedback_content', counted=content ~ '_count', event_count=content ~ '_count',
        service="'" ~ content ~ "'", rows='label_periods') }}
    {% endfor %}

)

{{ figures_with_basis() }}
