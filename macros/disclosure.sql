{#- The rule of small counts in public tables, in one place: a count from 1 to `small_counts_up_to` is hidden, and
    with it whatever would tell it by a sum, a difference or a share. Zero hides nothing. -#}

{% macro is_small(counted) -%}
{{ counted }} between 1 and {{ var('small_counts_up_to', 4) }}
{%- endmacro %}

{#- A count that hides another behind it: large enough that every small count remains possible. -#}
{% macro is_cover(counted) -%}
{{ counted }} >= {{ 2 * var('small_counts_up_to', 4) }}
{%- endmacro %}

{#- Hides what is needed for every sum of a level to have at least two unknowns, one of them a cover, as soon as one
    of its cells is hidden or its remainder is small: the smallest part that is a cover, else the whole, else all
    parts. Needs the CTEs `cells` (figure_id, service, report_year, basis, counted, whole_counted, is_hidden) and
    `sums` (the rows of int_figure_sums); ends in the CTE `protected`, which is `cells` with more of them hidden. -#}
{% macro protect_sums(level) -%}
members as (

    select
        sums.sum_id,
        sums.is_whole,
        sums.is_exhaustive,
        cells.figure_id,
        cells.service,
        cells.report_year,
        cells.counted,
        cells.whole_counted,
        cells.is_hidden
    from sums
    inner join cells on sums.figure_id = cells.figure_id and sums.service = cells.service
    where sums.level = {{ level }}

),

totals as (

    select
        sum_id,
        report_year,
        case
            when max(is_exhaustive) then 0
            else coalesce(max(case when is_whole then counted end), max(whole_counted))
                - sum(case when is_whole then 0 else counted end)
        end as remainder,
        count(case when is_hidden then 1 end) as hidden_count,
        max(case when is_hidden then counted else 0 end) as largest_hidden
    from members
    group by sum_id, report_year

),

exposed as (

    select
        sum_id,
        report_year
    from totals
    where (hidden_count > 0 or {{ is_small('remainder') }})
        and (hidden_count + case when remainder <> 0 then 1 else 0 end < 2
            or not {{ is_cover('greatest(largest_hidden, remainder)') }})

),

candidates as (

    select
        members.figure_id,
        members.service,
        members.report_year,
        row_number() over (
            partition by members.sum_id, members.report_year
            order by
                case when members.is_whole then 2 when {{ is_cover('members.counted') }} then 1 else 3 end,
                members.counted,
                members.figure_id,
                members.service
        ) as place,
        min(case when members.is_whole then 2 when {{ is_cover('members.counted') }} then 1 else 3 end) over (
            partition by members.sum_id, members.report_year
        ) as best_choice
    from members
    inner join exposed on members.sum_id = exposed.sum_id and members.report_year = exposed.report_year
    where not members.is_hidden

),

chosen as (

    select distinct
        figure_id,
        service,
        report_year
    from candidates
    where place = 1 or best_choice = 3

),

protected as (

    select
        cells.figure_id,
        cells.service,
        cells.report_year,
        cells.basis,
        cells.counted,
        cells.whole_counted,
        cells.is_hidden or chosen.figure_id is not null as is_hidden
    from cells
    left join chosen
        on cells.figure_id = chosen.figure_id
        and cells.service = chosen.service
        and cells.report_year = chosen.report_year

)
{%- endmacro %}
