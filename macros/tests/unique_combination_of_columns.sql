{#- No two rows have the same values in these columns. A missing value is a value like any other: two rows without one
    are the same. For a key of one column that may be missing, use `unique`. -#}
{% test unique_combination_of_columns(model, combination_of_columns) %}
select {{ combination_of_columns | join(', ') }}, count(*) as n_records
from {{ model }}
group by {{ combination_of_columns | join(', ') }}
having count(*) > 1
{% endtest %}
