-- Counts of what happens all the year round, by month. Grain, one row per figure, service and month, from the first
-- month it ever had to the end of each year it has, or to its last full month.
with flows as (
    select figure_id, service, report_year, month, sum(value) as value
    from marts_monthly_series
    where list_contains($flows, figure_id) and report_year <= $last_year
    group by figure_id, service, report_year, month
),

firsts as (
    select figure_id, service, min(12 * report_year + month) as first_month
    from flows
    group by figure_id, service
),

years as (
    select figure_id, service, report_year, sum(value) as total, median(value) as usual
    from flows
    group by figure_id, service, report_year
),

months as (
    select
        y.figure_id,
        y.service,
        y.report_year,
        y.total,
        y.usual,
        f.first_month,
        unnest(generate_series(1, 12)) as month
    from years as y
    inner join firsts as f on y.figure_id = f.figure_id and y.service = f.service
)

select
    m.report_year,
    concat_ws(' ', m.figure_id, m.service, m.report_year) || '-' || printf('%02d', m.month) || ' = '
        || printf('%.10g', coalesce(s.value, 0)) as label,
    m.figure_id,
    m.service,
    m.month,
    coalesce(s.value, 0) as value,
    m.usual as compared,
    case when m.total >= 600 then coalesce(s.value, 0) end as months_present,
    case
        when m.total >= 1200 and 12 * m.report_year + m.month > m.first_month and s.value > 0 then s.value / m.usual
    end as month_ratio,
    case
        when s.value is null or w.since is null then null
        when 12 * m.report_year + m.month < 12 * year(w.since) + month(w.since) then 'before'
        else 'ok'
    end as start_is
from months as m
left join flows as s
    on m.figure_id = s.figure_id
    and m.service = s.service
    and m.report_year = s.report_year
    and m.month = s.month
left join wanted as w on m.figure_id = w.figure_id and m.service = w.service
left join unfinished as u on w.feed = u.feed and m.report_year = u.report_year
left join accepted as a on concat_ws(' ', m.figure_id, m.service, m.report_year) = a.name
where 12 * m.report_year + m.month between m.first_month and $last_month
    and a.name is null
    and (u.feed is null or m.month <= u.last_full_month)
order by m.report_year, m.figure_id, m.service, m.month
