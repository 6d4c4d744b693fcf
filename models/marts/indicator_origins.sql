with indicators as (

    select * from {{ ref('indicators') }}

),

kept_indicators as (

    select * from {{ ref('stg_kept_indicators') }}

)

select
    indicators.figure_id,
    indicators.service,
    indicators.report_year,
    indicators.basis,
    case when kept_indicators.kept_from is null then 'derived' else 'kept' end as origin,
    kept_indicators.kept_from,
    kept_indicators.kept_on
from indicators
left join kept_indicators
    on indicators.figure_id = kept_indicators.figure_id
    and indicators.service = kept_indicators.service
    and indicators.report_year = kept_indicators.report_year
    and indicators.basis = kept_indicators.basis
