-- SQL as analytics engineers write it. Each shape is a figure of one project (tests/support/sql_shapes.py): its name, its
-- SELECT with <<numerator>> for the columns of a figure and @model for ref('model'); then, written by hand and not
-- derived from it, the rows that stand behind the numerator, of the delivered `calls` and `callbacks` (`y` are the calls
-- of 2025): an id and what it counts as, null where that is not asked. Or the words of the refusal, or that it is a
-- number without rows.

---- plain
select <<count(*)>> from @calls where report_year = 2025
-- rows
select call_id, 1 from y

---- total
select <<sum(waited_seconds)>> from @calls where report_year = 2025
-- rows
select call_id, waited_seconds from y where waited_seconds is not null

---- qualify_first
with f as (select * from @calls where report_year = 2025 qualify row_number() over (partition by caller order by
arrived_on, call_id) = 1) select <<count(*)>> from f
-- rows
select call_id, 1 from y where not exists (select 1 from y as o where o.caller is not distinct from y.caller and
(o.arrived_on, o.call_id) < (y.arrived_on, y.call_id))

---- qualify_named
with f as (select * from @calls where report_year = 2025 window w as (partition by caller order by arrived_on,
call_id) qualify row_number() over w = 1) select <<count(*)>> from f
-- rows
select call_id, 1 from y where not exists (select 1 from y as o where o.caller is not distinct from y.caller and
(o.arrived_on, o.call_id) < (y.arrived_on, y.call_id))

---- qualify_alias
with f as (select *, row_number() over (partition by caller order by arrived_on, call_id) as nth from @calls where
report_year = 2025 qualify nth = 1) select <<count(*)>> from f
-- rows
select call_id, 1 from y where not exists (select 1 from y as o where o.caller is not distinct from y.caller and
(o.arrived_on, o.call_id) < (y.arrived_on, y.call_id))

---- frame
with f as (select call_id, sum(waited_seconds) over (order by arrived_on, call_id rows between 1 preceding and
current row) as running from @calls where report_year = 2025) select <<count(*)>> from f where running > 400
-- rows
select call_id, 1 from (select call_id, coalesce(waited_seconds, 0) + coalesce(lag(waited_seconds) over (order by
arrived_on, call_id), 0) as r from y) where r > 400

---- frame_named
with f as (select call_id, sum(waited_seconds) over w as running from @calls where report_year = 2025 window w as
(order by arrived_on, call_id rows between 1 preceding and current row)) select <<count(*)>> from f where running >
400
-- rows
select call_id, 1 from (select call_id, coalesce(waited_seconds, 0) + coalesce(lag(waited_seconds) over (order by
arrived_on, call_id), 0) as r from y) where r > 400

---- lag_gap
with f as (select *, lag(arrived_on) over (partition by caller order by arrived_on) as before from @calls where
report_year = 2025 and caller is not null) select <<count(*)>> from f where date_diff('day', before, arrived_on) <=
20
-- rows
select call_id, 1 from y where exists (select 1 from y as o where o.caller = y.caller and o.arrived_on <
y.arrived_on and y.arrived_on - o.arrived_on <= 20)

---- window_of_groups
with g as (select line, count(*) as n from @calls where report_year = 2025 group by line), r as (select *, rank()
over (order by n desc) as place from g) select <<sum(n)>> from r where place = 1
-- rows
select call_id, 1 from y where line = 'health'

---- count_distinct
select <<count(distinct caller)>> from @calls where report_year = 2025
-- rows
select call_id, null from y where caller is not null

---- distinct_rows
with d as (select distinct caller from @calls where report_year = 2025) select <<count(*)>> from d
-- rows
select call_id, null from y

---- distinct_on
with d as (select distinct on (caller) * from @calls where report_year = 2025 order by caller, arrived_on, call_id)
select <<count(*)>> from d
-- refused: DISTINCT ON

---- group_all
with g as (select line, count(*) as n from @calls where report_year = 2025 group by all) select <<sum(n)>> from g
-- rows
select call_id, 1 from y

---- group_number
with g as (select line, count(*) as n from @calls where report_year = 2025 group by 1 having count(*) > 3) select
<<sum(n)>> from g
-- rows
select call_id, 1 from y where line <> 'dental'

---- having_alias
with g as (select line, count(*) as n from @calls where report_year = 2025 group by line having n > 3) select
<<sum(n)>> from g
-- rows
select call_id, 1 from y where line <> 'dental'

---- sets
with g as (select line, month(arrived_on) as m, count(*) as n from @calls where report_year = 2025 group by grouping
sets ((line), (line, month(arrived_on)))) select <<sum(n)>> from g where m is null
-- rows
select call_id, 1 from y

---- cube
with g as (select line, month(arrived_on) as m, count(*) as n from @calls where report_year = 2025 group by cube
(line, month(arrived_on)) having grouping(line) = 1 and grouping(month(arrived_on)) = 1) select <<sum(n)>> from g
-- rows
select call_id, 1 from y

---- rollup
with g as (select line, caller, count(*) as n from @calls where report_year = 2025 group by rollup (line, caller))
select <<sum(n)>> from g where line is null and caller is null
-- rows
select call_id, 1 from y

---- filter_clause
select <<count(*) filter (where waited_seconds > 300)>> from @calls where report_year = 2025
-- rows
select call_id, 1 from y where waited_seconds > 300

---- sum_filter
select <<sum(waited_seconds) filter (where line = 'health')>> from @calls where report_year = 2025
-- rows
select call_id, waited_seconds from y where line = 'health' and waited_seconds is not null

---- count_if
select <<count_if(waited_seconds > 300)>> from @calls where report_year = 2025
-- rows
select call_id, 1 from y where waited_seconds > 300

---- sum_bool
select <<sum((waited_seconds > 300)::int)>> from @calls where report_year = 2025
-- rows
select call_id, 1 from y where waited_seconds > 300

---- sum_if
select <<sum(if(waited_seconds > 300, 1, 0))>> from @calls where report_year = 2025
-- rows
select call_id, 1 from y where waited_seconds > 300

---- using
select <<count(*)>> from @calls join @lines using (line) where report_year = 2025
-- rows
select call_id, 1 from y where line <> 'dental'

---- using_cte
with c as (select * from @calls where report_year = 2025) select <<count(*)>> from c left join @lines using (line)
where name_en is not null
-- rows
select call_id, 1 from y where line <> 'dental'

---- using_two
with c as (select * from @calls where report_year = 2025), l as (select line, name_en from @lines), m as (select
line, min(limit_seconds) as m from @limits group by line) select <<count(*)>> from c join l using (line) join m
using (line) where waited_seconds > m
-- rows
select call_id, 1 from y where (line = 'health' and waited_seconds > 100) or (line = 'social' and waited_seconds >
60)

---- natural
select <<count(*)>> from @calls natural join @lines where report_year = 2025
-- rows
select call_id, 1 from y where line <> 'dental'

---- semi
select <<count(*)>> from @calls as c semi join @lines as l on c.line = l.line where report_year = 2025
-- rows
select call_id, 1 from y where line <> 'dental'

---- anti
select <<count(*)>> from @calls as c anti join @lines as l on c.line = l.line where report_year = 2025
-- rows
select call_id, 1 from y where line = 'dental'

---- semi_using
select <<count(*)>> from @calls semi join @lines using (line) where report_year = 2025
-- rows
select call_id, 1 from y where line <> 'dental'

---- anti_left
select <<count(*)>> from @calls as c left join @lines as l on c.line = l.line where l.line is null and report_year =
2025
-- rows
select call_id, 1 from y where line = 'dental'

---- asof
select <<count(*)>> from @calls as c asof join @limits as l on c.line = l.line and c.arrived_on >= l.valid_from
where c.waited_seconds > l.limit_seconds and report_year = 2025
-- rows
select call_id, 1 from y where (line = 'health' and waited_seconds > case when arrived_on < '2025-03-01' then 100
else 300 end) or (line = 'social' and waited_seconds > 60)

---- asof_left
select <<count(*)>> from @calls as c asof left join @limits as l on c.line = l.line and c.arrived_on >= l.valid_from
where report_year = 2025
-- rows
select call_id, 1 from y

---- between_join
select <<count(*)>> from @calls as c join @limits as l on c.line = l.line and c.arrived_on between l.valid_from and
l.valid_to where c.waited_seconds > l.limit_seconds and report_year = 2025
-- rows
select call_id, 1 from y where (line = 'health' and waited_seconds > case when arrived_on < '2025-03-01' then 100
else 300 end) or (line = 'social' and waited_seconds > 60)

---- fan_out
select <<count(*)>> from @calls as c join @callbacks as b on b.call_id = c.call_id where c.report_year = 2025
-- rows
select call_id, count(*) from y join callbacks using (call_id) group by call_id

---- fan_out_right
select <<count(b.callback_id)>> from @calls as c join @callbacks as b on b.call_id = c.call_id where c.report_year =
2025
-- rows
select b.callback_id, 1 from callbacks b join y using (call_id)

---- unnamed_join
select <<count(*)>> from @calls join (select line as own_line, name_en from @lines) on own_line = line where
report_year = 2025
-- rows
select call_id, 1 from y where line <> 'dental'

---- unnamed_join_sum
select <<sum(n)>> from @lines join (select line as own_line, count(*) as n from @calls where report_year = 2025
group by 1) on own_line = line
-- rows
select call_id, 1 from y where line <> 'dental'

---- unnamed_from
select <<count(*)>> from (select * from @calls where report_year = 2025)
-- rows
select call_id, 1 from y

---- unnamed_nested
select <<sum(n)>> from (select line, n from (select line, count(*) as n from @calls where report_year = 2025 group
by line))
-- rows
select call_id, 1 from y

---- named_columns
select <<sum(q.b)>> from (select line, waited_seconds from @calls where report_year = 2025) as q(a, b) where q.a =
'health'
-- rows
select call_id, waited_seconds from y where line = 'health' and waited_seconds is not null

---- cte_columns
with q(a, b) as (select line, waited_seconds from @calls where report_year = 2025) select <<sum(b)>> from q where a
= 'health'
-- rows
select call_id, waited_seconds from y where line = 'health' and waited_seconds is not null

---- table_columns
select <<sum(w)>> from @calls as q(i, l, w, d) where l = 'health' and year(d) = 2025
-- rows
select call_id, waited_seconds from y where line = 'health' and waited_seconds is not null

---- comma_join
select <<count(*)>> from @calls as c, @lines as l where c.line = l.line and c.report_year = 2025
-- rows
select call_id, 1 from y where line <> 'dental'

---- lateral
select <<count(*)>> from @calls as c, lateral (select count(*) as n from @callbacks as b where b.call_id =
c.call_id) as x where x.n > 0 and c.report_year = 2025
-- rows
select call_id, 1 from y where call_id in (select call_id from callbacks)

---- lateral_join
select <<count(*)>> from @calls as c left join lateral (select min(done_on) as done from @callbacks as b where
b.call_id = c.call_id) as x on true where x.done = c.arrived_on and c.report_year = 2025
-- rows
select call_id, 1 from y where exists (select 1 from callbacks b where b.call_id = y.call_id and done_on =
arrived_on)

---- self_join
select <<count(distinct a.call_id)>> from @calls as a join @calls as b on a.caller = b.caller and a.call_id <
b.call_id where a.report_year = 2025 and b.report_year = 2025
-- rows
select call_id, null from y where exists (select 1 from y as o where o.caller = y.caller and o.call_id > y.call_id)

---- right_join
select <<count(*)>> from @lines as l right join @calls as c on c.line = l.line where c.report_year = 2025
-- refused: right or full

---- full_join
select <<count(c.call_id)>> from @calls as c full join @callbacks as b on c.call_id = b.call_id where c.report_year
= 2025
-- refused: right or full

---- positional
select <<count(*)>> from @calls as c positional join @lines as l where c.report_year = 2025
-- refused: POSITIONAL

---- nested_join
select <<count(*)>> from @calls as c left join (@lines as l join @limits as m on l.line = m.line) on c.line = l.line
and c.arrived_on between m.valid_from and m.valid_to where c.waited_seconds > m.limit_seconds and c.report_year =
2025
-- rows
select call_id, 1 from y where (line = 'health' and waited_seconds > case when arrived_on < '2025-03-01' then 100
else 300 end) or (line = 'social' and waited_seconds > 60)

---- exists
select <<count(*)>> from @calls as c where report_year = 2025 and exists (select 1 from @callbacks as b where
b.call_id = c.call_id)
-- rows
select call_id, 1 from y where call_id in (select call_id from callbacks)

---- not_exists
select <<count(*)>> from @calls as c where report_year = 2025 and not exists (from @callbacks as b where b.call_id =
c.call_id)
-- rows
select call_id, 1 from y where call_id not in (select call_id from callbacks)

---- exists_bare
select <<count(*)>> from @calls where report_year = 2025 and exists (select 1 from @callbacks as b where b.call_id =
stg_calls.call_id)
-- rows
select call_id, 1 from y where call_id in (select call_id from callbacks)

---- in_query
select <<count(*)>> from @calls where report_year = 2025 and call_id in (select call_id from @callbacks)
-- rows
select call_id, 1 from y where call_id in (select call_id from callbacks)

---- scalar
select <<count(*)>> from @calls where report_year = 2025 and waited_seconds > (select avg(waited_seconds) from
@calls)
-- rows
select call_id, 1 from y where waited_seconds > (select avg(waited_seconds) from calls)

---- scalar_cte
with a as (select avg(waited_seconds) as mean from @calls) select <<count(*)>> from @calls where report_year = 2025
and waited_seconds > (select mean from a)
-- rows
select call_id, 1 from y where waited_seconds > (select avg(waited_seconds) from calls)

---- correlated
with t as (select c.call_id, (select count(*) from @callbacks as b where b.call_id = c.call_id) as n from @calls as
c where c.report_year = 2025) select <<sum(n)>> from t where n > 0
-- rows
select call_id, count(*) from y join callbacks using (call_id) group by call_id

---- scalar_top
select <<(select count(*) from @calls where report_year = 2025)>>
-- refused: subquery

---- in_select_case
select <<sum(case when call_id in (select call_id from @callbacks) then 1 else 0 end)>> from @calls where
report_year = 2025
-- rows
select call_id, 1 from y where call_id in (select call_id from callbacks)

---- any_query
select <<count(*)>> from @calls where report_year = 2025 and waited_seconds >= all (select waited_seconds from
@calls where waited_seconds is not null)
-- rows
select call_id, 1 from y where waited_seconds = 700

---- union_all
with u as (select call_id from @calls where report_year = 2025 and line = 'health' union all select call_id from
@calls where report_year = 2025 and line = 'social') select <<count(*)>> from u
-- rows
select call_id, 1 from y where line <> 'dental'

---- union_twice
with u as (select call_id from @calls where report_year = 2025 and line = 'health' union all select call_id from
@calls where report_year = 2025 and waited_seconds > 300) select <<count(*)>> from u
-- rows
select call_id, (line = 'health')::int + (coalesce(waited_seconds, 0) > 300)::int from y where line = 'health' or
waited_seconds > 300

---- union_distinct
with u as (select caller from @calls where report_year = 2025 and line = 'health' union select caller from @calls
where report_year = 2025 and waited_seconds > 300) select <<count(*)>> from u
-- refused: UNION

---- union_feeds
with u as (select call_id as id from @calls where report_year = 2025 union all select callback_id from @callbacks
where year(done_on) = 2025) select <<count(*)>> from u
-- rows
select call_id, 1 from y union all select callback_id, 1 from callbacks where year(done_on) = 2025

---- union_by_name
with u as (select call_id, line from @calls where report_year = 2025 and line = 'health' union all by name select
line, call_id from @calls where report_year = 2025 and line = 'social') select <<count(*)>> from u where line =
'social'
-- rows
select call_id, 1 from y where line = 'social'

---- except
with u as (select call_id from @calls where report_year = 2025 except select call_id from @callbacks) select
<<count(*)>> from u
-- refused: EXCEPT

---- except_all
with u as (select call_id from @calls where report_year = 2025 except all select call_id from @callbacks) select
<<count(*)>> from u
-- refused: EXCEPT

---- intersect
with u as (select call_id from @calls where report_year = 2025 intersect select call_id from @callbacks) select
<<count(*)>> from u
-- refused: INTERSECT

---- values_join
select <<count(*)>> from @calls as c join (values ('health', 1), ('social', 2)) as v(line, w) on c.line = v.line
where report_year = 2025
-- rows
select call_id, 1 from y where line <> 'dental'

---- values_weight
select <<sum(v.w)>> from @calls as c join (values ('health', 1), ('social', 2)) as v(line, w) on c.line = v.line
where report_year = 2025
-- rows
select call_id, case line when 'health' then 1 else 2 end from y where line <> 'dental'

---- values_cte
with v(line, w) as (values ('health', 1), ('social', 2)) select <<sum(v.w)>> from @calls as c join v on c.line =
v.line where report_year = 2025
-- rows
select call_id, case line when 'health' then 1 else 2 end from y where line <> 'dental'

---- pivot
with c as (select line, call_id from @calls where report_year = 2025), p as (pivot c on line in ('health', 'social')
using count(call_id)) select <<sum(health)>> from p
-- refused: PIVOT

---- pivot_from
with c as (select line, waited_seconds from @calls where report_year = 2025), p as (select * from c pivot
(sum(waited_seconds) for line in ('health', 'social'))) select <<sum(health)>> from p
-- refused: PIVOT

---- unpivot
with c as (select call_id, waited_seconds, 7::bigint as seven from @calls where report_year = 2025), p as (unpivot c
on waited_seconds, seven into name kind value amount) select <<sum(amount)>> from p where kind = 'waited_seconds'
-- refused: UNPIVOT

---- unpivot_from
with c as (select call_id, waited_seconds, 7::bigint as seven from @calls where report_year = 2025) select
<<sum(amount)>> from c unpivot (amount for kind in (waited_seconds, seven)) where kind = 'waited_seconds'
-- refused: UNPIVOT

---- unnest_select
with u as (select call_id, unnest(string_split(topics, ';')) as topic from @calls where report_year = 2025) select
<<count(*)>> from u where topic = 'flu'
-- rows
select call_id, 1 from y where topics like '%flu%'

---- unnest_count
with u as (select call_id, unnest(string_split(topics, ';')) as topic from @calls where report_year = 2025) select
<<count(*)>> from u
-- rows
select call_id, len(string_split(topics, ';')) from y where topics is not null

---- unnest_from
select <<count(*)>> from @calls as c, unnest(string_split(c.topics, ';')) as t(topic) where t.topic = 'flu' and
c.report_year = 2025
-- rows
select call_id, 1 from y where topics like '%flu%'

---- unnest_cross
select <<count(*)>> from @calls as c cross join unnest(string_split(c.topics, ';')) as t(topic) where topic = 'flu'
and c.report_year = 2025
-- rows
select call_id, 1 from y where topics like '%flu%'

---- struct
with s as (select call_id, {'line': line, 'w': waited_seconds} as d from @calls where report_year = 2025) select
<<sum(d.w)>> from s where d.line = 'health'
-- rows
select call_id, waited_seconds from y where line = 'health' and waited_seconds is not null

---- struct_alias
with s as (select call_id, struct_pack(line := line, w := waited_seconds) as d from @calls where report_year = 2025)
select <<sum(s.d.w)>> from s where s.d.line = 'health'
-- rows
select call_id, waited_seconds from y where line = 'health' and waited_seconds is not null

---- list_filter
select <<count(*)>> from @calls where report_year = 2025 and len(list_filter(string_split(topics, ';'), lambda x: x
= 'flu')) > 0
-- rows
select call_id, 1 from y where topics like '%flu%'

---- list_comprehension
select <<sum(len([x for x in string_split(topics, ';') if x = 'flu']))>> from @calls where report_year = 2025
-- rows
select call_id, (topics like '%flu%')::int from y where topics is not null

---- list_back
with g as (select line, list(waited_seconds) as w from @calls where report_year = 2025 group by line), u as (select
line, unnest(w) as w from g) select <<sum(w)>> from u
-- refused: unnest

---- star_exclude
with e as (select * exclude (topics, caller) from @calls where report_year = 2025) select <<sum(waited_seconds)>>
from e where line = 'health'
-- rows
select call_id, waited_seconds from y where line = 'health' and waited_seconds is not null

---- star_replace
with e as (select * replace (coalesce(waited_seconds, 1000) as waited_seconds) from @calls where report_year = 2025)
select <<sum(waited_seconds)>> from e where line = 'health'
-- rows
select call_id, coalesce(waited_seconds, 1000) from y where line = 'health'

---- star_rename
with e as (select * rename (waited_seconds as w, line as waited_seconds) from @calls where report_year = 2025)
select <<sum(w)>> from e where waited_seconds = 'health'
-- rows
select call_id, waited_seconds from y where line = 'health' and waited_seconds is not null

---- star_columns
with e as (select columns('call_id|line|waited.*') from @calls where report_year = 2025) select
<<sum(waited_seconds)>> from e where line = 'health'
-- rows
select call_id, waited_seconds from y where line = 'health' and waited_seconds is not null

---- star_columns_expr
with e as (select call_id, coalesce(columns('waited.*'), 1) from @calls where report_year = 2025) select
<<sum(waited_seconds)>> from e
-- rows
select call_id, coalesce(waited_seconds, 1) from y

---- star_of_two
with e as (select c.*, l.* from @calls as c join @lines as l on c.line = l.line) select <<count(*)>> from e where
name_en = 'Health line' and report_year = 2025
-- rows
select call_id, 1 from y where line = 'health'

---- star_overridden
with e as (select *, coalesce(waited_seconds, 1000) as filled from @calls where report_year = 2025), g as (select *
exclude (waited_seconds), filled as waited_seconds from e) select <<sum(waited_seconds)>> from g
-- rows
select call_id, coalesce(waited_seconds, 1000) from y

---- from_first
with e as (from @calls where report_year = 2025) from e select <<count(*)>>
-- rows
select call_id, 1 from y

---- shadow_cte
with stg_calls as (select * from @calls where report_year = 2025 and line = 'health') select <<count(*)>> from
stg_calls
-- rows
select call_id, 1 from y where line = 'health'

---- nested_ctes
with a as (with b as (with c as (select * from @calls where report_year = 2025) select * from c where waited_seconds
> 20) select * from b where line = 'health') select <<count(*)>> from a
-- rows
select call_id, 1 from y where line = 'health' and waited_seconds > 20

---- quoted_names
with "puhelut, kaikki" as (select call_id as "Puhelun tunnus", waited_seconds as "odotus (s) äö" from @calls where
report_year = 2025) select <<sum("odotus (s) äö")>> from "puhelut, kaikki" as "P q" where "P q"."odotus (s) äö" > 20
-- rows
select call_id, waited_seconds from y where waited_seconds > 20

---- quoted_reserved
with "select" as (select call_id as "order", waited_seconds as "group" from @calls where report_year = 2025) select
<<sum("select"."group")>> from "select" where "group" > 20
-- rows
select call_id, waited_seconds from y where waited_seconds > 20

---- quoted_dot
with "a.b" as (select call_id as "x.y", waited_seconds as "it's ""w""" from @calls where report_year = 2025) select
<<sum("it's ""w""")>> from "a.b"
-- rows
select call_id, waited_seconds from y where waited_seconds is not null

---- upper_case
WITH C AS (SELECT CALL_ID, Waited_Seconds AS W from @calls where REPORT_YEAR = 2025) SELECT <<SUM(w)>> FROM c AS Q
WHERE q.W > 20
-- rows
select call_id, waited_seconds from y where waited_seconds > 20

---- alias_is_column
with a as (select call_id, coalesce(waited_seconds, 0) + 1 as waited_seconds from @calls where report_year = 2025
and waited_seconds > 20) select <<sum(waited_seconds)>> from a
-- rows
select call_id, waited_seconds + 1 from y where waited_seconds > 20

---- lateral_alias
with a as (select call_id, waited_seconds * 2 as doubled, doubled + 1 as odd from @calls where report_year = 2025)
select <<sum(odd)>> from a
-- rows
select call_id, waited_seconds * 2 + 1 from y where waited_seconds is not null

---- alias_in_where
with a as (select call_id, waited_seconds * 2 as doubled from @calls where report_year = 2025 and doubled > 100)
select <<count(*)>> from a
-- rows
select call_id, 1 from y where waited_seconds * 2 > 100

---- alias_in_group
with a as (select upper(line) as line, count(*) as n from @calls where report_year = 2025 group by line) select
<<sum(n)>> from a where line = 'HEALTH'
-- rows
select call_id, 1 from y where line = 'health'

---- table_is_column
with line as (select call_id, line from @calls where report_year = 2025) select <<count(*)>> from line where
line.line = 'health'
-- rows
select call_id, 1 from y where line = 'health'

---- recursive
with recursive r as (select call_id, caller, 1 as depth from @calls where report_year = 2025 and call_id = 'c01'
union all select c.call_id, c.caller, r.depth + 1 from r join @calls as c on c.caller = r.caller and c.call_id >
r.call_id) select <<count(*)>> from r
-- refused: recursive

---- recursive_beside
with recursive days as (select date '2025-01-01' as d union all select d + 1 from days where d < date '2025-02-28')
select <<count(*)>> from @calls as c join days on days.d = c.arrived_on
-- rows
select call_id, 1 from y where arrived_on < '2025-03-01'

---- series_join
with months as (select unnest(generate_series(1, 3)) as m) select <<count(*)>> from @calls as c join months on
months.m = month(c.arrived_on) where c.report_year = 2025
-- rows
select call_id, 1 from y where month(arrived_on) <= 3

---- range_from
select <<count(*)>> from @calls as c join range(1, 4) as t(m) on t.m = month(c.arrived_on) where c.report_year =
2025
-- rows
select call_id, 1 from y where month(arrived_on) <= 3

---- series_first
select <<count(c.call_id)>> from generate_series(1, 3) as t(m) left join @calls as c on t.m = month(c.arrived_on)
and c.report_year = 2025
-- rows
select call_id, 1 from y where month(arrived_on) <= 3

---- limit_inside
with l as (select * from @calls where report_year = 2025 order by waited_seconds desc nulls last limit 3) select
<<sum(waited_seconds)>> from l
-- refused: LIMIT

---- order_inside
with l as (select * from @calls where report_year = 2025 order by waited_seconds) select <<sum(waited_seconds)>>
from l
-- rows
select call_id, waited_seconds from y where waited_seconds is not null

---- limit_subquery
select <<count(*)>> from @calls where report_year = 2025 and line = (select line from @lines order by line limit 1)
-- rows
select call_id, 1 from y where line = 'health'

---- limit_union
with l as ((select call_id from @calls where report_year = 2025 order by call_id limit 2) union all (select call_id
from @calls where report_year = 2025 and line = 'social')) select <<count(*)>> from l
-- refused: LIMIT

---- limit_of_union
with l as (select call_id from @calls where report_year = 2025 and line = 'health' union all select call_id from
@calls where report_year = 2025 and line = 'social' order by call_id limit 3) select <<count(*)>> from l
-- refused: LIMIT

---- sample
with s as (select * from @calls where report_year = 2025 using sample 10 rows (reservoir, 42)) select <<count(*)>>
from s
-- refused: SAMPLE

---- table_sample
with s as (select * from @calls tablesample reservoir(100 rows) repeatable (1) where report_year = 2025) select
<<count(*)>> from s
-- refused: SAMPLE

---- median
select <<median(waited_seconds)>> from @calls where report_year = 2025
-- rows
select call_id, waited_seconds from y where waited_seconds is not null

---- quantile
select <<quantile_cont(waited_seconds, 0.9)>> from @calls where report_year = 2025
-- rows
select call_id, waited_seconds from y where waited_seconds is not null

---- within_group
select <<percentile_cont(0.9) within group (order by waited_seconds)>> from @calls where report_year = 2025
-- rows
select call_id, waited_seconds from y where waited_seconds is not null

---- arg_max
select <<arg_max(waited_seconds, arrived_on)>> from @calls where report_year = 2025
-- refused: arg_max

---- max_by_two
select <<max(waited_seconds, 2)[2]>> from @calls where report_year = 2025
-- rows
select call_id, null from y where waited_seconds is not null

---- huge
select <<sum(case when call_id = 'c01' then 1000000000000000001 else 0 end)>> from @calls where report_year = 2025
-- rows
select call_id, 1000000000000000001 from y where call_id = 'c01'

---- cast_after_filter
with c as (select call_id, cast(substr(call_id, 2) as integer) as n from @calls where report_year = 2025 and call_id
like 'c%'), d as (select call_id, cast(topics as date) as d from @calls where topics like '20%') select <<sum(n)>>
from c
-- rows
select call_id, substr(call_id, 2)::int from y

---- cast_of_kept
with c as (select call_id, cast(replace(topics, 'flu', '1') as integer) as n from @calls where report_year = 2025
and topics = 'flu') select <<sum(n)>> from c
-- rows
select call_id, 1 from y where topics = 'flu'

---- join_no_columns
with j as (select 1 as one from @calls as c join @callbacks as b using (call_id) where c.report_year = 2025) select
<<count(*)>> from j
-- rows
select call_id, count(*) from y join callbacks using (call_id) group by call_id

---- window_joined
with w as (select c.call_id, c.waited_seconds, row_number() over (partition by l.name_en order by c.arrived_on,
c.call_id) as nth from @calls as c join @lines as l on c.line = l.line where c.report_year = 2025) select
<<sum(waited_seconds)>> from w where nth <= 2
-- rows
select call_id, waited_seconds from (select *, row_number() over (partition by line order by arrived_on, call_id) as
r from y where line <> 'dental') where r <= 2 and waited_seconds is not null

---- qualify_joined
with w as (select c.call_id, c.waited_seconds, l.name_en from @calls as c join @lines as l on c.line = l.line where
c.report_year = 2025 qualify row_number() over (partition by l.name_en order by c.arrived_on desc, c.call_id) = 1)
select <<count(*)>> from w
-- rows
select call_id, 1 from (select *, row_number() over (partition by line order by arrived_on desc, call_id) as r from
y where line <> 'dental') where r = 1

---- qualify_group
with g as (select line, count(*) as n from @calls where report_year = 2025 group by line qualify rank() over (order
by count(*) desc) = 1) select <<sum(n)>> from g
-- rows
select call_id, 1 from y where line = 'health'

---- qualify_second
with g as (select line, count(*) as n from @calls where report_year = 2025 group by line qualify rank() over (order
by n desc) = 2) select <<sum(n)>> from g
-- rows
select call_id, 1 from y where line = 'social'

---- rank_second
with g as (select line, count(*) as n from @calls where report_year = 2025 group by line), r as (select line, n,
rank() over (order by n desc) as place from g) select <<sum(n)>> from r where place = 2
-- rows
select call_id, 1 from y where line = 'social'

---- share_of_total
with g as (select line, count(*) as n, count(*) / sum(count(*)) over () as share from @calls where report_year =
2025 group by line) select <<sum(n)>> from g where share > 0.3
-- rows
select call_id, 1 from y where line <> 'dental'

---- qualify_distinct
with d as (select distinct caller, line from @calls where report_year = 2025 qualify row_number() over (partition by
caller order by arrived_on, call_id) = 1) select <<count(*)>> from d
-- rows
select call_id, 1 from y where not exists (select 1 from y as o where o.caller is not distinct from y.caller and
(o.arrived_on, o.call_id) < (y.arrived_on, y.call_id))

---- repeat_callers
with r as (select * from @calls where report_year = 2025 and caller is not null qualify count(*) over (partition by
caller) > 1) select <<count(*)>> from r
-- rows
select call_id, 1 from y where (select count(*) from y as o where o.caller = y.caller) > 1

---- unnamed_dedupe
select <<count(*)>> from (select *, row_number() over (partition by caller order by arrived_on, call_id) as rn from
@calls where report_year = 2025) where rn = 1
-- rows
select call_id, 1 from y where not exists (select 1 from y as o where o.caller is not distinct from y.caller and
(o.arrived_on, o.call_id) < (y.arrived_on, y.call_id))

---- window_max
with w as (select *, max(waited_seconds) over () as longest from @calls where report_year = 2025) select
<<count(*)>> from w where waited_seconds = longest
-- rows
select call_id, 1 from y where waited_seconds = 700

---- first_value
with w as (select *, first_value(line ignore nulls) over (partition by caller order by arrived_on) as first_line
from @calls where report_year = 2025 and caller is not null) select <<count(*)>> from w where first_line = 'health'
-- rows
select call_id, 1 from y where caller in ('p1', 'p4', 'p6')

---- distinct_case
select <<count(distinct case when waited_seconds > 50 then caller end)>> from @calls where report_year = 2025
-- rows
select call_id, null from y where waited_seconds > 50 and caller is not null

---- distinct_two
select <<count(distinct (caller, line))>> from @calls where report_year = 2025
-- rows
select call_id, null from y

---- distinct_of_union
with u as (select caller from @calls where report_year = 2025 and line = 'health' union all select caller from
@calls where report_year = 2025 and line = 'dental') select <<count(distinct caller)>> from u
-- refused: union

---- shadowed_group
with g as (select left(line, 1) as line, count(*) as n from @calls where report_year = 2025 group by line), h as
(select line, count(*) as groups from g group by line) select <<sum(groups)>> from h
-- rows
select call_id, null from y

---- any_value
select <<any_value(year(arrived_on))>> from @calls where report_year = 2025
-- rows
select call_id, null from y

---- mode
select <<mode(waited_seconds)>> from @calls where report_year = 2025 and line = 'health'
-- rows
select call_id, null from y where line = 'health' and waited_seconds is not null

---- stddev
select <<stddev_pop(waited_seconds)>> from @calls where report_year = 2025
-- rows
select call_id, null from y where waited_seconds is not null

---- sum_distinct
select <<sum(distinct waited_seconds)>> from @calls where report_year = 2025
-- refused: no row's part

---- list_length
select <<len(list(waited_seconds))>> from @calls where report_year = 2025
-- rows
select call_id, null from y

---- list_distinct
select <<len(list(distinct line))>> from @calls where report_year = 2025
-- refused: no row's part

---- doubled
select <<2 * count(*)>> from @calls where report_year = 2025
-- rows
select call_id, 2 from y

---- halved
select <<count(*) / 2>> from @calls where report_year = 2025
-- rows
select call_id, null from y

---- rounded
select <<round(avg(waited_seconds), 1)>> from @calls where report_year = 2025
-- rows
select call_id, null from y where waited_seconds is not null

---- coalesced
select <<coalesce(sum(waited_seconds), 0)>> from @calls where report_year = 2025
-- rows
select call_id, waited_seconds from y where waited_seconds is not null

---- difference
select <<count(*) - count(waited_seconds)>> from @calls where report_year = 2025
-- rows
select call_id, 1 from y where waited_seconds is null

---- greatest
select <<greatest(count(*), 1)>> from @calls where report_year = 2025
-- rows
select call_id, null from y

---- in_list
select <<count(*)>> from @calls where report_year = 2025 and (line in ('health', 'dental') or waited_seconds between
100 and 800) and topics like '%o%'
-- rows
select call_id, 1 from y where (line in ('health', 'dental') or waited_seconds between 100 and 800) and topics like
'%o%'

---- in_pairs
select <<count(*)>> from @calls where report_year = 2025 and (call_id, arrived_on) in (select (call_id, done_on)
from @callbacks)
-- rows
select call_id, 1 from y where exists (select 1 from callbacks b where b.call_id = y.call_id and done_on =
arrived_on)

---- not_in
select <<count(*)>> from @calls where report_year = 2025 and call_id not in (select call_id from @callbacks where
call_id is not null)
-- rows
select call_id, 1 from y where call_id not in (select call_id from callbacks)

---- having_distinct
with g as (select line, sum(waited_seconds) as w from @calls where report_year = 2025 group by line having
count(distinct caller) > 3) select <<sum(w)>> from g
-- rows
select call_id, waited_seconds from y where line = 'health' and waited_seconds is not null

---- having_max
with g as (select line, sum(waited_seconds) as w from @calls where report_year = 2025 group by line having
max(waited_seconds) > 300 and line <> 'social') select <<sum(w)>> from g
-- rows
select call_id, waited_seconds from y where line = 'health' and waited_seconds is not null

---- two_levels
with d as (select arrived_on, line, count(*) as n from @calls where report_year = 2025 group by arrived_on, line), m
as (select date_trunc('month', arrived_on) as m, sum(n) as n from d group by date_trunc('month', arrived_on)) select
<<sum(n)>> from m where m >= date '2025-03-01'
-- rows
select call_id, 1 from y where arrived_on >= '2025-03-01'

---- max_of_sums
with d as (select line, sum(waited_seconds) as w from @calls where report_year = 2025 group by line) select
<<max(w)>> from d
-- rows
select call_id, null from y

---- mean_of_counts
with d as (select line, count(*) as n from @calls where report_year = 2025 group by line) select <<avg(n)>> from d
-- rows
select call_id, null from y

---- latest_of_each
with d as (select caller, arg_max(waited_seconds, arrived_on) as w from @calls where report_year = 2025 group by
caller) select <<sum(w)>> from d
-- rows
select call_id, null from y

---- left_count
select <<count(b.callback_id)>> from @calls as c left join @callbacks as b on b.call_id = c.call_id where
c.report_year = 2025
-- rows
select callback_id, 1 from callbacks join y using (call_id)

---- left_flag
with f as (select c.call_id, b.call_id is not null as called_back from @calls as c left join (select distinct
call_id from @callbacks) as b on b.call_id = c.call_id where c.report_year = 2025) select <<count(case when not
called_back then 1 end)>> from f
-- rows
select call_id, 1 from y where call_id not in (select call_id from callbacks)

---- left_on_filter
select <<count(l.line)>> from @calls as c left join @lines as l on c.line = l.line and l.line = 'health' where
c.report_year = 2025
-- rows
select call_id, 1 from y where line = 'health'

---- join_or
select <<count(distinct c.call_id)>> from @calls as c join @callbacks as b on b.call_id = c.call_id or b.done_on =
c.arrived_on where c.report_year = 2025
-- rows
select call_id, null from y where exists (select 1 from callbacks b where b.call_id = y.call_id or b.done_on =
y.arrived_on)

---- grouped_self
with g as (select line, year(arrived_on) as a_year, count(*) as n from @calls group by all) select <<sum(this.n)>>
from g as this join g as before on this.line = before.line and this.a_year = before.a_year + 1 where this.n >
before.n and this.a_year = 2025
-- rows
select call_id, 1 from y

---- cross_scalar
with t as (select avg(waited_seconds) as mean from @calls where report_year = 2025) select <<count(*)>> from @calls
as c cross join t where c.waited_seconds > t.mean and c.report_year = 2025
-- rows
select call_id, 1 from y where waited_seconds > (select avg(waited_seconds) from y)

---- cross_total
with t as (select count(*) as n from @calls where report_year = 2025) select <<max(t.n)>> from @lines cross join t
-- rows
select call_id, null from y

---- unnamed_union
select <<count(*)>> from (select call_id from @calls where report_year = 2025 and line = 'health' union all select
call_id from @calls where report_year = 2025 and line = 'social')
-- rows
select call_id, 1 from y where line <> 'dental'

---- same_alias
select <<sum(t.n)>> from (select t.line, sum(t.n) as n from (select line, 1 as n from @calls where report_year =
2025) as t group by t.line) as t where t.line = 'health'
-- rows
select call_id, 1 from y where line = 'health'

---- nested_windows
with m as (select month(arrived_on) as m, sum(sum(waited_seconds)) over (order by month(arrived_on)) as running,
sum(waited_seconds) as w from @calls where report_year = 2025 group by month(arrived_on)) select <<sum(w)>> from m
where running > 500
-- rows
select call_id, waited_seconds from y where waited_seconds is not null

---- extract
select <<count(*)>> from @calls where report_year = 2025 and extract(month from arrived_on) = 3 and arrived_on >=
date '2025-01-01' + interval 2 month
-- rows
select call_id, 1 from y where month(arrived_on) = 3

---- case_simple
select <<sum(case line when 'health' then 1 when 'social' then 2 else 0 end)>> from @calls where report_year = 2025
-- rows
select call_id, case line when 'health' then 1 else 2 end from y where line <> 'dental'

---- ilike
select <<count(*)>> from @calls where report_year = 2025 and line ilike 'HEALTH' and topics ~ '.*flu.*' and topics
is distinct from 'x'
-- rows
select call_id, 1 from y where line = 'health' and topics like '%flu%'

---- try_cast
select <<sum(try_cast(substr(call_id, 3) as integer))>> from @calls where report_year = 2025
-- rows
select call_id, substr(call_id, 3)::int from y

---- exists_in_on
select <<count(*)>> from @calls as c join @lines as l on l.line = c.line and exists (select 1 from @callbacks as b
where b.call_id = c.call_id) where c.report_year = 2025
-- rows
select call_id, 1 from y where line <> 'dental' and call_id in (select call_id from callbacks)

---- correlated_bare
select <<count(*)>> from @calls where report_year = 2025 and (select min(done_on) from @callbacks as b where
b.call_id = stg_calls.call_id) = arrived_on
-- rows
select call_id, 1 from y where (select min(done_on) from callbacks b where b.call_id = y.call_id) = arrived_on

---- correlated_cte
with c as (select call_id as id, arrived_on from @calls where report_year = 2025), b as (select call_id,
min(done_on) as done from @callbacks group by call_id) select <<count(*)>> from c where exists (select 1 from b
where b.call_id = id and done > arrived_on)
-- rows
select call_id, 1 from y where (select min(done_on) from callbacks b where b.call_id = y.call_id) > arrived_on

---- twice_quoted
with "Q" as (select call_id as "Id", "line" as "Linja" from @calls where report_year = 2025) select <<count("Id")>>
from "Q" where "Q"."Linja" = 'health'
-- rows
select call_id, 1 from y where line = 'health'

---- wrong_anti
with missed as (select c.call_id from @calls as c anti join @callbacks as b on b.call_id = c.call_id where
c.report_year = 2025 and c.waited_seconds > 20) select <<count(*)>> from missed
-- rows
select call_id, 1 from y where waited_seconds > 20 and call_id not in (select call_id from callbacks)

---- union_of_groups
with g as (select line, count(*) as n from @calls where report_year = 2025 and line = 'health' group by line union
select line, count(*) as n from @calls where report_year = 2025 and line = 'social' group by line) select <<sum(n)>>
from g
-- refused: UNION

---- union_one_branch
with g as (select 'a' as kind, line, count(*) as n from @calls where report_year = 2025 group by line union select
'b', line, count(*) as n from @calls where report_year = 2025 group by line) select <<sum(n)>> from g where kind =
'a'
-- rows
select call_id, 1 from y

---- order_in_sum
select <<sum(waited_seconds order by arrived_on)>> from @calls where report_year = 2025
-- rows
select call_id, waited_seconds from y where waited_seconds is not null

---- constant
select <<365>>
-- number

---- sibling_ctes
with a as (with x as (select call_id from @calls where line = 'health') select * from x), b as (with x as (select
call_id from @calls where line = 'social') select * from x) select <<count(*)>> from @calls as c where report_year =
2025 and (call_id in (select call_id from a) or call_id in (select call_id from b))
-- rows
select call_id, 1 from y where line <> 'dental'

---- sibling_ctes_joined
with a as (with x as (select call_id from @calls where line = 'health') select * from x), b as (with x as (select
call_id, waited_seconds as w from @calls where waited_seconds > 20) select * from x) select <<sum(b.w)>> from a join
b on a.call_id = b.call_id join @calls as c on c.call_id = a.call_id where c.report_year = 2025
-- rows
select call_id, waited_seconds from y where line = 'health' and waited_seconds > 20
