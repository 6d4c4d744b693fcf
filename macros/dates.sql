{#- Times and dates: the only place that says how an elapsed time or a calendar period is counted. -#}

{#- Whole seconds from one instant to another; both must be instants in UTC. Null when either is missing. -#}
{% macro seconds_between(start_at, end_at) -%}
date_diff('second', {{ start_at }}, {{ end_at }})
{%- endmacro %}

{#- Whole calendar days from one date to another. Null when either is missing. -#}
{% macro days_between(start_on, end_on) -%}
date_diff('day', {{ start_on }}, {{ end_on }})
{%- endmacro %}

{#- The date some calendar months before, clamped to the month's last day: 31 August less 6 months is 28 or 29
    February. -#}
{% macro months_before(date_on, months) -%}
cast({{ date_on }} - interval {{ months }} month as date)
{%- endmacro %}

{#- Days in a calendar year: 365 or 366. -#}
{% macro days_in_year(year) -%}
date_diff('day', make_date({{ year }}, 1, 1), make_date({{ year }} + 1, 1, 1))
{%- endmacro %}
