with placed_figures as (

    select * from {{ ref('exp_placed_figures') }}

),

computed_figures as (

    select
        report_year,
        figure_id,
        service,
        basis,
        value,
        event_count - coalesce(denominator, value) as uncounted,
        family,
        unit,
        kind,
        since,
        is_main_volume,
        value_from,
        events,
        denominator,
        described_basis,
        is_unfinished,
        is_provisional,
        is_printed_basis,
        is_described and not is_stranger as is_known,
        case
            when denominator is null then numerator
            when value_from <> 'mean_of_shares' and kind in ('share', 'response_rate', 'nps', 'change')
                then 100 * numerator / nullif(denominator, 0)
            else numerator / nullif(denominator, 0)
        end as computed
    from placed_figures

)

select
    report_year,
    figure_id,
    service,
    basis,
    case when basis <> 'calendar_year' then basis end as part_of_year,
    value,
    unit,
    figure_id || ' ' || service || ' ' || basis as figure_key,
    case when is_known then 'ok' else 'unknown' end as description_is,
    case
        when family in ('manual', 'changes') or since is null then null
        -- Some figures wait for a second feed, so the year may be unfinished for another reason than the first.
        when basis = 'year_to_date' then case when is_provisional then 'ok' else 'other' end
        when is_unfinished then 'other'
        when since > make_date(report_year, 1, 1) and year(since) = report_year
            then case when basis = 'partial_year' then 'ok' else 'other' end
        when basis = described_basis or is_printed_basis then 'ok'
        when basis = 'census' and described_basis = 'census_december' then 'ok'
        else 'other'
    end as basis_is,
    case when value is not null then 'ok' when kind = 'count' or denominator > 0 then 'missing' end as value_is,
    case
        when value is not null and kind is not null and value_from <> 'median' then coalesce(value - computed, 1)
    end as value_gap,
    case
        when family is not null and events = 'records' and kind <> 'response_rate' and unit <> 'count_per_day'
            then uncounted
    end as uncounted,
    case when is_main_volume then value end as main_volume,
    case
        when kind = 'count' and unit <> 'count_per_day' and family <> 'manual'
            then case when value % 1 < 0 then value % 1 + 1 else value % 1 end
    end as fraction,
    case when kind = 'count' then value end as count_value,
    case when kind = 'share' then value end as share,
    case when kind = 'response_rate' then value end as response_rate,
    case when kind = 'nps' then value end as nps,
    case when kind = 'score' then value end as score,
    case when kind = 'duration' then value end as duration
from computed_figures
