with source as (

    select * from {{ source('raw', 'kept_indicators') }}

)

select
    figure_id,
    service,
    report_year,
    basis,
    numerator,
    denominator,
    value,
    event_count,
    kept_from,
    kept_on
from source
