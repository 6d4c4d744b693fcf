"""Great Expectations over each report year: the rules of a project run on its topics, year by year.

The only module that imports Great Expectations. The import takes seconds, so it happens inside a function that a
refresh calls in a thread while the build runs, and only where there is something to ask it. A result follows from the
rows of its topic and year and from the rules alone: inside `kpi.cache.caching` it is taken from there when these are as
they were. Where it said of values that a rule holds it is not asked about them again, nor about numbers between them;
about a rule that does not hold it is asked each time. Nothing else is written to disk and nothing is sent anywhere.
"""

from __future__ import annotations

import datetime
import importlib
import importlib.util
import json
import logging
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from types import ModuleType
from typing import Any

import duckdb

from kpi.cache import recall, remember, remembered
from kpi.presentation import listed, significant
from kpi.sql import counted
from kpi.validation.datasets import YEARS, Column, Frame, read_frames
from kpi.validation.rule import (
    ANY_ROW,
    CHECKS,
    FEED_TOPICS,
    NOT_NULL,
    Expectations,
    FeedExpectation,
    Rule,
    Severity,
    Topic,
    between,
    none_of,
    one_of,
    years_rule,
)

RESULTS_TABLE = "marts.expectation_results"
LABELS_SHOWN = 20
_VALUES = ("value", "compared")
_LIBRARIES = ("great_expectations", "pandas", "numpy")
_ANSWERED = "answered"
# What Great Expectations imports and uses in what no rule here is of: such a module is imported when it is used.
_POSTPONED = ("scipy.stats", "altair", "requests", "jsonschema")
# And its own modules of this kind, save those that `_is_needed` knows: its names stand for nothing until then.
_ABSENT = re.compile(
    r"great_expectations\.(?:datasource\.fluent\.(?:\w+_datasource|fabric)|expectations\.core\.expect_\w+"
    r"|metrics\.(?:batch|column|column_pair|multi_column|query)\b.*|core\.http)"
)
# Expectations that say of each row by itself whether it is as expected: what holds of more rows holds of fewer.
_OF_EACH_ROW = frozenset(f"ExpectColumnValuesTo{kind}" for kind in ("BeBetween", "BeInSet", "NotBeInSet", "NotBeNull"))
# Of numbers these look at the least and greatest, or at the greatest, and at nothing between.
_OF_GREATEST = ("ExpectColumnMaxToBeBetween",)
_OF_RANGE = ("ExpectColumnValuesToBeBetween", *_OF_GREATEST)


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


def has_answers() -> bool:
    """Tell whether Great Expectations answered this kpi before, in what is remembered: it may not be needed again."""
    return bool(recall(_ANSWERED))


def import_great_expectations() -> ModuleType:
    """Import Great Expectations, which takes seconds, and keep it from sending usage statistics and from logging.

    Its data sources of databases and clouds, and expectations that no rule is of, are left out: they are most of it.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
    if "great_expectations" in sys.modules:
        return importlib.import_module("great_expectations")
    with _postponed():
        try:
            with _left_out():
                return importlib.import_module("great_expectations")
        except Exception:  # another version, in which something else is needed: all of it
            for name in [name for name in sys.modules if name.partition(".")[0] == "great_expectations"]:
                del sys.modules[name]
            return importlib.import_module("great_expectations")


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


class _Absent(ModuleType):
    """Stands for a module of which nothing is used: each name in it is an empty class, which says where it is from."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        empty = type(name, (), {"__module__": self.__name__, "is_absent": True})
        setattr(self, name, empty)
        return empty


class _AbsentFinder(MetaPathFinder, Loader):
    """Finds an absent module for each name of `_ABSENT` that no rule needs."""

    def __init__(self) -> None:
        kinds = (check.expectation for check in (*CHECKS.values(), between(None, None), one_of(), none_of()))
        self._needed = {re.sub("(?<!^)([A-Z])", r"_\1", kind).lower() for kind in kinds}
        self._needed |= {"pandas_datasource", "invalid_datasource"}
        self.found: list[str] = []

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        """Return a spec for a module that is left out, None for any other."""
        if not _ABSENT.fullmatch(name) or name.rpartition(".")[2] in self._needed:
            return None
        self.found.append(name)
        return ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the absent module."""
        return _Absent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: there is nothing in it."""


@contextmanager
def _left_out() -> Iterator[None]:
    """Let what is imported in here go without the modules of `_ABSENT`; who imports one later gets it."""
    finder = _AbsentFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in finder.found:
            parent, _, child = name.rpartition(".")
            del sys.modules[name]
            vars(sys.modules.get(parent, finder)).pop(child, None)


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
    suites = [
        _suite(year, as_of, *suite)
        for year in ((*years, *frames.empty_years()) if only_year is None else (only_year,))
        for suite in frames.suites(feeds, year, as_of)
    ]
    last = years[-1] if years else as_of.year
    if only_year in (None, last):
        suites.append(_suite(last, as_of, YEARS, frames.by_name["years"], (years_rule(as_of.year),)))
    validator = _Validator([suite for suite in suites if suite.rules])
    unfinished = {year for _, year in frames.unfinished}
    return tuple(
        replace(result, is_provisional=suite.is_running or suite.year in unfinished)
        for suite in validator.suites
        for result in validator.results_of(suite)
    )


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
        values = [[getattr(result, column) for result in results] for column in columns]
        con.execute(f"insert into {RESULTS_TABLE} select {', '.join(['unnest(?)'] * len(columns))}", values)


def results_as_json(results: Iterable[YearResult]) -> str:
    """Return the results as a JSON array of objects, the same text for the same results.

    `rows` holds the rows that break an expectation; of one that holds it is empty.
    """
    message = [asdict(replace(result, rows=() if result.success else result.rows)) for result in results]
    for result in message:
        result["rows"] = [{name: value for name, value in row.items() if value is not None} for row in result["rows"]]
    return json.dumps(message, ensure_ascii=False, indent=2) + "\n"


@dataclass(frozen=True, slots=True, eq=False)
class _Suite:
    """The rows of a topic in a year, and the rules that apply to them and have something to look at."""

    year: int
    is_running: bool
    topic: Topic
    frame: Frame
    rules: tuple[Rule, ...]


def _suite(year: int, as_of: datetime.date, topic: Topic, frame: Frame, rules: Sequence[Rule]) -> _Suite:
    is_running = year == as_of.year
    applied = (rule for rule in rules if not (is_running and rule.running_year == "skip") and _has_values(rule, frame))
    return _Suite(year, is_running, topic, frame, tuple(applied))


class _Validator:
    """Runs suites through Great Expectations, in one context that lives in memory only."""

    def __init__(self, suites: Sequence[_Suite]) -> None:
        self.suites = suites
        self._versions = [version(library) for library in _LIBRARIES]
        self._held: dict[str, frozenset[tuple[int, str]]] = {}  # by topic, the years and rules that hold

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

    def results_of(self, suite: _Suite) -> tuple[YearResult, ...]:
        """Return the result of each rule of a suite."""
        topic = suite.topic
        return remembered(
            lambda: self._results(suite),
            *("year", suite.year, suite.is_running, topic.name, topic.row, topic.observed, [*suite.rules]),
            *(suite.frame.content, self._versions),
        )

    def _results(self, suite: _Suite) -> tuple[YearResult, ...]:
        if suite.topic.name not in self._held:
            self._held[suite.topic.name] = frozenset(self._held_of_topic(suite.topic.name))
        held = self._held[suite.topic.name]
        # Asking for a plain yes or no takes half the time, and it is mostly yes: ask for the rows only after a no.
        answers = self._outcome(suite, [rule for rule in suite.rules if (suite.year, rule.name) not in held])
        for rule in suite.rules:
            if rule.name in answers and answers[rule.name].success:
                self._remember(suite, rule)
        broken = [rule for rule in suite.rules if rule.name in answers and not answers[rule.name].success]
        details = self._outcome(suite, broken, "COMPLETE")
        return tuple(_result(suite, rule, details.get(rule.name)) for rule in suite.rules)

    def _held_of_topic(self, topic: str) -> Iterator[tuple[int, str]]:
        """Yield each year and rule of a topic that is known to hold, or holds of the rows of all years together.

        Asking once about rules that are of each row costs a fifth of asking for each of five years. After a no each
        year is asked about by itself.
        """
        suites = [suite for suite in self.suites if suite.topic.name == topic]
        alike: dict[Any, list[_Suite]] = {}  # the suites of a rule whose columns are of one type
        rules: dict[Any, Rule] = {}
        for suite in suites:
            for rule in suite.rules:
                if self._is_known(suite, rule):
                    yield suite.year, rule.name
                elif rule.column and rule.check.expectation in _OF_EACH_ROW:
                    key = (rule.name, rule.value_column, repr(rule.check), suite.frame[rule.value_column].dtype)
                    alike.setdefault(key, []).append(suite)
                    rules[key] = rule
        together: dict[tuple[int, ...], list[Any]] = {}
        for key, of_rule in alike.items():
            together.setdefault(tuple(suite.year for suite in of_rule), []).append(key)
        for years, keys in together.items():
            columns = list(dict.fromkeys(rules[key].value_column for key in keys))
            first, *others = (suite.frame for suite in alike[keys[0]])
            frame = first.joined(others, columns)
            all_years = _Suite(years[0], False, suites[0].topic, frame, tuple(rules[key] for key in keys))
            answers = self._outcome(all_years, all_years.rules) if len(years) > 1 else {}
            for rule in all_years.rules:
                if rule.name in answers and answers[rule.name].success:
                    self._remember(all_years, rule)
                    yield from ((year, rule.name) for year in years)

    def _is_known(self, suite: _Suite, rule: Rule) -> bool:
        """Tell whether Great Expectations said of such values, now or in an earlier run, that the rule holds."""
        evidence = _evidence(rule, suite.frame)
        earlier = recall("holds", rule.check, evidence.of, self._versions)
        return isinstance(earlier, tuple) and evidence.is_within(earlier)

    def _remember(self, suite: _Suite, rule: Rule) -> None:
        """Remember of what values Great Expectations said that a rule holds."""
        evidence = _evidence(rule, suite.frame)
        earlier = recall("holds", rule.check, evidence.of, self._versions)
        values = evidence.joined(earlier) if isinstance(earlier, tuple) else evidence.values
        remember(values, "holds", rule.check, evidence.of, self._versions)

    def _outcome(self, suite: _Suite, rules: Sequence[Rule], result_format: str = "BOOLEAN_ONLY") -> dict[str, Any]:
        """Return what Great Expectations says of some rules of a suite, by their names."""
        if not rules:
            return {}
        batch = self._batches.get_batch(batch_parameters={"dataframe": suite.frame.df()})
        expected = [self._expectation(rule) for rule in rules]
        name = f"{suite.year} {suite.topic.name}"
        outcome = batch.validate(
            self._gx.ExpectationSuite(name=name, expectations=expected), result_format=result_format
        )
        remember(True, _ANSWERED)
        # The results come in another order than the expectations went in, hence the name of the rule in each.
        return {result.expectation_config.meta["rule"]: result for result in outcome.results}

    def _expectation(self, rule: Rule) -> Any:
        kind = getattr(self._gx.expectations, rule.check.expectation)
        if hasattr(kind, "is_absent"):
            kind = getattr(importlib.import_module(kind.__module__), rule.check.expectation)
        column = {"column": rule.value_column} if rule.column else {}
        severity = "critical" if rule.severity == "error" else "warning"
        return kind(**column, **rule.check.arguments, severity=severity, meta={"rule": rule.name})


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What a rule's answer follows from, of the column that it looks at. `of` says of what, beside the rule's check.

    The values are a range, least and greatest, of a rule that holds of all numbers between two of which it holds; else
    those that occur. None of a rule that says something of the column as a whole: `of` has all of it.
    """

    of: tuple[str, ...]
    values: tuple[Any, ...]
    is_range: bool = False

    def is_within(self, earlier: tuple[Any, ...]) -> bool:
        """Tell whether the rule holds of these values because it holds of those that are known."""
        if self.is_range:
            return bool(earlier[0] <= self.values[0] and self.values[1] <= earlier[1])
        return set(self.values) <= set(earlier)

    def joined(self, earlier: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the values of which the rule is known to hold, these among them."""
        if self.is_range:
            return min(earlier[0], self.values[0]), max(earlier[1], self.values[1])
        return tuple(sorted({*earlier, *self.values}))


def _evidence(rule: Rule, frame: Frame) -> _Evidence:
    """Return what the answer to a rule follows from. What a check looks at is that of Great Expectations."""
    kind = rule.check.expectation
    if not rule.column and kind == ANY_ROW.expectation:
        return _Evidence(("rows",), _looked_at(rule, len(frame), len(frame)), is_range=True)
    if not rule.column:
        return _Evidence(("frame", frame.content), ())
    column = frame[rule.value_column]
    values, type_ = column.present, column.dtype
    if rule.check == NOT_NULL:
        return _Evidence(("nulls", type_), (len(values) < len(column.values),))
    if values and column.is_number and kind in _OF_RANGE:
        low, high = max(values) if kind in _OF_GREATEST else min(values), max(values)
        return _Evidence(("range", type_), _looked_at(rule, low, high), is_range=True)
    if kind in _OF_EACH_ROW and all(isinstance(value, str) for value in values):
        return _Evidence(("texts", type_), tuple(sorted(set(values))))
    return _Evidence(("column", type_, repr(column.values)), ())


def _looked_at(rule: Rule, low: float, high: float) -> tuple[float, float]:
    """Return the least and greatest of numbers as far as a rule looks at them: where it has no limit, any would do."""
    limits = rule.check.arguments
    return (
        -math.inf if limits.get("min_value") is None else low,
        math.inf if limits.get("max_value") is None else high,
    )


def _has_values(rule: Rule, frame: Frame) -> bool:
    """Tell whether a pass would mean anything: most expectations pass on an empty frame and an all-null column."""
    if not rule.column:
        return True
    if rule.check == NOT_NULL:
        return len(frame) > 0
    return bool(frame[rule.value_column].present)


def _result(suite: _Suite, rule: Rule, failure: Any) -> YearResult:
    """Return the result of a rule; `failure` is what Great Expectations tells of one that does not hold, else None."""
    topic, frame, is_running = suite.topic, suite.frame, suite.is_running
    column = frame[rule.value_column if rule.column else "report_year"]
    values = column.present
    is_number = bool(rule.column) and column.is_number and len(values) > 0
    failing_places = failure.result.get("unexpected_index_list") if failure and failure.result else None
    present = [place for place, value in enumerate(column.values) if value is not None]
    looked_at = range(len(frame)) if rule.check == NOT_NULL else present
    places = looked_at if failing_places is None else list(failing_places)
    observation = ", ".join(_labels(topic, frame)) if topic.observed == "rows" else _seen(rule, column)
    return YearResult(
        report_year=suite.year,
        expectation=rule.name,
        topic=rule.topic,
        description=rule.description,
        description_fi=rule.description_fi,
        severity=rule.running_year if is_running and rule.running_year != "skip" else rule.severity,
        success=failure is None,
        observed=observation if failure is None else _broken(topic, rule, frame, column, failure),
        is_provisional=is_running,
        judged=len(values),
        lowest=float(min(values)) if is_number else None,
        highest=float(max(values)) if is_number else None,
        rows=tuple(_rows(rule, suite, places)),
        failure=_exception_message(failure.exception_info) if failure and not failure.result else "",
        description_sv=rule.description_sv,
        unit=_unit(rule, frame, column.at(present), present),
    )


def _unit(rule: Rule, frame: Frame, values: Column, places: Sequence[int]) -> str | None:
    """Return the unit of the values that a rule looks at: of figures' own values, where the frame says it.

    `values` are those of its column that are not missing, which stand at these places.
    """
    if rule.column == "report_year":
        return "year"
    if not {"unit", "value"} <= frame.columns.keys() or values != frame["value"].at(places):
        return ""
    units = set(frame["unit"].at(places).present)
    if len(units) == 1:
        return str(units.pop())
    return None if "seconds" in units else ""


def _rows(rule: Rule, suite: _Suite, places: Sequence[int]) -> Iterator[SeenRow]:
    """Yield the rows of a suite at some places as a reader sees them. A feed's stand in the column of its rule."""
    is_feed = rule.topic in FEED_TOPICS
    names = {
        "figure_id": "figure_id", "service": "service", "basis": "basis", "month": "month",
        "value": rule.column if is_feed or rule.topic == "years" else "value", "compared": "compared",
        "note": "note_fi",
    }  # fmt: skip
    columns = {name: column for name, column in names.items() if column in suite.frame.columns}
    for cells in zip(*(suite.frame[column].at(places).values for column in columns.values()), strict=True):
        fields = {name: cell for name, cell in zip(columns, cells, strict=True) if cell is not None}
        if "month" in fields:
            fields["month"] = int(fields["month"])
        yield SeenRow(**fields, feed=rule.column if is_feed else None)


def _labels(topic: Topic, frame: Frame) -> list[str]:
    """Return what the rows of a topic are called, by the parts that it gives."""
    columns = [column for column in frame.columns if any(f"{{{column}" in part for part in topic.row)]
    rows = zip(*(frame[column].values for column in columns), strict=True)
    return ["".join(_parts(topic.row, dict(zip(columns, row, strict=True)))) for row in rows]


def _parts(row: Sequence[str], cells: Mapping[str, Any]) -> Iterator[str]:
    """Yield each part with its cell; a part whose cell is missing is left out, save for a value."""
    for part in row:
        names = [name for name in cells if f"{{{name}}}" in part or f"{{{name}:" in part]
        if all(name in _VALUES or cells[name] is not None for name in names):
            yield part.format(**{name: _cell(name, cells[name]) for name in names})


def _cell(name: str, cell: Any) -> Any:
    if name in _VALUES:
        return "no value" if cell is None else f"{float(cell):.10g}"
    return int(cell) if isinstance(cell, float) else cell


def _seen(rule: Rule, column: Column) -> str:
    """Say how many values a rule that holds looked at and, of numbers, their range."""
    values = column.present
    if not rule.column:
        return counted(len(values), "row")
    count = "1 value" if len(values) == 1 else f"{len(values)} values"
    if not column.is_number or not values:
        return count
    low, high = significant(float(min(values)), 10), significant(float(max(values)), 10)
    return f"{count}: {low}" if low == high else f"{count}: {low} to {high}"


def _broken(topic: Topic, rule: Rule, frame: Frame, column: Column, failure: Any) -> str:
    """Say which rows break a rule or, when it looks at no single row, what was seen instead."""
    if not failure.result:
        return f"could not be applied: {_exception_message(failure.exception_info)}"
    if "unexpected_index_list" not in failure.result:
        return _seen(rule, column) if rule.column else rule.found
    labels = _labels(topic, frame.at(failure.result["unexpected_index_list"]))
    return rule.found.format(rows=listed(labels, LABELS_SHOWN))


def _exception_message(info: Any) -> str:
    """Return the first message in what Great Expectations tells of a crash: one entry, or one per metric."""
    entries = [info] if "exception_message" in info else list(info.values())
    return str(next((entry["exception_message"] for entry in entries), "unknown")).split("\n", maxsplit=1)[0]
