{{ config(materialized='table') }}

with contacts as (

    select * from {{ ref('stg_ombudsman_contacts') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        report_year,
        report_month,
        count(*) as contact_count,
        count(case when client_type = 'social' then 1 end) as social_count,
        count(case when client_type = 'patient' then 1 end) as patient_count,
        count(is_resolved_in_one_call) as known_count,
        count(case when is_resolved_in_one_call then 1 end) as resolved_count
    from contacts
    {{ by_year_and_month() }}

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
