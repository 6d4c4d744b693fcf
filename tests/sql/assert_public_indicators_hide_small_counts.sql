-- Every figure is there, none that rests on a small count has a value, and no sum with a hidden cell tells it.
with public_indicators as (

    select * from {{ ref('public_indicators') }}

),

told as (

    select
        cells.figure_id,
        cells.service,
        cells.report_year,
        public_indicators.value
    from {{ ref('int_small_counts') }} as cells
    left join public_indicators
        on cells.figure_id = public_indicators.figure_id
        and cells.service = public_indicators.service
        and cells.report_year = public_indicators.report_year
        and cells.basis = public_indicators.basis
    where public_indicators.figure_id is null or (cells.is_hidden and public_indicators.value is not null)

),

told_by_sums as (

    select
        sums.sum_id as figure_id,
        cast(null as varchar) as service,
        public_indicators.report_year,
        cast(null as double) as value
    from {{ ref('int_figure_sums') }} as sums
    inner join public_indicators
        on sums.figure_id = public_indicators.figure_id and sums.service = public_indicators.service
    where sums.is_exhaustive
    group by sums.sum_id, public_indicators.report_year
    having count(case when public_indicators.is_suppressed then 1 end) = 1

)

select * from told
union all
select * from told_by_sums
