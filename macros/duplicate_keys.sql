{#- For singular tests: the keys that more than one row of a relation has. -#}
{% macro duplicate_keys(relation, key) -%}
select
    {{ key | join(',\n    ') }},
    count(*) as row_count
from {{ relation }}
group by {{ key | join(', ') }}
having count(*) > 1
{%- endmacro %}
