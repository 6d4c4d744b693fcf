{#- Every value lies between the bounds, either of which may be left out; the bounds themselves count unless
    `inclusive` is false. A bound is a number or an SQL expression of the row. A missing value passes: say `not_null`
    too where it must not. -#}
{% test accepted_range(model, column_name, min_value=none, max_value=none, inclusive=true) %}
{%- if min_value is none and max_value is none -%}
{{ exceptions.raise_compiler_error('accepted_range of ' ~ column_name ~ ' needs min_value, max_value or both.') }}
{%- endif -%}
{%- set or_is = '' if inclusive else '=' -%}
select *
from {{ model }}
where {% if min_value is not none %}{{ column_name }} <{{ or_is }} {{ min_value }}{% endif %}
    {%- if min_value is not none and max_value is not none %} or {% endif %}
    {%- if max_value is not none %}{{ column_name }} >{{ or_is }} {{ max_value }}{% endif %}
{% endtest %}
