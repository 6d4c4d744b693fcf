with monthly_series as (

    select * from {{ ref('monthly_series') }}

),

figure_expectations as (

    select * from {{ ref('figure_expectations') }}

),

months as (

    select {{ whole_numbers(1, 12) }} as month_number

),

flows as (

    select
        monthly_series.figure_id,
        monthly_series.service,
        monthly_series.report_year,
        monthly_series.month,
        sum(monthly_series.value) as value
    from monthly_series
    inner join figure_expectations
        on monthly_series.figure_id = figure_expectations.figure_id
        and figure_expectations.volume in ('main', 'flow')
    group by
        monthly_series.figure_id, monthly_series.service, monthly_series.report_year, monthly_series.month

),

first_months as (

    select
        figure_id,
        service,
        min(12 * report_year + month) as first_month
    from flows
    group by figure_id, service

),

flow_years as (

    select
        flows.figure_id,
        flows.service,
        flows.report_year,
        first_months.first_month,
        sum(flows.value) as total,
        median(flows.value) as usual
    from flows
    inner join first_months on flows.figure_id = first_months.figure_id and flows.service = first_months.service
    group by flows.figure_id, flows.service, flows.report_year, first_months.first_month

)

-- Every month of each year that a service has, from the first it ever had: also those of which there is nothing.
select
    flow_years.figure_id,
    flow_years.service,
    flow_years.report_year,
    months.month_number as month,
    flows.value,
    flow_years.total,
    flow_years.usual,
    12 * flow_years.report_year + months.month_number = flow_years.first_month as is_first
from flow_years
inner join months on 12 * flow_years.report_year + months.month_number >= flow_years.first_month
left join flows
    on flow_years.figure_id = flows.figure_id
    and flow_years.service = flows.service
    and flow_years.report_year = flows.report_year
    and months.month_number = flows.month
