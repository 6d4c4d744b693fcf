with feed_months as (

    select * from {{ ref('int_unfinished_months') }}

),

survey_months as (

    select
        period_year,
        period_month,
        last_full_month,
        compared_month,
        case when feed = 'nps_responses' then last_full_month end as answers_full_month,
        case when feed = 'nps_responses' then compared_month end as answers_compared_month
    from feed_months
    where feed in ('nps_responses', 'nps_invitations')

)

-- Answers and invitations are counted for the same months: of an unfinished year those that both feeds have, or that
-- the answers have while no invitations came.
select
    'nps' as feed,
    period_year,
    period_month,
    coalesce(min(nullif(last_full_month, 0)), max(answers_full_month)) as last_full_month,
    period_month <= coalesce(min(nullif(last_full_month, 0)), max(answers_full_month), 12) as is_counted,
    coalesce(min(nullif(compared_month, 0)), max(answers_compared_month)) as compared_month,
    period_month <= coalesce(min(nullif(compared_month, 0)), max(answers_compared_month), 0) as is_compared
from survey_months
group by period_year, period_month
