"""Sums of numerators are compared to the last whole number, and numbers above 2^53 stop nothing that is right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import duckdb
import pytest

from kpi import database
from kpi.engine.graph import Graph, Node

MONTHS, LINES = "assert_months_add_up_to_their_year", "assert_health_lines_are_the_sum_of_their_lines"
# Parts whose sum as DOUBLEs depends on the order of the rows; the whole is what SQL makes of their sum.
MILLIONS = (4_500_000_000_000_001, 4_500_000_000_000_003, 4_500_000_000_000_003)
EACH_TOO_LARGE = (2**53 + 1, 2**53 + 3, 2**62 + 1)
SMALL = (1, 2, 2**52)


@pytest.fixture(scope="module")
def tests(graph: Graph) -> Mapping[str, Node]:
    return {test.name: test for test in graph.tests()}


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with database.scratch({"threads": "1"}) as con:
        for schema in ("marts", "staging", "seeds"):
            con.execute(f"create schema {schema}")
        numbers = "numerator double, denominator double, event_count bigint"
        key = "figure_id varchar, service varchar, report_year bigint"
        con.execute(f"create table marts.monthly_series ({key}, month bigint, {numbers}, is_full_month boolean)")
        con.execute(f"create table marts.indicators ({key}, basis varchar, {numbers})")
        con.execute(f"create table staging.stg_kept_indicators ({key}, basis varchar)")
        con.execute("create table seeds.figures (figure_id varchar, basis varchar)")
        con.execute("create table seeds.service_lines (service_line varchar, service_group varchar)")
        yield con


@pytest.mark.parametrize("parts", [MILLIONS, EACH_TOO_LARGE, SMALL])
@pytest.mark.parametrize("reverse", [False, True])
def test_what_adds_up_adds_up_whatever_its_size(
    tests: Mapping[str, Node], con: duckdb.DuckDBPyConnection, parts: Sequence[int], reverse: bool
) -> None:
    fill(con, parts[::-1] if reverse else parts, sum(parts))
    assert [failing(con, tests[name]) for name in (MONTHS, LINES)] == [0, 0]


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        (SMALL, sum(SMALL) - 1),
        (SMALL, sum(SMALL) + 1),
        ((2**53 - 3, 1), 2**53 - 1),
        (MILLIONS, sum(MILLIONS) + 100),
        (EACH_TOO_LARGE, sum(EACH_TOO_LARGE) + 2**14),
        ((1, 2), None),
        ((1, None), 2),
    ],
)
def test_what_is_one_too_many_is_found(
    tests: Mapping[str, Node], con: duckdb.DuckDBPyConnection, parts: Sequence[int | None], whole: int | None
) -> None:
    fill(con, parts, whole)
    assert [failing(con, tests[name]) for name in (MONTHS, LINES)] == [1, 1]


@pytest.mark.parametrize("described", ["calendar_year", "end_of_year"])
def test_months_that_are_not_full_count_in_no_year(
    tests: Mapping[str, Node], con: duckdb.DuckDBPyConnection, described: str
) -> None:
    """A month after the last full one is in the series only: counted as a full one it would be one too many."""
    fill(con, SMALL, sum(SMALL))
    con.execute("update marts.indicators set basis = 'year_to_date' where service = 'all'")
    con.execute("insert into seeds.figures values ('f', ?)", [described])
    con.execute("insert into marts.monthly_series values ('f', 'all', 2025, 4, 7, null, 1, false)")
    assert failing(con, tests[MONTHS]) == 0
    con.execute("update marts.monthly_series set is_full_month = true where month = 4")
    # What is told of one day, such as the end of the year, is no sum of months while the year runs.
    assert failing(con, tests[MONTHS]) == (0 if described == "end_of_year" else 1)


def fill(con: duckdb.DuckDBPyConnection, parts: Sequence[int | None], whole: int | None) -> None:
    """Months and lines with these numerators, of a year and a group with this one."""
    for place, part in enumerate(parts, 1):
        number = f"cast({'null' if part is None else part} as double)"
        con.execute(f"insert into marts.monthly_series values ('f', 'all', 2025, {place}, {number}, null, 1, true)")
        con.execute(f"insert into marts.indicators values ('f', 'l{place}', 2025, 'calendar_year', {number}, null, 1)")
        con.execute(f"insert into seeds.service_lines values ('l{place}', 'all')")
    total = f"cast(cast({'null' if whole is None else whole} as hugeint) as double)"
    con.execute(f"insert into marts.indicators values ('f', 'all', 2025, 'calendar_year', {total}, null, {len(parts)})")


def failing(con: duckdb.DuckDBPyConnection, test: Node) -> int:
    return len(con.execute(test.sql).fetchall())
