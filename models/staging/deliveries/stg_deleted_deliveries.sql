with source as (

    select * from {{ source('raw', 'deleted_deliveries') }}

)

select
    feed,
    file,
    content_hash,
    records,
    rows_loaded,
    rows_rejected,
    rows_superseded,
    first_year,
    last_year,
    kept_from,
    deleted_on
from source
