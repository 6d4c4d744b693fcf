{{ config(materialized='table') }}

with contacts as (

    select * from {{ ref('stg_helpline_contacts') }}

),

unfinished_months as (

    select * from {{ ref('int_unfinished_months') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        'emergency_helpline' as service,
        {{ period_columns('contacts') }},
        count(*) as contact_count,
        count(case when contacts.outcome = 'resolved' then 1 end) as resolved_count,
        count(case when contacts.outcome = 'emergency_department' then 1 end) as emergency_count,
        count(contacts.is_advice_sufficient) as advice_known_count,
        count(case when contacts.is_advice_sufficient then 1 end) as advice_sufficient_count
    from contacts
    {{ join_unfinished_months('contacts', 'helpline_contacts') }}
    {{ by_year_and_month('contacts') }}

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
