with changes as (

    select * from {{ ref('indicator_changes') }}

),

described_figures as (

    select * from {{ ref('figures') }}

),

public_indicators as (

    select * from {{ ref('public_indicators') }}

),

public_monthly_series as (

    select * from {{ ref('public_monthly_series') }}

),

-- An unfinished year is compared with some months of the year before: told where each of these months is.
months_before as (

    select figure_id, service, report_year
    from public_monthly_series
    group by figure_id, service, report_year
    having not max(is_suppressed)

),

pairs as (

    select
        changes.figure_id, changes.service, changes.report_year, changes.basis, changes.previous_year,
        changes.previous_basis, changes.assessment, changes.has_break, changes.last_full_month, changes.reason,
        this_year.unit, this_year.value, this_year.is_unfinished,
        case
            when changes.basis <> 'year_to_date' then year_before.value
            when months_before.figure_id is not null
                then
                    cast(
                        {{ presented(
                            'changes.previous_value', "coalesce(described_figures.decimals, '2')",
                            'described_figures.unit'
                        ) }}
                        as double
                    )
        end as previous_value,
        changes.previous_value is not null as is_compared
    from changes
    inner join public_indicators as this_year
        on changes.figure_id = this_year.figure_id
        and changes.service = this_year.service
        and changes.report_year = this_year.report_year
        and changes.basis = this_year.basis
    left join public_indicators as year_before
        on changes.figure_id = year_before.figure_id
        and changes.service = year_before.service
        and changes.previous_year = year_before.report_year
        and changes.previous_basis = year_before.basis
    left join months_before
        on changes.figure_id = months_before.figure_id
        and changes.service = months_before.service
        and changes.previous_year = months_before.report_year
    left join described_figures on changes.figure_id = described_figures.figure_id

),

differences as (

    select
        figure_id, service, report_year, basis, unit, value, previous_year, previous_basis, previous_value, assessment,
        has_break, last_full_month, is_unfinished, reason,
        cast({{ round_half_away('value', 2) }} - {{ round_half_away('previous_value', 2) }} as double) as change,
        is_compared and (value is null or previous_value is null) as is_suppressed
    from pairs

)

-- The change of what is shown: it tells nothing that the two values do not.
select
    figure_id, service, report_year, basis, unit, value,
    previous_year, previous_basis, previous_value,
    change,
    case when change > 0 then 'up' when change < 0 then 'down' when change is not null then 'same' end as direction,
    case when change is not null then assessment end as assessment,
    has_break,
    is_suppressed,
    last_full_month,
    is_unfinished,
    case when not is_suppressed then reason end as reason
from differences
