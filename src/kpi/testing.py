"""`kpi test`: the unit tests, and the data tests of a build that is there, which is only read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.checks import CheckResult, Store, run_tests
from kpi.graph import Graph
from kpi.model import Node
from kpi.selection import select
from kpi.unit_runs import UnitResult, run_unit_tests
from kpi.unit_tests import UnitTest, unit_test_nodes
from kpi.warehouse import DATABASE, FAILURES, Warehouse

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class Report:
    """What the tests found. `kept` is the file that holds failing rows, when they were to be kept."""

    units: tuple[UnitResult, ...]
    data: tuple[CheckResult, ...]
    kept: Path | None = None

    @property
    def failed(self) -> int:
        """How many tests failed; those that only warn do not count."""
        return sum(not unit.passed for unit in self.units) + sum(check.is_error for check in self.data)


def chosen_tests(
    graph: Graph, wanted: Iterable[str], excluded: Iterable[str]
) -> tuple[tuple[UnitTest, ...], tuple[Node, ...]]:
    """Return the unit tests and data tests that a selection means: as in dbt, those of any node it selects.

    No words select all. Raises ConfigError when a word selects nothing.
    """
    wide = replace(graph, nodes={**graph.nodes, **unit_test_nodes(graph.unit_tests)})
    tests = [node for node in wide.nodes.values() if node.kind in ("test", "unit_test")]

    def meant(words: list[str]) -> set[str]:
        nodes = select(wide, words)
        if any("resource_type:" in word or "test_type:" in word for word in words):
            return set(nodes)
        return set(nodes) | {test.id for test in tests if nodes.intersection(test.depends_on)}

    gone = meant(list(excluded)) if excluded else set()
    ids = meant(list(wanted)) - gone
    units = tuple(test for test in graph.unit_tests if test.id in ids)
    return units, tuple(test for test in graph.tests() if test.id in ids)


def run_project_tests(
    root: Path,
    wanted: Iterable[str] = (),
    excluded: Iterable[str] = (),
    build: str | None = None,
    store_failures: bool = False,
    variables: Mapping[str, Any] | None = None,
) -> Report:
    """Run the selected tests; the data tests on the published build, or the one named.

    With `store_failures` the failing rows go to a file beside the build's, which itself is only ever read. Raises
    CompileErrors, BuildError, or ConfigError when there is no such build.
    """
    from kpi.bind import check_project
    from kpi.project import load_project

    graph = check_project(load_project(root, variables))
    units, data = chosen_tests(graph, wanted, excluded)
    results = run_unit_tests(graph, units)
    if not data:
        return Report(results, ())
    folder = Warehouse(root.resolve() / "warehouse").folder(build).resolve()
    if not (store_failures or any(test.test and test.test.store_failures for test in data)):
        from kpi.engine import reading

        with reading(folder / DATABASE) as con:
            return Report(results, run_tests(con, data))
    with _beside(folder) as con:
        checks = run_tests(con, data, Store("failures", store_failures, only_tables=True))
    return Report(results, checks, folder / FAILURES)


@contextmanager
def _beside(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a build read-only, and a new file beside it for failing rows."""
    from kpi.engine import CATALOG, scratch
    from kpi.names import literal

    (folder / FAILURES).unlink(missing_ok=True)
    with scratch() as con:
        con.execute(f"attach {literal(str(folder / DATABASE))} as {CATALOG} (read_only)")
        con.execute(f"attach {literal(str(folder / FAILURES))} as failures")
        con.execute(f"use {CATALOG}")
        yield con
