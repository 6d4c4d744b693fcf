with figure_counts as (

    select * from {{ ref('figure_counts') }}

),

count_splits as (

    select * from {{ ref('count_splits') }}

),

count_sums as (

    select * from {{ ref('int_count_sums') }}

),

figure_services as (

    select * from {{ ref('figure_services') }}

),

counted as (

    select distinct figure_counts.figure_id, figure_counts.count_id, figure_counts.taken_from, figure_services.service
    from figure_counts
    inner join figure_services on figure_counts.figure_id = figure_services.figure_id
    where figure_counts.basis is null and figure_counts.service is null

),

-- A sum over services, and one over the parts of a split in each service.
count_links as (

    select count_id as whole_count_id, whole_service, count_id as part_count_id, part_service
    from count_sums

    union all

    select whole_count_id, null as whole_service, part_count_id, null as part_service
    from count_splits
    where is_exhaustive

),

-- A figure of a group and of its lines; where the parts are another figure, its numerators add up.
sums as (

    select distinct
        wholes.figure_id as whole_figure_id,
        wholes.service as whole_service,
        parts.figure_id as part_figure_id,
        parts.service as part_service
    from count_links
    inner join counted as wholes
        on count_links.whole_count_id = wholes.count_id
        and coalesce(count_links.whole_service, wholes.service) = wholes.service
    inner join counted as parts
        on count_links.part_count_id = parts.count_id
        and coalesce(count_links.part_service, wholes.service) = parts.service
    where
        wholes.figure_id = parts.figure_id
        or (
            wholes.taken_from = 'numerator'
            and parts.taken_from = 'numerator'
            and (count_links.part_service is null or not exists (
                select figure_services.service from figure_services
                where figure_services.figure_id = wholes.figure_id and figure_services.service = parts.service
            ))
        )

)

select
    whole_figure_id || ' ' || whole_service as sum_id, true as is_exhaustive, false as is_whole,
    part_figure_id as figure_id, part_service as service
from sums

union all

select distinct
    whole_figure_id || ' ' || whole_service as sum_id, true as is_exhaustive, true as is_whole,
    whole_figure_id as figure_id, whole_service as service
from sums
