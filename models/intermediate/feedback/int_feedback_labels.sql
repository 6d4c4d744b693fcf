with labels as (

    select * from {{ ref('stg_feedback_labels') }}

),

feedback as (

    select * from {{ ref('stg_feedback') }}

)

select
    labels.feedback_id,
    labels.content,
    feedback.report_year,
    feedback.report_month
from labels
inner join feedback on labels.feedback_id = feedback.feedback_id
