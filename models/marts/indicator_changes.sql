with indicators as (

    select * from {{ ref('int_figures_to_compare') }}

),

described_figures as (

    select * from {{ ref('figures') }}

),

breaks as (

    select * from {{ ref('comparability_breaks') }}

),

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
        coalesce({{ rounded_as_published('indicators.value', 'described_figures.decimals') }}, indicators.value)
            as shown_value,
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

)

-- A break in the year before makes that year a mixture, unless it began the year or the figure tells of its end,
-- which a census of another month does not. Distinct, because there may be several breaks.
select distinct
    pairs.figure_id,
    pairs.service,
    pairs.report_year,
    pairs.basis,
    pairs.value,
    pairs.report_year - 1 as previous_year,
    pairs.previous_basis, pairs.previous_value,
    pairs.change,
    100 * pairs.change / nullif(abs(pairs.previous_value), 0) as change_pct,
    pairs.direction,
    case
        when pairs.change is null then null
        when pairs.good_direction is null or pairs.direction = 'same' then 'neutral'
        when pairs.direction = pairs.good_direction then 'better'
        else 'worse'
    end as assessment,
    breaks.starts_on is not null as has_break,
    pairs.last_full_month,
    case when pairs.change is null then 'same_months_before_not_told' end as reason
from pairs
left join breaks
    on pairs.figure_id = breaks.figure_id
    and pairs.service = breaks.service
    and breaks.starts_on > make_date(pairs.report_year - 1, 1, 1)
    and breaks.starts_on <= make_date(pairs.report_year, 12, 31)
    and (
        year(breaks.starts_on) = pairs.report_year
        or pairs.compared_basis not in ('census_december', 'end_of_year', 'december')
        or pairs.previous_basis = 'census'
    )
