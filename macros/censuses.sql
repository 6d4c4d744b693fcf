{#- Periods from the CTE `censuses` (one row per census, the last of each month, with census_date, report_year and
    report_month): each census tells its month, and the last one its year too; of an unfinished year the last one of its
    full months. An unfinished year is compared with the census of the same month of the year before. Needs the CTE
    `unfinished_months`; ends in the CTE `periods`. -#}
{% macro census_periods(columns, feed) -%}
placed_censuses as (

    select
        censuses.{{ columns | join(',\n        censuses.') }},
        censuses.report_year,
        censuses.report_month,
        unfinished_months.last_full_month,
        unfinished_months.compared_month,
        coalesce(unfinished_months.is_counted, true) as is_counted,
        row_number() over (
            partition by censuses.report_year, coalesce(unfinished_months.is_counted, true)
            order by censuses.census_date desc
        ) as place_from_last
    from censuses
    {{ join_unfinished_months('censuses', feed) }}

),

periods as (

    select
        {{ columns | join(',\n        ') }},
        report_year,
        report_month,
        last_full_month,
        false as is_comparison
    from placed_censuses

    union all

    select
        {{ columns | join(',\n        ') }},
        report_year,
        cast(null as bigint) as report_month,
        last_full_month,
        false as is_comparison
    from placed_censuses
    where place_from_last = 1 and is_counted

    union all

    select
        {{ columns | join(',\n        ') }},
        report_year,
        cast(null as bigint) as report_month,
        compared_month as last_full_month,
        true as is_comparison
    from placed_censuses
    where report_month = compared_month

)
{%- endmacro %}
