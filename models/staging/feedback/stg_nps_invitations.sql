with source as (

    select * from {{ source('raw', 'nps_invitations') }}

)

select
    survey,
    channel,
    month as month_starts_on,
    invitations_sent,
    year(month) as report_year,
    month(month) as report_month
from source
where not _is_superseded
