with expected_figures as (

    select * from {{ ref('exp_expected_figures') }}

),

figure_values as (

    select * from {{ ref('exp_figure_values') }}

),

described_figures as (

    select * from {{ ref('exp_described_figures') }}

),

figures_there as (

    select
        figure_id,
        service,
        report_year,
        max(value) as value
    from figure_values
    group by figure_id, service, report_year

),

answers as (

    select
        expected_figures.figure_id,
        expected_figures.service,
        expected_figures.report_year,
        expected_figures.reason,
        described_figures.figure_id is not null as is_described,
        figures_there.value,
        case when figures_there.figure_id is null then 'missing' else 'ok' end as answer
    from expected_figures
    left join figures_there
        on expected_figures.figure_id = figures_there.figure_id
        and expected_figures.service = figures_there.service
        and expected_figures.report_year = figures_there.report_year
    left join described_figures
        on expected_figures.figure_id = described_figures.figure_id
        and expected_figures.service = described_figures.service
        and expected_figures.report_year = described_figures.report_year

)

-- What is missing for two reasons is missing once.
select
    report_year,
    figure_id,
    service,
    reason,
    value,
    case when reason = 'described' then answer end as described_is,
    case when reason = 'main' then answer end as main_volume_is,
    case when reason = 'again' then answer end as again_is,
    case when reason = 'target' then answer end as target_is
from answers
where reason = 'described' or answer = 'ok' or not is_described
