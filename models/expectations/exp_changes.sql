with figure_values as (

    select * from {{ ref('exp_figure_values') }}

),

breaks as (

    select distinct
        figure_id,
        service,
        report_year,
        basis
    from {{ ref('exp_change_notes') }}

),

-- Both of a whole year; of a year that is not finished only what does not grow with its months is compared.
pairs as (

    select
        this_year.report_year,
        this_year.figure_id,
        this_year.service,
        this_year.basis,
        this_year.kind,
        year_before.value as compared,
        this_year.value,
        case
            when this_year.basis <> 'year_to_date'
                then this_year.value / nullif(greatest(year_before.value, 1), 0)
        end as ratio,
        this_year.value / nullif(greatest(year_before.value, 1), 0) as any_ratio,
        this_year.value - year_before.value as difference,
        this_year.is_main_volume and year_before.value >= 1000 as is_main,
        this_year.denominator >= 100 and year_before.denominator >= 100 as is_many,
        breaks.figure_id is not null as is_broken
    from figure_values as year_before
    inner join figure_values as this_year
        on year_before.figure_id = this_year.figure_id
        and year_before.service = this_year.service
        and year_before.report_year + 1 = this_year.report_year
        and case this_year.basis when 'year_to_date' then this_year.described_basis else this_year.basis end
        = year_before.basis
    left join breaks
        on this_year.figure_id = breaks.figure_id
        and this_year.service = breaks.service
        and this_year.report_year = breaks.report_year
        and this_year.basis = breaks.basis
    where year_before.basis <> 'partial_year' and year_before.value is not null and this_year.value is not null

)

select
    report_year,
    figure_id,
    service,
    basis,
    value,
    compared,
    ratio,
    case when kind = 'count' and is_main and not is_broken then ratio end as main_volume_ratio,
    case when kind = 'count' and is_main and is_broken then ratio end as broken_volume_ratio,
    case when kind = 'count' and not is_main and greatest(value, compared) >= 100 then ratio end as count_ratio,
    case when kind = 'duration' and is_many then any_ratio end as duration_ratio,
    case when kind in ('share', 'response_rate') and is_many then difference end as share_difference,
    case when kind = 'nps' and is_many then difference end as nps_difference,
    case when kind = 'score' and is_many then difference end as score_difference
from pairs
