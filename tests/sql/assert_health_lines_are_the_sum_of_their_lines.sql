-- Numerators, denominators and events of a group are sums over its lines: a mean of means would not be.
with indicators as (

    select * from {{ ref('indicators') }}

),

service_lines as (

    select * from {{ ref('service_lines') }}

),

line_sums as (

    select
        indicators.figure_id,
        service_lines.service_group as service,
        indicators.report_year,
        sum({{ exact('indicators.numerator') }}) as numerator,
        sum({{ exact('indicators.denominator') }}) as denominator,
        sum(indicators.event_count) as event_count
    from indicators
    inner join service_lines on indicators.service = service_lines.service_line
    where service_lines.service_group is not null
    group by indicators.figure_id, service_lines.service_group, indicators.report_year

)

select
    line_sums.figure_id,
    line_sums.service,
    line_sums.report_year
from line_sums
inner join indicators
    on line_sums.figure_id = indicators.figure_id
    and line_sums.service = indicators.service
    and line_sums.report_year = indicators.report_year
where
    {{ sums_differ('line_sums.numerator', 'indicators.numerator') }}
    or {{ sums_differ('line_sums.denominator', 'indicators.denominator') }}
    or line_sums.event_count is distinct from indicators.event_count
