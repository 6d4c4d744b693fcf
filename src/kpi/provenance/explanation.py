"""What explains one figure: plain values, read by the command, by pages and by notebooks.

`kpi.explain(...)` makes an `Explanation`. All of it but `rows` is read when it is made, so it outlives its build.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa

RowKind = Literal["numerator", "denominator", "left-out"]
ROW_KINDS: tuple[RowKind, ...] = ("numerator", "denominator", "left-out")
PartKind = Literal["rows", "figures", "number", "none"]
Names = Mapping[str, str]
"""A text by language: fi, sv, en; only those that the project has."""


@dataclass(frozen=True, slots=True)
class FigureKey:
    """Which figure: one row of the table of indicators."""

    figure_id: str
    service: str
    report_year: int
    basis: str


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

    `model` is where the clause stands, `clause` its SQL, `labels` what the project calls it.
    """

    feed: str
    model: str
    clause: str
    row_count: int
    labels: Names = field(default_factory=dict)


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
    `stewards=True` opens: then `rows` has none, and numbers of rows are None. `untraced` says why no rows could be told.
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
        from kpi.provenance.explanation_text import as_text

        return as_text(self)

    @property
    def sql(self) -> str:
        """One SELECT that yields the rows of the numerator; where it has none, of the denominator. Empty without rows."""
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
        return {one.name: _plain(getattr(self, one.name)) for one in fields(self) if one.name != "_rows"}

    def _repr_html_(self) -> str:
        """The explanation as a fragment of HTML, for a notebook."""
        from kpi.provenance.explanation_text import as_html

        return as_html(self)


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
