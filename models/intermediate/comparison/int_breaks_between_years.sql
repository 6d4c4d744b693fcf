with breaks as (

    select * from {{ ref('comparability_breaks') }}

),

-- A break lies between its year and the year before. It also makes its own year a mixture, for the comparison with the
-- year after it, unless it began the year or the figure tells of the end of a year.
between_years as (

    select
        figure_id, service, year(starts_on) as report_year, true as is_of_whole_years,
        starts_on, kind, reason_fi, reason_sv, reason_en
    from breaks

    union all

    select
        figure_id, service, year(starts_on) as report_year, false as is_of_whole_years,
        starts_on, kind, reason_fi, reason_sv, reason_en
    from breaks

    union all

    select
        figure_id, service, year(starts_on) + 1 as report_year, true as is_of_whole_years,
        starts_on, kind, reason_fi, reason_sv, reason_en
    from breaks
    where starts_on > make_date(year(starts_on), 1, 1)

),

by_weight as (

    select
        figure_id, service, report_year, is_of_whole_years, kind, reason_fi, reason_sv, reason_en,
        row_number() over (
            partition by figure_id, service, report_year, is_of_whole_years
            order by
                case kind
                    when 'definition' then 1 when 'scope' then 2 when 'data_quality' then 3 when 'service_start' then 4
                    else 5
                end asc,
                starts_on desc, reason_en asc
        ) as place
    from between_years

)

select
    figure_id,
    service,
    report_year,
    is_of_whole_years,
    kind,
    reason_fi,
    reason_sv,
    reason_en
from by_weight
where place = 1
