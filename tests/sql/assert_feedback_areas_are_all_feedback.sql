-- Every item is about one of the areas, and counted there.
select report_year
from {{ ref('ind_feedback') }}
group by report_year
having
    sum(case when figure_id = 'feedback_received' then numerator end)
    <> sum(case when figure_id = 'feedback_share' then numerator end)
