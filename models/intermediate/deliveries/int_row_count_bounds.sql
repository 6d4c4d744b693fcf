with row_count_bounds as (

    select * from {{ ref('row_count_bounds') }}

),

deleted_deliveries as (

    select * from {{ ref('stg_deleted_deliveries') }}

)

-- Of a year whose deliveries were deleted there may be fewer rows, and none.
select
    row_count_bounds.relation,
    row_count_bounds.report_year,
    case when count(deleted_deliveries.feed) > 0 then 0 else min(row_count_bounds.min_rows) end as min_rows,
    min(row_count_bounds.max_rows) as max_rows
from row_count_bounds
left join deleted_deliveries
    on row_count_bounds.relation = 'stg_' || deleted_deliveries.feed
    and row_count_bounds.report_year between deleted_deliveries.first_year and deleted_deliveries.last_year
group by row_count_bounds.relation, row_count_bounds.report_year
