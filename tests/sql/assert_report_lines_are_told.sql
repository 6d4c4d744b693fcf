-- A line of the report whose figure is not told for its service would stay empty in every year.
select
    report_lines.figure_id,
    report_lines.service
from {{ ref('report_lines') }} as report_lines
left join {{ ref('figure_services') }} as figure_services
    on report_lines.figure_id = figure_services.figure_id and report_lines.service = figure_services.service
where figure_services.figure_id is null
