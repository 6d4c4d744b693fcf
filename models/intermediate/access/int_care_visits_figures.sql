{{ config(materialized='table') }}

with visits as (

    select * from {{ ref('int_care_visits') }}

),

unfinished_months as (

    select * from {{ ref('int_unfinished_months') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        visits.service,
        {{ period_columns('visits') }},
        count(*) as visit_count,
        count(case when visits.is_soon then 1 end) as soon_count,
        count(case when visits.is_under_23 then 1 end) as under_23_count,
        count(case when visits.is_under_23 and visits.is_within_guarantee then 1 end) as under_23_within_count,
        count(case when not visits.is_under_23 then 1 end) as adult_count,
        count(case when not visits.is_under_23 and visits.is_within_guarantee then 1 end) as adult_within_count
    from visits
    {{ join_unfinished_months('visits', 'care_visits') }}
    {{ by_year_and_month('visits', 'visits.service') }}

),

figures as (

    {{ share_figure('primary_care_within_14_days_share',
        part='soon_count', whole='visit_count', event_count='visit_count', only="service = 'primary_care'") }}

    union all

    {{ share_figure('oral_health_within_3_months_share',
        part='soon_count', whole='visit_count', event_count='visit_count', only="service = 'oral_health'") }}

    {% for service in ['primary_care', 'oral_health'] %}
    union all

    {{ share_figure('care_guarantee_' ~ service ~ '_23_and_over_share',
        part='adult_within_count', whole='adult_count', event_count='adult_count',
        only="service = '" ~ service ~ "'") }}

    union all

    {{ share_figure('care_guarantee_' ~ service ~ '_under_23_share',
        part='under_23_within_count', whole='under_23_count', event_count='under_23_count',
        only="service = '" ~ service ~ "'") }}
    {% endfor %}

)

{{ figures_with_basis() }}
