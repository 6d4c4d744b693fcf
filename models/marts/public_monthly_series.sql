with monthly_series as (

    select * from {{ ref('monthly_series') }}

),

described_figures as (

    select * from {{ ref('figures') }}

),

hidden_values as (

    select * from {{ ref('int_hidden_values') }}

),

breaks as (

    select * from {{ ref('comparability_breaks') }}

),

unfinished_years as (

    select * from {{ ref('unfinished_years') }}

),

months as (
    {% for month in range(1, 13) %}
    select cast({{ month }} as bigint) as month
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

series as (

    select
        monthly_series.figure_id, monthly_series.service, monthly_series.report_year,
        max(monthly_series.last_full_month) as last_full_month,
        max(hidden_values.figure_id is not null) as is_suppressed
    from monthly_series
    left join hidden_values
        on monthly_series.figure_id = hidden_values.figure_id
        and monthly_series.service = hidden_values.service
        and monthly_series.report_year = hidden_values.report_year
        and hidden_values.basis = 'month'
    where monthly_series.is_full_month
    group by monthly_series.figure_id, monthly_series.service, monthly_series.report_year

)

-- A series is hidden as a whole, and has all its months then: which of them have cases would tell of the count.
select
    series.figure_id,
    series.service,
    series.report_year,
    months.month,
    described_figures.unit,
    case
        when not series.is_suppressed
            then
                cast(
                    {{ presented(
                        'monthly_series.value', "coalesce(described_figures.decimals, '2')", 'described_figures.unit'
                    ) }}
                    as double
                )
    end as value,
    series.is_suppressed,
    exists(
        select breaks.starts_on from breaks
        where
            breaks.figure_id = series.figure_id
            and breaks.service = series.service
            and year(breaks.starts_on) = series.report_year
            and month(breaks.starts_on) = months.month
    ) as is_break,
    series.last_full_month,
    series.last_full_month is not null
    or exists (
        select f.report_year from unfinished_years as f
        where f.state = 'future' and f.report_year = series.report_year
    ) as is_unfinished
from series
inner join months on months.month <= coalesce(series.last_full_month, 12)
left join monthly_series
    on series.figure_id = monthly_series.figure_id
    and series.service = monthly_series.service
    and series.report_year = monthly_series.report_year
    and months.month = monthly_series.month
left join described_figures on series.figure_id = described_figures.figure_id
where series.is_suppressed or monthly_series.figure_id is not null
