"""Lineage against DuckDB itself: which columns a model cannot be bound without, and which a plan reads for a column."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.engine.compile import check_columns
from kpi.engine.graph import Graph
from kpi.engine.lineage import Origins, as_text, lineage, node_origins, origins
from kpi.engine.nodes import compile_project
from kpi.project.project import load_project
from kpi.sql import Columns, identifier
from small_project import write

TABLES = {"s.t": ["a", "b", "c"], "s.u": ["a", "d"]}


def told(origin: Origins) -> list[str]:
    """Each column's sources in short: `a` of s.t copied is =t.a, computed is t.a."""
    short = {"copied": "=", "computed": ""}
    return [
        " ".join(f"{short[how]}{table[2:]}.{name}" for (table, name), how in sorted(sources.items()))
        for sources in origin.columns
    ]


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("select a, b as x, (c) as y from s.t", ["=t.a", "=t.b", "=t.c"]),
        ("select a + b as x, 1 as y, count(*) as n from s.t", ["t.a t.b", "", ""]),
        ("select * from s.t", ["=t.a", "=t.b", "=t.c"]),
        ("select u.*, t.c from s.t as t join s.u as u on t.a = u.a", ["=u.a", "=u.d", "=t.c"]),
        ("select * exclude (b) replace (a + b as a) from s.t", ["t.a t.b", "=t.c"]),
        ("select * from s.t join s.u using (a)", ["=t.a", "=t.b", "=t.c", "=u.d"]),
        ("with q as (select a + 1 as x, b from s.t) select b, x from q", ["=t.b", "t.a"]),
        ("with q (m, n) as (select a, b from s.t) select n, m from q", ["=t.b", "=t.a"]),
        # A CTE of the name of a table hides it only without its schema.
        ("with t as (select b as a from s.t) select t.a, u.a as z from t, s.t as u", ["=t.b", "=t.a"]),
        ("with r as (with q as (select b from s.t) select * from q) select * from r", ["=t.b"]),
        ("select a, b from s.t union all select d, a from s.u", ["=t.a =u.d", "=t.b =u.a"]),
        ("select a, b from s.t union all by name select d as b, a from s.u", ["=t.a =u.a", "=t.b =u.d"]),
        ("select a from s.t except select d from s.u", ["=t.a"]),
        ("select (select max(d) from s.u where u.a = t.a) as x from s.t as t", ["u.d"]),
        ("select a as x, x + b as y from s.t", ["=t.a", "t.a t.b"]),
        ("select sum(a) over (partition by b order by c) as x from s.t", ["t.a t.b t.c"]),
        ("select sum(a) over w as x from s.t window w as (partition by b)", ["t.a"]),
        ("select x.n from s.t, unnest([t.a, t.b]) as x(n)", ["t.a t.b"]),
        ("select l.z from s.t as t, lateral (select t.a + 1 as z) as l", ["t.a"]),
        ("select v.x from (values (1), (2)) as v(x)", [""]),
        ("with recursive r as (select a, 0 as n from s.t union all select a, n + 1 from r) from r", ["=t.a", ""]),
        ("select case when a then b end as x, a is null as y from s.t", ["t.a t.b", "t.a"]),
        ("select count(columns(*)) from s.u", ["u.a", "u.d"]),
        ("select * from (pivot s.u on d using sum(a))", None),
    ],
)  # fmt: skip
def test_where_columns_come_from(sql: str, columns: list[str] | None) -> None:
    if columns is not None:
        assert told(origins(sql, TABLES)) == columns
    else:
        assert set(origins(sql, TABLES).mentioned) == {("s.u", "a"), ("s.u", "d")}


def test_what_only_filters_joins_groups_and_orders_is_kept_apart() -> None:
    sql = "select t.b from s.t as t join s.u as u on t.a = u.a where t.c > 1 qualify row_number() over (order by d) = 1"
    origin = origins(sql, TABLES)
    assert told(origin) == ["=t.b"]
    assert set(origin.used) == {("s.t", "a"), ("s.u", "a"), ("s.t", "c"), ("s.u", "d")}


@pytest.fixture(name="project", scope="module")
def made(graph: Graph) -> tuple[Graph, dict[str, Columns]]:
    return graph, check_columns(graph)[0]


@pytest.fixture(name="known", scope="module")
def origins_of_all(project: tuple[Graph, dict[str, Columns]]) -> dict[str, Origins]:
    return {node.name: node_origins(*project, node) for node in project[0].nodes.values() if node.kind == "model"}


def with_tables(graph: Graph, columns: dict[str, Columns]) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    for schema in {node.relation.schema for node in graph.nodes.values() if node.relation.schema}:
        con.execute(f"create schema if not exists {schema}")
    for node_id, typed in columns.items():
        make(con, str(graph.nodes[node_id].relation), typed)
    return con


def make(con: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[tuple[str, str]]) -> None:
    listed = ", ".join(f"{identifier(name)} {kind}" for name, kind in columns)
    con.execute(f"create or replace table {relation} ({listed})")


@pytest.mark.long
def test_a_model_fails_to_bind_without_exactly_the_columns_lineage_says_it_names(
    project: tuple[Graph, dict[str, Columns]], known: dict[str, Origins]
) -> None:
    graph, columns = project
    con = with_tables(graph, columns)
    for parent, typed in columns.items():
        children = [node for node in graph.nodes.values() if node.kind == "model" and parent in node.depends_on]
        relation = str(graph.nodes[parent].relation)
        for name, _ in typed[::4] if len(typed) > 1 and children else ():
            make(con, relation, [column for column in typed if column[0] != name])
            failing = {node.name for node in children if not binds(con, node.sql)}
            # Where the column is gone, its name may mean another column of the same select.
            plain = [n for n in children if name not in own_names(columns[n.id], known[n.name], (relation, name))]
            failing &= {n.name for n in plain}
            named = {n.name for n in plain if (relation, name) in known[n.name].mentioned}
            assert (relation, name, failing) == (relation, name, named)
        make(con, relation, typed)


def own_names(columns: Columns, origin: Origins, but: tuple[str, str]) -> set[str]:
    """The names that a model gives to something else than a copy of a column."""
    return {name for (name, _), given in zip(columns, origin.columns, strict=True) if given.get(but) != "copied"}


def binds(con: duckdb.DuckDBPyConnection, sql: str) -> bool:
    try:
        con.execute(f"describe {sql}")
    except duckdb.Error:
        return False
    return True


def test_a_plan_reads_nothing_for_a_column_that_lineage_does_not_know(
    project: tuple[Graph, dict[str, Columns]], known: dict[str, Origins]
) -> None:
    graph, columns = project
    con = with_tables(graph, columns)
    for node in graph.nodes.values():
        if node.kind != "model":
            continue
        origin = known[node.name]
        for (name, _), sources in list(zip(columns[node.id], origin.columns, strict=True))[::6]:
            sql = f"select {identifier(name)} from ({node.sql}\n) as q"
            row = con.execute("select json_serialize_plan(?, optimize := true)", [sql]).fetchone()
            assert row is not None
            assert (node.name, name, set(read(json.loads(row[0])))) == (
                node.name,
                name,
                set(read(json.loads(row[0]))) & (set(sources) | set(origin.used)),
            )


def read(plan: object) -> Iterator[tuple[str, str]]:
    """The columns of tables that a plan scans."""
    if isinstance(plan, dict):
        if plan.get("type") == "LOGICAL_GET" and (plan.get("function_data") or {}).get("table"):
            table = f"{plan['function_data']['schema']}.{plan['function_data']['table']}"
            for column in plan["column_indexes"]:
                # A scan that needs no column at all still names one that is not there: the row's number.
                if column["index"] < len(plan["names"]):
                    yield table, plan["names"][column["index"]]
        for part in plan.values():
            yield from read(part)
    elif isinstance(plan, list):
        for part in plan:
            yield from read(part)


def test_the_tree_goes_down_to_the_raw_columns(project: tuple[Graph, dict[str, Columns]]) -> None:
    starts, found = lineage(*project, "marts.indicators.value")
    reached = {edge.source for edge in found}
    assert starts == [("marts.indicators", "value")]
    assert {("raw.calls", "answered_at_utc"), ("raw.manual_figures", "value")} <= reached
    assert ("raw.calls", "_is_superseded") not in reached
    with_used = lineage(*project, "indicators.value", also_used=True)[1]
    assert ("raw.calls", "_is_superseded") in {edge.source for edge in with_used}
    lines = list(as_text(starts, found, downstream=False))
    assert len(lines) == len(set(lines)) or any("see above" in line for line in lines)
    down = lineage(*project, "raw.calls.answered_at_utc", downstream=True)[1]
    assert ("marts.indicators", "value") in {edge.column for edge in down}


def test_the_command_prints_text_json_and_mermaid(tmp_path: Path) -> None:
    root = str(write(tmp_path))
    run = CliRunner().invoke
    what = ["lineage", "calls_by_line.in_time_count", "--project-dir", root]
    assert run(cli, what).output == (
        "marts.calls_by_line.in_time_count\n"
        "  computed staging.stg_calls.waited_seconds\n"
        "    copied   raw.calls.waited_seconds\n"
    )
    facts = json.loads(run(cli, [*what, "--format", "json", "--all"]).output)
    assert {"column": "marts.calls_by_line.in_time_count", "source": "staging.stg_calls.line", "how": "used"} in facts[
        "edges"
    ]
    chart = run(cli, [*what, "--format", "mermaid"]).output
    assert chart.startswith("flowchart LR\n")
    assert "==>" in chart
    message = run(cli, ["lineage", "calls_by_line.in_tim_count", "--project-dir", root]).exception
    assert str(message) == "'calls_by_line' has no column 'in_tim_count'. Did you mean 'in_time_count'?"


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("pivot {{ ref('i') }} on k in ('a', 'b') using sum(v)", 3),
        ("summarize {{ ref('i') }}", 12),
        ("select * from (pivot {{ ref('i') }} on k in ('a', 'b') using sum(v))", 3),
    ],
)
def test_what_a_pivot_or_a_summary_yields_comes_from_everything_there(tmp_path: Path, sql: str, columns: int) -> None:
    files = {
        "dbt_project.yml": "name: own\n",
        "models/i.sql": "select 1 as id, 'a' as k, 5 as v",
        "models/p.sql": sql,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    graph = compile_project(load_project(tmp_path))
    found = node_origins(graph, check_columns(graph)[0], graph.nodes["model.own.p"])
    everything = {("main.i", name): "computed" for name in ("id", "k", "v")}
    assert found.columns == (everything,) * columns
