select
    figures.report_year,
    figures.figure_id,
    figures.service,
    figures.basis,
    figures.value,
    years_before.value as compared,
    figures.value / nullif(years_before.value, 0) as ratio
from {{ ref('yearly_figures') }} as figures
left join {{ ref('yearly_figures') }} as years_before
    on figures.figure_id = years_before.figure_id
    and figures.service = years_before.service
    and figures.report_year = years_before.report_year + 1
