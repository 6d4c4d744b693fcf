"""The project's own generic tests, each on tables that pass, that fail, that are empty and that hold only nulls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from kpi import database
from kpi.engine import test_runner
from kpi.engine.compile import check_project
from kpi.engine.graph import Node
from kpi.errors import CompileError
from kpi.project.project import load_project
from small_project import write

MACROS = Path(__file__).parents[2] / "macros" / "tests"
MODEL = """\
select
    cast(null as bigint) as report_year,
    cast(null as varchar) as part,
    cast(null as bigint) as a,
    cast(null as bigint) as b,
    cast(null as bigint) as whole
"""
TESTS = """\
models:
  - name: judged
    data_tests:
      - unique_combination_of_columns: {name: key, combination_of_columns: [report_year, part]}
      - expression_is_true: {name: on_row, expression: a <= b or part = 'x'}
      - row_count_per_year: {name: counts, bounds: ref('bounds'), relation: judged}
      - row_count_per_year: {name: misspelt, bounds: ref('bounds'), relation: jugded}
      - parts_sum_to_total: {name: in_row, parts: [a, b], total: whole}
      - parts_sum_to_total: {name: nearly, parts: [a, b], total: whole, tolerance: 1}
      - parts_sum_to_total:
          name: in_rows
          arguments: {label: part, parts: [x, y], total: all, amount: a, group_by: [report_year]}
      - parts_sum_to_total: {name: over_all, label: part, parts: [x], total: all, amount: a}
    columns:
      - name: a
        data_tests:
          - accepted_range: {name: between, min_value: 0, max_value: b}
          - accepted_range: {name: inside, min_value: 0, max_value: 5, inclusive: false}
          - accepted_range: {name: at_least, min_value: 1}
          - accepted_range: {name: at_most, max_value: 1, config: {where: part = 'x'}}
          - expression_is_true: {name: on_column, expression: "% 2 = 0"}
"""
BOUNDS = "relation,report_year,min_rows,max_rows\njudged,2024,1,2\njudged,2025,0,1\njudged,2026,2,\nother,2024,9,9\n"
NULLS = (None, None, None, None, None)


@pytest.fixture(name="tests", scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Node]:
    changes: dict[str, str | bytes | None] = {
        f"macros/tests/{file.name}": file.read_bytes() for file in MACROS.iterdir()
    }
    changes |= {"models/judged.sql": MODEL, "models/judged.yml": TESTS, "seeds/bounds.csv": BOUNDS}
    graph = check_project(load_project(write(tmp_path_factory.mktemp("project"), changes)))
    return {test.name: test for test in graph.tests()}


@pytest.fixture(name="con", scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with database.scratch({"threads": "1"}) as con:
        con.execute("create schema seeds")
        lines = [line.split(",") for line in BOUNDS.splitlines()[1:]]
        values = ", ".join(f"('{line[0]}', {line[1]}, {line[2]}, {line[3] or 'null'})" for line in lines)
        con.execute(
            f"create table seeds.bounds as from (values {values}) as v(relation, report_year, min_rows, max_rows)"
        )
        yield con


def failing(con: duckdb.DuckDBPyConnection, test: Node, rows: list[tuple[Any, ...]]) -> int:
    """How many rows a test selects, by itself and in a scan shared with others: the same."""
    con.execute("create or replace table judged (report_year bigint, part varchar, a bigint, b bigint, whole bigint)")
    if rows:
        con.executemany("insert into judged values (?, ?, ?, ?, ?)", rows)
    alone = len(con.execute(test.sql).fetchall())
    assert test_runner.run_tests(con, [test])[0].failures == alone
    return alone


@pytest.mark.parametrize(
    ("name", "rows", "count"),
    [
        ("key", [(2024, "x", 0, 0, 0), (2024, "y", 0, 0, 0), (2024, None, 0, 0, 0)], 0),
        ("key", [(2024, None, 0, 0, 0), (2024, None, 1, 1, 1), (2025, "x", 0, 0, 0), (2025, "x", 0, 0, 0)], 2),
        ("key", [NULLS], 0),
        ("key", [NULLS, NULLS], 1),
        ("between", [(1, "", 0, 5, 0), (1, "", 5, 5, 0), (1, "", 3, None, 0), NULLS], 0),
        ("between", [(1, "", -1, 5, 0), (1, "", 6, 5, 0), (1, "", -1, None, 0)], 3),
        ("inside", [(1, "", 1, 0, 0), (1, "", 4, 0, 0), NULLS], 0),
        ("inside", [(1, "", 0, 0, 0), (1, "", 5, 0, 0)], 2),
        ("at_least", [(1, "", 0, 0, 0), (1, "", 1, 0, 0), NULLS], 1),
        ("at_most", [(1, "y", 9, 0, 0), (1, "x", 9, 0, 0), (1, None, 9, 0, 0)], 1),
        ("on_row", [(1, "", 1, 1, 0), (1, "x", 2, 1, 0), NULLS], 0),
        ("on_row", [(1, "", 2, 1, 0), (1, None, 2, 1, 0)], 1),
        ("on_column", [(1, "", 2, 0, 0), (1, "", 3, 0, 0), NULLS], 1),
        ("counts", [(2024, "", 0, 0, 0), (2026, "", 0, 0, 0), (2026, "", 0, 0, 0), (2030, "", 0, 0, 0)], 0),
        ("counts", [(2024, "", 0, 0, 0)] * 3 + [(2025, "", 0, 0, 0)] * 2 + [(2026, "", 0, 0, 0)], 3),
        ("counts", [], 2),
        ("counts", [NULLS, NULLS], 2),
        ("misspelt", [(2024, "", 0, 0, 0)], 1),
        ("in_row", [(1, "", 1, 2, 3), NULLS, (1, "", None, 2, None)], 0),
        ("in_row", [(1, "", 1, 2, 4), (1, "", None, 3, 3), (1, "", 1, 2, None)], 3),
        ("nearly", [(1, "", 1, 2, 4), (1, "", 1, 2, 5), (1, "", 1, 2, 2)], 1),
        ("in_rows", [(1, "x", 1, 0, 0), (1, "y", 2, 0, 0), (1, "all", 3, 0, 0), (1, "z", 9, 0, 0), NULLS], 0),
        ("in_rows", [(1, "x", 3, 0, 0), (1, "all", 3, 0, 0), (2, "z", 9, 0, 0)], 0),
        ("in_rows", [(1, "x", 3, 0, 0), (1, "all", 4, 0, 0), (2, "all", 1, 0, 0), (3, "y", 1, 0, 0)], 3),
        ("in_rows", [(1, "x", None, 0, 0), (1, "y", 3, 0, 0), (1, "all", 3, 0, 0)], 1),
        ("over_all", [(1, "x", 1, 0, 0), (2, "x", 1, 0, 0), (3, "all", 2, 0, 0)], 0),
        ("over_all", [(1, "x", 1, 0, 0), (3, "all", 2, 0, 0)], 1),
        *[
            (name, [], 0)
            for name in ("key", "between", "inside", "on_row", "on_column", "in_row", "in_rows", "over_all")
        ],
        *[(name, [NULLS], 0) for name in ("in_row", "in_rows", "over_all", "between", "on_row", "on_column")],
    ],
)
def test_own_tests_find_what_they_say(
    con: duckdb.DuckDBPyConnection, tests: dict[str, Node], name: str, rows: list[tuple[Any, ...]], count: int
) -> None:
    assert failing(con, tests[name], rows) == count


def test_keys_and_conditions_share_the_scan_of_their_table(tests: dict[str, Node]) -> None:
    wanted = [tests[name] for name in ("key", "between", "inside", "at_least", "at_most", "on_row", "on_column")]
    assert len(test_runner.test_statements(wanted)) == 1


def test_a_range_without_bounds_is_refused(tmp_path: Path) -> None:
    file = MACROS / "accepted_range.sql"
    yaml = "models:\n  - name: judged\n    columns:\n      - name: a\n        data_tests:\n          - accepted_range\n"
    changes: dict[str, str | bytes | None] = {"models/judged.sql": MODEL, "models/judged.yml": yaml}
    root = write(tmp_path, {**changes, "macros/tests/accepted_range.sql": file.read_bytes()})
    with pytest.raises(CompileError) as caught:
        check_project(load_project(root))
    assert str(caught.value).startswith("models/judged.yml:6: accepted_range of a needs min_value, max_value or both.")
