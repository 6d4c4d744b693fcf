with indicators as (select * from {{ ref('int_figures_to_compare') }}),

described_figures as (select * from {{ ref('figures') }}),

breaks as (select * from {{ ref('int_breaks_between_years') }}),

-- A partial year is compared with a whole one, and a census with that of December: the break or the basis tells. An
-- unfinished year is compared with the same months of the year before, or with nothing when those are not told.
comparable as (

    select
        indicators.figure_id, indicators.service, indicators.report_year, indicators.basis,
        case indicators.basis
            when 'partial_year' then coalesce(described_figures.basis, 'calendar_year')
            when 'census' then 'census_december'
            when 'year_to_date' then 'same_months'
            else indicators.basis
        end as compared_basis,
        indicators.value, indicators.last_full_month,
        coalesce(
            cast(
                {{ presented('indicators.value', 'described_figures.decimals', 'described_figures.unit') }}
                as decimal(38, 9)
            ),
            cast(indicators.value as decimal(38, 9))
        ) as shown_value,
        described_figures.good_direction
    from indicators
    left join described_figures on indicators.figure_id = described_figures.figure_id
    where indicators.value is not null and coalesce(described_figures.family, 'manual') <> 'changes'

),

pairs as (

    select
        this_year.figure_id, this_year.service, this_year.report_year, this_year.basis, this_year.compared_basis,
        this_year.value,
        replace(year_before.basis, 'same_months', 'year_to_date') as previous_basis,
        year_before.value as previous_value,
        this_year.value - year_before.value as change,
        this_year.last_full_month,
        this_year.shown_value - year_before.shown_value as shown_change,
        case
            when this_year.shown_value > year_before.shown_value then 'up'
            when this_year.shown_value < year_before.shown_value then 'down'
            when year_before.value is not null then 'same'
        end as direction,
        case this_year.good_direction when 'higher' then 'up' when 'lower' then 'down' end as good_direction
    from comparable as this_year
    left join comparable as year_before
        on this_year.figure_id = year_before.figure_id
        and this_year.service = year_before.service
        and this_year.compared_basis = year_before.compared_basis
        and this_year.report_year = year_before.report_year + 1
        and this_year.last_full_month is not distinct from year_before.last_full_month
        and year_before.basis <> 'year_to_date'
    where this_year.basis = 'year_to_date' or (this_year.basis <> 'same_months' and year_before.value is not null)

),

-- A change is better or worse only between values of the same basis with no break between them.
compared as (

    select
        pairs.figure_id, pairs.service, pairs.report_year, pairs.basis, pairs.value, pairs.previous_basis,
        pairs.previous_value, pairs.change, pairs.shown_change, pairs.direction, pairs.good_direction,
        pairs.last_full_month, breaks.kind, breaks.reason_fi, breaks.reason_sv, breaks.reason_en,
        breaks.figure_id is not null as has_break,
        pairs.change is not null and breaks.figure_id is null and pairs.basis = pairs.previous_basis as is_comparable
    from pairs
    left join breaks
        on pairs.figure_id = breaks.figure_id
        and pairs.service = breaks.service
        and pairs.report_year = breaks.report_year
        and breaks.is_of_whole_years = (
            pairs.compared_basis not in ('census_december', 'end_of_year', 'december')
            or coalesce(pairs.previous_basis, '') = 'census'
        )

)

select
    figure_id, service, report_year, basis, value,
    report_year - 1 as previous_year,
    previous_basis, previous_value, change,
    100 * change / nullif(abs(previous_value), 0) as change_pct,
    direction,
    case
        when not is_comparable then null
        when good_direction is null or direction = 'same' then 'neutral'
        when direction = good_direction then 'better'
        else 'worse'
    end as assessment,
    has_break, last_full_month,
    case when change is null then 'same_months_before_not_told' end as reason,
    kind as break_kind, reason_fi as break_reason_fi, reason_sv as break_reason_sv, reason_en as break_reason_en,
    is_comparable,
    cast(shown_change as double) as shown_change
from compared
