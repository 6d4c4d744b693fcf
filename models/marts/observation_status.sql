with indicators as (

    select * from {{ ref('indicators') }}

),

described_figures as (

    select * from {{ ref('figures') }}

),

published_figures as (

    select * from {{ ref('published_figures') }}

),

released_values as (

    select
        figure_id,
        service,
        report_year,
        basis,
        min(printed_value) as least_printed_value,
        max(printed_value) as greatest_printed_value
    from {{ ref('indicators_released') }}
    group by figure_id, service, report_year, basis

),

breaks as (

    select
        figure_id,
        service,
        year(starts_on) as report_year,
        count(*) as break_count
    from {{ ref('comparability_breaks') }}
    where kind <> 'service_start'
    group by figure_id, service, year(starts_on)

),

printed as (

    select
        indicators.figure_id,
        indicators.service,
        indicators.report_year,
        indicators.basis,
        indicators.value,
        cast({{ rounded_as_published('indicators.value', "coalesce(described_figures.decimals, '0')") }} as double)
            as printed_value,
        coalesce(described_figures.decimals, '0') as decimals,
        described_figures.unit
    from indicators
    left join described_figures on indicators.figure_id = described_figures.figure_id

)

-- One status a figure, the first that applies: the codes of SDMX (CL_OBS_STATUS), and R as Eurostat has it.
select
    printed.figure_id,
    printed.service,
    printed.report_year,
    printed.basis,
    printed.value,
    printed.printed_value,
    printed.decimals,
    printed.unit,
    case
        when printed.value is null then 'M'
        when printed.basis = 'year_to_date' then 'P'
        when printed.printed_value <> released_values.least_printed_value
            or printed.printed_value <> released_values.greatest_printed_value then 'R'
        when breaks.break_count > 0 then 'B'
        when published_figures.qualifier = 'about' then 'E'
        else 'A'
    end as obs_status
from printed
left join released_values
    on printed.figure_id = released_values.figure_id
    and printed.service = released_values.service
    and printed.report_year = released_values.report_year
    and printed.basis = released_values.basis
left join breaks
    on printed.figure_id = breaks.figure_id
    and printed.service = breaks.service
    and printed.report_year = breaks.report_year
left join published_figures
    on printed.figure_id = published_figures.figure_id
    and printed.service = published_figures.service
    and printed.report_year = published_figures.report_year
    and printed.basis = published_figures.basis
