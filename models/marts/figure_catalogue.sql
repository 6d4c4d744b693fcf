with figure_services as (

    select * from {{ ref('figure_services') }}

),

described_figures as (

    select * from {{ ref('figures') }}

),

owner_roles as (

    select * from {{ ref('owner_roles') }}

)

select
    figure_services.figure_id,
    figure_services.service,
    described_figures.family,
    described_figures.name_fi,
    described_figures.name_sv,
    described_figures.name_en,
    figure_services.service_name_fi,
    figure_services.service_name_sv,
    figure_services.service_name_en,
    described_figures.definition_fi,
    described_figures.definition_sv,
    described_figures.definition_en,
    described_figures.unit,
    described_figures.decimals,
    described_figures.good_direction,
    described_figures.basis,
    figure_services.since,
    described_figures.owner_role,
    owner_roles.name_fi as owner_fi,
    owner_roles.name_sv as owner_sv,
    owner_roles.name_en as owner_en,
    described_figures.source,
    described_figures.theme,
    described_figures.sort_order,
    described_figures.shown_as,
    described_figures.shown_unit,
    described_figures.shown_sign,
    described_figures.interpretation_fi,
    described_figures.interpretation_sv,
    described_figures.interpretation_en,
    described_figures.limits_fi,
    described_figures.limits_sv,
    described_figures.limits_en,
    described_figures.legislation_fi,
    described_figures.legislation_sv,
    described_figures.legislation_en,
    described_figures.keywords_fi,
    described_figures.keywords_sv,
    described_figures.keywords_en,
    figure_services.sort_order as service_order
from figure_services
left join described_figures on figure_services.figure_id = described_figures.figure_id
left join owner_roles on described_figures.owner_role = owner_roles.owner_role
