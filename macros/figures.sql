{#- The kinds of figures. Each macro is one select from the CTE `periods` (columns service, report_year,
    report_month, is_comparison, last_full_month and counts; report_month is null for the whole year) with the columns
    every int_*_figures model has. Counts are integers, and a value is one division of them, so it does not depend on
    the order of the rows; a denominator of zero gives null. A year that is not finished has the basis year_to_date
    before any other. `service` and `basis` are SQL expressions, `rows` is another CTE to read, `only` a condition. The
    CTE that unites them is `figures`, and `figures_with_basis()` ends the model. -#}

{% macro figure(figure_id, numerator, denominator, value, event_count,
                service='service', basis="'calendar_year'", rows='periods', only=none) -%}
select
        '{{ figure_id }}' as figure_id,
        {{ service }} as service,
        report_year,
        report_month,
        case when report_month is null and last_full_month is not null then 'year_to_date' else {{ basis }} end
            as basis,
        cast({{ numerator }} as double) as numerator,
        cast({{ denominator }} as double) as denominator,
        {{ value }} as value,
        cast({{ event_count }} as bigint) as event_count,
        last_full_month,
        is_comparison
    from {{ rows }}
    {%- if only %}
    where {{ only }}
    {%- endif %}
{%- endmacro %}

{#- A count; its denominator is null. -#}
{% macro count_figure(figure_id, counted, event_count,
                      service='service', basis="'calendar_year'", rows='periods', only=none) -%}
{{ figure(figure_id, counted, 'null', 'cast(' ~ counted ~ ' as double)', event_count, service, basis, rows, only) }}
{%- endmacro %}

{#- A part of a whole in percent. -#}
{% macro share_figure(figure_id, part, whole, event_count,
                      service='service', basis="'calendar_year'", rows='periods', only=none) -%}
{%- set value = 'cast(100 * (' ~ part ~ ') as double) / nullif(' ~ whole ~ ', 0)' -%}
{{ figure(figure_id, part, whole, value, event_count, service, basis, rows, only) }}
{%- endmacro %}

{#- A sum over a number of cases: a mean, or a count per day. -#}
{% macro mean_figure(figure_id, total, cases, event_count,
                     service='service', basis="'calendar_year'", rows='periods', only=none) -%}
{%- set value = 'cast(' ~ total ~ ' as double) / nullif(' ~ cases ~ ', 0)' -%}
{{ figure(figure_id, total, cases, value, event_count, service, basis, rows, only) }}
{%- endmacro %}

{#- A median, computed by the caller in `periods`; its numerator is null. -#}
{% macro median_figure(figure_id, median, cases, event_count,
                       service='service', basis="'calendar_year'", rows='periods', only=none) -%}
{{ figure(figure_id, 'null', cases, 'cast(' ~ median ~ ' as double)', event_count, service, basis, rows, only) }}
{%- endmacro %}

{#- The months of unfinished years that a feed's rows count in, joined to `rows`, a CTE with report_year and
    report_month. Needs the CTE `unfinished_months`. -#}
{% macro join_unfinished_months(rows, feed) -%}
left join unfinished_months
        on unfinished_months.feed = '{{ feed }}'
        and {{ rows }}.report_year = unfinished_months.period_year
        and {{ rows }}.report_month = unfinished_months.period_month
{%- endmacro %}

{#- The periods of a family: each year, each month of it, and of a year before an unfinished one the same months once
    more, which the unfinished year is compared with; of each service when one is named. An unfinished year counts its
    full months only. Goes with `period_columns` and `join_unfinished_months`. -#}
{% macro by_year_and_month(rows=none, service=none) -%}
{%- if rows is none %}{{ exceptions.raise_compiler_error(
    "by_year_and_month needs the name of the CTE it groups, joined by join_unfinished_months and with period_columns"
    " among its columns: otherwise a running year would pass for a whole one. docs/guides/add-a-figure.md shows such a model."
) }}{% endif -%}
{%- set of_service = service ~ ', ' if service else '' -%}
group by grouping sets (
        ({{ of_service }}{{ rows }}.report_year, unfinished_months.is_counted),
        ({{ of_service }}{{ rows }}.report_year, {{ rows }}.report_month),
        ({{ of_service }}{{ rows }}.report_year, unfinished_months.is_compared)
    )
    having
        {{ is_shown_period() }}
{%- endmacro %}

{#- Whether a row of `by_year_and_month` is one of the periods that are shown. Spark finds in a HAVING over grouping sets
    neither GROUPING() nor the columns that are grouped by, but the names of `period_columns`. -#}
{% macro is_shown_period() -%}
{{ adapter.dispatch('is_shown_period')() }}
{%- endmacro %}

{% macro default__is_shown_period() -%}
case
            when grouping(unfinished_months.is_compared) = 0 then coalesce(unfinished_months.is_compared, false)
            else coalesce(unfinished_months.is_counted, true)
        end
{%- endmacro %}

{% macro spark__is_shown_period() -%}
case
            when is_comparison then coalesce(max(unfinished_months.is_compared), false)
            when report_month is null then coalesce(max(unfinished_months.is_counted), true)
            else true
        end
{%- endmacro %}

{#- The columns that say which period a row of `by_year_and_month` is; `last_full_month` is null for a finished year. -#}
{% macro period_columns(rows) -%}
{{ rows }}.report_year,
        {{ rows }}.report_month,
        grouping(unfinished_months.is_compared) = 0 as is_comparison,
        case
            when grouping(unfinished_months.is_compared) = 0
                then max(unfinished_months.compared_month)
            else max(unfinished_months.last_full_month)
        end as last_full_month
{%- endmacro %}

{#- The end of a model of figures: every row of the CTE `figures` as it is, but that of a year in which a service it is
    told for started is a partial year, before any other basis but year_to_date. Needs the CTE `service_starts`. It asks
    whether there is such a start, and joins none, because several may concern one figure. -#}
{% macro figures_with_basis(has_months=true) -%}
select
    figures.figure_id,
    figures.service,
    figures.report_year,
    {%- if has_months %}
    figures.report_month,
    {%- endif %}
    case
        when figures.basis <> 'year_to_date' and exists (
            select service_starts.started_on
            from service_starts
            where
                year(service_starts.started_on) = figures.report_year
                and coalesce(service_starts.service, figures.service) = figures.service
                and {{ begins_with('figures.figure_id', "coalesce(service_starts.figure_id_prefix, '')") }}
        ) then 'partial_year'
        else figures.basis
    end as basis,
    figures.numerator,
    figures.denominator,
    figures.value,
    figures.event_count,
    {%- if has_months %}
    figures.last_full_month,
    figures.is_comparison
    {%- else %}
    figures.last_full_month
    {%- endif %}
from figures
{%- endmacro %}
