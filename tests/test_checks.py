"""Data tests: answered in one scan or by their own SQL, the answer is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpi import checks, engine
from kpi.bind import check_project
from kpi.errors import BuildError
from kpi.generic_tests import counted
from kpi.model import Node
from kpi.project import load_project
from small_project import FILES, write

# Every kind of test, on a column of texts and one of numbers.
TESTED = """\
models:
  - name: stg_calls
    columns:
      - name: line
        data_tests:
          - not_null
          - unique
          - accepted_values: {values: [health, "it's", 1]}
          - relationships: {to: ref('lines'), field: line}
          - not_null: {name: warned, config: {severity: warn}}
          - unique: {name: unique_of_some, config: {where: "waited_seconds > 1 -- not the zeros"}}
          - accepted_values: {name: accepted_of_some, values: [health], config: {where: waited_seconds > 1}}
          - relationships: {name: related_of_some, to: ref('lines'), field: line, where: waited_seconds > 1}
      - name: waited_seconds
        data_tests:
          - not_null
          - unique
          - accepted_values: {values: [0, 1, 2]}
          - accepted_values: {name: unquoted, values: [0, 1, 2], quote: false}
"""
LINE, SECONDS = ["health", "it's", "1", "social", "", None], [0, 1, 2, 3, -1, None]


@pytest.fixture(name="tests", scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[Node]:
    sources = FILES["models/staging/calls.yml"].partition("models:")[0]
    root = write(tmp_path_factory.mktemp("project"), {"models/staging/calls.yml": sources + TESTED})
    return [test for test in check_project(load_project(root)).tests() if test.name != "assert_in_time_is_part"]


def filled(rows: list[tuple[Any, Any]]) -> duckdb.DuckDBPyConnection:
    con = engine.scratch()
    con.execute("create schema staging; create schema seeds; create table seeds.lines (line varchar)")
    con.execute("insert into seeds.lines values ('health'), ('social'), (null)")
    con.execute("create table staging.stg_calls (line varchar, waited_seconds bigint)")
    if rows:
        con.executemany("insert into staging.stg_calls values (?, ?)", rows)
    return con


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LINE), st.sampled_from(SECONDS)), max_size=6))
def test_one_scan_finds_what_each_tests_own_sql_finds(tests: list[Node], rows: list[tuple[Any, Any]]) -> None:
    with filled(rows) as con:
        found = {result.name: result.failures for result in checks.run_tests(con, tests)}
        alone = {test.name: len(con.execute(test.sql).fetchall()) for test in tests}
    assert found == alone
    line, seconds = [row[0] for row in rows], [row[1] for row in rows]
    some = [row[0] for row in rows if (row[1] or 0) > 1]
    assert found["not_null_stg_calls_line"] == found["warned"] == line.count(None)
    assert found["unique_stg_calls_line"] == _repeated(line)
    assert found["unique_of_some"] == _repeated(some)
    assert found["accepted_of_some"] == len(set(some) - {"health", None})
    assert found["related_of_some"] == sum(one not in ("health", "social", None) for one in some)
    assert found["unquoted"] == len(set(seconds) - {0, 1, 2, None})


def _repeated(values: list[Any]) -> int:
    return sum(values.count(value) > 1 for value in set(values) - {None})


def test_most_tests_of_a_table_need_one_scan(tests: list[Node]) -> None:
    assert sum(bool(counted(test)) for test in tests) == 8
    assert len(checks.test_statements(tests)) == 1 + (len(tests) - 8)


def test_results_tell_name_severity_rows_and_place(tests: list[Node]) -> None:
    with filled([(None, 1), ("health", 1), ("health", 5)]) as con:
        results = checks.run_tests(con, tests)
    assert [result.name for result in results] == sorted(result.name for result in results)
    failed = {result.name: (result.failures, result.is_error) for result in results if result.failures}
    assert failed.pop("warned") == (1, False)
    assert failed.pop("not_null_stg_calls_line") == (1, True)
    assert failed.pop("unquoted") == (1, True)
    assert failed.pop("unique_stg_calls_line") == (1, True)
    assert failed.pop("unique_stg_calls_waited_seconds") == (1, True)
    assert [name[:40] for name in failed] == ["accepted_values_stg_calls_waited_seconds"]
    where = next(result.where for result in results if result.name == "warned")
    assert where == "models/staging/calls.yml:25"


def test_a_singular_test_may_end_in_a_comment_and_only_warn(tmp_path: Path) -> None:
    sql = "{{ config(severity='warn') }}\nselect line from {{ ref('stg_calls') }} -- all of them"
    root = write(tmp_path, {"tests/assert_no_calls.sql": sql})
    tests = [test for test in check_project(load_project(root)).tests() if test.name == "assert_no_calls"]
    with filled([("health", 1), ("social", 2)]) as con:
        (result,) = checks.run_tests(con, tests)
    assert (result.failures, result.severity, result.where) == (2, "warn", "tests/assert_no_calls.sql:1")


def test_a_test_that_cannot_run_is_named(tests: list[Node]) -> None:
    wanted = [test for test in tests if test.name in ("not_null_stg_calls_line", "unquoted")]
    with filled([]) as con:
        con.execute("alter table staging.stg_calls drop column line")
        with pytest.raises(BuildError) as caught:
            checks.run_tests(con, wanted)
    assert str(caught.value).startswith("not_null_stg_calls_line (models/staging/calls.yml:21): Binder Error: ")
    assert caught.value.sql == 'select * from staging.stg_calls as judged where "line" is null'
