-- Numerators, denominators and events of the months of a figure are those of its year, of the full months when that is
-- not finished, unless it is told of one day, is a median, a mean of shares, or has another number of days. A kept year
-- has no months, or those of a part of it.
with monthly as (

    select
        figure_id,
        service,
        report_year,
        sum({{ exact('numerator') }}) as numerator,
        sum({{ exact('denominator') }}) as denominator,
        sum(event_count) as event_count
    from {{ ref('monthly_series') }}
    where is_full_month
        and figure_id not in ('first_unit_response_seconds', 'social_processes_on_time_share', 'nps_response_rate')
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
    and indicators.basis in ('calendar_year', 'partial_year', 'year_to_date')
left join {{ ref('figures') }} as described_figures on monthly.figure_id = described_figures.figure_id
left join {{ ref('stg_kept_indicators') }} as kept_indicators
    on indicators.figure_id = kept_indicators.figure_id
    and indicators.service = kept_indicators.service
    and indicators.report_year = kept_indicators.report_year
    and indicators.basis = kept_indicators.basis
where
    kept_indicators.figure_id is null
    and (indicators.basis <> 'year_to_date' or described_figures.basis = 'calendar_year')
    and (
        {{ sums_differ('monthly.numerator', 'indicators.numerator') }}
        or monthly.event_count <> indicators.event_count
        or (
            monthly.figure_id <> 'rescue_unit_alarms_per_day'
            and {{ sums_differ('monthly.denominator', 'indicators.denominator') }}
        )
    )
