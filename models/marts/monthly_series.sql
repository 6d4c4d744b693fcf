with figures as (
    {% for family in var('figure_families') %}
    select
        figure_id,
        service,
        report_year,
        report_month,
        numerator,
        denominator,
        value,
        event_count,
        last_full_month
    from {{ ref('int_' ~ family ~ '_figures') }}
    where report_month is not null
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

breaks as (

    select * from {{ ref('comparability_breaks') }}

),

break_months as (

    select
        figure_id,
        service,
        year(starts_on) as report_year,
        month(starts_on) as report_month,
        count(*) as break_count
    from breaks
    group by figure_id, service, year(starts_on), month(starts_on)

)

select
    figures.figure_id,
    figures.service,
    figures.report_year,
    figures.report_month as month,
    figures.numerator,
    figures.denominator,
    figures.value,
    figures.event_count,
    break_months.break_count is not null as is_break,
    figures.last_full_month is null or figures.report_month <= figures.last_full_month as is_full_month,
    figures.last_full_month
from figures
left join break_months
    on figures.figure_id = break_months.figure_id
    and figures.service = break_months.service
    and figures.report_year = break_months.report_year
    and figures.report_month = break_months.report_month
