with visits as (

    select * from {{ ref('stg_care_visits') }}

),

statutory_limits as (

    select * from {{ ref('statutory_limits') }}

)

-- Without a limit a visit is not within the guarantee; a test sees to it that there always is one.
select
    visits.visit_id,
    visits.service,
    visits.report_year,
    visits.report_month,
    visits.age_years < 23 as is_under_23,
    case visits.service
        when 'primary_care' then visits.visited_on <= {{ days_after('visits.need_assessed_on', 14) }}
        when 'oral_health' then visits.visited_on <= {{ months_after('visits.need_assessed_on', 3) }}
    end as is_soon,
    coalesce(visits.visited_on <= {{ last_day_of_limit(
        'visits.need_assessed_on', 'statutory_limits.limit_count', 'statutory_limits.limit_unit') }}, false)
        as is_within_guarantee
from visits
left join statutory_limits
    on visits.service = statutory_limits.subject
    and visits.need_assessed_on between statutory_limits.valid_from and statutory_limits.valid_to
    and visits.age_years >= statutory_limits.age_from
    and (statutory_limits.age_to is null or visits.age_years <= statutory_limits.age_to)
where visits.visited_on is not null
