{{ config(materialized='table') }}

with contacts as (

    select * from {{ ref('stg_helpline_contacts') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        'emergency_helpline' as service,
        report_year,
        report_month,
        count(*) as contact_count,
        count(case when outcome = 'resolved' then 1 end) as resolved_count,
        count(case when outcome = 'emergency_department' then 1 end) as emergency_count,
        count(is_advice_sufficient) as advice_known_count,
        count(case when is_advice_sufficient then 1 end) as advice_sufficient_count
    from contacts
    {{ by_year_and_month() }}

),

figures as (

    {{ share_figure('helpline_resolved_at_first_contact_share',
        part='resolved_count', whole='contact_count', event_count='contact_count') }}

    union all

    {{ share_figure('helpline_sent_to_emergency_share',
        part='emergency_count', whole='contact_count', event_count='contact_count') }}

    union all

    {{ share_figure('helpline_sufficient_advice_share',
        part='advice_sufficient_count', whole='advice_known_count', event_count='contact_count') }}

)

{{ figures_with_basis() }}
