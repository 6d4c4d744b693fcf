with figures as (
    {% for family in var('figure_families') %}
    select
        figure_id,
        service,
        report_year,
        basis,
        numerator,
        denominator,
        value,
        event_count,
        last_full_month
    from {{ ref('int_' ~ family ~ '_figures') }}
    where report_month is null and not is_comparison
    union all
    {% endfor %}
    {% for model in ['ind_changes', 'ind_manual'] %}
    select
        figure_id,
        service,
        report_year,
        basis,
        numerator,
        denominator,
        value,
        event_count,
        last_full_month
    from {{ ref(model) }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

kept_indicators as (

    select * from {{ ref('stg_kept_indicators') }}

)

-- A figure whose deliveries were deleted stands as it was published, whatever part of them is delivered again.
select
    figures.figure_id,
    figures.service,
    figures.report_year,
    figures.basis,
    figures.numerator,
    figures.denominator,
    figures.value,
    figures.event_count,
    figures.last_full_month
from figures
left join kept_indicators
    on figures.figure_id = kept_indicators.figure_id
    and figures.service = kept_indicators.service
    and figures.report_year = kept_indicators.report_year
    and figures.basis = kept_indicators.basis
where kept_indicators.figure_id is null

union all

select
    figure_id,
    service,
    report_year,
    basis,
    numerator,
    denominator,
    value,
    event_count,
    cast(null as bigint) as last_full_month
from kept_indicators
