with source as (

    select * from {{ source('raw', 'released_indicators') }}

)

select
    release,
    figure_id,
    service,
    report_year,
    basis,
    numerator,
    denominator,
    value,
    event_count,
    printed_value,
    decimals,
    unit,
    obs_status
from source
