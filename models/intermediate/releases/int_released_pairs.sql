with released as (

    select * from {{ ref('indicators_released') }}

),

indicators as (

    select * from {{ ref('indicators') }}

),

described_figures as (

    select * from {{ ref('figures') }}

)

select
    released.release,
    released.figure_id,
    released.service,
    released.report_year,
    released.basis,
    released.unit,
    released.value as released_value,
    indicators.value,
    released.printed_value as released_printed_value,
    cast(
        {{ rounded_as_published('indicators.value', "coalesce(described_figures.decimals, released.decimals)") }}
        as double
    ) as printed_value
from released
left join indicators
    on released.figure_id = indicators.figure_id
    and released.service = indicators.service
    and released.report_year = indicators.report_year
    and released.basis = indicators.basis
left join described_figures on released.figure_id = described_figures.figure_id
where released.is_latest
