{#- Whether a figure is another than it was released as: printed differently, there or not there any more, or off by
    more than the project's tolerance, in percent of the released value. -#}
{% macro is_revised(released_value, value, released_printed_value, printed_value) -%}
coalesce({{ printed_value }} <> {{ released_printed_value }}, false)
        or ({{ value }} is null) <> ({{ released_value }} is null)
        or coalesce(
            100 * abs({{ value }} - {{ released_value }})
            > {{ var('revision_tolerance_percent') }} * abs({{ released_value }}),
            false
        )
{%- endmacro %}

{#- Whether two values differ, where no value is one too. -#}
{% macro differ(left_value, right_value) -%}
coalesce({{ left_value }} <> {{ right_value }}, ({{ left_value }} is null) <> ({{ right_value }} is null))
{%- endmacro %}
