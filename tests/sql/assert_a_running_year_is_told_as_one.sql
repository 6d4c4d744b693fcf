-- No figure of the running year passes for one of a whole year.
with running_years as (

    select distinct report_year
    from {{ ref('unfinished_years') }}
    where state = 'running'

)

select
    indicators.figure_id,
    indicators.service,
    indicators.report_year,
    indicators.basis
from {{ ref('indicators') }} as indicators
inner join running_years on indicators.report_year = running_years.report_year
where indicators.basis <> 'year_to_date'
