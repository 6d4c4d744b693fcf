{#- The kinds of figures. Each macro is one select from the CTE `yearly` (columns service, report_year and
    counts) with the columns every ind_* model has. Counts are integers, and a value is one division of them,
    so it does not depend on the order of the rows; a denominator of zero gives null. `basis` is an SQL
    expression. The CTE that unites them is `figures`, and `figures_with_basis()` is the end of the model. -#}

{% macro figure(figure_id, numerator, denominator, value, event_count, basis="'calendar_year'") -%}
select
        '{{ figure_id }}' as figure_id,
        service,
        report_year,
        {{ basis }} as basis,
        cast({{ numerator }} as double) as numerator,
        cast({{ denominator }} as double) as denominator,
        {{ value }} as value,
        cast({{ event_count }} as bigint) as event_count
    from yearly
{%- endmacro %}

{#- A count; its denominator is null. -#}
{% macro count_figure(figure_id, counted, event_count, basis="'calendar_year'") -%}
{{ figure(figure_id, counted, 'null', 'cast(' ~ counted ~ ' as double)', event_count, basis) }}
{%- endmacro %}

{#- A part of a whole in percent. -#}
{% macro share_figure(figure_id, part, whole, event_count, basis="'calendar_year'") -%}
{%- set value = 'cast(100 * (' ~ part ~ ') as double) / nullif(' ~ whole ~ ', 0)' -%}
{{ figure(figure_id, part, whole, value, event_count, basis) }}
{%- endmacro %}

{#- A sum over a number of cases: a mean, or a count per day. -#}
{% macro mean_figure(figure_id, total, cases, event_count, basis="'calendar_year'") -%}
{%- set value = 'cast(' ~ total ~ ' as double) / nullif(' ~ cases ~ ', 0)' -%}
{{ figure(figure_id, total, cases, value, event_count, basis) }}
{%- endmacro %}

{#- A median, computed by the caller in `yearly`; its numerator is null. -#}
{% macro median_figure(figure_id, median, cases, event_count, basis="'calendar_year'") -%}
{{ figure(figure_id, 'null', cases, 'cast(' ~ median ~ ' as double)', event_count, basis) }}
{%- endmacro %}

{#- The end of every ind_* model: the CTE `figures`, where the year a service started is a partial year,
    before any other basis. Needs the CTE `service_starts`. Distinct, because two starts may concern the same
    figure. -#}
{% macro figures_with_basis() -%}
select distinct
    figures.figure_id,
    figures.service,
    figures.report_year,
    case when service_starts.started_on is not null then 'partial_year' else figures.basis end as basis,
    figures.numerator,
    figures.denominator,
    figures.value,
    figures.event_count
from figures
left join service_starts
    on figures.report_year = year(service_starts.started_on)
    and figures.service = coalesce(service_starts.service, figures.service)
    and starts_with(figures.figure_id, coalesce(service_starts.figure_id_prefix, ''))
{%- endmacro %}
