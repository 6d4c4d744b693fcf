-- Numerators, denominators and events of the months of a figure are those of its year, unless it is told of one day,
-- is a median, a mean of shares, or has another number of days. A kept year has no months, or those of a part of it.
with monthly as (

    select
        figure_id,
        service,
        report_year,
        sum(numerator) as numerator,
        sum(denominator) as denominator,
        sum(event_count) as event_count
    from {{ ref('monthly_series') }}
    where figure_id not in ('first_unit_response_seconds', 'social_processes_on_time_share', 'nps_response_rate')
    group by figure_id, service, report_year

)

select
    monthly.figure_id,
    monthly.service,
    monthly.report_year
from monthly
inner join {{ ref('indicators') }} as indicators
    on monthly.figure_id = indicators.figure_id
    and monthly.service = indicators.service
    and monthly.report_year = indicators.report_year
    and indicators.basis in ('calendar_year', 'partial_year')
inner join {{ ref('indicator_origins') }} as indicator_origins
    on indicators.figure_id = indicator_origins.figure_id
    and indicators.service = indicator_origins.service
    and indicators.report_year = indicator_origins.report_year
    and indicators.basis = indicator_origins.basis
    and indicator_origins.origin = 'derived'
where
    monthly.numerator is distinct from indicators.numerator
    or monthly.event_count <> indicators.event_count
    or (
        monthly.figure_id <> 'rescue_unit_alarms_per_day'
        and monthly.denominator is distinct from indicators.denominator
    )
