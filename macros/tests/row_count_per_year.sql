{#- Every year has a number of rows within the bounds that a seed gives for it: columns relation, report_year, min_rows
    and max_rows, of which max_rows may be missing. A year without rows counts as 0, so it fails unless its min_rows is 0;
    a year without bounds is not judged. A relation of which the seed says nothing fails: its name is misspelt. -#}
{% test row_count_per_year(model, bounds, relation, year_column='report_year') %}
with bounds as (

    select
        report_year,
        min_rows,
        max_rows
    from {{ bounds }}
    where relation = '{{ relation }}'

),

counts as (

    select
        {{ year_column }} as report_year,
        count(*) as row_count
    from {{ model }}
    where {{ year_column }} is not null
    group by {{ year_column }}

),

judged as (

    select
        bounds.report_year,
        coalesce(counts.row_count, 0) as row_count,
        bounds.min_rows,
        bounds.max_rows
    from bounds
    left join counts on bounds.report_year = counts.report_year

),

unknown as (

    select count(*) as bound_count
    from bounds

)

select
    report_year,
    row_count,
    min_rows,
    max_rows
from judged
where min_rows is null or row_count < min_rows or row_count > max_rows

union all

select
    null as report_year,
    null as row_count,
    null as min_rows,
    null as max_rows
from unknown
where bound_count = 0
{% endtest %}
