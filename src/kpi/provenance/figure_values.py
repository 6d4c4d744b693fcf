"""The value of a figure as an exact fraction and as it is shown; imports nothing heavy.

Marts hold a value as a DOUBLE, which is the quotient of two integers beside it, or a hundred times that. Parts of a
change sum exactly only when they are taken of the quotient.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import isfinite
from typing import TYPE_CHECKING

from kpi.database import fetch_dicts, relations
from kpi.errors import ConfigError
from kpi.lazy import duckdb
from kpi.presentation import presented, with_decimals

if TYPE_CHECKING:
    from kpi.settings import ReportTables


GRAIN = ("figure_id", "service", "report_year", "basis")
SAME_FIGURE = " and ".join(f"a.{name} is not distinct from b.{name}" for name in GRAIN)
"""SQL of whether the rows `a` and `b` of two tables of indicators are of one figure."""
SAME_VALUES = " and ".join(
    f"a.{name} is not distinct from b.{name}" for name in ("numerator", "denominator", "value", "event_count")
)


def moved_figures(before: str, after: str) -> str:
    """Return SELECT of the figures that differ between two tables of indicators: GRAIN, and both values."""
    grain = ", ".join(f"coalesce(a.{name}, b.{name}) as {name}" for name in GRAIN)
    return (
        f"select {grain}, b.value as before, a.value as after from {before} as b"
        f" full join {after} as a on {SAME_FIGURE}"
        f" where a.figure_id is null or b.figure_id is null or not ({SAME_VALUES})"
    )


@dataclass(frozen=True, slots=True)
class FigureKey:
    """A figure of a service in a report year; an empty basis means the only one, or that of the whole year."""

    figure_id: str
    service: str
    report_year: int
    basis: str = ""

    def __str__(self) -> str:
        basis = f", {self.basis}" if self.basis else ""
        return f"{self.figure_id} {self.service} {self.report_year}{basis}"


@dataclass(frozen=True, slots=True)
class Row:
    """Numerator, denominator and value of a figure as a table has them."""

    numerator: float | None
    denominator: float | None
    value: float | None


Rows = dict[tuple[str, int, str], Row]
"""Of one figure: its rows by service, report year and basis."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a figure's value follows from numerator and denominator: as a count, as a quotient, or not at all.

    `scale` is 1 or 100 for a quotient. A median, and a change of another figure, has none of both.
    """

    is_count: bool = False
    scale: int | None = None

    @property
    def adds_up(self) -> bool:
        """Whether it is a count, or a quotient of two counts, so that its parts are parts of these."""
        return self.is_count or self.scale is not None

    def exact(self, row: Row | None) -> Fraction | None:
        """Return the exact value of a row; None where there is none. A count that is not there is none of anything."""
        if row is None or row.value is None or not isfinite(row.value):
            return Fraction(0) if row is None and self.is_count else None
        if self.is_count:
            return Fraction(row.numerator or 0)
        if self.scale is not None and row.denominator:
            return self.scale * Fraction(row.numerator or 0) / Fraction(row.denominator)
        return Fraction(row.value)


def form_of(rows: Iterable[Row]) -> Form:
    """Tell the form of a figure by all its rows."""
    with_value = [row for row in rows if row.value is not None]
    if with_value and all(row.denominator is None and row.numerator == row.value for row in with_value):
        return Form(is_count=True)
    for scale in (1, 100):
        if with_value and all(_is_quotient(row, scale) for row in with_value):
            return Form(scale=scale)
    return Form()


def _is_quotient(row: Row, scale: int) -> bool:
    if not row.denominator or row.numerator is None or row.value is None:
        return False
    expected = scale * row.numerator / row.denominator
    return abs(expected - row.value) <= 1e-12 * max(1.0, abs(expected))


def pick(rows: Rows, key: FigureKey) -> tuple[Row | None, str]:
    """Return the row that a key means, and its basis; none when it is not there.

    Of several bases and none named it is that of a year to date, of a part of a year or of a calendar year.
    """
    by_basis = {
        basis: row for (service, year, basis), row in rows.items() if (service, year) == (key.service, key.report_year)
    }
    if key.basis in by_basis:
        return by_basis[key.basis], key.basis
    bases_of_years = ("year_to_date", "partial_year", "calendar_year")
    for basis in (*bases_of_years, *sorted(by_basis)):
        # One figure has another basis when a month was added to its year.
        if basis in by_basis and (not key.basis or (key.basis in bases_of_years and basis in bases_of_years)):
            return by_basis[basis], basis
    return None, key.basis


@dataclass(frozen=True, slots=True)
class Presentation:
    """Unit and decimals of a figure, as its seed gives them: `decimals` is '0', '1', '2' or 'minute'."""

    unit: str = ""
    decimals: str = "2"

    def shown(self, con: duckdb.DuckDBPyConnection, value: Fraction | None) -> Decimal | None:
        """Return a value as it is printed, in its unit."""
        if value is None:
            return None
        sql = f"select {presented('v', 'd', 'u')} from (select ?::double as v, ?::varchar as d, ?::varchar as u)"
        row = con.execute(sql, [float(value), self.decimals, self.unit]).fetchone()
        return Decimal(row[0]) if row and row[0] is not None else None

    def step(self, *shown: Decimal | None) -> Decimal:
        """Return the unit of the last decimal that any of these is printed with."""
        if self.decimals == "minute":
            return Decimal(60)
        places = int(self.decimals) if self.decimals.isdigit() else 0
        for one in shown:
            text = with_decimals(str(one), self.decimals) if one is not None else ""
            places = max(places, len(text.partition(".")[2]))
        return Decimal(1).scaleb(-places)

    def text(self, value: Decimal | None, sign: bool = False) -> str:
        """Return a printed value as text, with its sign when it is a change."""
        if value is None:
            return "-"
        text = with_decimals(f"{value:.2f}", self.decimals)
        return f"+{text}" if sign and value > 0 else text


def refuse_without_figures(con: duckdb.DuckDBPyConnection, tables: ReportTables) -> None:
    """Raise ConfigError when a build has no table of figures, saying where one is named."""
    if tables.indicators not in relations(con):
        raise ConfigError(
            f"the build has no table {tables.indicators}, so there are no figures. If they are in another, name it in"
            " dbt_project.yml (vars: kpi_tables: indicators), then: kpi refresh"
        )


def presentation_of(
    con: duckdb.DuckDBPyConnection, tables: ReportTables, figure: str, catalog: str = ""
) -> Presentation:
    """Read unit and decimals of a figure; two decimals where it is not described."""
    place = f"{catalog}.{tables.figures}" if catalog else tables.figures
    try:
        rows = fetch_dicts(con, f"select * from {place} where figure_id = ?", [figure])
    except duckdb.CatalogException:
        rows = []
    if not rows:
        return Presentation()
    unit = str(rows[0].get("unit") or "")
    return Presentation(unit, str(rows[0]["decimals"] or "0")) if "decimals" in rows[0] else Presentation(unit)


def read_rows(con: duckdb.DuckDBPyConnection, relation: str, figure: str) -> Rows:
    """Read all rows of a figure from a table of indicators."""
    columns = "service, report_year, basis, numerator, denominator, value"
    rows = con.execute(f"select {columns} from {relation} where figure_id = ? order by all", [figure]).fetchall()
    return {(service, int(year), str(basis)): Row(*values) for service, year, basis, *values in rows}
