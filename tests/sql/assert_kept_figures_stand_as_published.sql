-- What is kept of deleted deliveries is told as it was published, to the last digit, whatever else could be derived.
with kept_indicators as (

    select * from {{ ref('stg_kept_indicators') }}

)

select
    kept_indicators.figure_id,
    kept_indicators.service,
    kept_indicators.report_year,
    kept_indicators.basis
from kept_indicators
left join {{ ref('indicators') }} as indicators
    on kept_indicators.figure_id = indicators.figure_id
    and kept_indicators.service = indicators.service
    and kept_indicators.report_year = indicators.report_year
    and kept_indicators.basis = indicators.basis
where
    indicators.figure_id is null
    or kept_indicators.numerator is distinct from indicators.numerator
    or kept_indicators.denominator is distinct from indicators.denominator
    or kept_indicators.value is distinct from indicators.value
    or kept_indicators.event_count is distinct from indicators.event_count
