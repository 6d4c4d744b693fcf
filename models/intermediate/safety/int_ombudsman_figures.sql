{{ config(materialized='table') }}

with contacts as (

    select * from {{ ref('stg_ombudsman_contacts') }}

),

unfinished_months as (

    select * from {{ ref('int_unfinished_months') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        {{ period_columns('contacts') }},
        count(*) as contact_count,
        count(case when contacts.client_type = 'social' then 1 end) as social_count,
        count(case when contacts.client_type = 'patient' then 1 end) as patient_count,
        count(contacts.is_resolved_in_one_call) as known_count,
        count(case when contacts.is_resolved_in_one_call then 1 end) as resolved_count
    from contacts
    {{ join_unfinished_months('contacts', 'ombudsman_contacts') }}
    {{ by_year_and_month('contacts') }}

),

figures as (

    {{ count_figure('ombudsman_contacts', counted='social_count', event_count='social_count', service="'social'") }}

    union all

    {{ count_figure('ombudsman_contacts',
        counted='patient_count', event_count='patient_count', service="'patient'") }}

    union all

    {{ share_figure('ombudsman_resolved_in_one_call_share',
        part='resolved_count', whole='known_count', event_count='contact_count', service="'ombudsman'") }}

)

{{ figures_with_basis() }}
