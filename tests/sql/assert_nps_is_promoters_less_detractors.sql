-- The score and the two shares it is the difference of are derived separately and published side by side.
select
    service,
    report_year
from {{ ref('ind_nps') }}
group by service, report_year
having
    sum(case when figure_id = 'nps' then numerator end)
    <> sum(
        case figure_id when 'nps_promoter_share' then numerator when 'nps_detractor_share' then -numerator end
    )
