with source as (

    select * from {{ source('raw', 'manual_figures') }}

)

select
    report_year,
    figure_id,
    service,
    value,
    entered_on
from source
where not _is_superseded
