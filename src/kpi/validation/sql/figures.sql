-- Every figure by itself. Grain, one row per figure of marts.indicators.
with printed as (
    select distinct figure_id, basis
    from marts_reconciliation
    where basis <> 'partial_year'
),

checked as (
    select
        f.*,
        listed.since,
        f.service is not null
        and listed.figure_id is null
        and exists (select 1 from listed as l where l.figure_id = f.figure_id) as is_stranger,
        exists (select 1 from unfinished as u where u.feed = f.feed and u.report_year = f.report_year) as is_unfinished,
        exists (select 1 from unfinished as u where u.report_year = f.report_year) as is_provisional,
        exists (select 1 from printed as p where p.figure_id = f.figure_id and p.basis = f.basis) as is_printed_basis,
        case
            when f.denominator is null then f.numerator
            when not list_contains($means_of_shares, f.figure_id)
                and f.kind in ('share', 'response_rate', 'nps', 'change')
                then 100 * f.numerator / nullif(f.denominator, 0)
            else f.numerator / nullif(f.denominator, 0)
        end as computed
    from figures as f
    left join listed on f.figure_id = listed.figure_id and f.service = listed.service
)

select
    report_year,
    name || case when basis <> 'calendar_year' then ' (' || basis || ')' else '' end || ' = '
        || coalesce(printf('%.10g', value), 'no value') as label,
    figure_id,
    service,
    basis,
    value,
    figure_id || ' ' || service || ' ' || basis as figure_key,
    case when is_described and not is_stranger then 'ok' else 'unknown' end as description_is,
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
        when value is not null and kind is not null and not list_contains($medians, figure_id)
            then coalesce(value - computed, 1)
    end as value_gap,
    case
        when not list_contains($counted_elsewhere, family) and kind <> 'response_rate' and unit <> 'count_per_day'
            then event_count - coalesce(denominator, value)
    end as uncounted,
    case when list_contains($main_volumes, figure_id) then value end as main_volume,
    case
        when kind = 'count' and unit <> 'count_per_day' and family <> 'manual' then value - floor(value)
    end as fraction,
    case when kind = 'count' then value end as count_value,
    case when kind = 'share' then value end as share,
    case when kind = 'response_rate' then value end as response_rate,
    case when kind = 'nps' then value end as nps,
    case when kind = 'score' then value end as score,
    case when kind = 'duration' then value end as duration,
    case when figure_id = 'call_mean_wait_seconds' then value end as call_mean_wait_seconds,
    case when figure_id = 'call_mean_handling_seconds' then value end as call_mean_handling_seconds,
    case when figure_id = 'callback_mean_seconds' then value end as callback_mean_seconds,
    case when figure_id = 'first_unit_response_seconds' then value end as first_unit_response_seconds,
    case when figure_id = 'elderly_housing_mean_wait_days' then value end as elderly_housing_mean_wait_days
from checked
order by report_year, figure_id, service, basis, value
