{{ config(materialized='table') }}

with counts as (

    select * from {{ ref('int_counts') }}

),

count_sums as (

    select * from {{ ref('int_count_sums') }}

),

-- Each part of a sum over services in each period of its whole, zero where it has no row, and the rest of what it is
-- itself a part of; null where it is a part of nothing.
members as (

    select
        count_sums.unit_id, count_sums.count_id, count_sums.whole_service, count_sums.part_service as service,
        wholes.report_year, wholes.report_month, wholes.report_month > 0 as is_of_months,
        coalesce(parts.counted, 0) as counted,
        case
            when count_sums.whole_count_id is not null
                then greatest(coalesce(contexts.counted, 0) - coalesce(parts.counted, 0), 0)
        end as rest_counted
    from count_sums
    inner join counts as wholes
        on count_sums.count_id = wholes.count_id and count_sums.whole_service = wholes.service
    left join counts as parts
        on count_sums.count_id = parts.count_id
        and count_sums.part_service = parts.service
        and wholes.report_year = parts.report_year
        and wholes.report_month = parts.report_month
    left join counts as contexts
        on count_sums.whole_count_id = contexts.count_id
        and count_sums.part_service = contexts.service
        and wholes.report_year = contexts.report_year
        and wholes.report_month = contexts.report_month

),

-- How far the one may grow, and shrink, while the other makes up for it and nothing that is shown changes.
moves as (

    select
        this.unit_id, this.count_id, this.whole_service, this.service, other.service as cover_service,
        this.report_year, this.report_month, this.is_of_months, other.counted as cover_counted,
        this.counted, this.rest_counted, other.rest_counted as cover_rest_counted,
        least(coalesce(this.rest_counted, other.counted), other.counted) as up,
        least(this.counted, coalesce(other.rest_counted, this.counted)) as down
    from members as this
    inner join members as other
        on this.count_id = other.count_id
        and this.whole_service = other.whole_service
        and this.service <> other.service
        and this.report_year = other.report_year
        and this.report_month = other.report_month

),

-- What moves in one month moves back in others, for the year stands.
ranges as (

    select
        unit_id, count_id, whole_service, service, cover_service, report_year, report_month, is_of_months,
        cover_counted, counted, rest_counted, cover_rest_counted,
        case
            when not is_of_months then up + down
            else least(up, (sum(down) over of_year) - down) + least(down, (sum(up) over of_year) - up)
        end as width
    from moves
    window of_year as (partition by count_id, whole_service, service, cover_service, report_year, is_of_months)

)

select
    unit_id,
    whole_service,
    service,
    cover_service,
    report_year,
    is_of_months,
    sum(cover_counted) as cover_counted,
    min({{ is_range_enough() }}) as is_cover
from ranges
group by unit_id, whole_service, service, cover_service, report_year, is_of_months
having sum(cover_counted) + coalesce(sum(cover_rest_counted), 0) > 0
