-- A line without a limit on a day would never be in time; one with two would count its calls twice.
with answer_time_limits as (

    select * from {{ ref('answer_time_limits') }}

),

service_lines as (

    select * from {{ ref('service_lines') }}

),

periods as (

    select
        service_line,
        valid_from,
        valid_to,
        lag(valid_to) over (partition by service_line order by valid_from) as previous_valid_to,
        lead(valid_from) over (partition by service_line order by valid_from) as next_valid_from
    from answer_time_limits

)

select
    service_lines.service_line,
    periods.valid_from,
    periods.valid_to
from service_lines
left join periods on service_lines.service_line = periods.service_line
where
    periods.valid_from is null
    or periods.valid_to < periods.valid_from
    or {{ days_between("coalesce(periods.previous_valid_to, date '1989-12-31')", 'periods.valid_from') }} <> 1
    or (periods.next_valid_from is null and periods.valid_to < date '2099-12-31')
