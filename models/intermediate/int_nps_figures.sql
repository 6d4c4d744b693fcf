{{ config(materialized='table') }}

with responses as (

    select * from {{ ref('stg_nps_responses') }}

),

invitations as (

    select * from {{ ref('stg_nps_invitations') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

-- Answers of every channel make a period's row; only those by text message count.
responses_by_period as (

    select
        survey,
        report_year,
        report_month,
        count(case when channel = 'sms' then 1 end) as response_count,
        count(case when channel = 'sms' and score >= 9 then 1 end) as promoter_count,
        count(case when channel = 'sms' and score <= 6 then 1 end) as detractor_count
    from responses
    {{ by_year_and_month('survey') }}

),

invitations_by_period as (

    select
        survey,
        report_year,
        report_month,
        sum(invitations_sent) as invitation_count
    from invitations
    where channel = 'sms'
    {{ by_year_and_month('survey') }}

),

periods as (

    select
        responses_by_period.survey as service,
        responses_by_period.report_year,
        responses_by_period.report_month,
        responses_by_period.response_count,
        responses_by_period.promoter_count,
        responses_by_period.detractor_count,
        coalesce(invitations_by_period.invitation_count, 0) as invitation_count
    from responses_by_period
    left join invitations_by_period
        on responses_by_period.survey = invitations_by_period.survey
        and responses_by_period.report_year = invitations_by_period.report_year
        and responses_by_period.report_month is not distinct from invitations_by_period.report_month

),

figures as (

    {{ share_figure('nps',
        part='promoter_count - detractor_count', whole='response_count', event_count='response_count') }}

    union all

    {{ share_figure('nps_promoter_share',
        part='promoter_count', whole='response_count', event_count='response_count') }}

    union all

    {{ share_figure('nps_detractor_share',
        part='detractor_count', whole='response_count', event_count='response_count') }}

    union all

    {{ count_figure('nps_responses', counted='response_count', event_count='response_count') }}

    union all

    {{ share_figure('nps_response_rate',
        part='response_count', whole='invitation_count', event_count='response_count') }}

)

{{ figures_with_basis() }}
