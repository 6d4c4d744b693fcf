with indicators as (

    select * from {{ ref('indicators') }}

),

described_figures as (

    select * from {{ ref('figures') }}

),

cells as (

    select * from {{ ref('int_hidden_in_sums') }}

),

unfinished_years as (

    select * from {{ ref('unfinished_years') }}

),

dependencies as (

    select * from {{ ref('figure_dependencies') }}

),

hidden as (

    select
        figure_id,
        service,
        report_year,
        basis
    from cells
    where is_hidden

),

-- A figure that would tell a hidden one, of its year or of the year before.
telling as (

    select
        cells.figure_id,
        cells.service,
        cells.report_year,
        cells.basis
    from cells
    inner join dependencies on cells.figure_id = dependencies.figure_id
    inner join hidden
        on dependencies.depends_on = hidden.figure_id
        and coalesce(dependencies.depends_on_service, cells.service) = hidden.service
        and (
            cells.report_year = hidden.report_year
            or (dependencies.is_over_years and cells.report_year = hidden.report_year + 1)
        )

),

all_hidden as (

    select figure_id, service, report_year, basis from hidden
    union
    select figure_id, service, report_year, basis from telling

)

-- Rounded, because an exact quotient tells the counts it was made of.
select
    indicators.figure_id,
    indicators.service,
    indicators.report_year,
    indicators.basis,
    described_figures.unit,
    case
        when all_hidden.figure_id is null
            then
                cast(
                    {{ presented(
                        'indicators.value', "coalesce(described_figures.decimals, '2')", 'described_figures.unit'
                    ) }}
                    as double
                )
    end as value,
    all_hidden.figure_id is not null as is_suppressed,
    indicators.last_full_month,
    indicators.basis = 'year_to_date'
    or indicators.report_year in (select f.report_year from unfinished_years as f where f.state = 'future')
        as is_unfinished
from indicators
left join described_figures on indicators.figure_id = described_figures.figure_id
left join all_hidden
    on indicators.figure_id = all_hidden.figure_id
    and indicators.service = all_hidden.service
    and indicators.report_year = all_hidden.report_year
    and indicators.basis = all_hidden.basis
