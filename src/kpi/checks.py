"""Data tests run on a candidate. Tests of one table that look at one row or column each are answered in one scan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import duckdb

from kpi.engine import fetch_one
from kpi.errors import BuildError
from kpi.generic_tests import counted
from kpi.model import Node


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one data test found. `failures` counts the rows it selects; `where` is the file and line that ask for it."""

    name: str
    severity: str
    failures: int
    where: str
    sql: str

    @property
    def is_error(self) -> bool:
        """Whether this result must stop the build from being published."""
        return self.failures > 0 and self.severity == "error"


def run_tests(con: duckdb.DuckDBPyConnection, tests: Iterable[Node]) -> tuple[CheckResult, ...]:
    """Run data tests and return a result for each, in name order. Raises BuildError when a test's SQL fails."""
    failures: dict[str, int] = {}
    alone: list[Node] = []
    together: list[tuple[str, Node, str]] = []
    for test in tests:
        expression = counted(test)
        if expression:
            together.append((str(test.relation), test, expression))
        else:
            alone.append(test)
    together.sort(key=lambda item: (item[0], item[1].name))
    for table, group in groupby(together, key=lambda item: item[0]):
        members = list(group)
        counts = _counts(con, table, [expression for _, _, expression in members])
        for (_, test, _), count in zip(members, counts, strict=True):
            failures[test.id] = count
            if count:
                alone.append(test)
    for test in alone:
        failures[test.id] = _counts(con, f"({test.sql}) as failing", ["count(*)"], test)[0]
    nodes = {test.id: test for _, test, _ in together} | {test.id: test for test in alone}
    return tuple(_result(nodes[test_id], count) for test_id, count in sorted(failures.items()))


def test_statements(tests: Sequence[Node]) -> list[str]:
    """The statements that `run_tests` runs when nothing fails; for benchmarks against bare DuckDB."""
    found = []
    grouped: dict[str, list[str]] = {}
    for test in tests:
        expression = counted(test)
        if expression:
            grouped.setdefault(str(test.relation), []).append(expression)
        else:
            found.append(f"select count(*) from ({test.sql}) as failing")
    return found + [f"select {', '.join(expressions)} from {table}" for table, expressions in sorted(grouped.items())]


def _counts(
    con: duckdb.DuckDBPyConnection, table: str, expressions: Sequence[str], test: Node | None = None
) -> list[int]:
    sql = f"select {', '.join(expressions)} from {table}"
    try:
        return [int(str(value)) for value in fetch_one(con, sql)]
    except duckdb.Error as error:
        raise BuildError(test.name if test else f"tests of {table}", str(error), sql) from None


def _result(test: Node, failures: int) -> CheckResult:
    severity = test.test.severity if test.test else "error"
    return CheckResult(test.name, severity, failures, f"{test.file}:{test.line}", test.sql)
