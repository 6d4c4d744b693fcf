with released_indicators as (

    select * from {{ ref('stg_released_indicators') }}

),

releases as (

    select * from {{ ref('stg_releases') }}

),

latest_releases as (

    select
        report_year,
        max(release_number) as release_number
    from releases
    group by report_year

)

select
    released_indicators.release,
    releases.release_number,
    latest_releases.release_number is not null as is_latest,
    released_indicators.figure_id,
    released_indicators.service,
    released_indicators.report_year,
    released_indicators.basis,
    released_indicators.numerator,
    released_indicators.denominator,
    released_indicators.value,
    released_indicators.event_count,
    cast(released_indicators.printed_value as double) as printed_value,
    released_indicators.decimals,
    released_indicators.unit,
    released_indicators.obs_status,
    releases.build,
    releases.released_at,
    releases.released_by,
    releases.note
from released_indicators
inner join releases on released_indicators.release = releases.release
left join latest_releases
    on releases.report_year = latest_releases.report_year
    and releases.release_number = latest_releases.release_number
