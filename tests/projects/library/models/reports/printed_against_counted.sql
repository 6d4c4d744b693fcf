select
    printed.report_year,
    printed.figure_id,
    printed.service,
    printed.basis,
    register.unit,
    cast(printed.value as double) as published_value,
    'exact' as qualifier,
    register.decimals,
    figures.value,
    case
        when figures.value is null then 'not_delivered'
        when round(figures.value, 1) = printed.value then 'reproduced'
        else 'differs'
    end as status,
    cast(null as varchar) as reason,
    printed.report_year as source_report
from {{ ref('printed_figures') }} as printed
left join {{ ref('figure_register') }} as register on printed.figure_id = register.figure_id
left join {{ ref('yearly_figures') }} as figures
    on printed.figure_id = figures.figure_id
    and printed.service = figures.service
    and printed.report_year = figures.report_year
