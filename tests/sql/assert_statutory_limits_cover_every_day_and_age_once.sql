-- Without a limit something would never be in time; with two it would be counted twice. Limits are constant between
-- the days and ages at which any of them begins or ends, so those points are enough to look at.
with statutory_limits as (

    select * from {{ ref('statutory_limits') }}

),

days as (

    select subject, date '1990-01-01' as point_on from statutory_limits
    union
    select subject, valid_from as point_on from statutory_limits
    union
    select subject, {{ days_after('valid_to', 1) }} as point_on from statutory_limits where valid_to < date '2099-12-31'

),

ages as (

    select subject, cast(0 as bigint) as point_age from statutory_limits
    union
    select subject, age_from as point_age from statutory_limits
    union
    select subject, age_to + 1 as point_age from statutory_limits where age_to is not null

),

covered as (

    select
        days.subject,
        days.point_on,
        ages.point_age,
        count(statutory_limits.subject) as limit_count
    from days
    inner join ages on days.subject = ages.subject
    left join statutory_limits
        on days.subject = statutory_limits.subject
        and days.point_on between statutory_limits.valid_from and statutory_limits.valid_to
        and ages.point_age >= statutory_limits.age_from
        and (statutory_limits.age_to is null or ages.point_age <= statutory_limits.age_to)
    group by days.subject, days.point_on, ages.point_age

)

select
    subject,
    point_on,
    point_age,
    limit_count
from covered
where limit_count <> 1
