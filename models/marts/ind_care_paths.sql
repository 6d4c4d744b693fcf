with figures as (

    select * from {{ ref('int_care_paths_figures') }}

)

select
    figure_id,
    service,
    report_year,
    basis,
    numerator,
    denominator,
    value,
    event_count,
    last_full_month
from figures
where report_month is null and not is_comparison
