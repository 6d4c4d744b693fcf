with indicators as (

    select * from {{ ref('indicators') }}

),

same_months_before as (

    select * from {{ ref('int_same_months_before') }}

)

select
    figure_id,
    service,
    report_year,
    basis,
    value,
    last_full_month
from indicators

union all

select
    figure_id,
    service,
    report_year,
    'same_months' as basis,
    value,
    last_full_month
from same_months_before
