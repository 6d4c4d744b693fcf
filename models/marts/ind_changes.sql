{#- Of each change: its figure, the model and figure it is the change of, and the value that is compared. -#}
{% set changes = [
    ('nps_change', 'int_nps_figures', 'nps', 'cast(' ~ round_half_away('value', 0) ~ ' as double)'),
    ('nps_responses_change', 'int_nps_figures', 'nps_responses', 'value'),
    ('feedback_received_change', 'int_feedback_figures', 'feedback_received', 'value'),
    ('rescue_missions_change_pct', 'int_rescue_figures', 'rescue_missions', 'value'),
] -%}

with service_starts as (

    select * from {{ ref('service_starts') }}

),

kept_indicators as (

    select * from {{ ref('stg_kept_indicators') }}

),

same_months_before as (

    select * from {{ ref('int_same_months_before') }}

),

derived as (

    {% for change_id, model, figure_id, value in changes %}
    select figure_id, service, report_year, basis, value, event_count, last_full_month from {{ ref(model) }}
    where figure_id = '{{ figure_id }}' and report_month is null and not is_comparison
    {% if not loop.last %}union all{% endif %}
    {% endfor %}

),

-- What is kept of deleted deliveries goes before what is derived. Unfinished years have the same months beside them.
values_in_force as (

    select
        derived.figure_id, derived.service, derived.report_year, derived.value, derived.event_count,
        derived.last_full_month, false as is_comparison
    from derived
    left join kept_indicators
        on derived.figure_id = kept_indicators.figure_id
        and derived.service = kept_indicators.service
        and derived.report_year = kept_indicators.report_year
        and derived.basis = kept_indicators.basis
    where kept_indicators.figure_id is null

    union all

    select
        figure_id, service, report_year, value, event_count, cast(null as bigint) as last_full_month,
        false as is_comparison
    from kept_indicators

    union all

    select figure_id, service, report_year, value, event_count, last_full_month, true as is_comparison
    from same_months_before

),

bases as (

    {% for change_id, model, figure_id, value in changes %}
    select
        '{{ change_id }}' as figure_id, service, report_year, {{ value }} as value, event_count, last_full_month,
        is_comparison
    from values_in_force where figure_id = '{{ figure_id }}'
    {% if not loop.last %}union all{% endif %}
    {% endfor %}

),

figures as (

    select
        this_year.figure_id, this_year.service, this_year.report_year,
        case when this_year.last_full_month is null then 'change_from_previous_year' else 'year_to_date' end as basis,
        this_year.value - year_before.value as numerator,
        case when right(this_year.figure_id, 4) = '_pct' then year_before.value end as denominator,
        case
            when right(this_year.figure_id, 4) <> '_pct' then this_year.value - year_before.value
            else 100 * (this_year.value - year_before.value) / nullif(year_before.value, 0)
        end as value,
        this_year.event_count, this_year.last_full_month
    from bases as this_year
    inner join bases as year_before
        on this_year.figure_id = year_before.figure_id
        and this_year.service = year_before.service
        and this_year.report_year = year_before.report_year + 1
        and this_year.last_full_month is not distinct from year_before.last_full_month
        and year_before.is_comparison = (this_year.last_full_month is not null)
    where not this_year.is_comparison and this_year.value is not null and year_before.value is not null

)

{{ figures_with_basis(has_months=false) }}
