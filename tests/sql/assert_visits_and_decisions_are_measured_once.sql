-- The joins with limits and with the calendar may neither lose nor double a visit or a case.
with counts as (

    select
        'care_visits' as feed,
        (select count(visited_on) from {{ ref('stg_care_visits') }}) as delivered_count,
        (select count(*) from {{ ref('int_care_visits') }}) as measured_count

    union all

    select
        'decisions' as feed,
        (select count(decided_on) from {{ ref('stg_decisions') }}) as delivered_count,
        (select count(*) from {{ ref('int_decisions') }}) as measured_count

)

select
    feed,
    delivered_count,
    measured_count
from counts
where delivered_count <> measured_count
