with indicators as (

    select * from {{ ref('indicators') }}

),

monthly_series as (

    select * from {{ ref('monthly_series') }}

),

described_figures as (

    select * from {{ ref('figures') }}

),

-- The year is month 0.
periods as (

    select
        figure_id, service, report_year, basis, cast(0 as bigint) as report_month, numerator, denominator, event_count
    from indicators

    union all

    select figure_id, service, report_year, 'month' as basis, month as report_month, numerator, denominator, event_count
    from monthly_series
    where is_full_month

)

-- Of a figure entered by hand the single row it comes from is no count.
select
    periods.figure_id,
    periods.service,
    periods.report_year,
    periods.basis,
    periods.report_month,
    periods.numerator,
    periods.denominator,
    described_figures.unit,
    coalesce(described_figures.small_counts, 'suppress') = 'suppress' as is_judged,
    case when coalesce(described_figures.family, 'manual') <> 'manual' then periods.event_count end as event_count
from periods
left join described_figures on periods.figure_id = described_figures.figure_id
