with source as (

    select * from {{ source('raw', 'experience_answers') }}

)

select
    answer_id,
    statement,
    answered_at_utc as answered_at,
    score,
    year(answered_at) as report_year,
    month(answered_at) as report_month
from source
where not _is_superseded
