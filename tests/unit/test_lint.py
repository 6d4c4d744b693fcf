"""The house rules: what they refuse, what they let pass, who must keep them, and who is let off with a reason."""

# ruff: noqa: E501  tables are read along their lines

from __future__ import annotations

from pathlib import Path

import pytest
import sqlglot

from kpi.engine.compile import check_project
from kpi.engine.lint import broken_rules
from kpi.errors import CompileErrors, KpiError
from kpi.project.project import load_project
from kpi.project.relation import Lines
from small_project import FILES, write

OWN = Lines((0,), (1,), (1,))
MACROS = Lines((0,), (1,), (-1,))
M = "models/marts/m.sql"


def broken(sql: str, lines: Lines = OWN) -> list[str]:
    """Rule and the words of the SQL at the place, of each finding."""
    found = broken_rules(sqlglot.parse_one(sql, dialect="duckdb"), sql, lines)
    return [f"{finding.rule}: {sql[finding.offset :].split(maxsplit=1)[0]}" for finding in found]


@pytest.mark.parametrize(
    ("sql", "rules"),
    [
        ("with a as (select * from s.t) select a.x from a", []),
        ("with a as (select * from s.t), b as (select * from a) select x from b", []),
        ("select * from s.t", ["select_star: *"]),
        ("with a as (select * from s.t where x) select a.* from a", ["select_star: *", "select_star: *"]),
        ("select count(*) as n from s.t", []),
        ("select x / nullif(y, 0) as a, x / 2 as b, x / -2.5 as c, x / cast(3 as double) as d from s.t", []),
        ("select x / y as z from s.t", ["division: y"]),
        ("select x / 0 as a, x % y as b, x // y as c, x / nullif(y, 1) as d from s.t", ["division: 0"] + ["division: y"] * 2 + ["division: nullif(y,"]),
        ("with a as (select 1 as x), b as (select 2 as y) select x from a", ["unused_cte: b"]),
        ("with a as (select 1 as x), b as (select x from a) select x from b", []),
        ("select a, b from s.t union all select b, a from s.u", ["union_order: b,"]),
        ("select a, b from s.t union all select b, c from s.u", []),
        ("select a b from s.t", ["bare_alias: b"]),
        ("select a as b from s.t t", []),
        # Functions and syntax outside the subset.
        ("select mode(x) as a, list(x) as b from s.t", ["mode: mode(x)", "list: list(x)"]),
        ("select now() as a, any_value(x) as b, arg_max(x, y) as c from s.t", ["now: now()", "any_value: any_value(x)", "arg_max: arg_max(x,"]),
        ("select round(x, 1) as a, round(cast(x as decimal(9, 2)), 1) as b from s.t", ["round: round(x,"]),
        ("select regexp_replace(a, 'b', 'c') as x, regexp_replace(a, 'b', 'c', 'g') as y from s.t", ["regexp_replace: regexp_replace(a,"]),
        ("select unnest(generate_series(1, 9)) as d", []),
        ("select a, unnest(generate_series(1, 9)) as d from s.t", ["unnest: unnest(generate_series(1,"]),
        ("select a from s.t union by name select a from s.u", ["union_by_name: union"]),
        ("select a from s.t asof join s.u using (a)", ["asof,_natural_or_positional_join: s.u"]),
        ("select * exclude (a) from s.t", ["select_star: *", "*_exclude: *"]),
        ("select x from s.t group by all", ["group_by_all: group"]),
        ("select x from s.t qualify row_number() over (order by x) = 1", ["qualify: qualify"]),
        ("select distinct on (a) a from s.t", ["distinct_on: distinct"]),
        ("select x::float as a, try_cast(x as int) as b from s.t", ["float: float", "try_cast: try_cast(x"]),
        ("select x ->> 'a' as a, [1] as b, x[1] as c from s.t", ["json_extract_scalar: x", "array: 1]", "bracket: x[1]"]),
        ("select x similar to 'a' as y from s.t", ["similar_to: similar"]),
        ("with recursive r as (select 1 as n union all select n + 1 from r) select n from r", ["with_recursive: with"]),
        # What real models need.
        ("select a, sum(b) filter (where c) as b, count(distinct d) as d from s.t group by grouping sets ((a), ()) having sum(b) > 1", []),
        ("select row_number() over w as r, lag(x) over (order by y desc) as z from s.t window w as (partition by a order by b)", []),
        ("select case when a in (1, 2) or b between 1 and 2 then 'x' || c end as y from s.t where exists (select 1 from s.u where u.a = t.a)", []),
    ],
)  # fmt: skip
def test_a_rule(sql: str, rules: list[str]) -> None:
    assert broken(sql) == rules


def test_some_things_are_for_macros_alone() -> None:
    sql = "select isodow(d) as a, d + interval 1 day as b, d at time zone 'UTC' as c from s.t"
    assert [rule.partition(":")[0] for rule in broken(sql)] == ["isodow", "interval", "at_time_zone"]
    assert broken(sql, MACROS) == []


def test_at_most_four_joins_and_a_hundred_lines() -> None:
    joins = "".join(f" join s.u as u{number} on t.a = u{number}.a" for number in range(5))
    assert broken(f"select t.a from s.t as t{joins}") == ["joins: s.u"]
    assert broken(f"select t.a from s.t as t{joins[: joins.index(' join s.u as u4')]}") == []
    long = Lines(tuple(range(0, 606, 6)), tuple(range(1, 102)), (1,) * 101)
    sql = "select a\nfrom s.t\n".ljust(610) + "where b"
    assert [finding.rule for finding in broken_rules(sqlglot.parse_one(sql), sql, long)] == ["length"]


def told(root: Path, meta: str, sql: str = "select mode(line) as x\nfrom {{ ref('stg_calls') }}") -> list[str]:
    """What is refused of a model with this meta, in a project that asks for house rules of its marts."""
    settings = FILES["dbt_project.yml"].replace(
        "      +schema: marts\n", "      +schema: marts\n      +meta: {house_rules: true}\n"
    )
    mart = "select\n    line,\n    count(*) as call_count,\n    0 as in_time_count\nfrom {{ ref('stg_calls') }}\ngroup by line\n"
    config = "models/marts/m.yml"
    changes = {
        "dbt_project.yml": settings,
        "models/marts/calls_by_line.sql": mart,
        M: sql,
        config: f"models:\n  - name: m\n    config:\n      meta:\n        allow: {meta}\n" if meta else "",
    }  # fmt: skip
    try:
        check_project(load_project(write(root, changes)))
    except KpiError as error:
        return [str(one) for one in (error.errors if isinstance(error, CompileErrors) else [error])]
    return []


def test_rules_count_where_a_project_asks_for_them(tmp_path: Path) -> None:
    assert told(tmp_path, "") == [
        f"{M}:1:8: mode() is outside the portable subset. Count, and take row_number() with a stated tie-break. [mode]"
    ]
    staging = FILES["models/staging/stg_calls.sql"].replace("call_id,", "call_id, mode(line) over () as usual,")
    assert "mode" in staging
    assert told(write(tmp_path, {"models/staging/stg_calls.sql": staging}), "{mode: one line is enough here}") == []


@pytest.mark.parametrize(
    ("meta", "mistake"),
    [
        ("{mode: the tie does not matter}", ""),
        ("{mode: ''}", "models/marts/m.yml:5: the exception 'mode' needs a reason, in words."),
        ("{mode: yes}", "models/marts/m.yml:5: the exception 'mode' needs a reason, in words."),
        ("{mode: a good reason, lists: a good reason}", "models/marts/m.yml:5: the exception 'lists' is not needed: nothing here breaks it."),
        ("[mode]", f"{M}:1: meta.allow is a mapping of rules or functions to reasons."),
    ],
)  # fmt: skip
def test_an_exception_needs_a_reason_and_a_use(tmp_path: Path, meta: str, mistake: str) -> None:
    found = told(tmp_path, meta)
    assert found[-1:] == ([mistake] if mistake else []) or found[0] == mistake


def test_casts_that_duckdb_would_add_by_itself(tmp_path: Path) -> None:
    join = "select\n    a.line\nfrom {{ ref('stg_calls') }} as a\nwhere a.line = a.waited_seconds\n"
    assert told(tmp_path, "", join) == [
        f"{M}:4:7: VARCHAR is implicitly cast to BIGINT here. Write the cast. [implicit_cast]"
    ]
    union = "select line\nfrom {{ ref('stg_calls') }}\nunion all\nselect waited_seconds\nfrom {{ ref('stg_calls') }}\n"
    assert "BIGINT is implicitly cast to VARCHAR" in told(tmp_path, "", union)[0]
    fine = "select line\nfrom {{ ref('stg_calls') }}\nwhere arrived_on >= '2025-01-01' and waited_seconds > 1.5\n"
    assert told(tmp_path, "", fine) == []


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("arrived_on = waited_seconds", "2:48: BIGINT is compared or mixed with DATE"),
        ("waited_seconds in (select 1) and cast(waited_seconds as date) is null", "BIGINT cannot be cast to DATE"),
        ("waited_seconds = 'soon'", "2:52: the text 'soon' is no BIGINT"),
        ("arrived_on > '2025-02-30'", "2:48: the text '2025-02-30' is no DATE"),
        ("try_cast(waited_seconds as date) is null", ""),
        ("arrived_on = cast(arrived_on as timestamp)", ""),
        ("line = '1' or waited_seconds = true", ""),
    ],
)
def test_a_cast_that_is_not_there_is_refused_everywhere(tmp_path: Path, condition: str, message: str) -> None:
    """DuckDB plans these and fails on the first row."""
    path = {M: f"select line\nfrom {{{{ ref('stg_calls') }}}} where {condition}"}
    try:
        check_project(load_project(write(tmp_path, path)))
        found = ""
    except KpiError as error:
        found = str(error)
    assert message in found
    assert bool(message) == bool(found)


def test_the_project_keeps_its_house_rules_but_for_exceptions_that_say_why() -> None:
    root = Path(__file__).parents[2]
    graph = check_project(load_project(root))
    models = [node for node in graph.nodes.values() if node.kind == "model"]
    assert all(node.config["meta"]["house_rules"] is True for node in models)
    excepted = {node.name: set(node.config["meta"]["allow"]) for node in models if "allow" in node.config["meta"]}
    assert excepted == {
        "int_hidden_years": {"joins"},
        "int_hidden_months": {"joins"},
        "revisions": {"md5"},
        # Sums of counts, which are whole numbers though they are doubles: for Spark.
        "exp_feed_rows": {"double_sum"},
        "exp_flow_months": {"double_sum", "median"},
        "int_cover_pairs": {"double_sum"},
        "int_small_counts": {"double_sum"},
        "vintages": {"getvariable"},
    }
