{{ config(severity='warn') }}
-- A figure is derived from events or entered by hand, never both: these rows were loaded and are not shown.
select
    manual_figures.report_year,
    manual_figures.figure_id,
    manual_figures.service
from {{ ref('stg_manual_figures') }} as manual_figures
inner join {{ ref('figures') }} as figures on manual_figures.figure_id = figures.figure_id
where figures.family <> 'manual'
