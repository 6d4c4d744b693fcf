with figure_sums as (

    select * from {{ ref('figure_sums') }}

),

figure_services as (

    select * from {{ ref('figure_services') }}

),

described_figures as (

    select * from {{ ref('figures') }}

),

service_lines as (

    select * from {{ ref('service_lines') }}

),

parts as (

    select
        figure_sums.relation,
        figure_sums.level,
        figure_sums.is_exhaustive,
        figure_sums.whole_figure_id,
        coalesce(figure_sums.whole_service, figure_services.service) as whole_service,
        figure_sums.part_figure_id,
        figure_services.service as part_service
    from figure_sums
    inner join figure_services
        on figure_sums.part_figure_id = figure_services.figure_id
        and coalesce(figure_sums.part_service, figure_services.service) = figure_services.service

    union all

    select
        figure_services.figure_id as relation,
        2 as level,
        true as is_exhaustive,
        figure_services.figure_id as whole_figure_id,
        service_lines.service_group as whole_service,
        figure_services.figure_id as part_figure_id,
        service_lines.service_line as part_service
    from service_lines
    inner join figure_services on service_lines.service_line = figure_services.service
    inner join described_figures
        on figure_services.figure_id = described_figures.figure_id
        and described_figures.family in ('calls', 'callbacks', 'chats')
    where service_lines.service_group is not null

)

select
    relation || ' ' || whole_service as sum_id,
    level,
    is_exhaustive,
    false as is_whole,
    part_figure_id as figure_id,
    part_service as service
from parts

union all

select distinct
    relation || ' ' || whole_service as sum_id,
    level,
    is_exhaustive,
    true as is_whole,
    whole_figure_id as figure_id,
    whole_service as service
from parts
where whole_figure_id is not null
