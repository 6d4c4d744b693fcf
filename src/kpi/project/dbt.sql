{#- What a project may call as dbt.<name>() or <name>(), as it comes out on DuckDB. `default__x` is called as `x`, and a
    project or package may put its own in its place by `duckdb__x` or `default__x`, as adapter.dispatch has it. -#}

{% macro default__generate_schema_name(custom_schema_name=none, node=none) -%}
{{ target.schema if custom_schema_name is none else target.schema ~ '_' ~ (custom_schema_name | trim) }}
{%- endmacro %}
{% macro generate_schema_name_for_env(custom_schema_name=none, node=none) -%}
{{ custom_schema_name | trim if target.name == 'prod' and custom_schema_name is not none else target.schema }}
{%- endmacro %}
{% macro default__generate_alias_name(custom_alias_name=none, node=none) -%}
{{ (custom_alias_name | trim) if custom_alias_name else node.name ~ ("_v" ~ (node.version | string | replace(".", "_")) if node.version else "") }}
{%- endmacro %}
{% macro default__generate_database_name(custom_database_name=none, node=none) -%}
{{ target.database if custom_database_name is none else custom_database_name }}
{%- endmacro %}

{% macro default__test_not_null(model, column_name) %}
select {{ column_name }} from {{ model }} where {{ column_name }} is null
{% endmacro %}
{% macro default__test_unique(model, column_name) %}
select {{ column_name }} as unique_field, count(*) as n_records
from {{ model }}
where {{ column_name }} is not null
group by 1
having count(*) > 1
{% endmacro %}
{% macro default__test_accepted_values(model, column_name, values, quote=true) %}
select {{ column_name }} as value_field, count(*) as n_records
from {{ model }}
where {{ column_name }} not in (
{%- for value in values %}{{ "'" ~ value ~ "'" if quote else value }}{{ ', ' if not loop.last }}{% endfor -%}
)
group by 1
{% endmacro %}
{% macro default__test_relationships(model, column_name, to, field) %}
with judged as (select {{ column_name }} as from_field from {{ model }} where {{ column_name }} is not null),
parents as (select distinct {{ field }} as to_field from {{ to }})
select from_field from judged left join parents on from_field = to_field where to_field is null
{% endmacro %}
{% macro should_store_failures() %}{{ return(config.get('store_failures', false)) }}{% endmacro %}
{% macro default__get_where_subquery(relation) -%}
{%- set where = config.get('where', '') -%}
{{ return('(select * from ' ~ relation ~ ' where ' ~ where ~ '\n) as dbt_subquery' if where else relation) }}
{%- endmacro %}

{% macro default__type_string() -%} TEXT {%- endmacro %}
{% macro default__type_timestamp() -%} timestamp {%- endmacro %}
{% macro default__type_float() -%} float {%- endmacro %}
{% macro default__type_numeric() -%} numeric(28,6) {%- endmacro %}
{% macro default__type_bigint() -%} bigint {%- endmacro %}
{% macro default__type_int() -%} integer {%- endmacro %}
{% macro default__type_boolean() -%} boolean {%- endmacro %}

{% macro default__any_value(expression) -%} arbitrary({{ expression }}) {%- endmacro %}
{% macro default__bool_or(expression) -%} bool_or({{ expression }}) {%- endmacro %}
{% macro default__array_append(array, new_element) -%} array_append({{ array }}, {{ new_element }}) {%- endmacro %}
{% macro default__array_concat(array_1, array_2) -%} array_concat({{ array_1 }}, {{ array_2 }}) {%- endmacro %}
{% macro default__array_construct(inputs=[], data_type='integer') -%}
{{ 'array[' ~ (inputs | join(', ')) ~ ']' if inputs else 'array[]::' ~ data_type ~ '[]' }}
{%- endmacro %}
{% macro default__cast(field, type) -%} cast({{ field }} as {{ type }}) {%- endmacro %}
{% macro default__safe_cast(field, type) -%} cast({{ field }} as {{ type }}) {%- endmacro %}
{% macro default__cast_bool_to_text(field) -%} cast({{ field }} as TEXT) {%- endmacro %}
{% macro default__concat(fields) -%} {{ fields | join(' || ') }} {%- endmacro %}
{% macro default__equals(expr1, expr2) -%} ({{ expr1 }} = {{ expr2 }}) {%- endmacro %}
{% macro default__except() -%} except {%- endmacro %}
{% macro default__intersect() -%} intersect {%- endmacro %}
{% macro default__escape_single_quotes(expression) -%} {{ expression | replace("'", "''") }} {%- endmacro %}
{% macro default__string_literal(value) -%} '{{ value.in_full if value is mapping else value }}' {%- endmacro %}
{% macro default__hash(field) -%} md5(cast({{ field }} as TEXT)) {%- endmacro %}
{% macro default__length(expression) -%} length({{ expression }}) {%- endmacro %}
{% macro default__position(substring_text, string_text) -%}
position({{ substring_text }} in {{ string_text }})
{%- endmacro %}
{% macro default__replace(field, old_chars, new_chars) -%}
replace({{ field }}, {{ old_chars }}, {{ new_chars }})
{%- endmacro %}
{% macro default__right(string_text, length_expression) -%}
right({{ string_text }}, {{ length_expression }})
{%- endmacro %}
{% macro default__split_part(string_text, delimiter_text, part_number) -%}
string_split({{ string_text }}, {{ delimiter_text }})[{{ part_number }}]
{%- endmacro %}
{% macro default__listagg(measure, delimiter_text="','", order_by_clause=none, limit_num=none) -%}
{%- set ordered = measure ~ (' ' ~ order_by_clause if order_by_clause else '') -%}
{%- if limit_num -%}
list_aggr((array_agg({{ ordered }}))[1:{{ limit_num }}], 'string_agg', {{ delimiter_text }})
{%- else -%}
string_agg({{ measure }}, {{ delimiter_text }}{{ ' ' ~ order_by_clause if order_by_clause }})
{%- endif -%}
{%- endmacro %}

{% macro default__current_timestamp() -%} now() {%- endmacro %}
{% macro current_timestamp_backcompat() -%} current_timestamp::timestamp {%- endmacro %}
{% macro current_timestamp_in_utc_backcompat() -%} current_timestamp::timestamp {%- endmacro %}
{% macro default__date(year, month, day) -%}
make_date({{ year }}, {{ month }}, {{ day }})
{%- endmacro %}
{% macro default__date_trunc(datepart, date) -%} date_trunc('{{ datepart }}', {{ date }}) {%- endmacro %}
{% macro default__dateadd(datepart, interval, from_date_or_timestamp) -%}
{%- set unit = datepart | lower -%}
{%- set number = 'cast(' ~ interval ~ ' as bigint)' -%}
{%- if unit == 'quarter' -%}
({{ from_date_or_timestamp }} + ({{ number }} * 3) * interval 1 month)
{%- elif unit == 'week' -%}
({{ from_date_or_timestamp }} + ({{ number }} * 7) * interval 1 day)
{%- else -%}
({{ from_date_or_timestamp }} + {{ number }} * interval 1 {{ unit }})
{%- endif -%}
{%- endmacro %}
{% macro default__datediff(first_date, second_date, datepart) -%}
{%- if datepart == 'week' -%}
(date_diff('day', {{ first_date }}::timestamp, {{ second_date }}::timestamp) // 7 + case
    when date_part('dow', ({{ first_date }})::timestamp) <= date_part('dow', ({{ second_date }})::timestamp)
        then case when {{ first_date }} <= {{ second_date }} then 0 else -1 end
    else case when {{ first_date }} <= {{ second_date }} then 1 else 0 end
end)
{%- else -%}
date_diff('{{ datepart }}', {{ first_date }}::timestamp, {{ second_date }}::timestamp)
{%- endif -%}
{%- endmacro %}
{% macro default__last_day(date, datepart) -%}
{%- set step = {'quarter': '3 month'}.get(datepart, '1 ' ~ datepart) -%}
cast(date_trunc('{{ datepart }}', {{ date }}) + interval {{ step }} - interval 1 day as date)
{%- endmacro %}

{% macro default__get_powers_of_two(upper_bound) -%}
{%- if upper_bound <= 0 %}{{ exceptions.raise_compiler_error('upper bound must be positive') }}{% endif -%}
{%- for n in range(1, 100) %}{% if upper_bound <= 2 ** n %}{{ return(n) }}{% endif %}{% endfor -%}
{%- endmacro %}
{% macro default__generate_series(upper_bound) -%}
select unnest(generate_series(1, cast({{ upper_bound }} as bigint))) as generated_number
{%- endmacro %}
{% macro default__get_intervals_between(start_date, end_date, datepart) -%}
{{ return(run_query('select ' ~ dbt.datediff(start_date, end_date, datepart)).columns[0].values()[0]) }}
{%- endmacro %}
{% macro default__date_spine(datepart, start_date, end_date) %}
with numbers as (
    {{ dbt.generate_series(dbt.get_intervals_between(start_date, end_date, datepart)) }}
),
periods as (
    select {{ dbt.dateadd(datepart, 'generated_number - 1', start_date) }}
        as date_{{ datepart }}
    from numbers
)
select * from periods where date_{{ datepart }} <= {{ end_date }}
{% endmacro %}
