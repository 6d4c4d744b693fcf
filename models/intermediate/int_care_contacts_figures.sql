{{ config(materialized='table') }}

with contacts as (

    select * from {{ ref('stg_care_contacts') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        'all_services' as service,
        report_year,
        report_month,
        count(*) as row_count,
        sum(contacts) as contact_count,
        sum(case when mode <> 'in_person' then contacts else 0 end) as remote_count,
        sum(case when mode <> 'in_person' and is_visit_replacing then contacts else 0 end) as replacing_count
    from contacts
    {{ by_year_and_month() }}

),

figures as (

    {{ share_figure('remote_contact_share',
        part='remote_count', whole='contact_count', event_count='row_count') }}

    union all

    {{ share_figure('visit_replacing_remote_contact_share',
        part='replacing_count', whole='contact_count', event_count='row_count') }}

)

{{ figures_with_basis() }}
