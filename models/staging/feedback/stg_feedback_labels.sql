with source as (

    select * from {{ source('raw', 'feedback_labels') }}

)

select
    feedback_id,
    content
from source
where not _is_superseded
