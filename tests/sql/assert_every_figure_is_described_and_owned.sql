-- A published figure nobody described, a described one for no service, or one entered by hand that nobody may enter.
select
    published_figures.figure_id,
    published_figures.service,
    'published and not described' as mistake
from {{ ref('published_figures') }} as published_figures
left join {{ ref('figure_catalogue') }} as figure_catalogue
    on published_figures.figure_id = figure_catalogue.figure_id
    and published_figures.service = figure_catalogue.service
    and published_figures.unit = figure_catalogue.unit
where figure_catalogue.figure_id is null

union all

select
    figures.figure_id,
    cast(null as string) as service,
    'told for no service' as mistake
from {{ ref('figures') }} as figures
left join {{ ref('figure_services') }} as figure_services on figures.figure_id = figure_services.figure_id
where figure_services.figure_id is null

union all

select
    figure_catalogue.figure_id,
    figure_catalogue.service,
    'entered by hand, and nobody may' as mistake
from {{ ref('figure_catalogue') }} as figure_catalogue
left join {{ ref('manual_figure_owners') }} as manual_figure_owners
    on figure_catalogue.figure_id = manual_figure_owners.figure_id
    and figure_catalogue.service = manual_figure_owners.service
where figure_catalogue.family = 'manual' and manual_figure_owners.figure_id is null
