with responses as (

    select * from {{ ref('stg_nps_responses') }}

),

invitations as (

    select * from {{ ref('stg_nps_invitations') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

-- Answers of every channel make the year's row; only those by text message have a score that counts.
sms_scores as (

    select
        survey,
        report_year,
        case when channel = 'sms' then score end as sms_score
    from responses

),

yearly_responses as (

    select
        survey,
        report_year,
        count(sms_score) as response_count,
        count(case when sms_score >= 9 then 1 end) as promoter_count,
        count(case when sms_score <= 6 then 1 end) as detractor_count
    from sms_scores
    group by survey, report_year

),

yearly_invitations as (

    select
        survey,
        report_year,
        sum(invitations_sent) as invitation_count
    from invitations
    where channel = 'sms'
    group by survey, report_year

),

yearly as (

    select
        yearly_responses.survey as service,
        yearly_responses.report_year,
        yearly_responses.response_count,
        yearly_responses.promoter_count,
        yearly_responses.detractor_count,
        coalesce(yearly_invitations.invitation_count, 0) as invitation_count
    from yearly_responses
    left join yearly_invitations
        on yearly_responses.survey = yearly_invitations.survey
        and yearly_responses.report_year = yearly_invitations.report_year

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
