"""Odd values, and what the rules and the portable subset make of them: one SELECT a theme, over no model.

Times about both changes of the clock in Helsinki, missing and empty values, negative numbers, letters that have two
capitals, blanks of Unicode, backslashes, sums beyond 2^63, and tables without rows.
"""

from __future__ import annotations

ODD = {
    "odd_times": """
        select cast(col0 as timestamp) as since, cast(col1 as timestamp) as ended, cast(col2 as date) as on_day,
            cast(col3 as bigint) as n
        from (values
            ('2025-03-30 02:59:59', '2025-03-30 04:00:00', '2025-03-30', 1),
            ('2025-03-30 03:30:00', '2025-03-30 03:31:00', '2025-03-30', 0),
            ('2025-10-26 02:30:00', '2025-10-26 05:30:00', '2025-10-26', -1),
            ('2025-10-26 03:30:00.7', '2025-10-26 03:30:01.2', '2025-10-25', 7),
            ('2025-10-25 23:59:59', '2025-10-27 00:00:00', '2024-02-29', 12),
            ('1969-12-31 23:59:58.7', '1970-01-01 00:00:00.2', '1969-12-31', -13),
            ('2024-12-30 00:00:00', '2021-01-03 00:00:00', '2023-01-01', 31),
            ('2000-01-31 12:00:00', '2000-01-31 11:59:59', '2000-01-31', 1),
            (null, '2025-01-01 00:00:00', null, 5),
            ('2025-08-31 00:00:00', null, '2025-08-31', null)
        )""",
    "odd_texts": """
        select cast(col0 as varchar) as s, cast(col1 as varchar) as p from (values
            ('straße', 'stra'), ('İstanbul', ''), ('ΑΣ', 'Α'), ('', ''), (' a b ', ' a'),
            (chr(160) || 'x' || chr(8195), 'x'),

            (chr(9) || 'tab', chr(9)), ('a\\b', 'a\\'), ('100 %', '100'), ('a_c', 'a'), ('it''s "so"', 'it'''),
            ('äöå', 'ä'),
            (null, 'a'), ('a', null), ('👍🏽', '👍'), ('line' || chr(10) || 'two', 'line'), ('aaa', 'aa')
        )""",
    "odd_numbers": """
        select cast(col0 as bigint) as n, cast(col1 as bigint) as m, cast(col2 as double) as x,
            cast(col3 as decimal(18, 4)) as d, cast(col4 as varchar) as g
        from (values
            (-7, 2, -0.0, -2.5, 'a'), (7, -2, 0.1, 2.5, 'a'), (0, 0, 80.95, 0, 'b'),
            (9007199254740993, 3, 1e15, 1.005, 'b'),
            (9223372036854775807, 1, -1234567.875, 99999999.9999, 'c'),
            (-9223372036854775807, -1, 1e-4, -0.0001, 'c'),
            (null, 5, null, null, null), (1, null, 123456789.0, 0.5, ''), (100, 7, 33.333333333333336, -0.5, '')
        )""",
    "odd_nothing": "select cast(1 as bigint) as n, cast(1.5 as double) as x, cast(1 as decimal(9, 2)) as d, 'a' as s"
    " where false",
}

_UNITS = ("second", "minute", "hour", "day", "month", "quarter", "year")
QUESTIONS = {
    "differences of times": "select "
    + ", ".join(f"date_diff('{unit}', since, ended) as {unit}s" for unit in _UNITS)
    + ", date_diff('day', on_day, since) as mixed from odd_times",
    "parts of times": """
        select since, year(since) as y, quarter(since) as q, month(since) as mo, day(since) as d, hour(since) as h,
            minute(since) as mi,
            isodow(on_day) as w, isodow(since) as wt, last_day(on_day) as l, cast(since as date) as c,
            on_day + cast(n as int) as plus,
            date_trunc('day', since) as td, date_trunc('week', on_day) as tw, date_trunc('month', since) as tm,
            date_trunc('quarter', since) as tq, date_trunc('year', on_day) as ty, cast(since as varchar) as t,
            cast(on_day as varchar) as dt, since < ended as before, cast(on_day as timestamp) = since as midnight
        from odd_times""",
    "days and intervals": """
        select cast(on_day + n * interval 1 day as date) as a, cast(on_day - n * interval 1 month as date) as b,
            cast(on_day + n * interval 1 month as date) as c, cast(since + interval 3 months as date) as d,
            cast(on_day + 2 * interval 1 year as date) as e, cast(on_day - interval 1 week as date) as f,
            make_date(year(on_day), month(on_day), 1) as g
        from odd_times""",
    "times in order": """
        select since, row_number() over (order by since desc, n) as place,
            lag(since) over (order by n, since) as before,
            first_value(since) over (partition by year(on_day) order by since, n) as first_at,
            sum(n) over (order by n, since rows between 1 preceding and current row) as running,
            last_value(n) over (order by n) as last_n, count(*) over (partition by month(since)) as same
        from odd_times""",
    "texts": """
        select s, trim(s) as t, ltrim(s) as l, rtrim(s) as r, length(s) as n, s || '-' || p as joined,
            starts_with(s, p) as starts, ends_with(s, p) as ends, replace(s, p, '<>') as put, left(s, 2) as left_two,
            right(s, 3) as right_three, substring(s, 2, 2) as middle, substring(s, 2) as rest, coalesce(s, p) as c,
            nullif(s, '') as filled, s = p as same, s < p as less, s is distinct from p as differs, md5(s) as hashed,
            greatest(s, p) as most, regexp_replace(s, '[^a-z]', '', 'g') as letters,
            s like 'a\\b' as slash, s like '%\\%' as any_slash, s like 'a!_c' escape '!' as bar, s like '_ö_' as one
        from odd_texts""",
    "texts in order": """
        select s, row_number() over (order by s desc, p) as place, rank() over (order by p) as r
        from odd_texts""",
    "whole numbers": """
        select n, m, n % nullif(m, 0) as rest, n // nullif(m, 0) as whole, n / nullif(m, 0) as part, abs(m) as size,
            greatest(n, m) as most, least(n, m) as fewest, n is not distinct from m as same, cast(n as double) as x,
            cast(n as varchar) as t, cast(n as decimal(36, 0)) * 10 as tens, n between m and 10 as within,
            n in (1, null) as is_one, case when m > 0 then n end as positive, cast(m as bigint) - 1 as less
        from odd_numbers""",
    "fractions": """
        select x, d, x / nullif(m, 0) as part, d / nullif(m, 0) as quotient, d / nullif(d, 0) as one,
            d * 1.5 as more_by_half,
            d + 1 as more, d - 0.5 as less, round(d, 2) as cents, round(d, 0) as whole,
            round(cast(case when abs(x) < 9e6 then x end as decimal(38, 9)), 2) as r,
            cast(x as varchar) as t, cast(d as varchar) as dt, cast(d as double) as dx, abs(x) as size, -d as negative,
            cast(d as decimal(38, 2)) as cut, cast(trunc(x) as bigint) as no_fraction,
            sqrt(abs(x)) as root, x * 100 as share,
            cast(round(d, 0) as bigint) as rounded,
            typeof(x) as kind, typeof(d) as kind_of_d, typeof(n) as kind_of_n
        from odd_numbers""",
    "groups": """
        select g, count(*) as rows, count(n) as ns, count(distinct g) as gs, min(x) as least, max(x) as most,
            sum(d) as total, sum(cast(n as decimal(38, 0))) as huge, max(n) filter (where n < 0) as negative,
            median(m) as middle, avg(m) as mean, max(n > 0) as is_any, sum(m) as sum_m
        from odd_numbers group by g""",
    "grouping sets": """
        select g, m, sum(d) as total, grouping(m) as by_g, count(*) as rows
        from odd_numbers group by grouping sets ((g), (g, m), ()) having grouping(g) = 0 and count(*) > 0""",
    "sets": """
        select g from odd_numbers union select s from odd_texts
        except select p from odd_texts""",
    "what is there": """
        select odd_texts.s, exists (select 1 from odd_numbers where odd_numbers.g = odd_texts.s) as is_there
        from odd_texts where odd_texts.s not in (select g from odd_numbers where g is not null)""",
    "what is not there or something": """
        select s from odd_texts where s not in (select g from odd_numbers where g is not null) or s = 'a'""",
    "what is not there, in many words": """
        select 'a null in it' as form, s from odd_texts where s not in (select g from odd_numbers) or s = 'a'
        union all
        select 'nothing in it', s from odd_texts where s not in (select s from odd_nothing) or s = 'a'
        union all
        select 'turned round', s from odd_texts
        where not (s in (select g from odd_numbers where g is not null) and length(s) > 0)
        union all
        select 'in case', s from odd_texts
        where case when s not in (select g from odd_numbers where g is not null) then true else s = 'a' end
        union all
        select 'there after all', s from odd_texts
        where not (s not in (select g from odd_numbers where g is not null) or s = 'b')""",
    "what is not there of those around it": """
        select t.s from odd_texts as t
        where t.s not in (select n.g from odd_numbers as n where n.n > length(t.p) and n.g is not null) or t.s = 'a'""",
    "what is there, in a union": """
        with numbers as (select n from odd_numbers union all select m + 1 as n from odd_numbers),
        found as (
            select n, exists (select 1 from odd_numbers where odd_numbers.m = numbers.n) as is_there from numbers
        )
        select n, is_there from found union all select n, true from odd_numbers""",
    "a double beside a decimal": "select x > d as is_more, x = d as is_same, coalesce(x, d) as filled from odd_numbers",
    "series": "select unnest(generate_series(5, 1)) as n",
    "series up": "select unnest(generate_series(-2, 3)) as n",
    "nothing": """
        select count(*) as rows, sum(n) as total, max(x) as most, median(n) as middle, avg(n) as mean, min(s) as least,
            sum(d) as sum_d, sum(d) / nullif(count(d), 0) as mean_d from odd_nothing""",
    "nothing by group": "select s, count(*) as rows from odd_nothing group by s",
    "nothing beside something": """
        select odd_texts.s, odd_nothing.n, coalesce(odd_nothing.x, 0) as x
        from odd_texts left join odd_nothing on odd_texts.s = odd_nothing.s""",
}
# Asked once more with the session's zone in Helsinki: none of it may look since the zone.
OF_TIMES = ("differences of times", "parts of times", "days and intervals", "times in order")
