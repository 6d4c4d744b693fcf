"""Validate the report years of a build, or run data tests on it, with nothing rebuilt."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from kpi import database
from kpi.engine.compile import read_feeds
from kpi.engine.graph import Graph, Node, UnitTest
from kpi.engine.runner import Adapter, AdapterFor, DuckAdapter
from kpi.engine.selector import Selection, default_of, select
from kpi.engine.test_runner import CheckResult, Store, run_tests, with_examples
from kpi.engine.unit_tests import with_unit_tests
from kpi.errors import BuildError, ConfigError, Place, Problem, nearest
from kpi.ingest.contract import Feed
from kpi.ingest.masking import quoted
from kpi.settings import REPORT_COLUMNS
from kpi.sql import counted, literal
from kpi.validation.rule import Expectations, FeedExpectation, read_expectations
from kpi.warehouse.builds import FAILURES, Warehouse, is_open
from kpi.warehouse.permissions import database_path, readable_database

if TYPE_CHECKING:
    from kpi.validation.expectations import YearResult


EXPECTATIONS = "expectations.json"
WIDTH = 100


def feed_expectations(feeds: Iterable[Feed]) -> tuple[FeedExpectation, ...]:
    """Return how often each feed is expected, by its contract."""
    return tuple(
        FeedExpectation(feed.name, feed.expected_every, feed.expected_from, cadence=feed.cadence) for feed in feeds
    )


def validate_candidate(
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    expectations: Expectations,
    feeds: Sequence[FeedExpectation],
    as_of: date,
    is_synthetic: bool,
) -> tuple[YearResult, ...]:
    """Validate a candidate: the results become a table in it, and JSON in its folder, for the pages."""
    from kpi.validation.expectations import results_as_json, validate, write_results

    results = validate(con, expectations, feeds, as_of, is_more_expected=not is_synthetic)
    write_results(con, results)
    (folder / EXPECTATIONS).write_text(results_as_json(results), encoding="utf-8")
    return results


def carry_over(source: Path, folder: Path) -> None:
    """Copy the results of the last validation."""
    if (source / EXPECTATIONS).is_file():
        shutil.copyfile(source / EXPECTATIONS, folder / EXPECTATIONS)


def validate_build(
    root: Path, build: str | None, year: int | None, as_of: date | None, html: Path | None
) -> tuple[YearResult, ...]:
    """Validate the published build, or the one with the given id, by the rules and contracts of today.

    `as_of` is the day to validate on; None is the day of the refresh that made the build. The site of the build, with
    what this validation found, is written into `html` when it is given. A year that the build does not hold fails as
    empty. Raises ConfigError when there is no build.
    """
    from kpi.validation.expectations import results_as_json, validate

    warehouse = Warehouse(root.resolve() / "warehouse")
    folder = warehouse.folder(build)
    record = warehouse.record(folder)
    if not record.as_of and as_of is None:
        message = f"build {folder.name} does not say of which day it is ({record.problem})"
        raise ConfigError(f"{message}. Give --as-of.")
    day = as_of or date.fromisoformat(record.as_of)
    project, contracts = read_feeds(root)
    expectations, feeds = read_expectations(project), feed_expectations(contracts)
    # A year is validated by topics, marts and seeds, which readers have too, where there is a file for them.
    with database.reading(readable_database(folder)) as con:
        refuse_missing(con, expectations, record.id)
        results = validate(con, expectations, feeds, day, year, is_more_expected=not record.synthetic)
        if year is not None and not results:
            raise ConfigError(f"build {record.id} has nothing of {year} that is validated. See: kpi show")
        if html is not None:
            from kpi.jobs.build_site import write_validated

            write_validated(html, con, project, replace(record, as_of=str(day)), results_as_json(results))
    return results


# What a row of these tables is known by; nothing else tells two of them apart.
_KEYS = {
    "indicators": ("figure_id", "service", "report_year", "basis"),
    "monthly_series": ("figure_id", "service", "report_year", "month"),
}
_RANGES = {"report_year": (1, 9999), "month": (1, 12)}  # of a calendar
_NO_NUMBER = "no number that can be shown: not a number, infinite or too large. May a denominator be zero?"


def refuse_impossible_figures(con: duckdb.DuckDBPyConnection, graph: Graph) -> None:
    """Raise BuildError when a table of figures holds what no figure can be: a row that readers would not see, or two.

    A value that is no number would be shown as one that was not delivered; a row without its year has no page.
    """
    built = database.table_columns(con)
    for table, relation in graph.project.report_tables.names().items():
        node = next((node for node in graph.built() if str(node.relation) == relation), None)
        if table not in _KEYS or relation not in built or node is None:
            continue
        faults = con.execute(_impossible_rows(table, relation, built[relation])).fetchall()
        if faults:
            what, count, example = faults[0]
            message = f"{what} In {counted(count, 'row')}."
            restricted = f"{message} Such as: {example}"
            raise BuildError(relation, message, place=Place(str(node.file), node.line), restricted=restricted)


def _impossible_rows(table: str, relation: str, columns: Mapping[str, str]) -> str:
    """SQL of what is wrong with rows of a table, of how many, and of the key of one; of what nothing is, no row."""
    key = _KEYS[table]
    faults = {f"{name} is missing.": f"trim(coalesce({name}::varchar, '')) = ''" for name in key}
    for name, (first, last) in _RANGES.items():
        if name in key:
            faults[f"{name} is none from {first} to {last}."] = f"{name} not between {first} and {last}"
    required, optional = REPORT_COLUMNS[table]
    for name, kind in {**required, **optional}.items():
        if kind == "number" and name not in key and name in columns:
            # A decimal of the scale that values are shown by: what does not fit would be shown as nothing.
            faults[f"{name} is {_NO_NUMBER}"] = f"{name} is not null and try_cast({name} as decimal(38, 9)) is null"
    several = f"count(*) over (partition by {', '.join(key)}) > 1"
    faults[f"{', '.join(key[:-1])} and {key[-1]} stand in several rows."] = "_is_repeated"
    example = " || ' ' || ".join(f"coalesce({name}::varchar, '(none)')" for name in key)
    parts = [
        f"select {place} as place, {literal(what)} as what, count(*) as rows, min({example}) as example"
        f" from figures where {condition} having count(*) > 0"
        for place, (what, condition) in enumerate(faults.items())
    ]
    return (
        f"with figures as (select *, {several} as _is_repeated from {relation})"
        f" select what, rows, example from ({' union all '.join(parts)}) order by place"
    )


def unknown_codes(con: duckdb.DuckDBPyConnection, graph: Graph) -> list[Problem]:
    """Return a warning for each service and basis of a figure that no table of the project names: misspelt, perhaps.

    Only where such a table names any. Services of projects with expectations are those to judge.
    """
    tables, built = graph.project.report_tables, database.table_columns(con)
    if tables.indicators not in built:
        return []
    problems: list[Problem] = []
    if tables.code_lists in built:
        known = con.execute(f"select distinct code from {tables.code_lists} where list = 'basis'").fetchall()
        bases = f"select basis, count(*) from {tables.indicators} group by basis order by basis"
        codes = {code for (code,) in known}
        for basis, rows in con.execute(bases).fetchall() if codes else ():
            if basis not in codes:
                what = f"the basis '{quoted(basis)}', which {tables.code_lists} does not name.{nearest(basis, codes)}"
                message = f"has {what} In {counted(rows, 'row')}."
                problems.append(Problem("figure.unknown_basis", message, subject=tables.indicators))
    if tables.figure_services in built and not read_expectations(graph.project).topics:
        named = f"select figure_id, array_agg(distinct service) as services from {tables.figure_services} group by all"
        unknown_services = (
            f"select figure_id, service, services, count(*) from {tables.indicators} inner join ({named})"
            " using (figure_id) where not list_contains(services, service) group by all order by 1, 2"
        )
        for figure, service, services, rows in con.execute(unknown_services).fetchall():
            what = (
                f"'{quoted(figure)}' of the service '{quoted(service)}', which {tables.figure_services} does not name"
            )
            message = f"has {what}.{nearest(service, services)} In {counted(rows, 'row')}."
            problems.append(Problem("figure.unknown_service", message, subject=tables.indicators))
    return problems


def refuse_missing(con: duckdb.DuckDBPyConnection, expectations: Expectations, build: str) -> None:
    """Raise ConfigError when a build lacks what a topic looks at: its rules would be passed over in silence."""
    built = database.table_columns(con)
    for topic in expectations.topics:
        lacking = sorted(topic.columns() - built.get(topic.table, {}).keys()) if not topic.sums else []
        if topic.table not in built or lacking:
            what = f"no column {lacking[0]} in {topic.table}" if topic.table in built else f"no {topic.table}"
            message = f"build {build} has {what}: it is not whole, or the project was another."
            raise ConfigError(f"{message} Run first: kpi refresh", topic.place)


def result_lines(results: Sequence[YearResult], width: int = WIDTH) -> list[str]:
    """Return what does not hold as a table, year by year, and a line that sums up each year; at most `width` wide."""
    failed = [result for result in results if not result.success]
    lines: list[str] = []
    if failed:
        names = max(len("expectation"), *(min(len(result.expectation), 36) for result in failed))
        room = width - names - 18
        lines = [
            f"year  severity  {'expectation':<{names}}  seen",
            f"----  --------  {'-' * names}  {'-' * room}",
        ]
        for result in failed:
            observed_lines = textwrap.wrap(_printable(result.observed), room) or [""]
            name = textwrap.wrap(result.expectation, names) or [""]
            for place in range(max(len(observed_lines), len(name))):
                first = f"{result.report_year}  {_severity(result):<8}" if place == 0 else " " * 14
                cells = [column[place] if place < len(column) else "" for column in (name, observed_lines)]
                lines.append(f"{first}  {cells[0]:<{names}}  {cells[1]}".rstrip())
        lines.append("")
    return [*lines, *(_summary(year, results) for year in sorted({result.report_year for result in results}))]


def errors(results: Iterable[YearResult]) -> list[YearResult]:
    """Return the results that keep a build from being published."""
    return [result for result in results if not result.success and result.severity == "error"]


def _severity(result: YearResult) -> str:
    return "error" if result.severity == "error" else "warning"


def _printable(text: str) -> str:
    """Return the text without what would steer a terminal: the codes in it were delivered."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _summary(year: int, results: Sequence[YearResult]) -> str:
    of_year = [result for result in results if result.report_year == year]
    failed = [_severity(result) for result in of_year if not result.success]
    counts = [(failed.count(kind), kind) for kind in ("error", "warning")]
    message = " and ".join(f"{count} {kind}{'s' * (count > 1)}" for count, kind in counts if count) or "all hold"
    running = ", not over yet" if any(result.is_provisional for result in of_year) else ""
    return f"{year}: {len(of_year)} expectation{'s' * (len(of_year) != 1)}, {message}{running}."


@dataclass(frozen=True, slots=True)
class Report:
    """What the data tests found. `failures` is the file that holds failing rows, when they were to be stored."""

    checks: tuple[CheckResult, ...] = ()
    failures: Path | None = None


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
        nodes = select(wide, Selection(tuple(words), selector=selector))
        if any("resource_type:" in word or "test_type:" in word for word in words):
            return set(nodes)
        return set(nodes) | {test.id for test in tests if nodes.intersection(test.depends_on)}

    excluded_ids = meant(list(excluded)) if excluded else set()
    if selector and excluded:
        raise ConfigError("--selector stands instead of --select and --exclude: give it alone.")
    ids = meant(list(wanted), selector) - excluded_ids
    units = tuple(test for test in graph.unit_tests if test.id in ids)
    return units, tuple(test for test in graph.tests() if test.id in ids)


def run_data_tests(
    folder: Path,
    tests: Sequence[Node],
    store_failures: bool = False,
    graph: Graph | None = None,
    fail_fast: bool = False,
    adapter_for: AdapterFor = DuckAdapter,
) -> Report:
    """Run data tests on the build in `folder`, which is only ever read: on all of it.

    Failing rows that are to be stored, of all tests with `store_failures`, go to a file beside it; with the `graph` the
    results have examples of them. Raises BuildError naming a test that does not run: the build may be of an older
    project; ConfigError when only stewards may open it.
    """
    held = database_path(folder, stewards=True)
    if not (store_failures or any(test.test and test.test.store_failures for test in tests)):
        with database.reading(held) as con:
            return Report(with_examples(con, graph, _run(adapter_for(con), con, tests, None, fail_fast)))
    with _beside(held) as con:
        store = Store("failures", store_failures, only_tables=True)
        results = with_examples(con, graph, _run(adapter_for(con), con, tests, store, fail_fast))
        return Report(results, held.with_name(FAILURES))


def _run(
    adapter: Adapter, con: duckdb.DuckDBPyConnection, tests: Sequence[Node], store: Store | None, fail_fast: bool
) -> tuple[CheckResult, ...]:
    """Run the tests, many at once; or one after the other until one fails."""
    if not fail_fast:
        return run_tests(con, tests, store, adapter)
    results: list[CheckResult] = []
    for test in tests:
        results += run_tests(con, [test], store, adapter)
        if results[-1].is_error:
            break
    return tuple(results)


@contextmanager
def _beside(held: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a build read-only, and a new file for failing rows, which is beside it once they are all there."""
    new = held.with_name(f".{FAILURES}-{os.getpid()}")
    for left in held.parent.glob(f".{FAILURES}-*"):
        if not is_open(left):  # by a test that is running
            left.unlink()
    try:
        with database.scratch() as con:
            con.execute(f"attach {literal(str(held))} as {database.CATALOG} (read_only)")
            con.execute(f"attach {literal(str(new))} as failures")
            con.execute(f"use {database.CATALOG}")
            database.confine(con)
            yield con
        os.replace(new, held.with_name(FAILURES))
    finally:
        for left in held.parent.glob(f"{new.name}*"):  # with what DuckDB has beside it
            left.unlink()
