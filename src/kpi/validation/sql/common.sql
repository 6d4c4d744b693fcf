-- Steps that the queries of the yearly frames share; each uses some of them. Never run alone: `yearly.frames` puts the
-- import CTEs before it and one query behind it.

with described as (
    select figure_id, min(family) as family, min(unit) as unit, min(basis) as basis
    from seeds_figures
    group by figure_id
),

listed as (
    select figure_id, service, min(since) as since
    from seeds_figure_services
    group by figure_id, service
),

family_feeds as (
    select unnest($family_feeds, recursive := true)
),

figure_feeds as (
    select unnest($figure_feeds, recursive := true)
),

delivered as (
    select distinct feed, report_year
    from marts_coverage
    where row_count > 0
),

-- The years of which deliveries were deleted: what is still there of a feed is not all that was delivered.
deleted as (
    select distinct feed, unnest(generate_series(first_year, last_year)) as report_year
    from marts_deleted_deliveries
),

-- The years that were not finished when the build was made, with the months that count.
unfinished as (
    select feed, report_year, last_full_month
    from marts_unfinished_years
    where state <> 'future'
),

accepted as (
    select
        unnest(cast($accepted_names as varchar[])) as name,
        unnest(cast($accepted_reasons as varchar[])) as reason
),

-- One row a figure. `kind` is what its unit makes of it, save for changes and rates.
figures as (
    select
        i.figure_id,
        i.service,
        i.report_year,
        i.basis,
        i.numerator,
        i.denominator,
        case when isfinite(i.value) then i.value end as value,
        i.event_count,
        d.family,
        d.unit,
        d.basis as described_basis,
        d.figure_id is not null as is_described,
        coalesce(figure_feeds.feed, family_feeds.feed) as feed,
        concat_ws(' ', i.figure_id, i.service, i.report_year) as name,
        case
            when right(i.figure_id, 7) = '_change' or right(i.figure_id, 11) = '_change_pct' then 'change'
            when right(i.figure_id, 14) = '_response_rate' then 'response_rate'
            when d.unit in ('count', 'count_per_day', 'persons') then 'count'
            when d.unit = 'percent' then 'share'
            when d.unit = 'points' then 'nps'
            when d.unit in ('seconds', 'days') then 'duration'
            when d.unit = 'score_1_to_5' then 'score'
        end as kind
    from marts_indicators as i
    left join described as d on i.figure_id = d.figure_id
    left join family_feeds on d.family = family_feeds.family
    left join figure_feeds on i.figure_id = figure_feeds.figure_id
    where i.report_year <= $last_year
),

-- One row a figure and service that are described, with the feed they are told from.
wanted as (
    select
        listed.figure_id,
        listed.service,
        listed.since,
        described.family,
        coalesce(figure_feeds.feed, family_feeds.feed) as feed
    from listed
    inner join described on listed.figure_id = described.figure_id
    left join family_feeds on described.family = family_feeds.family
    left join figure_feeds on listed.figure_id = figure_feeds.figure_id
)
