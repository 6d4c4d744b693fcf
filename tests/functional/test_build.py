"""Building: every node once, in its place; what is no longer there goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from kpi import database
from kpi.build_record import BuildRecord, NodeRecord
from kpi.engine import runner
from kpi.engine.compile import check_project
from kpi.engine.graph import Graph
from kpi.engine.plan import Content, Request, checksums_of, steps_of
from kpi.errors import BuildError
from kpi.ingest import raw_files
from kpi.ingest.ledger import create_tables
from kpi.project.project import load_project
from small_project import FILES, write

BY_LINE = "models/marts/calls_by_line.sql"
NO_FILES = raw_files.RawFolder((), ())
Changes = dict[str, str | bytes | None]


@pytest.fixture(name="con")
def opened(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with database.building(tmp_path / "kpi.duckdb", tmp_path / "spill") as con:
        yield con


def compiled(root: Path, changes: Changes | None = None) -> Graph:
    return check_project(load_project(write(root, changes)))


Known = dict[str, NodeRecord]


def build_all(con: duckdb.DuckDBPyConnection, graph: Graph, known: Known | None = None) -> list[str]:
    """Build what is stale, with three calls delivered, and return the names of what was built; `known` is kept up."""
    create_tables(con, graph.feeds)
    con.execute("delete from raw.calls")
    con.execute(
        "insert into raw.calls (call_id, line, waited_seconds, _is_superseded) values"
        " ('1', 'health', 300, false), ('2', 'health', 301, false), ('3', 'social', 10, false), ('4', 'x', 1, true)"
    )
    everything = frozenset(graph.nodes)
    checksums = checksums_of(graph, NO_FILES)
    request = Request(graph, checksums, BuildRecord("", nodes=known), chosen=everything)
    task = runner.Task(request, "build")
    records = runner.source_records(con, None, task)
    present = runner.prepare_run(con, task)
    steps = steps_of(request, present, {node_id: Content(record.version) for node_id, record in records.items()})
    ran = runner.run_nodes(con, task, steps, records)
    for error in ran.failed.values():
        raise error
    if known is not None:
        known.update(records)
    return [graph.nodes[result.id].name for result in ran.results]


def rows(con: duckdb.DuckDBPyConnection, table: str) -> list[tuple[object, ...]]:
    return con.execute(f"select * from {table} order by all").fetchall()


def models(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    return {place: kind for place, kind in database.relations(con).items() if not place.startswith("raw.")}


def test_everything_is_built_once_and_in_its_place(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    assert build_all(con, compiled(tmp_path)) == ["lines", "stg_calls", "calls_by_line"]
    assert models(con) == {"seeds.lines": "table", "staging.stg_calls": "view", "marts.calls_by_line": "table"}
    assert rows(con, "marts.calls_by_line") == [("health", 2, 1), ("social", 1, 1)]
    assert rows(con, "seeds.lines") == [("health", "Health line"), ("social", "Social line")]


def test_only_what_a_change_reaches_is_built_again(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    graph = compiled(tmp_path)
    before: Known = {}
    build_all(con, graph, before)
    assert build_all(con, graph, before) == []
    other = compiled(tmp_path, {"seeds/lines.csv": "line,name_en\nhealth,Health\n"})
    assert build_all(con, other, dict(before)) == ["lines"]
    con.execute("drop table marts.calls_by_line")
    assert build_all(con, graph, before) == ["calls_by_line"]


def test_a_model_becomes_a_view_and_a_table_again(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    as_view: Changes = {BY_LINE: "{{ config(materialized='view') }}" + FILES[BY_LINE]}
    as_table: Changes = {BY_LINE: FILES[BY_LINE]}
    for changes, kind in ((None, "table"), (as_view, "view"), (as_table, "table")):
        build_all(con, compiled(tmp_path, changes))
        assert models(con)["marts.calls_by_line"] == kind
        assert rows(con, "marts.calls_by_line") == [("health", 2, 1), ("social", 1, 1)]


def test_a_view_reads_the_table_that_replaced_its_parent(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    view: Changes = {"models/staging/v.sql": "select * from {{ ref('calls_by_line') }}"}
    build_all(con, compiled(tmp_path, view))
    other = "select line, 'many' as call_count from {{ ref('stg_calls') }} group by line"
    build_all(con, compiled(tmp_path, {**view, BY_LINE: other, "tests/assert_in_time_is_part.sql": None}))
    assert rows(con, "staging.v") == [("health", "many"), ("social", "many")]


def test_renamed_and_removed_models_go_and_kpis_own_tables_stay(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    build_all(con, compiled(tmp_path, {"models/staging/v.sql": "select line from {{ ref('calls_by_line') }}"}))
    con.execute("create table marts.expectation_results as select 1 as x")
    renamed: Changes = {
        "models/staging/v.sql": None,
        BY_LINE: None,
        "models/marts/by_line.sql": FILES[BY_LINE],
        "tests/assert_in_time_is_part.sql": None,
    }
    build_all(con, compiled(tmp_path, renamed))
    assert sorted(models(con)) == ["marts.by_line", "marts.expectation_results", "seeds.lines", "staging.stg_calls"]
    assert "raw.calls" in database.relations(con)


def test_a_node_that_fails_is_named_with_its_file_and_sql(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    graph = compiled(
        tmp_path,
        {BY_LINE: "select line, cast(line as bigint) as call_count, 0 as in_time_count\nfrom {{ ref('stg_calls') }}"},
    )
    with pytest.raises(BuildError) as caught:
        build_all(con, graph)
    assert str(caught.value).startswith(
        "calls_by_line (models/marts/calls_by_line.sql): Conversion Error: Could not convert string 'health' to INT64"
    )
    assert (
        caught.value.sql
        == f"create or replace table marts.calls_by_line as\n{graph.nodes['model.small.calls_by_line'].sql}"
    )


def test_two_builds_hold_the_same(tmp_path: Path) -> None:
    contents = []
    for number in range(2):
        with database.building(tmp_path / f"{number}.duckdb", tmp_path / "spill") as con:
            build_all(con, compiled(tmp_path / "project"))
            contents.append({place: rows(con, place) for place in models(con)})
    assert contents[0] == contents[1]
