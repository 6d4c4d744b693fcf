{{ config(materialized='table') }}

with contacts as (

    select * from {{ ref('stg_care_contacts') }}

),

unfinished_months as (

    select * from {{ ref('int_unfinished_months') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        'all_services' as service,
        {{ period_columns('contacts') }},
        count(*) as row_count,
        sum(contacts.contacts) as contact_count,
        sum(case when contacts.mode <> 'in_person' then contacts.contacts else 0 end) as remote_count,
        sum(
            case when contacts.mode <> 'in_person' and contacts.is_visit_replacing then contacts.contacts else 0 end
        ) as replacing_count
    from contacts
    {{ join_unfinished_months('contacts', 'care_contacts') }}
    {{ by_year_and_month('contacts') }}

),

figures as (

    {{ share_figure('remote_contact_share',
        part='remote_count', whole='contact_count', event_count='row_count') }}

    union all

    {{ share_figure('visit_replacing_remote_contact_share',
        part='replacing_count', whole='contact_count', event_count='row_count') }}

)

{{ figures_with_basis() }}
