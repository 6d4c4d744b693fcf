{{ config(severity='warn') }}
-- Entered by hand and shown, though the seed manual_figure_owners does not say who may.
select
    ind_manual.report_year,
    ind_manual.figure_id,
    ind_manual.service
from {{ ref('ind_manual') }} as ind_manual
left join {{ ref('manual_figure_owners') }} as manual_figure_owners
    on ind_manual.figure_id = manual_figure_owners.figure_id
    and ind_manual.service = manual_figure_owners.service
where manual_figure_owners.figure_id is null
