{#- Periods from the CTE `censuses` (one row per census, the last of each month; place_from_last is 1 for the
    last of its year): each census tells its month, and the last one its year too. -#}
{% macro last_census_of_year_and_months(columns) -%}
select
        {{ columns | join(',\n        ') }},
        report_year,
        report_month
    from censuses

    union all

    select
        {{ columns | join(',\n        ') }},
        report_year,
        cast(null as bigint) as report_month
    from censuses
    where place_from_last = 1
{%- endmacro %}
