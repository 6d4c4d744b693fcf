with figures as (

    select * from {{ ref('int_nps_figures') }}

)

select
    figure_id,
    service,
    report_year,
    basis,
    numerator,
    denominator,
    value,
    event_count
from figures
where report_month is null
