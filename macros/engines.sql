{#- Words that DuckDB and Spark have each their own of; dbt takes those of its target. kpi compiles DuckDB's. -#}

{#- The whole numbers from one to another, each a row of the SELECT this is a column of. -#}
{% macro whole_numbers(first, last) -%}
{{ adapter.dispatch('whole_numbers')(first, last) }}
{%- endmacro %}

{% macro default__whole_numbers(first, last) -%}
unnest(generate_series({{ first }}, {{ last }}))
{%- endmacro %}

{% macro spark__whole_numbers(first, last) -%}
explode(sequence({{ first }}, {{ last }}))
{%- endmacro %}

{#- Whether a text begins with another. -#}
{% macro begins_with(value, beginning) -%}
{{ adapter.dispatch('begins_with')(value, beginning) }}
{%- endmacro %}

{% macro default__begins_with(value, beginning) -%}
starts_with({{ value }}, {{ beginning }})
{%- endmacro %}

{% macro spark__begins_with(value, beginning) -%}
startswith({{ value }}, {{ beginning }})
{%- endmacro %}

{#- The build that is made now; null where there is none, as in dbt. -#}
{% macro build_in_progress() -%}
{{ adapter.dispatch('build_in_progress')() }}
{%- endmacro %}

{% macro default__build_in_progress() -%}
getvariable('kpi_build')
{%- endmacro %}

{% macro spark__build_in_progress() -%}
null
{%- endmacro %}

{#- dbt-spark creates seeds by the types of their properties, and Spark has no text without a length but `string`. -#}
{% macro spark__create_csv_table(model, agate_table) -%}
{% for column, kind in model['config']['column_types'].items() if kind == 'varchar' -%}
{% do model['config']['column_types'].update({column: 'string'}) %}
{%- endfor %}
{{ return(dbt.spark__create_csv_table(model, agate_table)) }}
{%- endmacro %}
