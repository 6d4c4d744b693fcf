{#- Of each change: its figure, the mart and figure it is the change of, and the value that is compared. -#}
{% set changes = [
    ('nps_change', 'ind_nps', 'nps', 'cast(' ~ round_half_away('value', 0) ~ ' as double)'),
    ('nps_responses_change', 'ind_nps', 'nps_responses', 'value'),
    ('feedback_received_change', 'ind_feedback', 'feedback_received', 'value'),
    ('rescue_missions_change_pct', 'ind_rescue', 'rescue_missions', 'value'),
] -%}

with service_starts as (

    select * from {{ ref('service_starts') }}

),

kept_indicators as (

    select * from {{ ref('stg_kept_indicators') }}

),

derived as (

    {% for change_id, mart, figure_id, value in changes %}
    select figure_id, service, report_year, basis, value, event_count
    from {{ ref(mart) }}
    where figure_id = '{{ figure_id }}'
    {% if not loop.last %}union all{% endif %}
    {% endfor %}

),

-- What is kept of deleted deliveries goes before what is derived, here as in indicators.
told as (

    select derived.figure_id, derived.service, derived.report_year, derived.value, derived.event_count
    from derived
    left join kept_indicators
        on derived.figure_id = kept_indicators.figure_id
        and derived.service = kept_indicators.service
        and derived.report_year = kept_indicators.report_year
        and derived.basis = kept_indicators.basis
    where kept_indicators.figure_id is null

    union all

    select figure_id, service, report_year, value, event_count from kept_indicators

),

bases as (

    {% for change_id, mart, figure_id, value in changes %}
    select '{{ change_id }}' as figure_id, service, report_year, {{ value }} as value, event_count
    from told
    where figure_id = '{{ figure_id }}'
    {% if not loop.last %}union all{% endif %}
    {% endfor %}

),

changes as (

    select
        this_year.figure_id,
        this_year.service,
        this_year.report_year,
        right(this_year.figure_id, 4) = '_pct' as is_percent,
        this_year.value - year_before.value as difference,
        year_before.value as value_before,
        this_year.event_count
    from bases as this_year
    inner join bases as year_before
        on this_year.figure_id = year_before.figure_id
        and this_year.service = year_before.service
        and this_year.report_year = year_before.report_year + 1
    where this_year.value is not null and year_before.value is not null

),

figures as (

    select
        figure_id,
        service,
        report_year,
        'change_from_previous_year' as basis,
        difference as numerator,
        case when is_percent then value_before end as denominator,
        case when is_percent then 100 * difference / nullif(value_before, 0) else difference end as value,
        event_count
    from changes

)

{{ figures_with_basis(has_months=false) }}
