"""Data tests run on a candidate. Tests of one table that look at one row or column each are answered in one scan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
    """Run data tests and return a result for each, in name order. Raises BuildError naming a test whose SQL fails."""
    failures: dict[str, int] = {}
    nodes = {test.id: test for test in tests}
    alone = [test for test in nodes.values() if not counted(test)]
    for table, members in _by_table(nodes.values()).items():
        try:
            counts = _counts(con, table, [counted(test) for test in members])
        except duckdb.Error:
            alone += members  # one of them fails; alone, it says which
            continue
        failures.update({test.id: 0 for test in members})
        # Those that found something tell how many rows it is, as their own SQL counts them.
        alone += [test for test, count in zip(members, counts, strict=True) if count]
    for test in alone:
        try:
            failures[test.id] = _counts(con, _failing(test), ["count(*)"])[0]
        except duckdb.Error as error:
            raise BuildError(f"{test.name} ({test.file}:{test.line})", str(error).strip(), test.sql) from None
    return tuple(_result(nodes[test_id], count) for test_id, count in sorted(failures.items()))


def test_statements(tests: Sequence[Node]) -> list[str]:
    """The statements that `run_tests` runs when nothing fails; for benchmarks against bare DuckDB."""
    alone = [f"select count(*) from {_failing(test)}" for test in tests if not counted(test)]
    together = [
        f"select {', '.join(counted(test) for test in members)} from {table}"
        for table, members in _by_table(tests).items()
    ]
    return alone + together


def _by_table(tests: Iterable[Node]) -> dict[str, list[Node]]:
    """Tests that one scan of their table answers, in table and name order."""
    found: dict[str, list[Node]] = {}
    for test in sorted(tests, key=lambda test: (str(test.relation), test.name)):
        if counted(test):
            found.setdefault(str(test.relation), []).append(test)
    return found


def _failing(test: Node) -> str:
    # A line of its own for the bracket: the test may end in a comment.
    return f"({test.sql}\n) as failing"


def _counts(con: duckdb.DuckDBPyConnection, table: str, expressions: Sequence[str]) -> list[int]:
    row = fetch_one(con, f"select {', '.join(expressions)} from {table}")
    return [int(str(value)) for value in row]


def _result(test: Node, failures: int) -> CheckResult:
    severity = test.test.severity if test.test else "error"
    return CheckResult(test.name, severity, failures, f"{test.file}:{test.line}", test.sql)
