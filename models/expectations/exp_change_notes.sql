with figure_values as (

    select * from {{ ref('exp_figure_values') }}

),

comparability_breaks as (

    select * from {{ ref('comparability_breaks') }}

),

accepted_changes as (

    select * from {{ ref('accepted_changes') }}

),

-- A break in the year before makes that year a mixture, unless it began the year or the figure tells of its end.
reasons as (

    select
        figure_values.figure_id,
        figure_values.service,
        figure_values.report_year,
        figure_values.basis,
        comparability_breaks.starts_on,
        comparability_breaks.reason_en,
        comparability_breaks.reason_fi
    from figure_values
    inner join comparability_breaks
        on figure_values.figure_id = comparability_breaks.figure_id
        and figure_values.service = comparability_breaks.service
        and comparability_breaks.starts_on > make_date(figure_values.report_year - 1, 1, 1)
        and comparability_breaks.starts_on <= make_date(figure_values.report_year, 12, 31)
        and (
            year(comparability_breaks.starts_on) = figure_values.report_year
            or figure_values.basis not in ('census_december', 'end_of_year', 'december')
        )

    union all

    select
        figure_values.figure_id,
        figure_values.service,
        figure_values.report_year,
        figure_values.basis,
        accepted_changes.starts_on,
        accepted_changes.reason_en,
        accepted_changes.reason_fi
    from figure_values
    inner join accepted_changes
        on figure_values.figure_id = accepted_changes.figure_id
        and figure_values.service = accepted_changes.service
        and figure_values.report_year = accepted_changes.report_year

)

select distinct
    figure_id,
    service,
    report_year,
    basis,
    cast(starts_on as string) || ': ' || reason_en as note_en,
    cast(day(starts_on) as string)
    || '.'
    || cast(month(starts_on) as string)
    || '.'
    || cast(year(starts_on) as string)
    || ': ' || reason_fi as note_fi
from reasons
