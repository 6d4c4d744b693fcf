-- Every printed figure. Grain, one row per figure of marts.reconciliation. One that is told without a value, for want
-- of another feed, is not missing.
select
    r.report_year,
    concat_ws(' ', r.figure_id, r.service, r.report_year) || ' = ' || coalesce(printf('%.10g', r.value), 'no value')
        || ' (published ' || coalesce(printf('%.10g', r.published_value), 'no value') || ')' as label,
    r.figure_id,
    r.service,
    r.basis,
    r.value,
    r.published_value as compared,
    r.status,
    case
        when r.status <> 'not_delivered' then 'ok'
        when this.feed is null or f.figure_id is not null or u.feed is not null then null
        when r.basis <> 'change_from_previous_year' or before.feed is not null then 'missing'
    end as told_is,
    case when d.unit = r.unit then 'ok' when d.unit <> r.unit then 'other' end as unit_is
from marts_reconciliation as r
left join figures as f
    on r.figure_id = f.figure_id
    and r.service = f.service
    and r.report_year = f.report_year
    and r.basis = f.basis
left join described as d on r.figure_id = d.figure_id
left join wanted as w on r.figure_id = w.figure_id and r.service = w.service
left join unfinished as u on w.feed = u.feed and r.report_year = u.report_year
left join delivered as this on w.feed = this.feed and r.report_year = this.report_year
left join delivered as before on w.feed = before.feed and r.report_year - 1 = before.report_year
order by r.report_year, r.figure_id, r.service, r.basis, r.value
