-- Every mission is either a rescue or an emergency medical one, and counted as that.
select
    report_year,
    sum(case when figure_id = 'rescue_department_missions' then numerator end) as mission_count,
    sum(case when figure_id in ('rescue_missions', 'ems_missions') then numerator end) as typed_count
from {{ ref('ind_rescue') }}
group by report_year
having mission_count <> typed_count
