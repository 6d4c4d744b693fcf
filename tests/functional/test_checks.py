"""Data tests: answered in one scan or by their own SQL, the answer is the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpi import database
from kpi.engine import test_runner
from kpi.engine.compile import check_project
from kpi.engine.graph import Graph, Node
from kpi.engine.runner import DuckAdapter
from kpi.engine.test_runner import CheckResult, Store, count_of, scan
from kpi.errors import BuildError
from kpi.project.project import load_project
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
    con = database.scratch()
    con.execute("create schema staging; create schema seeds; create table seeds.lines (line varchar)")
    con.execute("insert into seeds.lines values ('health'), ('social'), (null)")
    con.execute("create table staging.stg_calls (line varchar, waited_seconds bigint)")
    if rows:
        con.executemany("insert into staging.stg_calls values (?, ?)", rows)
    return con


@pytest.mark.long
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LINE), st.sampled_from(SECONDS)), max_size=6))
def test_one_scan_finds_what_each_tests_own_sql_finds(tests: list[Node], rows: list[tuple[Any, Any]]) -> None:
    with filled(rows) as con:
        found = {result.name: result.failures for result in test_runner.run_tests(con, tests)}
        joined = {result.name: result.failures for result in test_runner.run_tests(con, tests, None, Joining(con))}
        alone = {test.name: len(con.execute(test.sql).fetchall()) for test in tests}
    assert found == joined == alone
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


class Joining(DuckAdapter):
    """What Spark is asked, asked of DuckDB: keys of other tables are joined."""

    has_subqueries_in_aggregates = False


def test_counts_of_generic_tests_are_those_that_reading_their_sql_gives(graph: Graph) -> None:
    tests = [one for one in graph.tests() if one.test and one.test.kind in ("unique", "accepted_values")]
    counts = [(test.sql.strip(), count) for test in tests[::4] if (count := count_of(test))]
    assert len(counts) > 10
    assert all(test_runner._read(sql) == count for sql, count in counts)


def test_all_tests_of_a_table_need_one_scan(tests: list[Node]) -> None:
    assert all(count_of(test) for test in tests)
    (statement,) = test_runner.test_statements(tests)
    # Both references look in the same distinct keys.
    assert statement.count("select distinct") == 1
    joined = scan("staging.stg_calls", [count for test in tests if (count := count_of(test))], has_subqueries=False)
    assert joined.count("left join") == 2
    assert "in (from" not in joined


# Tests that say the same in other ways, each beside whether a shared scan answers it and gives the exact number.
WRITTEN = [
    ("select line from staging.stg_calls where waited_seconds < 1 or line = 'social'", True),
    ("select *, 'x' as y from staging.stg_calls as calls where not (calls.waited_seconds >= 0)", True),
    (
        "select line from (select * from staging.stg_calls where line <> '') as a where a.waited_seconds > 1 -- few",
        True,
    ),
    ("select line from (select line, waited_seconds from (select * from staging.stg_calls) as b) as a", True),
    ("select line from staging.stg_calls where (line = 'where' or line in ('group by', '(')) and line is null", True),
    ("select line, waited_seconds from staging.stg_calls group by 1, 2 having count(*) > 1", False),
    ("select line, waited_seconds from staging.stg_calls where line <> '' group by all having count(*) > 1", None),
    ("select line from staging.stg_calls where waited_seconds > 0 group by line", False),
    ("select line from staging.stg_calls group by line having count(*) > 2", None),
    ("select line from staging.stg_calls having count(*) > 1", None),
    ("select distinct line from staging.stg_calls where waited_seconds > 0", None),
    ("select line from staging.stg_calls where waited_seconds > 0 limit 1", None),
    ("select line from staging.stg_calls where waited_seconds > (select avg(1) from seeds.lines)", None),
    ("select count(*) as n from staging.stg_calls where waited_seconds > 0", None),
    ("select bool_or(line = '') as n from staging.stg_calls", None),
    ("select waited_seconds + 1 as waited_seconds from staging.stg_calls where waited_seconds > 1", None),
    ("select line from (select waited_seconds + 1 as n, line from staging.stg_calls) as a where n > 1", None),
    (
        "select line from (select line as waited_seconds, line from staging.stg_calls) as a where waited_seconds > ''",
        None,
    ),
    ("select unnest([1, 2]) as n from staging.stg_calls where waited_seconds > 0", None),
    ("select a.line from staging.stg_calls as a, seeds.lines as b where a.waited_seconds > 0", None),
    ("select line from staging.stg_calls as a(x, line) where line > ''", None),
    ("select row_number() over () as n from staging.stg_calls where waited_seconds > 0", None),
    ("select line from staging.stg_calls where waited_seconds > 0 union all select null", None),
]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LINE), st.sampled_from(SECONDS)), max_size=6))
def test_what_is_recognised_counts_as_its_own_sql_does(tests: list[Node], rows: list[tuple[Any, Any]]) -> None:
    with filled(rows) as con:
        for sql, _ in WRITTEN:
            count = count_of(replace(tests[0], sql=sql))
            if not count:
                continue
            alone = database.fetch_one(con, f"select count(*) from ({sql}\n) as failing")[0]
            together = database.fetch_one(con, scan(count.table, [count]))[0]
            assert (together == alone) if count.is_exact else ((together == 0) == (alone == 0)), sql


@pytest.mark.parametrize(("sql", "exact"), WRITTEN)
def test_only_plain_conditions_and_keys_are_recognised(tests: list[Node], sql: str, exact: bool | None) -> None:
    count = count_of(replace(tests[0], sql=sql))
    assert (count.is_exact if count else None) == exact


def test_a_shared_scan_that_fails_is_no_verdict(tests: list[Node]) -> None:
    guarded = "select line from (select * from staging.stg_calls where line = '1') as a where cast(line as integer) > 1"
    wanted = [*tests, replace(tests[0], id="test.x", name="guarded", sql=guarded)]
    with filled([("health", 1), ("1", 2)]) as con:
        found = {result.name: result.failures for result in test_runner.run_tests(con, wanted)}
    assert found["guarded"] == 0


def changed(node: Node, **settings: Any) -> Node:
    """The same test with other settings."""
    assert node.test
    return replace(node, test=replace(node.test, **settings))


def judged(tests: list[Node], kind: str = "not_null", **settings: Any) -> CheckResult:
    """The result of one test with other settings, on a table with three missing lines of five."""
    node = next(test for test in tests if test.test and test.test.kind == kind)
    with filled([(None, 1), (None, 2), (None, 2), ("health", 3), ("health", 4)]) as con:
        return test_runner.run_tests(con, [changed(node, **settings)])[0]


@pytest.mark.parametrize(
    ("settings", "status", "failures"),
    [
        ({}, "fail", 3),
        ({"severity": "warn"}, "warn", 3),
        ({"limit": 2}, "fail", 2),
        ({"error_if": "> 3"}, "warn", 3),
        ({"error_if": "> 3", "warn_if": "> 3"}, "pass", 0),
        ({"error_if": "> 2", "warn_if": "> 3"}, "fail", 3),
        ({"error_if": "between 1 and 3"}, "fail", 3),
        ({"limit": 2, "error_if": ">= 3"}, "warn", 2),
        ({"severity": "warn", "warn_if": "> 5"}, "pass", 0),
        ({"config": {"fail_calc": "max(2)"}, "error_if": ">= 3"}, "warn", 2),
    ],
)
def test_thresholds_are_dbts(tests: list[Node], settings: dict[str, Any], status: str, failures: int) -> None:
    result = judged(tests, **settings)
    assert (result.status, result.failures, result.is_error) == (status, failures, status == "fail")


def test_a_fail_calc_may_count_otherwise_and_a_test_fail_without_rows(tests: list[Node]) -> None:
    assert judged(tests, "unique", config={"fail_calc": "sum(n_records)"}).failures == 2
    assert judged(tests, "accepted_values", error_if="= 0").status == "fail"
    with pytest.raises(BuildError, match=r"fail_calc sum\(n_records\) gives null; write coalesce"):
        judged(tests, "accepted_values", config={"fail_calc": "sum(n_records)"})


def test_failing_rows_are_kept_where_they_are_wanted(tests: list[Node]) -> None:
    node = next(test for test in tests if test.name == "not_null_stg_calls_line")
    limited = changed(node, limit=1)
    refusing = replace(changed(node, config={"store_failures": False}), id="test.no", name="no")
    as_view = replace(changed(node, config={"store_failures_as": "view"}), id="test.v", name="9 of v")
    with filled([(None, 1), (None, 2), ("health", 1)]) as con:
        results = test_runner.run_tests(con, [limited, refusing, as_view], Store("memory", everything=True))
        stored = {result.name: (result.failures, result.stored) for result in results}
        place = '"memory".dbt_test__audit.'
        assert stored == {node.name: (1, place + node.name), "no": (2, ""), "9 of v": (2, place + "_9_of_v")}
        assert con.execute(f"select count(*) from {place}{node.name}").fetchall() == [(1,)]
        kinds = "select table_name, table_type from information_schema.tables where table_schema = 'dbt_test__audit'"
        assert dict(con.execute(kinds).fetchall()) == {node.name: "BASE TABLE", "_9_of_v": "VIEW"}
        # What was kept of a test that now passes would tell of failures that are gone.
        con.execute("delete from staging.stg_calls where line is null")
        test_runner.run_tests(con, [limited, as_view], Store("memory", everything=True))
        assert con.execute(kinds).fetchall() == []


def test_what_a_test_says_itself_keeps_its_rows_without_being_asked(tests: list[Node]) -> None:
    node = next(test for test in tests if test.name == "not_null_stg_calls_line")
    own = changed(node, store_failures=True)
    with filled([(None, 1)]) as con:
        assert test_runner.run_tests(con, [own], Store("memory"))[0].stored
        assert not test_runner.run_tests(con, [node], Store("memory"))[0].stored


def test_results_tell_name_severity_rows_and_place(tests: list[Node]) -> None:
    with filled([(None, 1), ("health", 1), ("health", 5)]) as con:
        results = test_runner.run_tests(con, tests)
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
        (result,) = test_runner.run_tests(con, tests)
    assert (result.failures, result.severity, result.where) == (2, "warn", "tests/assert_no_calls.sql:1")


def test_a_test_that_cannot_run_is_named(tests: list[Node]) -> None:
    wanted = [test for test in tests if test.name in ("not_null_stg_calls_line", "unquoted")]
    with filled([]) as con:
        con.execute("alter table staging.stg_calls drop column line")
        with pytest.raises(BuildError) as caught:
            test_runner.run_tests(con, wanted)
    assert str(caught.value).startswith("not_null_stg_calls_line (models/staging/calls.yml:21): Binder Error: ")
    assert caught.value.sql == 'select "line" from staging.stg_calls where "line" is null'
