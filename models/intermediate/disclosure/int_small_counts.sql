{{ config(materialized='table') }}

with counts as (

    select * from {{ ref('int_counts') }}

),

units as (

    select * from {{ ref('int_count_units') }}

),

count_sums as (

    select * from {{ ref('int_count_sums') }}

),

-- What of a whole is none of its parts.
rests as (

    select
        parts.unit_id,
        parts.level,
        parts.service,
        parts.report_year,
        parts.report_month,
        max(parts.is_judged) as is_judged,
        max(wholes.counted) - sum(parts.counted) as counted
    from counts as parts
    inner join counts as wholes
        on parts.whole_count_id = wholes.count_id
        and parts.service = wholes.service
        and parts.report_year = wholes.report_year
        and parts.report_month = wholes.report_month
    inner join units on parts.count_id = units.count_id
    where units.is_rest_judged
    group by parts.unit_id, parts.level, parts.service, parts.report_year, parts.report_month

),

judged as (

    select unit_id, level, service, report_year, report_month, is_small
    from counts

    union all

    select unit_id, level, service, report_year, report_month, is_judged and {{ is_small('counted') }} as is_small
    from rests

),

-- The parts of a small whole are small, whatever a person is counted as in them.
small as (

    select unit_id, level, service, report_year, report_month from judged where is_small

    union

    select judged.unit_id, judged.level, count_sums.part_service as service, judged.report_year, judged.report_month
    from judged
    inner join count_sums on judged.unit_id = count_sums.unit_id and judged.service = count_sums.whole_service
    where judged.is_small

)

select distinct
    unit_id,
    level,
    service,
    report_year,
    report_month > 0 as is_of_months
from small
