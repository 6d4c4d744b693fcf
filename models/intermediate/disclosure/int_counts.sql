{{ config(materialized='table') }}

with figure_counts as (

    select * from {{ ref('int_figure_counts') }}

)

select
    unit_id,
    level,
    count_id,
    whole_count_id,
    count_service as service,
    report_year,
    report_month,
    max(counted) as counted,
    max(is_judged) as is_judged,
    max(is_judged and (
        coalesce(counted between 1 and {{ var('small_counts_up_to', 4) }} * per_person, false)
        or coalesce({{ is_small('event_count') }}, false)
    )) as is_small
from figure_counts
group by unit_id, level, count_id, whole_count_id, count_service, report_year, report_month
