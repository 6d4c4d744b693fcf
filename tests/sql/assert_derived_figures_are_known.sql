-- A mart that yields a figure, or a service of a figure, that nobody described.
select
    indicators.figure_id,
    indicators.service,
    indicators.report_year
from {{ ref('indicators') }} as indicators
left join {{ ref('ind_manual') }} as ind_manual
    on indicators.figure_id = ind_manual.figure_id
    and indicators.service = ind_manual.service
    and indicators.report_year = ind_manual.report_year
left join {{ ref('figure_services') }} as figure_services
    on indicators.figure_id = figure_services.figure_id
    and indicators.service = figure_services.service
left join {{ ref('stg_kept_indicators') }} as kept_indicators
    on indicators.figure_id = kept_indicators.figure_id
    and indicators.service = kept_indicators.service
    and indicators.report_year = kept_indicators.report_year
    and indicators.basis = kept_indicators.basis
where kept_indicators.figure_id is null and ind_manual.figure_id is null and figure_services.figure_id is null
