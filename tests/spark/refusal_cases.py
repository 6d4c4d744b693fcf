"""Of each rule of refusal a small SELECT that DuckDB and Spark answer differently: why it is no superstition."""

from __future__ import annotations

_DOUBLES = "(values (cast(0.1 as double)), (cast(0.2 as double)), (cast(0.3 as double))) as t(v)"
CASES = {
    "decimal_average": "select avg(v) as v from (values (cast(1.25 as decimal(9, 2))), (1.30), (2.11)) as t(v)",
    "double_average": f"select avg(v) as v from {_DOUBLES}",
    "double_sum": f"select sum(v) as v from {_DOUBLES}",
    "median": "select median(v) as v from (values (cast(1.25 as decimal(9, 2))), (1.30)) as t(v)",
    "integer_cast": "select cast(d as bigint) as v from odd_numbers",
    "double_to_decimal": "select cast(v as decimal(9, 2)) as v from (values (cast(1.005 as double))) as t(v)",
    "double_rounding": "select round(v, 2) as v from (values (cast(2.675 as double))) as t(v)",
    "integer_division": "select d // 2 as v from odd_numbers",
    "mixed_decimals": """
        select coalesce(a, b) > 1.005 as v
        from (select cast(null as decimal(38, 2)) as a, cast(1.005 as decimal(38, 9)) as b)""",
    "text_cast": "select cast(v as bigint) as v from (values ('1.5')) as t(v)",
    "date_minus_date": "select 2 * (on_day - date '2024-01-01') as v from odd_times",
    "letter_case": "select upper(s) as u, lower(s) as l from odd_texts",
    "transcendental": "select ln(cast(n as double)) as v from odd_numbers where n = 0",
    "substring": "select substring(s, 0, 2) as v from odd_texts",
    "left_right": "select left(s, -1) as v from odd_texts",
    "like_pattern": "select s, s like p || '%' as v from odd_texts",
    "regular_expression": r"select regexp_replace(s, '(a)', '\1\1', 'g') as v from odd_texts",
    "interval": "select cast(on_day + interval 1 day as varchar) as v from odd_times",
    "time_zone": "select cast(since at time zone 'Europe/Helsinki' as timestamp) as v from odd_times",
    "strftime": "select strftime(on_day, '%V') as v from odd_times",
    "truncation": "select date_trunc('hour', since) as v from odd_times",
    "difference": "select date_diff('decade', since, ended) as v from odd_times",
    "series": """
        select cast(v as varchar) as v
        from (select unnest(generate_series(date '2024-01-31', date '2024-02-02', interval 1 day)) as v)""",
    "grouping": "select grouping(g, m) as v from odd_numbers group by grouping sets ((g), (m))",
    "in_select": "select s, s in (select g from odd_numbers) as v from odd_texts",
    "having_order": """
        select g, count(*) as v from odd_numbers
        group by grouping sets ((g), ()) having grouping(g) = 0 order by v desc, g limit 1""",
}
# What differs by the session's zone: asked in Helsinki.
IN_HELSINKI = ("truncation",)
# No type of Spark's is meant by it: it cannot even be asked.
NOT_ASKED = {"type": "select cast('12:00' as time) as v"}
