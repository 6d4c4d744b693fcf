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

{#- How rows of `vintages` are replaced. dbt-spark replaces rows by merge alone, which needs a format of tables that knows
    of changes (Delta): without, it makes the table once, and a run that would add to it is refused. -#}
{% macro strategy_of_vintages() -%}
{{ return(adapter.dispatch('strategy_of_vintages')()) }}
{%- endmacro %}

{% macro default__strategy_of_vintages() -%}
{{ return('delete+insert') }}
{%- endmacro %}

{% macro spark__strategy_of_vintages() -%}
{%- if is_incremental() -%}
{{ exceptions.raise_compiler_error('vintages: rows cannot be replaced on Spark here. Build it in a schema of its own, or with kpi.') }}
{%- endif -%}
{{ return('append') }}
{%- endmacro %}

{#- dbt-spark creates seeds by the types of their properties, and Spark has no text without a length but `string`. -#}
{% macro spark__create_csv_table(model, agate_table) -%}
{% for column, kind in model['config']['column_types'].items() if kind == 'varchar' -%}
{% do model['config']['column_types'].update({column: 'string'}) %}
{%- endfor %}
{{ return(dbt['spark__create_csv_table'](model, agate_table)) }}
{%- endmacro %}

{#- Rows of a seed as literals: as dbt-spark binds them to a session, a null is the text None and a quote ends a text. -#}
{% macro spark__load_csv_rows(model, agate_table) -%}
{% set statements = [] %}
{% for chunk in agate_table.rows | batch(500) -%}
{% set sql -%}
insert into {{ this.render() }} values
{% for row in chunk -%}
(
    {%- for column in agate_table.column_names -%}
    {%- set inferred = adapter.convert_type(agate_table, loop.index0) -%}
    cast({{ spark_literal(row[column]) }} as {{ model['config']['column_types'].get(column, inferred) }})
    {%- if not loop.last %}, {% endif %}
    {%- endfor -%}
)
{%- if not loop.last %},
{% endif %}
{%- endfor %}
{%- endset %}
{% do adapter.add_query(sql, abridge_sql_log=True) %}
{% do statements.append(sql) %}
{%- endfor %}
{{ return(statements | first) }}
{%- endmacro %}

{% macro spark_literal(value) -%}
{%- if value is none -%}
null
{%- else -%}
'{{ value | string | replace('\\', '\\\\') | replace("'", "\\'") }}'
{%- endif -%}
{%- endmacro %}
