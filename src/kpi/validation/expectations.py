"""Great Expectations over each report year: the rules of a project run on its topics, year by year.

The only module that imports Great Expectations. The import takes seconds, so it happens inside a function that a
refresh calls in a thread while the build runs, and only where there is something to validate. A result follows from the
rows of its topic and year and from the rules alone: inside `kpi.cache.caching` it is taken from there when these are as
they were. Nothing else is written to disk and nothing is sent anywhere.
"""

from __future__ import annotations

import datetime
import importlib
import importlib.util
import json
import logging
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any

import duckdb

from kpi.cache import remembered
from kpi.presentation import significant
from kpi.validation.datasets import YEARS, read_frames
from kpi.validation.rule import FEED_TOPICS, NOT_NULL, Expectations, FeedExpectation, Rule, Severity, Topic, years_rule

if TYPE_CHECKING:
    import pandas as pd


RESULTS_TABLE = "marts.expectation_results"
LABELS_SHOWN = 20
_VALUES = ("value", "compared")
_LIBRARIES = ("great_expectations", "pandas", "numpy")
# What Great Expectations imports for expectations that no rule here is of: half of the time that importing it takes.
_POSTPONED = ("scipy.stats", "altair")


@dataclass(frozen=True, slots=True)
class SeenRow:
    """A row that was looked at: a figure of a service, or a feed, in the year or a month of it.

    `value` is what was seen, in the figure's unit or in rows; `compared` what it was compared with: the year before,
    the parts of a sum, the printed value, the median month. `note` says more in Finnish, or is a formula.
    """

    figure_id: str | None = None
    service: str | None = None
    basis: str | None = None
    feed: str | None = None
    month: int | None = None
    value: float | None = None
    compared: float | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class YearResult:
    """What one expectation found in one report year.

    `expectation` is a readable id such as `every_month_present:<feed>`, `topic` what it looks at, `description` one
    sentence that says what was expected, `observed` the values seen or the rows that break it. `judged` counts the
    values looked at, which lie between `lowest` and `highest` when they are numbers. `rows` are those that break it,
    or all that were looked at when it holds. `is_provisional` marks a year that is not finished.
    `failure` says why the rule could not be applied; empty when it could. `unit` is that of the values between `lowest`
    and `highest`: of their figures, or year; empty where they have none, None where they are in several.
    """

    report_year: int
    expectation: str
    topic: str
    description: str
    description_fi: str
    severity: Severity
    success: bool
    observed: str
    is_provisional: bool
    judged: int
    lowest: float | None
    highest: float | None
    rows: tuple[SeenRow, ...]
    failure: str = ""
    description_sv: str = ""
    unit: str | None = ""


def import_great_expectations() -> ModuleType:
    """Import Great Expectations, which takes seconds, and keep it from sending usage statistics and from logging."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
    with _postponed():
        import great_expectations

    return great_expectations


class _Postponed(ModuleType):
    """Stands for a module until one of its names is asked for, and is imported then."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def _postponed() -> Iterator[None]:
    """Let modules that are imported in here get one of `_POSTPONED` when they use it; others never see this."""
    stand_ins = {}
    for name in _POSTPONED:
        if name not in sys.modules and (spec := importlib.util.find_spec(name)):
            stand_ins[name] = _Postponed(name)
            stand_ins[name].__spec__, stand_ins[name].__path__ = spec, []
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]


def validate(
    con: duckdb.DuckDBPyConnection,
    expectations: Expectations,
    feeds: Sequence[FeedExpectation],
    as_of: datetime.date,
    only_year: int | None = None,
    is_more_expected: bool = True,
) -> tuple[YearResult, ...]:
    """Validate every report year of a warehouse, from the first with a figure or a record to the year of `as_of`.

    Args:
        con: the candidate warehouse; it is only read.
        expectations: the project's topics with their rules.
        feeds: how often each feed is expected. A feed that was never delivered is not validated.
        as_of: the day of the refresh, by which something is due, late or very late (`kpi.ingest.calendar`).
        only_year: validate this year alone. A year outside the warehouse fails as empty.
        is_more_expected: whether a year of which nothing came at all is expected; of synthetic deliveries none is.

    Returns:
        One row per report year and expectation that had something to look at, in the order of the rules.
    """
    frames = read_frames(con, expectations, as_of.year, as_of.month - 1)
    if is_more_expected:
        frames = replace(frames, expected_until=as_of.year)
    years = frames.years()
    validator = _Validator(as_of, frozenset(year for _, year in frames.unfinished))
    results: list[YearResult] = []
    for year in (*years, *frames.empty_years()) if only_year is None else (only_year,):
        for topic, frame, rules in frames.suites(feeds, year, as_of):
            results += validator.run(year, topic, frame, rules)
    last = years[-1] if years else as_of.year
    if only_year in (None, last):
        results += validator.run(last, YEARS, frames.by_name["years"], (years_rule(as_of.year),))
    return tuple(results)


def write_results(con: duckdb.DuckDBPyConnection, results: Sequence[YearResult]) -> None:
    """Replace marts.expectation_results by the results. Grain: one row per report year and expectation, in order."""
    con.execute("create schema if not exists marts")
    con.execute(
        f"create or replace table {RESULTS_TABLE} (report_year integer, expectation varchar, description varchar, "
        "description_fi varchar, severity varchar, success boolean, observed varchar, is_provisional boolean)"
    )
    if results:
        columns = ("report_year", "expectation", "description", "description_fi", "severity", "success", "observed",
                   "is_provisional")  # fmt: skip
        rows = [[getattr(result, column) for column in columns] for result in results]
        con.executemany(f"insert into {RESULTS_TABLE} values (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def results_as_json(results: Iterable[YearResult]) -> str:
    """Return the results as a JSON array of objects, the same text for the same results.

    `rows` holds the rows that break an expectation; of one that holds it is empty.
    """
    message = [asdict(replace(result, rows=() if result.success else result.rows)) for result in results]
    for result in message:
        result["rows"] = [{name: value for name, value in row.items() if value is not None} for row in result["rows"]]
    return json.dumps(message, ensure_ascii=False, indent=2) + "\n"


class _Validator:
    """Runs rules through Great Expectations, in one context that lives in memory only."""

    def __init__(self, as_of: datetime.date, unfinished: frozenset[int]) -> None:
        self._running_year, self._unfinished = as_of.year, unfinished
        self._versions = [version(library) for library in _LIBRARIES]

    @cached_property
    def _gx(self) -> ModuleType:
        return import_great_expectations()

    @cached_property
    def _batches(self) -> Any:
        gx = self._gx
        from great_expectations.data_context.types.base import (
            DataContextConfig,
            InMemoryStoreBackendDefaults,
            ProgressBarsConfig,
        )

        # Without this configuration it draws progress bars and prepares a documentation site in the temporary folder.
        config = DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            progress_bars=ProgressBarsConfig(globally=False),
            analytics_enabled=False,
        )
        context = gx.get_context(mode="ephemeral", project_config=config)
        asset = context.data_sources.add_pandas("warehouse").add_dataframe_asset("year")
        return asset.add_batch_definition_whole_dataframe("whole")

    def run(self, year: int, topic: Topic, frame: pd.DataFrame, rules: Sequence[Rule]) -> tuple[YearResult, ...]:
        """Return the result of each rule that applies to the year and has something to look at."""
        is_running = year == self._running_year
        applied = [
            rule for rule in rules if not (is_running and rule.running_year == "skip") and _has_values(rule, frame)
        ]
        if not applied:
            return ()
        found = remembered(
            lambda: self._results(year, topic, frame, applied),
            *("year", year, is_running, topic.name, topic.row, topic.observed, applied),
            *(_content_of(frame), self._versions),
        )
        is_provisional = is_running or year in self._unfinished
        return tuple(replace(result, is_provisional=is_provisional) for result in found)

    def _results(self, year: int, topic: Topic, frame: pd.DataFrame, rules: Sequence[Rule]) -> tuple[YearResult, ...]:
        batch = self._batches.get_batch(batch_parameters={"dataframe": frame})
        # Asking for a plain yes or no takes half the time, and it is mostly yes: ask for the rows only after a no.
        answers = self._outcome(f"{year} {topic.name}", batch, rules, "BOOLEAN_ONLY")
        broken = [rule for rule in rules if not answers[rule.name].success]
        details = self._outcome(f"{year} {topic.name}", batch, broken, "COMPLETE") if broken else {}
        is_running = year == self._running_year
        return tuple(_result(year, topic, rule, frame, is_running, details.get(rule.name)) for rule in rules)

    def _outcome(self, name: str, batch: Any, rules: Sequence[Rule], result_format: str) -> dict[str, Any]:
        suite = self._gx.ExpectationSuite(name=name, expectations=[self._expectation(rule) for rule in rules])
        found = batch.validate(suite, result_format=result_format)
        # The results come in another order than the expectations went in, hence the name of the rule in each.
        return {result.expectation_config.meta["rule"]: result for result in found.results}

    def _expectation(self, rule: Rule) -> Any:
        kind = getattr(self._gx.expectations, rule.check.expectation)
        column = {"column": rule.value_column} if rule.column else {}
        severity = "critical" if rule.severity == "error" else "warning"
        return kind(**column, **rule.check.arguments, severity=severity, meta={"rule": rule.name})


def _content_of(frame: pd.DataFrame) -> str:
    """Return all that a frame holds as text: names and types of its columns, and every value in its order."""
    return f"{list(frame.dtypes)} {frame.to_dict('list')}"


def _has_values(rule: Rule, frame: pd.DataFrame) -> bool:
    """Tell whether a pass would mean anything: most expectations pass on an empty frame and an all-null column."""
    if not rule.column:
        return True
    if rule.check == NOT_NULL:
        return len(frame) > 0
    return bool(frame[rule.value_column].notna().any())


def _result(year: int, topic: Topic, rule: Rule, frame: pd.DataFrame, is_running: bool, failure: Any) -> YearResult:
    """Return the result of a rule; `failure` is what Great Expectations tells of one that does not hold, else None."""
    values = frame[rule.value_column].dropna() if rule.column else frame["report_year"]
    is_number = bool(rule.column) and values.dtype.kind in "iuf" and len(values) > 0
    found = failure.result.get("unexpected_index_list") if failure and failure.result else None
    places = values.index if found is None else found
    seen = ", ".join(_labels(topic, frame)) if topic.observed == "rows" else _seen(rule, values)
    if rule.check == NOT_NULL and found is None:
        places = frame.index
    return YearResult(
        report_year=year,
        expectation=rule.name,
        topic=rule.topic,
        description=rule.description,
        description_fi=rule.description_fi,
        severity=rule.running_year if is_running and rule.running_year != "skip" else rule.severity,
        success=failure is None,
        observed=seen if failure is None else _broken(topic, rule, frame, values, failure),
        is_provisional=is_running,
        judged=len(values),
        lowest=float(values.min()) if is_number else None,
        highest=float(values.max()) if is_number else None,
        rows=tuple(_rows(rule, frame.loc[places])),
        failure=_exception_message(failure.exception_info) if failure and not failure.result else "",
        description_sv=rule.description_sv,
        unit=_unit(rule, frame, values),
    )


def _unit(rule: Rule, frame: pd.DataFrame, values: pd.Series[Any]) -> str | None:
    """Return the unit of the values that a rule looks at: of figures' own values, where the frame says it."""
    if rule.column == "report_year":
        return "year"
    if not {"unit", "value"} <= set(frame.columns) or not values.equals(frame.loc[values.index, "value"].rename(None)):
        return ""
    units = set(frame.loc[values.index, "unit"].dropna())
    if len(units) == 1:
        return str(units.pop())
    return None if "seconds" in units else ""


def _rows(rule: Rule, frame: pd.DataFrame) -> Iterator[SeenRow]:
    """Yield rows of a frame as a reader sees them. A feed's rows stand in the column the rule looks at."""
    is_feed = rule.topic in FEED_TOPICS
    names = {
        "figure_id": "figure_id", "service": "service", "basis": "basis", "month": "month",
        "value": rule.column if is_feed or rule.topic == "years" else "value", "compared": "compared",
        "note": "note_fi",
    }  # fmt: skip
    columns = {name: column for name, column in names.items() if column in frame.columns}
    for cells in zip(*(frame[column].tolist() for column in columns.values()), strict=True):
        known = {name: cell for name, cell in zip(columns, cells, strict=True) if not _is_missing(cell)}
        if "month" in known:
            known["month"] = int(known["month"])
        yield SeenRow(**known, feed=rule.column if is_feed else None)


def _is_missing(cell: object) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _labels(topic: Topic, frame: pd.DataFrame) -> list[str]:
    """Return what the rows of a topic are called, by the parts that it gives."""
    columns = [column for column in frame.columns if any(f"{{{column}" in part for part in topic.row)]
    rows = zip(*(frame[column].tolist() for column in columns), strict=True)
    return ["".join(_parts(topic.row, dict(zip(columns, row, strict=True)))) for row in rows]


def _parts(row: Sequence[str], cells: Mapping[str, Any]) -> Iterator[str]:
    """Yield each part with its cell; a part whose cell is missing is left out, save for a value."""
    for part in row:
        named = [name for name in cells if f"{{{name}}}" in part or f"{{{name}:" in part]
        if all(name in _VALUES or not _is_missing(cells[name]) for name in named):
            yield part.format(**{name: _cell(name, cells[name]) for name in named})


def _cell(name: str, cell: Any) -> Any:
    if name in _VALUES:
        return "no value" if _is_missing(cell) else f"{float(cell):.10g}"
    return int(cell) if isinstance(cell, float) else cell


def _seen(rule: Rule, values: pd.Series[Any]) -> str:
    """Say how many values a rule that holds looked at and, of numbers, their range."""
    if not rule.column:
        return f"{len(values)} rows"
    count = "1 value" if len(values) == 1 else f"{len(values)} values"
    if values.dtype.kind not in "iuf":
        return count
    low, high = significant(float(values.min()), 10), significant(float(values.max()), 10)
    return f"{count}: {low}" if low == high else f"{count}: {low} to {high}"


def _broken(topic: Topic, rule: Rule, frame: pd.DataFrame, values: pd.Series[Any], found: Any) -> str:
    """Say which rows break a rule or, when it looks at no single row, what was seen instead."""
    if not found.result:
        return f"could not be applied: {_exception_message(found.exception_info)}"
    if "unexpected_index_list" not in found.result:
        return _seen(rule, values) if rule.column else rule.found
    labels = _labels(topic, frame.loc[found.result["unexpected_index_list"]])
    more = f" and {len(labels) - LABELS_SHOWN} more" if len(labels) > LABELS_SHOWN else ""
    return rule.found.format(rows=", ".join(labels[:LABELS_SHOWN]) + more)


def _exception_message(info: Any) -> str:
    """Return the first message in what Great Expectations tells of a crash: one entry, or one per metric."""
    entries = [info] if "exception_message" in info else list(info.values())
    return str(next((entry["exception_message"] for entry in entries), "unknown")).split("\n", maxsplit=1)[0]
