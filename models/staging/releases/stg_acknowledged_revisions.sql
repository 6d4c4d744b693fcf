with source as (

    select * from {{ source('raw', 'acknowledged_revisions') }}

)

select
    release,
    revision_id,
    figure_id,
    service,
    report_year,
    basis,
    released_value,
    value,
    released_printed_value,
    printed_value,
    causes,
    reason,
    note,
    acknowledged_by,
    acknowledged_at
from source
