{{ config(severity='warn') }}
-- A label counts in the year of its item; without one it counts nowhere.
select
    labels.feedback_id,
    labels.content
from {{ ref('stg_feedback_labels') }} as labels
left join {{ ref('stg_feedback') }} as feedback on labels.feedback_id = feedback.feedback_id
where feedback.feedback_id is null
