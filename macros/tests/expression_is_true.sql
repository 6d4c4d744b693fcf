{#- A condition on the row holds. Below a column the condition begins with that column: `expression: '>= 0'`. A condition
    that is null, for a missing value, passes: say `not_null` too where it must not. -#}
{% test expression_is_true(model, expression, column_name=none) %}
select *
from {{ model }}
where not ({{ column_name ~ ' ' if column_name else '' }}{{ expression }})
{% endtest %}
