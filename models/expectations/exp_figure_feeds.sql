with figure_services as (

    select * from {{ ref('figure_services') }}

),

described_figures as (

    select * from {{ ref('figures') }}

),

figure_expectations as (

    select * from {{ ref('figure_expectations') }}

)

select
    figure_services.figure_id,
    figure_services.service,
    figure_services.since,
    described_figures.family,
    coalesce(figure_expectations.feed, described_figures.family) as feed,
    coalesce(figure_expectations.services, 'all') as services
from figure_services
inner join described_figures on figure_services.figure_id = described_figures.figure_id
left join figure_expectations on figure_services.figure_id = figure_expectations.figure_id
