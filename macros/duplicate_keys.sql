{#- For singular tests: which of these relations have a key more than once. `grains` is a list of pairs of a name and
    the columns of its key; missing values are a key like any other. -#}
{% macro relations_with_duplicate_keys(grains) -%}
{%- for relation, key in grains %}
select
    '{{ relation }}' as relation,
    count(*) as duplicate_keys
from (
    select {{ key | join(', ') }}
    from {{ ref(relation) }}
    group by {{ key | join(', ') }}
    having count(*) > 1
) as duplicates
having count(*) > 0
{% if not loop.last %}
union all
{% endif %}
{%- endfor %}
{%- endmacro %}
