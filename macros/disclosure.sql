{#- The rule of small counts in public tables, in one place: a count from 1 to `small_counts_up_to` is hidden, and
    with it whatever would tell it by a sum, a difference or a share. Zero hides nothing. -#}

{% macro is_small(counted) -%}
{{ counted }} between 1 and {{ var('small_counts_up_to', 4) }}
{%- endmacro %}

{#- Whether two services hide each other in one period, of the columns of the CTE `ranges` of int_cover_pairs: what
    remains possible of either is as wide as the largest small count. Of a count that is part of no other there is more:
    who sees that both are hidden knows that neither is zero. Where both are zero there is nothing to hide. -#}
{% macro is_range_enough() -%}
case
            when counted + cover_counted = 0 or rest_counted + cover_rest_counted = 0 then true
            when rest_counted is null and not is_of_months
                then greatest(counted, cover_counted) >= {{ 2 * var('small_counts_up_to', 4) }}
            else width >= {{ var('small_counts_up_to', 4) }}
        end
{%- endmacro %}

{#- Hides what is needed so that nothing shown tells a unit of the CTE `start` (unit_id, level, service, report_year), from
    the counts that are part of no other down to the parts of parts. What lies within a hidden count is hidden. Of a sum
    over services whose whole is shown, whatever is hidden has another service hidden behind it: the smallest that
    covers, or the whole where none does. Within a hidden month of a service nothing of its sum's whole is shown either.
    Needs the CTEs `units`, `sums` and `services` (unit_id, service, report_year of what there is) and `pairs`; ends in
    the CTE `protected` (unit_id, level, service, report_year). -#}
{% macro protect_units(is_of_months, levels=3) -%}
{% for level in range(levels) -%}
within_{{ level }} as (

    select unit_id, service, report_year from start where level = {{ level }}
    {%- if level > 0 %}

    union

    select units.unit_id, hidden.service, hidden.report_year
    from hidden_{{ level - 1 }} as hidden
    inner join units on hidden.unit_id = units.parent_unit_id
    {%- if is_of_months %}

    union

    select units.unit_id, sums.whole_service as service, hidden.report_year
    from hidden_{{ level - 1 }} as hidden
    inner join units on hidden.unit_id = units.parent_unit_id
    inner join sums on hidden.unit_id = sums.unit_id and hidden.service = sums.part_service
    {%- endif %}
    {%- endif %}

),

exposed_{{ level }} as (

    select within.unit_id, sums.whole_service, within.service, within.report_year
    from within_{{ level }} as within
    inner join sums on within.unit_id = sums.unit_id and within.service = sums.part_service
    inner join services
        on within.unit_id = services.unit_id
        and sums.whole_service = services.service
        and within.report_year = services.report_year
    left join within_{{ level }} as wholes
        on within.unit_id = wholes.unit_id
        and sums.whole_service = wholes.service
        and within.report_year = wholes.report_year
    where wholes.unit_id is null

),

uncovered_{{ level }} as (

    select unit_id, whole_service, service, report_year from exposed_{{ level }}

    except

    select pairs.unit_id, pairs.whole_service, pairs.service, pairs.report_year
    from pairs
    inner join within_{{ level }} as covers
        on pairs.unit_id = covers.unit_id
        and pairs.cover_service = covers.service
        and pairs.report_year = covers.report_year

),

candidates_{{ level }} as (

    select
        uncovered.unit_id, uncovered.report_year, coalesce(pairs.cover_service, uncovered.whole_service) as service,
        row_number() over (
            partition by uncovered.unit_id, uncovered.whole_service, uncovered.service, uncovered.report_year
            order by pairs.cover_counted, pairs.cover_service
        ) as place
    from uncovered_{{ level }} as uncovered
    left join pairs
        on uncovered.unit_id = pairs.unit_id
        and uncovered.whole_service = pairs.whole_service
        and uncovered.service = pairs.service
        and uncovered.report_year = pairs.report_year

),

hidden_{{ level }} as (

    select unit_id, service, report_year from within_{{ level }}

    union

    select unit_id, service, report_year from candidates_{{ level }} where place = 1

),

{% endfor -%}
protected as (
    {% for level in range(levels) %}
    select unit_id, cast({{ level }} as bigint) as level, service, report_year from hidden_{{ level }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
)
{%- endmacro %}
