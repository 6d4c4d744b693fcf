-- What must be told in a year: because it is described and has records, because it was told the year before, or because
-- it has a target. Grain, one row per figure, service and year for each of these reasons.
with told as (
    select figure_id, service, report_year, min(family) as family, min(feed) as feed, max(value) as value
    from figures
    group by figure_id, service, report_year
),

services_told as (
    select distinct family, service, report_year
    from figures
),

described_rows as (
    select w.figure_id, w.service, d.report_year
    from wanted as w
    inner join delivered as d on w.feed = d.feed and w.since <= make_date(d.report_year, 12, 31)
    left join services_told as s
        on w.family = s.family and w.service = s.service and d.report_year = s.report_year
    where w.family not in ('manual', 'changes')
        and (s.family is not null or not list_contains($families_by_service, w.family))
        and not exists (
            select 1 from unfinished as u
            where u.feed = w.feed and u.report_year = d.report_year and not exists (
                select 1 from marts_coverage as c
                where c.feed = u.feed and c.report_year = u.report_year and c.month <= u.last_full_month
                    and c.row_count > 0
            )
        )
),

again_rows as (
    select
        before.figure_id,
        before.service,
        before.report_year + 1 as report_year,
        list_contains($main_volumes, before.figure_id) and before.value >= 1000 as is_main
    from told as before
    inner join delivered as d on before.feed = d.feed and before.report_year + 1 = d.report_year
    left join accepted as a
        on concat_ws(' ', before.figure_id, before.service, before.report_year + 1) = a.name
    where before.family not in ('manual', 'changes')
        and a.name is null
        and not exists (
            select 1 from unfinished as u where u.feed = before.feed and u.report_year = before.report_year + 1
        )
),

expected as (
    select figure_id, service, report_year, 'described' as reason
    from described_rows

    union all

    select figure_id, service, report_year, case when is_main then 'main' else 'again' end as reason
    from again_rows

    union all

    select t.figure_id, t.service, t.report_year, 'target' as reason
    from seeds_targets as t
    inner join wanted as w on t.figure_id = w.figure_id and t.service = w.service
    inner join delivered as d on w.feed = d.feed and t.report_year = d.report_year
    where not exists (select 1 from unfinished as u where u.feed = w.feed and u.report_year = t.report_year)
),

judged as (
    select
        e.figure_id,
        e.service,
        e.report_year,
        e.reason,
        d.figure_id is not null as is_described,
        t.value,
        case when t.figure_id is null then 'missing' else 'ok' end as answer
    from expected as e
    left join told as t
        on e.figure_id = t.figure_id and e.service = t.service and e.report_year = t.report_year
    left join described_rows as d
        on e.figure_id = d.figure_id and e.service = d.service and e.report_year = d.report_year
    where e.report_year <= $last_year
)

select
    report_year,
    concat_ws(' ', figure_id, service, report_year) as label,
    figure_id,
    service,
    value,
    case when reason = 'described' then answer end as described_is,
    case when reason = 'main' then answer end as main_volume_is,
    case when reason = 'again' then answer end as again_is,
    case when reason = 'target' then answer end as target_is
from judged
where reason = 'described' or answer = 'ok' or not is_described  -- what is missing is told once
order by report_year, figure_id, service, reason
