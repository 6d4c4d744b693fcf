-- A reason registered for a figure that was not published would explain nothing.
select
    documented_inconsistencies.report_year,
    documented_inconsistencies.figure_id,
    documented_inconsistencies.service,
    documented_inconsistencies.basis
from {{ ref('documented_inconsistencies') }} as documented_inconsistencies
left join {{ ref('published_figures') }} as published_figures
    on documented_inconsistencies.report_year = published_figures.report_year
    and documented_inconsistencies.figure_id = published_figures.figure_id
    and documented_inconsistencies.service = published_figures.service
    and documented_inconsistencies.basis = published_figures.basis
where published_figures.figure_id is null
