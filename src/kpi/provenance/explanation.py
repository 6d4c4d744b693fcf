"""What explains one figure: plain values, read by the command, by pages and by notebooks.

`kpi.explain(...)` makes an `Explanation`. All of it but `rows` is read when it is made, so it outlives its build.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from kpi.codec import to_plain
from kpi.presentation import words
from kpi.provenance.figure_values import FigureKey
from kpi.sql import counted

if TYPE_CHECKING:
    import pyarrow as pa

RowKind = Literal["numerator", "denominator", "left-out"]
PartKind = Literal["rows", "figures", "number", "none"]
Names = Mapping[str, str]
"""A text by language: fi, sv, en; only those that the project has."""

SUPERSEDED = "not _is_superseded"  # the clause of every model of deliveries that may be corrected
WIDTH = 80
_FILES = 6
_DIGITS = 1e22  # a larger number has more digits than anybody reads
UNITS = {"percent": " %", "seconds": " s", "count_per_day": " a day"}
_QUALIFIERS = {"about": "about ", "more_than": "over ", "less_than": "under "}
_COMPARISONS = {"at_least": "at least ", "at_most": "at most ", "under": "under "}


class Where(TypedDict, total=False):
    """Which build a figure is looked for in, and how: all as in `kpi.open`, `basis` and `lang` as in `kpi explain`."""

    basis: str | None
    build: str | None
    project_dir: Path | str | None
    stewards: bool
    lang: str


@dataclass(frozen=True, slots=True)
class Part:
    """The numerator or the denominator of a figure.

    `kind` says what it is made of: `rows` of deliveries, other `figures`, a `number` that no row stands behind (such as
    the days of the year), or `none`: the figure has no such part. `column` is the column of the model of its family
    that it is, `expression` what that is computed by. `row_count` counts the rows that enter it, `total` what they come
    to, by `aggregate` (sum, median, …). `is_exact` is whether that is the part's `value`, or, of a part with its
    aggregate other than a sum, the figure's: None where it was not traced, or does not add up from rows.
    """

    kind: PartKind
    value: float | None
    column: str = ""
    expression: str = ""
    row_count: int | None = None
    total: float | None = None
    aggregate: str = "sum"
    is_exact: bool | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many rows of a feed one clause leaves out of the figure, each row counted by the first that it fails.

    `model` is where the clause stands, `clause` its SQL, `labels` what the project calls it. `kind` is where, join,
    condition (of the part itself), key (it is of another service, year or period), rejected or unjoined.
    """

    feed: str
    model: str
    clause: str
    row_count: int
    labels: Names = field(default_factory=dict)
    kind: str = "where"


@dataclass(frozen=True, slots=True)
class Step:
    """One model on the path from the mart to the raw rows: the mart first, a raw table last.

    `sql` is the model's compiled SQL, but only of the columns that matter to the figure. `rows_in` counts the rows of
    what the step reads that reach it, `rows_out` those of its own that are the figure's. `left_out` are its clauses.
    """

    model: str
    kind: Literal["mart", "model", "raw"]
    description: str
    columns: tuple[str, ...]
    sql: str
    rows_in: int | None = None
    rows_out: int | None = None
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivered file with rows of the figure's feeds: `rows_counted` of them are in the numerator or denominator.

    `superseded_by` names the deliveries that corrected it, `is_deleted` says that only its record remains.
    """

    feed: str
    file: str
    content_hash: str
    records: int | None
    rows_loaded: int | None
    rows_rejected: int | None
    rows_superseded: int | None
    rows_counted: int | None
    superseded_by: tuple[str, ...] = ()
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """A data test of a model on the path, or an expectation of the report year that looked at the figure."""

    name: str
    kind: Literal["test", "expectation"]
    status: str
    model: str = ""
    observed: str = ""


@dataclass(frozen=True, slots=True)
class Definition:
    """What the figure is called and means, of whom it is, and since when it is defined so. Dates are ISO 8601."""

    names: Names
    definitions: Names
    service_names: Names
    unit: str = ""
    decimals: str = ""
    good_direction: str = ""
    family: str = ""
    owner: Names = field(default_factory=dict)
    valid_from: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Limit:
    """A row of a seed that the figure is measured by, such as a statutory limit: its columns as text."""

    seed: str
    values: Mapping[str, str]
    labels: Names = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """A target of the figure in its unit: `comparison` is at_least or at_most."""

    target: float
    comparison: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class YearBefore:
    """The figure a year before: both values, and the breaks between them with their day and reason."""

    report_year: int
    basis: str
    value: float | None
    shown: str
    change: float | None
    breaks: tuple[tuple[str, Names], ...] = ()


@dataclass(frozen=True, slots=True)
class Printed:
    """The value that was printed of the figure, and how the derived one compares (`status` of reconciliation)."""

    value: float
    qualifier: str
    decimals: str
    status: str
    reason: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Component:
    """Another figure that the figure is made of, as a change is of two: `role` is what the model calls it."""

    role: str
    key: FigureKey
    value: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one figure is what it is, in one build.

    `shown` is the value as readers see it, `value` unrounded. `origin` is `derived`, `by hand` (one row was entered) or
    `kept`: its deliveries were deleted, and it stands as build `kept_from` had it. `needs_stewards` names what only
    `stewards=True` opens: then `rows` has none, and numbers of rows are None. `untraced` says why there are no rows.
    """

    key: FigureKey
    build: str
    value: float | None
    shown: str
    numerator: Part
    denominator: Part
    definition: Definition
    origin: Literal["derived", "by hand", "kept"] = "derived"
    last_full_month: int | None = None
    kept_from: str = ""
    kept_on: str = ""
    printed: Printed | None = None
    year_before: YearBefore | None = None
    target: Target | None = None
    limits: tuple[Limit, ...] = ()
    components: tuple[Component, ...] = ()
    entered: tuple[Mapping[str, str], ...] = ()
    steps: tuple[Step, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    checks: tuple[Check, ...] = ()
    needs_stewards: tuple[str, ...] = ()
    untraced: str = ""
    lang: str = "en"
    sql_by_kind: Mapping[str, str] = field(default_factory=dict)
    _rows: Callable[[str], pa.Table] | None = field(default=None, repr=False, compare=False)

    @property
    def text(self) -> str:
        """The screen that `kpi explain` prints, at most 80 wide, with no colour."""
        return as_text(self)

    @property
    def sql(self) -> str:
        """SELECT of the rows of the numerator; where it has none, of the denominator. Empty without rows."""
        return self.sql_by_kind.get("numerator") or self.sql_by_kind.get("denominator", "")

    def rows(self, kind: RowKind = "numerator") -> pa.Table:
        """Return the raw rows themselves as an Arrow table, in the order of feed, file and record.

        Grain: one row per record of a delivery. `feed`, `file` and `record` say where it stands, `counts_as` what it
        adds to the part (their sum is the part's value; several rows of one that is counted once have 1 and then 0);
        of those left out `clause` and `model` say what leaves them out. Then the columns of the feed's contract.
        Raises ConfigError when the build's file has no such rows, saying where they are.
        """
        from kpi.errors import ConfigError

        if self._rows is None:
            raise ConfigError("this explanation was read without its build: kpi.explain() makes one with rows.")
        return self._rows(kind)

    def to_json(self) -> dict[str, Any]:
        """Return all of it but the rows as what JSON knows; names are those of the fields."""
        return {one.name: to_plain(getattr(self, one.name)) for one in fields(self) if one.name != "_rows"}

    def _repr_html_(self) -> str:
        """The explanation as a fragment of HTML, for a notebook."""
        return as_html(self)


def as_text(explanation: Explanation) -> str:
    """Return the screen: at most 80 wide, no colour, no escape sequence."""
    return "\n".join(_lines(explanation))


def as_html(explanation: Explanation) -> str:
    """Return the screen as HTML, with the SQL of each step to unfold."""
    parts = [f"<pre>{html.escape(as_text(explanation))}</pre>"]
    for step in explanation.steps:
        if step.sql:
            head = f"{html.escape(step.model)}: {html.escape(', '.join(step.columns))}"
            parts.append(f"<details><summary>{head}</summary><pre>{html.escape(step.sql)}</pre></details>")
    return "\n".join(parts)


class _Words:
    """Headings and texts in the language that was asked for."""

    def __init__(self, lang: str) -> None:
        self.lang = lang

    def __call__(self, word: str) -> str:
        return words("explanation").get(word, {}).get(self.lang, word)

    def of(self, names: Names) -> str:
        """A text in the language, else in English, else in any."""
        return names.get(self.lang) or names.get("en") or next(iter(names.values()), "")


def _lines(explanation: Explanation) -> Iterator[str]:
    word, key, definition = _Words(explanation.lang), explanation.key, explanation.definition
    unit = UNITS.get(definition.unit, "")
    yield _fit(f"{key.figure_id}  {key.service}  {key.report_year}  {key.basis}")
    title = ", ".join(part for part in (word.of(definition.names), word.of(definition.service_names)) if part)
    yield from _wrapped("", title)
    unrounded = "" if explanation.value is None else f"   ({_number(explanation.value)} {word('unrounded')})"
    yield f"  = {explanation.shown}{unit}{unrounded}"
    yield from _kept(explanation)
    yield from _part(word, explanation.numerator)
    yield from _part(word, explanation.denominator)
    if explanation.last_full_month:
        yield f"  months 1 to {explanation.last_full_month}: the year is not finished"
    yield from _wrapped(word("definition"), word.of(definition.definitions))
    since = [
        definition.unit and f"{word('unit')} {definition.unit}",
        definition.valid_from and f"{word('valid since')} {definition.valid_from}",
    ]
    yield from _wrapped("", ", ".join(part for part in (*since, definition.source) if part))
    yield from _wrapped(word("owner"), word.of(definition.owner))
    yield from _beside(explanation, word, unit)
    for row in explanation.entered:
        cells = [f"{name} {value}" for name, value in row.items() if value and name != "counts_as"]
        yield from _wrapped(word("entered"), "; ".join(cells))
    for one in explanation.components:
        value = "-" if one.value is None else _number(one.value)
        name = f"{one.key.figure_id} {one.key.service} {one.key.report_year} {one.key.basis}"
        yield from _wrapped(word("made of"), f"{f'{one.role}: ' if one.role else ''}{name} = {value}")
    yield from _steps(explanation, word)
    yield from _left_out(explanation.left_out, word)
    yield from _deliveries(explanation, word)
    yield from _checks(explanation, word)
    if explanation.needs_stewards:
        names = ", ".join(explanation.needs_stewards)
        yield from _wrapped("", f"The rows are in {names}, which is left out of this file: --stewards opens the other.")
    if explanation.untraced:
        yield from _wrapped("", f"Not traced to its rows: {explanation.untraced}")


def _kept(explanation: Explanation) -> Iterator[str]:
    if explanation.origin == "kept":
        when = f" on {explanation.kept_on}" if explanation.kept_on else ""
        build = explanation.kept_from
        text = f"Its deliveries were deleted{when}. It stands as build {build} had it; no row is left of it."
        yield from _wrapped("", text)


def _part(word: _Words, part: Part) -> Iterator[str]:
    if part.kind == "none":
        return
    label = word("value" if part.column == "value" else part.column)
    value = "-" if part.value is None else _number(part.value)
    text = value
    if part.row_count is not None:
        text += f"   {_number(part.row_count)} {word('rows')}: {part.expression}"
    elif part.expression:
        text += f"   {part.expression}"
    yield from _wrapped(label, text)
    if part.is_exact is False:
        yield from _wrapped("", f"its rows come to {part.total}, which is another number")


def _beside(explanation: Explanation, word: _Words, unit: str) -> Iterator[str]:
    """What the figure is held against: targets, limits, the year before, the printed value."""
    if explanation.target is not None:
        comparison = word(_COMPARISONS.get(explanation.target.comparison, ""))
        yield from _wrapped(
            word("target"), f"{comparison}{_number(explanation.target.target)}{unit}  {explanation.target.source}"
        )
    for limit in explanation.limits:
        text = word.of(limit.labels)
        plain = [f"{name} {value}" for name, value in limit.values.items() if not name.startswith("limit_") or not text]
        yield from _wrapped(word("limit"), f"{f'{text}: ' if text else ''}{', '.join(plain)}")
    before = explanation.year_before
    if before is not None:
        change = "" if before.change is None else f", {word('change')} {before.change:+.4g}"
        yield from _wrapped(word("year before"), f"{before.report_year}: {before.shown}{unit}{change}")
        for day, reasons in before.breaks:
            yield from _wrapped(word("break"), f"{day}: {word.of(reasons)}")
    printed = explanation.printed
    if printed is not None:
        places = int(printed.decimals) if printed.decimals.isdigit() else 0
        value = f"{word(_QUALIFIERS.get(printed.qualifier, ''))}{printed.value:.{places}f}{unit}"
        yield from _wrapped(word("printed"), f"{value}: {word(printed.status)}. {printed.reason} ({printed.source})")


def _steps(explanation: Explanation, word: _Words) -> Iterator[str]:
    if not explanation.steps:
        return
    yield ""
    yield f"{word('Path'):<38}{word('rows in'):>14}{word('rows out'):>12}"
    for step in explanation.steps:
        yield _fit(f"  {step.model:<40}{_count(step.rows_in):>10}{_count(step.rows_out):>12}")
        if step.columns and step.kind != "raw":
            yield from _wrapped("", _columns(step), indent="      ")


def _columns(step: Step) -> str:
    hidden = ("figure_id", "service", "report_year", "report_month", "basis", "is_comparison", "last_full_month")
    return ", ".join(name for name in step.columns if name not in hidden)


def _left_out(left_out: Sequence[LeftOut], word: _Words) -> Iterator[str]:
    if not left_out:
        return
    yield ""
    yield word("Left out")
    for one in left_out:
        text = clause_text(one, word.lang)
        first, *rest = textwrap.wrap(f"{text}  [{one.model.rpartition('.')[2]}]", WIDTH - 14) or [""]
        yield f"{_number(one.row_count):>12}  {first}"
        yield from (f"{'':>14}{line}" for line in rest[:2])


def clause_text(one: LeftOut, lang: str) -> str:
    """Return what left rows out: in the project's words, else in the engine's, else as SQL."""
    word = _Words(lang)
    if one.labels:
        return word.of(one.labels)
    own = {
        SUPERSEDED: "superseded by a later delivery",
        "rejected": "rejected when it was loaded",
        "not joined": "joined to nothing",
    }
    text = own.get(one.clause.lower())
    if text:
        return word(text)
    if one.kind == "key":
        return f"{word('other than')} {one.clause}"
    if one.kind == "join":
        return f"{word('no row in')} {one.clause.removeprefix('JOIN ')}"
    return f"{word('not')} {one.clause}"


def _deliveries(explanation: Explanation, word: _Words) -> Iterator[str]:
    if not explanation.deliveries:
        return
    yield ""
    yield f"{word('Deliveries')}: {len(explanation.deliveries)}"
    for one in explanation.deliveries[:_FILES]:
        state = "deleted" if one.is_deleted else ""
        state = f"{word('corrected')}: {', '.join(one.superseded_by)}" if one.superseded_by else state
        counts = f"{_count(one.rows_counted):>9} of {_count(one.rows_loaded):>8}"
        rejected = f", {one.rows_rejected} {word('rejected')}" if one.rows_rejected else ""
        yield _fit(f"  {one.content_hash[:10]} {counts}  {one.feed}/{one.file}{rejected}  {state}")
    if len(explanation.deliveries) > _FILES:
        yield f"  and {len(explanation.deliveries) - _FILES} more; all are in --json"


def _checks(explanation: Explanation, word: _Words) -> Iterator[str]:
    if not explanation.checks:
        return
    bad = [one for one in explanation.checks if one.status != "pass"]
    tests = sum(one.kind == "test" for one in explanation.checks)
    expected = counted(len(explanation.checks) - tests, "expectation")
    good = f"{counted(tests, 'test')} of these models, {expected} of {explanation.key.report_year}"
    yield ""
    yield _fit(f"{word('Checks')}: {good}: {len(bad) or 'none'} found fault")
    for one in bad[:3]:
        yield from _wrapped("", f"{one.status}: {one.name}{f' ({one.model})' if one.model else ''}")


def _wrapped(label: str, text: str, indent: str = "  ") -> Iterator[str]:
    """Lines of a text after its label, at most 80 wide and four of them."""
    text = " ".join(text.split())
    if not text:
        return
    head = f"{indent}{label:<14}" if label else indent
    rest = " " * len(head)
    lines = textwrap.wrap(text, WIDTH - len(head), break_on_hyphens=False)
    for number, line in enumerate(lines[:4]):
        cut = f"{line[: WIDTH - len(head) - 1]}…" if number == 3 and len(lines) > 4 else line
        yield f"{head if not number else rest}{cut}"


def _fit(line: str) -> str:
    line = line.rstrip()
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def _number(value: float) -> str:
    """A number with spaces between thousands, and all digits that it has."""
    if isinstance(value, int) or (value == int(value) and abs(value) < _DIGITS):
        return f"{int(value):,}".replace(",", " ")
    return repr(float(value))


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}".replace(",", " ")
