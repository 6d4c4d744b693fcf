with figure_counts as (

    select * from {{ ref('figure_counts') }}

),

count_splits as (

    select * from {{ ref('count_splits') }}

),

counts as (

    select distinct count_id from figure_counts

)

select
    counts.count_id,
    coalesce(count_splits.split_id, counts.count_id) as unit_id,
    coalesce(count_splits.level, 0) as level,
    count_splits.whole_count_id,
    coalesce(count_splits.is_rest_judged, false) as is_rest_judged,
    coalesce(splits_of_wholes.split_id, count_splits.whole_count_id) as parent_unit_id
from counts
left join count_splits on counts.count_id = count_splits.part_count_id
left join count_splits as splits_of_wholes on count_splits.whole_count_id = splits_of_wholes.part_count_id
