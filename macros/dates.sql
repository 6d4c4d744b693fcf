{#- Times and dates: the only place that says how an elapsed time or a calendar period is counted.

    What Spark says in other words than DuckDB has a macro for each, of which dbt takes that of its target. Spark reads
    times in the session's zone, which profiles.yml sets to UTC. -#}

{#- Whole seconds from one instant to another; both must be instants in UTC. Null when either is missing. -#}
{% macro seconds_between(start_at, end_at) -%}
{{ adapter.dispatch('seconds_between')(start_at, end_at) }}
{%- endmacro %}

{% macro default__seconds_between(start_at, end_at) -%}
date_diff('second', {{ start_at }}, {{ end_at }})
{%- endmacro %}

{% macro spark__seconds_between(start_at, end_at) -%}
(unix_seconds(cast({{ end_at }} as timestamp)) - unix_seconds(cast({{ start_at }} as timestamp)))
{%- endmacro %}

{#- Whole calendar days from one date to another. Null when either is missing. -#}
{% macro days_between(start_on, end_on) -%}
{{ adapter.dispatch('days_between')(start_on, end_on) }}
{%- endmacro %}

{% macro default__days_between(start_on, end_on) -%}
date_diff('day', {{ start_on }}, {{ end_on }})
{%- endmacro %}

{% macro spark__days_between(start_on, end_on) -%}
cast(datediff({{ end_on }}, {{ start_on }}) as bigint)
{%- endmacro %}

{#- The date some days after. -#}
{% macro days_after(date_on, days) -%}
{{ adapter.dispatch('days_after')(date_on, days) }}
{%- endmacro %}

{% macro default__days_after(date_on, days) -%}
cast({{ date_on }} + {{ days }} * interval 1 day as date)
{%- endmacro %}

{% macro spark__days_after(date_on, days) -%}
date_add({{ date_on }}, cast({{ days }} as int))
{%- endmacro %}

{#- The date some calendar months after, clamped to the month's last day: 30 November and 3 months are 28 or 29
    February. -#}
{% macro months_after(date_on, months) -%}
{{ adapter.dispatch('months_after')(date_on, months) }}
{%- endmacro %}

{% macro default__months_after(date_on, months) -%}
cast({{ date_on }} + {{ months }} * interval 1 month as date)
{%- endmacro %}

{% macro spark__months_after(date_on, months) -%}
add_months({{ date_on }}, cast({{ months }} as int))
{%- endmacro %}

{#- The date some calendar months before, clamped to the month's last day: 31 August less 6 months is 28 or 29
    February. -#}
{% macro months_before(date_on, months) -%}
{{ adapter.dispatch('months_before')(date_on, months) }}
{%- endmacro %}

{% macro default__months_before(date_on, months) -%}
cast({{ date_on }} - {{ months }} * interval 1 month as date)
{%- endmacro %}

{% macro spark__months_before(date_on, months) -%}
add_months({{ date_on }}, -cast({{ months }} as int))
{%- endmacro %}

{#- The last day on which something that began on a date is in time, by a limit in days or calendar months. -#}
{% macro last_day_of_limit(date_on, limit_count, limit_unit) -%}
case {{ limit_unit }}
            when 'day' then {{ days_after(date_on, limit_count) }}
            when 'month' then {{ months_after(date_on, limit_count) }}
        end
{%- endmacro %}

{#- Days in a calendar year: 365 or 366. -#}
{% macro days_in_year(year) -%}
{{ days_between('make_date(' ~ year ~ ', 1, 1)', 'make_date(' ~ year ~ ' + 1, 1, 1)') }}
{%- endmacro %}

{#- Days of a year up to the end of one of its months: 31 for January, 365 or 366 for December. -#}
{% macro days_through_month(year, month) -%}
{{ days_between('make_date(' ~ year ~ ', 1, 1)', 'last_day(make_date(' ~ year ~ ', ' ~ month ~ ', 1))') }} + 1
{%- endmacro %}

{#- Days in a calendar month: 28 to 31. -#}
{% macro days_in_month(year, month) -%}
day(last_day(make_date({{ year }}, {{ month }}, 1)))
{%- endmacro %}

{#- The day of the week by ISO 8601: 1 is Monday, 7 is Sunday. -#}
{% macro iso_weekday(date_on) -%}
{{ adapter.dispatch('iso_weekday')(date_on) }}
{%- endmacro %}

{% macro default__iso_weekday(date_on) -%}
isodow({{ date_on }})
{%- endmacro %}

{% macro spark__iso_weekday(date_on) -%}
(weekday({{ date_on }}) + 1)
{%- endmacro %}
