{{ config(materialized='table') }}

with responses as (

    select * from {{ ref('stg_nps_responses') }}

),

invitations as (

    select * from {{ ref('stg_nps_invitations') }}

),

unfinished_months as (

    select * from {{ ref('int_survey_months') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

-- Answers of every channel make a period's row; only those by text message count.
responses_by_period as (

    select
        responses.survey,
        {{ period_columns('responses') }},
        count(case when responses.channel = 'sms' then 1 end) as response_count,
        count(case when responses.channel = 'sms' and responses.score >= 9 then 1 end) as promoter_count,
        count(case when responses.channel = 'sms' and responses.score <= 6 then 1 end) as detractor_count
    from responses
    {{ join_unfinished_months('responses', 'nps') }}
    {{ by_year_and_month('responses', 'responses.survey') }}

),

invitations_by_period as (

    select
        invitations.survey,
        {{ period_columns('invitations') }},
        sum(invitations.invitations_sent) as invitation_count
    from invitations
    {{ join_unfinished_months('invitations', 'nps') }}
    where invitations.channel = 'sms'
    {{ by_year_and_month('invitations', 'invitations.survey') }}

),

periods as (

    select
        responses_by_period.survey as service,
        responses_by_period.report_year,
        responses_by_period.report_month,
        responses_by_period.is_comparison,
        responses_by_period.last_full_month,
        responses_by_period.response_count,
        responses_by_period.promoter_count,
        responses_by_period.detractor_count,
        coalesce(invitations_by_period.invitation_count, 0) as invitation_count
    from responses_by_period
    left join invitations_by_period
        on responses_by_period.survey = invitations_by_period.survey
        and responses_by_period.report_year = invitations_by_period.report_year
        and responses_by_period.report_month is not distinct from invitations_by_period.report_month
        and responses_by_period.is_comparison = invitations_by_period.is_comparison

),

figures as (

    {{ share_figure('nps',
        part='promoter_count - detractor_count', whole='response_count', event_count='response_count') }}

    union all

    {% for kind in ['promoter', 'detractor'] %}
    {{ share_figure('nps_' ~ kind ~ '_share',
        part=kind ~ '_count', whole='response_count', event_count='response_count') }}

    union all
    {% endfor %}

    {{ count_figure('nps_responses', counted='response_count', event_count='response_count') }}

    union all

    {{ share_figure('nps_response_rate',
        part='response_count', whole='invitation_count', event_count='response_count') }}

)

{{ figures_with_basis() }}
