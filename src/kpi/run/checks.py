"""Data tests run on a candidate, or on a published build. Those that one scan of their table answers share it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import duckdb

from kpi.base.engine import fetch_one
from kpi.base.errors import BuildError
from kpi.base.names import identifier, relation_name, word
from kpi.compile.graph import AUDIT_SCHEMA
from kpi.deliveries.personal import of_error
from kpi.models.model import Node
from kpi.parse.properties import TestSpec
from kpi.run.scans import by_table, count_of, scan

_ANY = "!= 0"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one data test found.

    `failures` is what its fail_calc gives, by default the number of rows it selects, at most its limit; `where` is the
    file and line that ask for it, `stored` the table that keeps the failing rows, `examples` some of them as text.
    """

    name: str
    severity: str
    failures: int
    where: str
    sql: str
    status: Literal["pass", "warn", "fail"] = "pass"
    stored: str = ""
    examples: tuple[str, ...] = ()

    @property
    def first_rows(self) -> str:
        """The examples as the end of a message; empty when there are none."""
        return told_rows(self.examples, self.failures)

    @property
    def is_error(self) -> bool:
        """Whether this result must stop the build from being published."""
        return self.status == "fail"


def told_rows(examples: Sequence[str], failures: int) -> str:
    """Return examples of failing rows as the end of a message; empty when there are none."""
    more = "; …" if failures > len(examples) else ""
    return f": {'; '.join(examples)}{more}" if examples else ""


@dataclass(frozen=True, slots=True)
class Store:
    """Where failing rows are kept: a database that is attached, and whether of all tests or of those that ask for it.

    They are rows of the warehouse, personal data and all: keep them where the build is, and as long.
    """

    database: str
    everything: bool = False
    only_tables: bool = False

    def place(self, test: Node) -> str:
        """The table or view of a test."""
        return f"{identifier(self.database)}.{relation_name(AUDIT_SCHEMA, word(test.name))}"

    def wants(self, spec: TestSpec) -> bool:
        """Whether the failing rows of a test are kept. As in dbt, what a test says itself wins."""
        said, kind = spec.config.get("store_failures"), spec.config.get("store_failures_as")
        return kind != "ephemeral" and bool(spec.store_failures or (self.everything and said is not False))


def run_tests(
    con: duckdb.DuckDBPyConnection, tests: Iterable[Node], store: Store | None = None
) -> tuple[CheckResult, ...]:
    """Run data tests and return a result for each, in name order. Raises BuildError naming a test whose SQL fails."""
    nodes = {test.id: test for test in tests}
    counts = {test_id: count for test_id, test in nodes.items() if (count := count_of(test))}
    found: dict[str, CheckResult] = {}
    if store:
        _forget(con, store, nodes.values())
    for table, members in by_table(counts).items():
        try:
            row = fetch_one(con, scan(table, [counts[test_id] for test_id in members]))
        except duckdb.Error:
            continue  # one of them fails; alone, it says which
        for test_id, value in zip(members, row, strict=True):
            spec, failures = _spec(nodes[test_id]), int(str(value))
            if failures == 0 or (counts[test_id].is_exact and not (store and store.wants(spec))):
                limited = failures if spec.limit is None else min(failures, spec.limit)
                found[test_id] = _judged(con, nodes[test_id], limited)
    for test_id, test in nodes.items():
        try:
            if test_id not in found:
                found[test_id] = _alone(con, test, store)
        except duckdb.Error as error:
            raise BuildError(f"{test.name} ({test.file}:{test.line})", of_error(error), test.sql) from None
    return tuple(sorted(found.values(), key=lambda result: result.name))


def test_statements(tests: Sequence[Node]) -> list[str]:
    """The statements that `run_tests` runs when nothing fails; for benchmarks against bare DuckDB."""
    counts = {test.id: count for test in tests if (count := count_of(test))}
    alone = [f"select count(*) from ({test.sql}\n) as failing" for test in tests if test.id not in counts]
    return alone + [scan(table, [counts[name] for name in members]) for table, members in by_table(counts).items()]


def _spec(test: Node) -> TestSpec:
    return test.test or TestSpec("singular", "", {}, "error", "", test.file, test.line)


def _alone(con: duckdb.DuckDBPyConnection, test: Node, store: Store | None) -> CheckResult:
    """Run a test's own SQL. Its failing rows are kept when they are wanted and there are any."""
    spec = _spec(test)
    # A line of its own for the bracket: the test may end in a comment.
    rows = f"({test.sql}\n) as failing"
    if spec.limit is not None:
        rows = f"(select * from {rows} limit {spec.limit}) as failing"
    place = store.place(test) if store and store.wants(spec) else ""
    if place and store:
        as_view = spec.config.get("store_failures_as") == "view" and not store.only_tables
        con.execute(f"create schema if not exists {identifier(store.database)}.{AUDIT_SCHEMA}")
        con.execute(f"create {'view' if as_view else 'table'} {place} as select * from {rows}")
        rows = place
    calculated = spec.config.get("fail_calc") or "count(*)"
    asked = f"select {calculated}, {calculated} {spec.warn_if}, {calculated} {spec.error_if} from {rows}"
    failures, should_warn, should_fail = fetch_one(con, asked)
    if failures is None:
        told = f"fail_calc {calculated} gives null; write coalesce({calculated}, 0)."
        raise BuildError(f"{test.name} ({test.file}:{test.line})", told, asked)
    result = _result(test, int(str(failures)), bool(should_warn), bool(should_fail))
    if place and store and result.status == "pass":
        _forget(con, store, [test])
        place = ""
    return replace(result, stored=place)


def _forget(con: duckdb.DuckDBPyConnection, store: Store, tests: Iterable[Node]) -> None:
    """Drop what an earlier run kept of these tests."""
    kept = "select table_name, table_type from information_schema.tables where table_catalog = ? and table_schema = ?"
    kinds = dict(con.execute(kept, [store.database, AUDIT_SCHEMA]).fetchall())
    for test in tests if kinds else ():
        kind = kinds.get(word(test.name))
        if kind:
            con.execute(f"drop {'view' if kind == 'VIEW' else 'table'} {store.place(test)}")


def _judged(con: duckdb.DuckDBPyConnection, test: Node, failures: int) -> CheckResult:
    """The result of a test whose number of failing rows is known."""
    spec = _spec(test)
    if spec.warn_if == spec.error_if == _ANY:
        return _result(test, failures, failures != 0, failures != 0)
    should_warn, should_fail = fetch_one(con, f"select {failures} {spec.warn_if}, {failures} {spec.error_if}")
    return _result(test, failures, bool(should_warn), bool(should_fail))


def _result(test: Node, failures: int, should_warn: bool, should_fail: bool) -> CheckResult:
    spec = _spec(test)
    status: Literal["pass", "warn", "fail"] = "warn" if should_warn else "pass"
    if spec.severity == "error" and should_fail:
        status = "fail"
    where = f"{test.file}:{test.line}"
    return CheckResult(test.name, spec.severity, 0 if status == "pass" else failures, where, test.sql, status)
