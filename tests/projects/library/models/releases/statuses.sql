select
    figures.figure_id,
    figures.service,
    figures.report_year,
    figures.basis,
    figures.value,
    round(figures.value, cast(register.decimals as integer)) as printed_value,
    register.decimals,
    register.unit,
    case when figures.value is null then 'M' else 'A' end as obs_status
from {{ ref('yearly_figures') }} as figures
left join {{ ref('figure_register') }} as register on figures.figure_id = register.figure_id
