{#- The parts add up to the total, exactly unless `tolerance` says otherwise. Missing is not zero: a missing part makes
    the sum missing, and a sum and a total of which one is missing fail; both missing pass.

    In columns of one row: `parts` and `total` are columns or SQL expressions.
    In rows: `label` is the column that tells which part a row is, `parts` and `total` are its values, `amount` the column
    that is added, and `group_by` the columns within which the sum holds. Rows of a part that is not there are not missed
    as long as one part is. -#}
{% test parts_sum_to_total(model, parts, total, label=none, amount=none, group_by=[], tolerance=0) %}
{%- if label is none %}
with sums as (

    select
        *,
        {{ parts | join(' + ') }} as sum_of_parts,
        {{ total }} as sum_of_whole
    from {{ model }}

)
{%- else %}
{%- set labels = "'" ~ parts | join("', '") ~ "'" %}
with sums as (

    select
        {% for column in group_by %}{{ column }},
        {% endfor -%}
        case
            when count(case when {{ label }} in ({{ labels }}) and {{ amount }} is null then 1 end) = 0
                then sum(case when {{ label }} in ({{ labels }}) then {{ amount }} end)
        end as sum_of_parts,
        sum(case when {{ label }} = '{{ total }}' then {{ amount }} end) as sum_of_whole
    from {{ model }}
    {% if group_by %}group by {{ group_by | join(', ') }}{% endif %}

)
{%- endif %}

select *
from sums
-- Beyond 2^53 a DOUBLE was rounded to the nearest that there is, and so were its parts.
where abs(sum_of_parts - sum_of_whole) > case
        when typeof(sum_of_whole) = 'DOUBLE' and abs(sum_of_whole) > 9007199254740992
            then greatest(abs(sum_of_whole) / 1125899906842624, {{ tolerance }})
        else {{ tolerance }}
    end
    or (sum_of_parts is null and sum_of_whole is not null)
    or (sum_of_parts is not null and sum_of_whole is null)
{% endtest %}
