"""`kpi test`: which tests a selection means, and the data tests of a build that is there, which is only read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kpi.base.errors import ConfigError
from kpi.compile.graph import Graph, with_unit_tests
from kpi.compile.selection import select
from kpi.compile.selectors import default_of
from kpi.models.model import Node
from kpi.models.unit_tests import UnitTest
from kpi.run.checks import CheckResult, Store, run_tests
from kpi.run.examples import with_examples
from kpi.warehouse.builds import FAILURES
from kpi.warehouse.rights import database

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class Report:
    """What the data tests found. `kept` is the file that holds failing rows, when they were to be kept."""

    checks: tuple[CheckResult, ...] = ()
    kept: Path | None = None


def chosen_tests(
    graph: Graph, wanted: Iterable[str], excluded: Iterable[str], selector: str = ""
) -> tuple[tuple[UnitTest, ...], tuple[Node, ...]]:
    """Return the unit tests and data tests that a selection means: as in dbt, those of any node it selects.

    No words select all, or what the default selector of selectors.yml means; `selector` is one of it. Raises
    ConfigError when a word selects nothing.
    """
    wide = with_unit_tests(graph)
    tests = [node for node in wide.nodes.values() if node.kind in ("test", "unit_test")]

    if not selector and not wanted and not excluded:
        selector = default_of(graph.project.selectors)

    def meant(words: list[str], selector: str = "") -> set[str]:
        nodes = select(wide, words, selector=selector)
        if any("resource_type:" in word or "test_type:" in word for word in words):
            return set(nodes)
        return set(nodes) | {test.id for test in tests if nodes.intersection(test.depends_on)}

    gone = meant(list(excluded)) if excluded else set()
    if selector and excluded:
        raise ConfigError("--selector stands instead of --select and --exclude: give it alone.")
    ids = meant(list(wanted), selector) - gone
    units = tuple(test for test in graph.unit_tests if test.id in ids)
    return units, tuple(test for test in graph.tests() if test.id in ids)


def run_data_tests(
    folder: Path,
    tests: Sequence[Node],
    store_failures: bool = False,
    graph: Graph | None = None,
    fail_fast: bool = False,
) -> Report:
    """Run data tests on the build in `folder`, which is only ever read: on all of it.

    Failing rows that are to be kept, of all tests with `store_failures`, go to a file beside it; with the `graph` the
    results have examples of them. Raises BuildError naming a test that does not run: the build may be of an older
    project; ConfigError when only stewards may open it.
    """
    held = database(folder, stewards=True)
    if not (store_failures or any(test.test and test.test.store_failures for test in tests)):
        from kpi.base.engine import reading

        with reading(held) as con:
            return Report(with_examples(con, graph, _run(con, tests, None, fail_fast)))
    with _beside(held) as con:
        store = Store("failures", store_failures, only_tables=True)
        results = with_examples(con, graph, _run(con, tests, store, fail_fast))
        return Report(results, held.with_name(FAILURES))


def _run(
    con: duckdb.DuckDBPyConnection, tests: Sequence[Node], store: Store | None, fail_fast: bool
) -> tuple[CheckResult, ...]:
    """Run the tests, many at once; or one after the other until one fails."""
    if not fail_fast:
        return tuple(run_tests(con, tests, store) if store else run_tests(con, tests))
    results: list[CheckResult] = []
    for test in tests:
        results += run_tests(con, [test], store) if store else run_tests(con, [test])
        if results[-1].is_error:
            break
    return tuple(results)


@contextmanager
def _beside(held: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a build read-only, and a new file beside it for failing rows."""
    from kpi.base.engine import CATALOG, confine, scratch
    from kpi.base.names import literal

    failures = held.with_name(FAILURES)
    failures.unlink(missing_ok=True)
    with scratch() as con:
        con.execute(f"attach {literal(str(held))} as {CATALOG} (read_only)")
        con.execute(f"attach {literal(str(failures))} as failures")
        con.execute(f"use {CATALOG}")
        confine(con)
        yield con
