"""What a project expects of its report years, read from `expectations/`: topics with their rules, and sums.

The engine has kinds of rules and no rule: which table of the build is validated, by what, how severely, in which words
is the project's (`rules.yml`, `sums.yml`; keys: docs/reference/expectations.md). A topic is
a table with a row per figure, month or the like, made by a model; a rule looks at one column of it. What is impossible
or incomplete is an error and stops the publication; what is only implausible warns. A rule without anything to look at
makes no result. Of a project without the folder only the feeds' contracts are validated. A mistake in a file is a
ConfigError with file and line.
"""

from __future__ import annotations

import datetime
import fnmatch
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

from kpi.errors import ConfigError, ConfigErrors, Place, nearest
from kpi.ingest.calendar import PeriodState, period_state
from kpi.ingest.contract import GRACE, Cadence
from kpi.presentation import one_line
from kpi.settings import REPORT_COLUMNS, ReportTables
from kpi.yaml_loader import Section, read_yaml

if TYPE_CHECKING:
    from kpi.engine.graph import Graph, Node
    from kpi.project.project import Project

FOLDER = Path("expectations")
FILES = ("rules.yml", "sums.yml")
Severity = Literal["error", "warn"]
# Topics that every project has: the feeds by their contracts, the years themselves, and what retention deleted.
FEED_TOPICS = ("months", "deliveries")
OWN_TOPICS = (*FEED_TOPICS, "years", "kept")


_NOWHERE = Place("")


@dataclass(frozen=True, slots=True)
class Check:
    """An expectation of Great Expectations by its class name, with its arguments."""

    expectation: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Rule:
    """What one column of a topic must be like in every report year.

    `expects` and `because` make one English sentence and `finnish` is the same in Finnish; in both {low} and {high}
    stand for the limits of the check. `running_year` is the severity in the year that is not over yet, or 'skip'.
    `found` says what was seen when the rule fails; {rows} stands for the labels of the rows that break it. `figures`
    are those it is about, all when empty; `place` is where it is written, file:line.
    """

    name: str
    topic: str
    column: str
    check: Check
    severity: Severity
    running_year: Severity | Literal["skip"]
    expects: str
    finnish: str
    because: str = ""
    found: str = "{rows}"
    figures: tuple[str, ...] = ()
    swedish: str = ""
    place: Place = Place("")  # noqa: RUF009  a frozen value
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, repr=False)

    def where(self, key: str) -> Place:
        """Return file and line of one of its keys."""
        return self.places.get(key, self.place)

    @property
    def value_column(self) -> str:
        """The column that Great Expectations looks at: of some figures only, one that the rule has for itself."""
        return self.name if self.figures else self.column

    @property
    def description(self) -> str:
        """The sentence that says what is expected, with the limits of the check filled in."""
        return f"{self.expects}{', because ' if self.because else ''}{self.because}.".format(**self._limits())

    @property
    def description_fi(self) -> str:
        """The same sentence in Finnish; empty when the project has none."""
        return self._with_limits(self.finnish) if self.finnish else ""

    @property
    def description_sv(self) -> str:
        """The same sentence in Swedish; empty when the project has none."""
        return self._with_limits(self.swedish) if self.swedish else ""

    def _with_limits(self, sentence: str) -> str:
        limits = {name: _in_finnish(limit) for name, limit in self._limits().items()}
        return f"{sentence}.".format(**limits)

    def _limits(self) -> dict[str, object]:
        limits = {"low": self.check.arguments.get("min_value"), "high": self.check.arguments.get("max_value")}
        return {name: limit for name, limit in limits.items() if limit is not None}


@dataclass(frozen=True, slots=True)
class FeedExpectation:
    """How often a feed is expected once it has been delivered.

    `every` month: each month of each year from its first to the latest report year of any feed; year: each such year;
    once: a register, whose years may have no rows. `starts_on` is the day the service behind the feed began: the
    months before its month are not expected. By `cadence` one that is missing is awaited, late (a warning) or very
    late (`severity`); without one, it is by the usual days of a month or year.
    """

    feed: str
    every: Literal["month", "year", "once"]
    starts_on: datetime.date | None = None
    severity: Severity = "error"
    cadence: Cadence | None = None

    def state(self, end: datetime.date, day: datetime.date) -> PeriodState:
        """Return how a month or year that ends on a day stands when it is missing."""
        usual = Cadence(self.feed, self.every, *GRACE.get(self.every, (None, None)))
        return period_state(self.cadence or usual, end, day)


def between(low: float | None, high: float | None) -> Check:
    """Every value lies between the limits, themselves included. None is no limit. Missing values are left out."""
    return Check("ExpectColumnValuesToBeBetween", {"min_value": low, "max_value": high})


def one_of(*values: str) -> Check:
    """Every value is one of these. Missing values are left out."""
    return Check("ExpectColumnValuesToBeInSet", {"value_set": list(values)})


def none_of(*values: str) -> Check:
    """No value is one of these. Missing values are left out."""
    return Check("ExpectColumnValuesToNotBeInSet", {"value_set": list(values)})


ANY_ROW = Check("ExpectTableRowCountToBeBetween", {"min_value": 1})
NOT_NULL = Check("ExpectColumnValuesToNotBeNull", {})
# The kinds of checks that a rule may name; `between`, `one_of` and `none_of` take a list.
CHECKS: Mapping[str, Check] = {
    "any_row": ANY_ROW,
    "not_null": NOT_NULL,
    "unique": Check("ExpectColumnValuesToBeUnique", {}),
    "above_zero": Check("ExpectColumnValuesToBeBetween", {"min_value": 0, "strict_min": True}),
    "some_above_zero": Check("ExpectColumnMaxToBeBetween", {"min_value": 0, "strict_min": True}),
    "zero": Check("ExpectColumnValuesToBeBetween", {"min_value": -1e-6, "max_value": 1e-6}),  # of quotients subtracted
    "ok": one_of("ok"),
}
_CHECKS_WITH_VALUES = ("between", "one_of", "none_of")


def _in_finnish(limit: object) -> str:
    text = f"{limit:,}" if isinstance(limit, int | float) else str(limit)
    return text.replace(",", "\u00a0").replace(".", ",").replace("-", "\u2212")


# --- sums ------------------------------------------------------------------------------------------------------------

AMOUNTS = ("value", "numerator", "denominator", "event_count")
_TERM = re.compile(
    r"(?:(?P<kind>before|rows|rows_until):)?(?P<name>[a-z]\w*|\d+)(?:\.(?P<column>\w+))?"
    r"(?:@(?P<service>\w+))?(?:#(?P<basis>\w+))?(?P<optional>\?)?"
)


@dataclass(frozen=True, slots=True)
class Term:
    """One term: `amount` of `name` (a feed when `amount` is rows or rows_until; empty name for a plain number).

    `services` empty means every service, `basis` empty any. `years_back` is 1 for the year before.
    """

    side: Literal["left", "right"]
    sign: int
    name: str
    amount: str
    services: tuple[str, ...]
    basis: str
    years_back: int
    is_optional: bool


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula as written, as read, and where. `is_equal` is false for `<=`."""

    text: str
    is_equal: bool
    terms: tuple[Term, ...]
    place: Place = Place("")  # noqa: RUF009  a frozen value


@dataclass(frozen=True, slots=True)
class Sum:
    """Formulas that hold together under one name; `expects`, `finnish` and `swedish` say it as a sentence, no stop."""

    name: str
    by: Literal["service", "year"]
    formulas: tuple[Formula, ...]
    expects: str
    finnish: str
    swedish: str = ""


def read_formula(
    text: str, groups: Mapping[str, tuple[str, ...]] = MappingProxyType({}), place: Place = _NOWHERE
) -> Formula:
    """Read `left = right` or `left <= right`; `@name` of a group means its services together.

    Raises ValueError naming what is not understood.
    """
    sides = re.split(r" (=|<=) ", text)
    if len(sides) != 3:
        raise ValueError(f"'{text}' is not of the form 'left = right' or 'left <= right'")
    terms = (*_terms(sides[0], "left", groups), *_terms(sides[2], "right", groups))
    if not any(term.name for term in terms):
        raise ValueError(f"'{text}' names no figure")
    return Formula(text, sides[1] == "=", terms, place)


def _terms(text: str, side: Literal["left", "right"], groups: Mapping[str, tuple[str, ...]]) -> Iterator[Term]:
    sign = 1
    for part in text.split():
        if part in "+-":
            sign = 1 if part == "+" else -1
            continue
        match = _TERM.fullmatch(part)
        if match is None:
            raise ValueError(f"'{part}' is no term")
        kind, name, service, column = match["kind"], match["name"], match["service"], match["column"]
        if column and column not in AMOUNTS:
            raise ValueError(f"'{part}' is no term: a figure has no '{column}'.{nearest(column, AMOUNTS)}")
        amount = kind if kind in ("rows", "rows_until") else column or "value"
        yield Term(
            side=side,
            sign=sign,
            name="" if name.isdigit() else name,
            amount=name if name.isdigit() else amount,
            services=groups.get(service, (service,)) if service else (),
            basis=match["basis"] or "",
            years_back=int(kind == "before"),
            is_optional=match["optional"] is not None,
        )


# --- topics and labels -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Notes:
    """A table of texts on rows of a topic, whose columns but note_en and note_fi say on which."""

    table: str
    joined_by: str
    place: Place = Place("")  # noqa: RUF009  a frozen value


@dataclass(frozen=True, slots=True)
class Topic:
    """A table that is validated year by year, and the rules on it.

    `row` are the parts of what one of its rows is called: a part is left out when the column it names is null, save
    for value and compared. `order` are the columns by which rows stand. `only_with` names a topic without rows of a
    year of which this one is not validated; `only_full_months` leaves out the months that are not over; `observed` rows
    lists them when all is well. A topic of `sums` has no other rules.
    """

    name: str
    table: str
    row: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    sums: tuple[Sum, ...] = ()
    only_with: str = ""
    only_full_months: bool = False
    observed: Literal["range", "rows"] = "range"
    notes: Notes | None = None
    place: Place = Place("")  # noqa: RUF009  a frozen value

    def columns(self) -> frozenset[str]:
        """Return the columns that its table must have."""
        row_fields = {name for part in self.row for name in _fields(part)} - {"note_en", "note_fi"}
        months = {"month"} if self.only_full_months else set()
        return frozenset(
            {"report_year", *row_fields, *self.order, *months, *(r.column for r in self.rules if r.column)}
        )


@dataclass(frozen=True, slots=True)
class Expectations:
    """All that a project expects of its report years, and the names of the tables that the engine knows.

    `checksum` changes with any of the files. Without a folder there are no topics.
    """

    topics: tuple[Topic, ...] = ()
    tables: ReportTables = field(default_factory=ReportTables)
    checksum: str = ""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of all topics, those made of sums too, in their order."""
        return tuple(rule for topic in self.topics for rule in topic.rules)

    @property
    def sums(self) -> tuple[Sum, ...]:
        """The sums of all topics."""
        return tuple(sum_ for topic in self.topics for sum_ in topic.sums)

    def read_tables(self) -> frozenset[str]:
        """Return the tables that results are made from."""
        notes = {topic.notes.table for topic in self.topics if topic.notes}
        return frozenset({*self.tables.names().values(), *(topic.table for topic in self.topics), *notes})


def read_expectations(project: Project) -> Expectations:
    """Read the folder `expectations` of a project. Raises ConfigError with file and line."""
    folder = project.root / FOLDER
    tables = project.report_tables
    if not folder.is_dir():
        return Expectations(tables=tables)
    documents = {name: read_yaml(folder / name, FOLDER / name) for name in FILES if (folder / name).is_file()}
    if "rules.yml" not in documents:
        raise ConfigError("there is no rules.yml. Write one, or take the folder away.", Place(str(FOLDER)))
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(documents):
        digest.update((folder / name).read_bytes())
    unknown = sorted(path.name for path in folder.iterdir() if path.suffix in (".yml", ".yaml"))
    if unread_files := [name for name in unknown if name not in documents]:
        raise ConfigError(
            f"nothing reads this file.{nearest(unread_files[0], FILES)}", Place(str(FOLDER / unread_files[0]))
        )
    topics = _read_topics(documents["rules.yml"], documents.get("sums.yml"))
    return Expectations(topics, tables, digest.hexdigest())


_TOPIC_KEYS = ("table", "row", "order", "rules", "sums", "only_with", "only_full_months", "observed", "notes")
_RULE_KEYS = (
    *("name", "column", "figures", "check", "severity", "running_year"),
    *("expects_en", "because_en", "expects_fi", "expects_sv", "found_en"),
)


def _read_topics(document: Section, sums: Section | None) -> tuple[Topic, ...]:
    document.allow(("topics",), str(document.file))
    section = document.section("topics")
    topics: list[Topic] = []
    for name in section:
        if name in OWN_TOPICS:
            raise ConfigError(f"'{name}' is a topic of the engine's own. Take another name.", section.where(name))
        topics.append(_read_topic(name, section.section(name), section, sums))
    if sums is not None and not any(topic.sums for topic in topics):
        raise ConfigError(f"{sums.file}:1: no topic of {document.file} has sums: sums.yml.")
    places: dict[str, Place] = {}
    for rule in (rule for topic in topics for rule in topic.rules):
        if rule.name in places:
            raise ConfigError(f"'{rule.name}' is the name of another rule, at {places[rule.name]}.", rule.place)
        places[rule.name] = rule.place
    return tuple(topics)


def _read_topic(name: str, entry: Section, topics: Section, sums: Section | None) -> Topic:
    entry.allow(_TOPIC_KEYS, f"a topic of {entry.file}")
    table = entry.required("table")
    if not re.fullmatch(r"\w+\.\w+", table):
        raise ConfigError(f"a table is named schema.name, not '{table}'.", entry.where("table"))
    only_with = entry.text("only_with")
    if only_with and only_with not in topics:
        raise ConfigError(f"there is no topic '{only_with}'.{nearest(only_with, topics)}", entry.where("only_with"))
    observed: Any = _choice(entry, "observed", ("range", "rows"), "range")
    notes = None
    if "notes" in entry:
        section = entry.section("notes")
        section.allow(("table", "joined_by"), "'notes'")
        notes = Notes(section.required("table"), section.text("joined_by", " "), section.where("table"))
    only_full_months = entry.get("only_full_months", False)
    if not isinstance(only_full_months, bool):
        raise ConfigError("'only_full_months' is true or false.", entry.where("only_full_months"))
    rules = tuple(_read_rule(one, name) for one in entry.sections("rules"))
    of_sums: tuple[Sum, ...] = ()
    if "sums" in entry:
        if entry.text("sums") != "sums.yml" or sums is None or rules:
            message = "'sums' is the file sums.yml beside this one, of a topic that has no other rules."
            raise ConfigError(f"{message}", entry.where("sums"))
        of_sums = _read_sums(sums)
        rules = tuple(
            Rule(one.name, name, one.name, CHECKS["zero"], "error", "error", one.expects, one.finnish,
                 swedish=one.swedish, place=one.formulas[0].place)
            for one in of_sums
        )  # fmt: skip
    row = entry.strings("row")
    for part in row:
        if not _is_format(part):
            raise ConfigError(f"'{part}' is not understood. Columns stand in braces: {{value}}.", entry.where("row"))
    return Topic(name, table, row, entry.strings("order"), rules, of_sums, only_with, only_full_months, observed,
                 notes, entry.where("table"))  # fmt: skip


def _read_rule(entry: Section, topic: str) -> Rule:
    entry.allow(_RULE_KEYS, f"a rule of {entry.file}")
    check, column = _read_check(entry), entry.text("column")
    if (check == ANY_ROW) == bool(column):
        message = "'any_row' looks at no column." if column else "'column' is missing: which one is looked at?"
        raise ConfigError(f"{message}", entry.where("column" if column else "check"))
    severity: Any = _choice(entry, "severity", get_args(Severity), "")
    running_year: Any = _choice(entry, "running_year", (*get_args(Severity), "skip"), severity)
    rule = Rule(
        name=entry.required("name"),
        topic=topic,
        column=column,
        check=check,
        severity=severity,
        running_year=running_year,
        expects=entry.required("expects_en"),
        finnish=entry.text("expects_fi"),
        swedish=entry.text("expects_sv"),
        because=entry.text("because_en"),
        found=entry.text("found_en", "{rows}"),
        figures=entry.strings("figures"),
        place=entry.where("name"),
        places={key: entry.where(key) for key in entry},
    )
    for key, text, fields in (
        ("expects_en", rule.expects, rule._limits()),
        ("because_en", rule.because, rule._limits()),
        ("expects_fi", rule.finnish, rule._limits()),
        ("expects_sv", rule.swedish, rule._limits()),
        ("found_en", rule.found, {"rows": ""}),
    ):
        if not _is_format(text) or (unknown := sorted(_fields(text) - set(fields))):
            field_name = f"{{{unknown[0]}}}" if _is_format(text) else "a brace"
            raise ConfigError(f"{field_name} stands for nothing here.{nearest(field_name, fields)}", entry.where(key))
    return rule


def _read_check(entry: Section) -> Check:
    entry_value = entry.get("check")
    check_names = (*CHECKS, *_CHECKS_WITH_VALUES)
    if isinstance(entry_value, str) and entry_value in CHECKS:
        return CHECKS[entry_value]
    where = entry.where("check")
    if isinstance(entry_value, Section) and len(entry_value) == 1 and next(iter(entry_value)) in _CHECKS_WITH_VALUES:
        kind = next(iter(entry_value))
        values = entry_value.items_of(kind)
        if kind != "between":
            if not values or not all(isinstance(value, str) for value in values):
                raise ConfigError(f"'{kind}' is a list of texts.", entry_value.where(kind))
            return one_of(*values) if kind == "one_of" else none_of(*values)
        if len(values) != 2 or not all(
            value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values
        ):
            raise ConfigError("'between' is two numbers, [low, high]; null is no limit.", entry_value.where(kind))
        return between(*values)
    if entry_value is None:
        raise ConfigError(f"'check' is missing.{nearest('', check_names)}", entry.where())
    name = str(next(iter(entry_value), "")) if isinstance(entry_value, dict) else str(entry_value)
    raise ConfigError(f"there is no check '{name}'.{nearest(name, check_names)}", where)


def _read_sums(document: Section) -> tuple[Sum, ...]:
    document.allow(("groups", "sums"), str(document.file))
    section = document.section("groups")
    groups = {name: section.strings(name) for name in section}
    sums: list[Sum] = []
    for entry in document.sections("sums"):
        entry.allow(("name", "by", "expects_en", "expects_fi", "expects_sv", "formulas"), f"a sum of {entry.file}")
        by: Any = _choice(entry, "by", ("service", "year"), "")
        formulas = []
        items = entry.items_of("formulas")
        for text, line in zip(items, items.lines, strict=True):
            place = Place(str(entry.file), line)
            try:
                formulas.append(read_formula(str(text), groups, place))
            except ValueError as error:
                raise ConfigError(str(error), place) from None
        if not formulas:
            raise ConfigError("'formulas' is missing.", entry.where())
        name = entry.required("name")
        texts = entry.required("expects_en"), entry.text("expects_fi"), entry.text("expects_sv")
        sums.append(Sum(name, by, tuple(formulas), *texts))
    return tuple(sums)


def _choice(entry: Section, key: str, choices: tuple[str, ...], default: str) -> str:
    value = entry.text(key, default)
    if not value:
        raise ConfigError(f"'{key}' is missing. It is {' or '.join(choices)}.", entry.where())
    if value not in choices:
        raise ConfigError(
            f"'{key}' is {' or '.join(choices)}, not '{value}'.{nearest(value, choices)}", entry.where(key)
        )
    return value


def _fields(text: str) -> set[str]:
    return set(re.findall(r"{(\w+)", text))


def _is_format(text: str) -> bool:
    """Whether the braces of a text hold a name each, with a format or without."""
    return "{" not in (rest := re.sub(r"{\w+(:[\w.,]+)?}", "", text)) and "}" not in rest


# --- rules of the engine's own topics --------------------------------------------------------------------------------


def feed_rule(feed: FeedExpectation) -> Rule:
    """Return the rule of one delivered feed, of the running year and of others alike: what is due is due."""
    if feed.every == "month":
        return Rule(f"every_month_present:{feed.feed}", "months", feed.feed, between(1, None), feed.severity,
                    feed.severity,
                    f"The feed {feed.feed} has records in every full month of the year",
                    f"Aineistossa {feed.feed} on tietueita vuoden jokaiselta täydeltä kuukaudelta",
                    found="missing months {rows}")  # fmt: skip
    return Rule(f"delivered_in_year:{feed.feed}", "deliveries", feed.feed, between(1, None), feed.severity,
                feed.severity, f"The feed {feed.feed} has records in the year",
                f"Aineistossa {feed.feed} on tietueita vuodelta", found="no records")  # fmt: skip


# A year whose deliveries were deleted can be derived no more: what is there of it is said to be kept.
KEPT_RULE = Rule(
    "kept_as_published", "kept", "kept_is", CHECKS["ok"], "error", "error",
    "Figures that stand as a build published them are of deliveries whose deletion is recorded",
    "Julkaistuina säilytetyt luvut ovat aineistosta, jonka poisto säilytysajan päätyttyä on kirjattu",
)  # fmt: skip


def years_rule(last_year: int) -> Rule:
    """Return the rule on the years themselves. One mistyped year must not fail all the years up to it."""
    return Rule("no_later_years", "years", "report_year", between(None, last_year), "warn", "warn",
                f"Nothing is dated after the year {last_year}",
                f"Mikään ei ole vuoden {last_year} jälkeiseltä ajalta",
                swedish=f"Inget är från tiden efter år {last_year}")  # fmt: skip


# --- against the project ---------------------------------------------------------------------------------------------


def check_expectations(expectations: Expectations, graph: Graph) -> None:
    """Raise ConfigError telling every table, column, figure and feed that is named and not in the project."""
    # (what is wrong, where), each once
    mistakes = [*_wrong_tables(expectations.tables, graph), *_wrong_columns(expectations.tables, graph)]
    built = {str(node.relation): node for node in graph.built()}
    feeds = {feed.name for feed in graph.feeds}
    figures = {row.get("figure_id") or "" for row in seed_rows(expectations.tables.figures, graph)}
    for topic in expectations.topics:
        references = [(topic.table, topic.place), *([(topic.notes.table, topic.notes.place)] if topic.notes else [])]
        for table, place in references:
            if table not in built:
                mistakes.append((f"no model or seed makes {table}.{nearest(table, built)}", place))
        if topic.table not in built or topic.sums:
            continue
        columns = {name for name, _ in graph.columns.get(built[topic.table].id, ())}
        ruled = {rule.column: rule.where("column") for rule in reversed(topic.rules) if rule.column}
        for column in sorted(topic.columns() - columns) if columns else ():
            message = f"{topic.table} has no column '{column}'.{nearest(column, columns)}"
            mistakes.append((message, ruled.get(column, topic.place)))
        for rule in topic.rules:
            mistakes += [(f"there is no figure '{name}'.{nearest(name, figures)}", rule.where("figures"))
                         for name in rule.figures if figures and name not in figures]  # fmt: skip
    for formula in (formula for sum_ in expectations.sums for formula in sum_.formulas):
        for term in formula.terms:
            what, names = ("feed", feeds) if term.amount.startswith("rows") else ("figure", figures)
            if term.name and names and term.name not in names:
                mistakes.append((f"there is no {what} '{term.name}'.{nearest(term.name, names)}", formula.place))
    if mistakes:
        raise ConfigErrors([ConfigError(message, place) for message, place in dict.fromkeys(mistakes)])


def _wrong_tables(tables: ReportTables, graph: Graph) -> Iterator[tuple[str, Place]]:
    built = {str(node.relation) for node in graph.built()}
    for key, place in tables.places.items():
        name = getattr(tables, key)
        if name not in built:
            yield f"no model or seed makes {name}, which is named for '{key}'.{nearest(name, built)}", place


def _wrong_columns(tables: ReportTables, graph: Graph) -> Iterator[tuple[str, Place]]:
    """What the engine would read of its tables as nothing: a column that is not there, or holds something else.

    Of a project without feeds that names none of them nothing is asked: its tables of the same names are its own.
    """
    if not (graph.feeds or tables.places):
        return
    built = {str(node.relation): node for node in graph.built()}
    for key, (required, optional) in REPORT_COLUMNS.items():
        table = getattr(tables, key)
        node = built.get(table)
        if not (node and graph.columns.get(node.id)):
            continue
        types, place = dict(graph.columns[node.id]), tables.places.get(key) or Place(node.file.as_posix())
        for column in required:
            if not fnmatch.filter(types, column):
                hint = nearest(column, types)
                yield f"{table} has no column '{column}', which is read of it.{hint} See: {_TABLES_PAGE}", place
        for column, kind in {**required, **optional}.items():
            for name in fnmatch.filter(types, column):
                if misfit := _misfit(types[name], kind, node, name, graph):
                    yield f"{table}.{name} is read as a {kind}, and is {misfit}. See: {_TABLES_PAGE}", place
        if node.kind == "seed" and key in _SEED_KEYS:
            yield from ((f"{table}{wrong}", place) for wrong in _wrong_rows(key, seed_rows(table, graph)))


_TABLES_PAGE = "docs/reference/settings.md"
# What is no text: the beginnings of DuckDB's types for it, and what reads one in a seed whose column is text.
_KINDS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "number": (r"U?(TINY|SMALL|BIG|HUGE)?INT|FLOAT|DOUBLE|DECIMAL", float),
    "day": (r"DATE|TIMESTAMP", datetime.datetime.fromisoformat),
    "truth value": (r"BOOLEAN", ("false", "true").index),
}


# What rows of seeds are told apart by, and the words of their columns: another word would be read as none, and a
# figure with other decimals be shown without any.
_SEED_KEYS = {"figures": ("figure_id",), "figure_services": ("figure_id", "service")}
_SEED_WORDS = {"figures": {"decimals": ("0", "1", "2", "minute"), "good_direction": ("higher", "lower", "none")}}


def _wrong_rows(table: str, rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    keys = Counter(" ".join(row.get(name) or "" for name in _SEED_KEYS[table]) for row in rows)
    yield from (f" has '{one_line(key)}' twice." for key, count in keys.items() if count > 1)
    for column, words in _SEED_WORDS.get(table, {}).items():
        *others, last = words
        for value in sorted({row.get(column) or "" for row in rows} - {"", *words}):
            yield f".{column} is {', '.join(others)} or {last}, not '{one_line(value)}'."


def _misfit(type_: str, kind: str, node: Node, column: str, graph: Graph) -> str:
    """What a column is that is not of a kind; nothing when it is, or is a seed's text that can be read as that."""
    types, parse = _KINDS.get(kind, ("", str))
    if re.match(types, type_.upper()):
        return ""
    if node.kind != "seed":
        return type_.upper()
    for value in filter(None, (row.get(column) for row in seed_rows(str(node.relation), graph))):
        try:
            parse(value.lower())
        except ValueError:
            return f"'{one_line(value)}'"
    return ""


def seed_rows(table: str, graph: Graph) -> list[dict[str, str]]:
    """Return the rows of a seed, by the table that it makes; none of a table that no seed makes."""
    import csv

    seed = next((node for node in graph.built() if node.kind == "seed" and str(node.relation) == table), None)
    if seed is None:
        return []
    with (graph.project.root / seed.file).open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream, delimiter=seed.delimiter))
