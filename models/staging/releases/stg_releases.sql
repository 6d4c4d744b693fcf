with source as (

    select * from {{ source('raw', 'releases') }}

)

select
    release,
    report_year,
    number as release_number,
    build,
    as_of,
    released_at,
    released_by,
    note,
    despite,
    code_revision,
    kpi_version,
    duckdb_version
from source
