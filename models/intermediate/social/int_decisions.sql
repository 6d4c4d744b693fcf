with decisions as (

    select * from {{ ref('stg_decisions') }}

),

statutory_limits as (

    select * from {{ ref('statutory_limits') }}

),

calendar as (

    select * from {{ ref('int_calendar') }}

)

-- The working days before the decision and after the initiation are fewer than the limit exactly when the
-- decision does not come after the limit's last day: on a Saturday after it, it is late.
select
    decisions.case_id,
    decisions.process,
    decisions.report_year,
    decisions.report_month,
    decisions.has_special_reason or coalesce(
        case
            when statutory_limits.limit_unit = 'working_day'
                then decided.working_days_before - initiated.working_days_through < statutory_limits.limit_count
            else decisions.decided_on <= {{ last_day_of_limit(
                'decisions.initiated_on', 'statutory_limits.limit_count', 'statutory_limits.limit_unit') }}
        end,
        false
    ) as is_on_time
from decisions
left join statutory_limits
    on decisions.process = statutory_limits.subject
    and decisions.initiated_on between statutory_limits.valid_from and statutory_limits.valid_to
left join calendar as initiated on decisions.initiated_on = initiated.calendar_date
left join calendar as decided on decisions.decided_on = decided.calendar_date
where decisions.decided_on is not null
