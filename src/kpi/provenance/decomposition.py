"""The change of a figure between two years, taken apart by the services and months that it is made of.

The groups are what the build holds: the months of the series, and the services that the seed of sums says are parts of
another. Where they add up, numerator and denominator both, the change is taken apart once on services by months and
summed over either. Where they do not, as of a median or a census, nothing is said of parts: the figure is built again
without the rows of each month.

Between two periods a share or a mean changes because its groups' rates do and because the groups' weights do. With w a
group's share of the denominator, r its rate and R the mean of the two totals, its parts are those of Das Gupta,
"Standardization and Decomposition of Rates" (U.S. Bureau of the Census, P23-186, 1993), for two factors:

    rate  (w0 + w1) / 2 * (r1 - r0)          mix  (w1 - w0) * ((r0 + r1) / 2 - R)

Das Gupta's mix is without R, which takes nothing from the sum, for weights sum to 1 in both periods. It gives each
group's part a meaning of its own: a group that grows lowers a figure when its rate is below the average. All of it is
arithmetic over fractions, so the parts sum to the change exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, TypeVar

from kpi.database import fetch_dicts, table_columns
from kpi.errors import ConfigError
from kpi.lazy import duckdb
from kpi.provenance.figure_values import (
    FigureKey,
    Form,
    Presentation,
    Row,
    Rows,
    form_of,
    pick,
    presentation_of,
    read_rows,
)
from kpi.provenance.recomputation import BuildPair, BuildSide, Cause, NotRebuildable, Recomputation
from kpi.sql import identifier, literal

if TYPE_CHECKING:
    from kpi.ingest.contract import Feed
    from kpi.settings import ReportTables


_Group = TypeVar("_Group", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Part:
    """What one cause does to a figure. `amount` is in the figure's unit, `printed` with its decimals.

    `subjects` name what it is: files below the raw folder, seeds, models, macros. Both amounts are None where the
    figure is not there before or after, so that nothing can be subtracted.
    """

    cause: Cause
    subjects: tuple[str, ...]
    amount: Fraction | None
    printed: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Numerator and denominator of a group in one period; a count has no denominator."""

    numerator: Fraction
    denominator: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a group does to the change of a figure, in its unit: by its own rate, and by its weight among the groups.

    Of a count it is all `rate`.
    """

    rate: Fraction
    mix: Fraction = Fraction(0)

    @property
    def total(self) -> Fraction:
        return self.rate + self.mix

    def __add__(self, other: Contribution) -> Contribution:
        return Contribution(self.rate + other.rate, self.mix + other.mix)


def decompose(
    before: Mapping[_Group, Totals], after: Mapping[_Group, Totals], scale: int = 1
) -> dict[_Group, Contribution]:
    """Return the part of each group in the change of a figure, which sum to the change exactly.

    `scale` is 100 for a figure in percent. A group absent in one period, or with nothing in its denominator, takes the
    other period's rate. Raises ZeroDivisionError when the whole denominator of a period is zero: there is no figure.
    """
    groups = list(dict.fromkeys([*before, *after]))
    tables = {**before, **after}
    if all(one.denominator is None for one in tables.values()):
        nothing = Totals(Fraction(0))
        return {
            group: Contribution(scale * (after.get(group, nothing).numerator - before.get(group, nothing).numerator))
            for group in groups
        }
    wholes = [_whole(period) for period in (before, after)]
    mean = scale * (wholes[0].numerator / _of(wholes[0]) + wholes[1].numerator / _of(wholes[1])) / 2
    contributions = {}
    for group in groups:
        weights = [_of(period.get(group)) / _of(whole) for period, whole in zip((before, after), wholes, strict=True)]
        rates = _rates(before.get(group), after.get(group), scale)
        contributions[group] = Contribution(
            (weights[0] + weights[1]) / 2 * (rates[1] - rates[0]),
            (weights[1] - weights[0]) * ((rates[0] + rates[1]) / 2 - mean),
        )
    return contributions


def summed(parts: Mapping[tuple[str, str], Contribution], dimension: int) -> dict[str, Contribution]:
    """Sum the parts of a cross product over one of its two dimensions: what is left is by the other, `dimension`."""
    sums: dict[str, Contribution] = {}
    for group, part in parts.items():
        name = group[dimension]
        sums[name] = sums.get(name, Contribution(Fraction(0))) + part
    return sums


def largest_remainder(amounts: Sequence[Fraction], total: Decimal, unit: Decimal) -> tuple[Decimal, ...]:
    """Round amounts to multiples of a unit so that they add up to `total`, a multiple of it, each as little as it can.

    Each is rounded down; what is missing then goes to those with the largest remainder, of equal ones to the first.
    """
    if not amounts:
        return ()
    step = Fraction(unit)
    floors = [amount // step for amount in amounts]
    missing = int(Fraction(total) / step) - sum(floors)
    # A total that was rounded for itself may be more than one unit a part away from the sum of the floors.
    all_of_them, missing = divmod(missing, len(amounts))
    by_remainder = sorted(range(len(amounts)), key=lambda place: floors[place] * step - amounts[place])
    extra = set(by_remainder[:missing])
    return tuple((floor + all_of_them + (place in extra)) * unit for place, floor in enumerate(floors))


def _whole(period: Mapping[_Group, Totals]) -> Totals:
    return Totals(
        sum((one.numerator for one in period.values()), Fraction(0)),
        sum((_of(one) for one in period.values()), Fraction(0)),
    )


def _of(one: Totals | None) -> Fraction:
    return (one.denominator or Fraction(0)) if one else Fraction(0)


def _rates(before: Totals | None, after: Totals | None, scale: int) -> tuple[Fraction, Fraction]:
    rates = [scale * one.numerator / _of(one) if one and _of(one) else None for one in (before, after)]
    either = next((rate for rate in rates if rate is not None), Fraction(0))
    first, second = (either if rate is None else rate for rate in rates)
    return first, second


TO_DATE = "year_to_date"
Cell = tuple[str, str]  # service, month; either is empty where there is no such group
Periods = tuple[Mapping[Cell, Totals], Mapping[Cell, Totals]]


@dataclass(frozen=True, slots=True)
class Break:
    """A break in the series of a figure, and its reason in three languages."""

    starts_on: date
    kind: str
    reason_fi: str
    reason_sv: str
    reason_en: str


@dataclass(frozen=True, slots=True)
class GroupChange:
    """What one group does to a change: its totals in both years, None where it is absent, and its part.

    The printed parts of all groups of a dimension add up to the printed change, and `printed_rate` and `printed_mix`
    of a group to `printed`.
    """

    name: str
    before: Totals | None
    after: Totals | None
    part: Contribution
    printed: Decimal
    printed_rate: Decimal
    printed_mix: Decimal


@dataclass(frozen=True, slots=True)
class YearChange:
    """How a figure moved from one year to another.

    `groups` are by dimension: `service`, `month`; none where the figure does not add up over them, and then `without`
    says which values it would have without each month, before and after. `months` is the last month counted, where
    that is not the whole year.
    """

    figure: str
    service: str
    years: tuple[int, int]
    bases: tuple[str, str]
    totals: tuple[Totals | None, Totals | None]
    values: tuple[Fraction, Fraction]
    shown: tuple[Decimal, Decimal]
    form: Form
    presentation: Presentation
    breaks: tuple[Break, ...]
    groups: Mapping[str, tuple[GroupChange, ...]]
    cells: Mapping[Cell, Contribution]
    without: Mapping[str, tuple[Decimal | None, Decimal | None]] = field(default_factory=dict)
    months: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def change(self) -> Fraction:
        return self.values[1] - self.values[0]

    @property
    def shown_change(self) -> Decimal:
        """The change as printed: the printed value less the printed value before."""
        return self.shown[1] - self.shown[0]


def year_change(
    con: duckdb.DuckDBPyConnection,
    build: BuildSide,
    feeds: Callable[[], Sequence[Feed]],
    keys: tuple[FigureKey, FigureKey],
) -> YearChange:
    """Return how a figure moved between the years of two keys of one figure and service, by what a build holds.

    `feeds` gives the contracts of the project; it is asked only where the figure does not add up.
    Raises ConfigError when there is no such figure, or it has no value in one of the years.
    """
    tables = build.tables
    rows = read_rows(con, tables.indicators, keys[0].figure_id)
    picks = [pick(rows, key) for key in keys]
    for key, (row, _) in zip(keys, picks, strict=True):
        if row is None or row.value is None:
            raise ConfigError(_nothing(key, rows, is_there=row is not None))
    form = form_of(rows.values())
    bases = picks[0][1], picks[1][1]
    source = _Source(con, tables, keys, form, table_columns(con))
    months = source.months_to_compare(bases)
    wholes: tuple[Totals | None, ...] = tuple(_totals(row, form) for row, _ in picks)
    periods, notes = source.periods(wholes, months)
    values = tuple(form.exact(row) or Fraction(0) for row, _ in picks)
    if months is not None and periods is not None:
        counted = [_sum(period.values(), form) for period in periods]
        wholes, values = tuple(counted), tuple(_value(whole, form) for whole in counted)
    elif months is not None and len({*bases}) > 1:
        notes = (
            *notes,
            f"{keys[0].report_year} is {bases[0]}, {keys[1].report_year} is {bases[1]}: they count other months.",
        )
    presentation = presentation_of(con, tables, keys[0].figure_id)
    shown = tuple(presentation.shown(con, value) or Decimal(0) for value in values)
    cells = decompose(*periods, form.scale or 1) if periods else {}
    groups = _groups(periods, cells, shown, presentation) if periods else {}
    without = {}
    if not cells:
        pair = BuildPair(build, build)
        try:
            without = _without_each_month(con, Recomputation(pair, feeds(), keys[0].figure_id), keys, presentation)
        finally:
            pair.close()
    return YearChange(
        keys[0].figure_id,
        keys[0].service,
        (keys[0].report_year, keys[1].report_year),
        bases,
        (wholes[0], wholes[1]),
        (values[0], values[1]),
        (shown[0], shown[1]),
        form,
        presentation,
        _breaks(con, tables, keys),
        groups,
        cells,
        without,
        months,
        notes,
    )


def _nothing(key: FigureKey, rows: Rows, is_there: bool) -> str:
    if is_there:
        return f"{key} has no value: its denominator is nothing."
    years = sorted({year for service, year, _ in rows if service == key.service})
    services = sorted({service for service, _, _ in rows})
    if not rows:
        return f"there is no figure '{key.figure_id}'. See: kpi show"
    if not years:
        return f"{key.figure_id} has no service '{key.service}'; it has {', '.join(services)}."
    return f"there is no {key}; there are the years {', '.join(map(str, years))}. See: kpi show {key.figure_id}"


@dataclass(frozen=True, slots=True)
class _Source:
    """The groups of a figure and service, as a build has them."""

    con: duckdb.DuckDBPyConnection
    tables: ReportTables
    keys: tuple[FigureKey, FigureKey]
    form: Form
    columns: Mapping[str, Mapping[str, str]]

    def months_to_compare(self, bases: Sequence[str]) -> int | None:
        """Return the last month that both years count, where one is not finished; None where both are."""
        if TO_DATE not in bases or not self._has(self.tables.monthly_series, "is_full_month"):
            return None
        years = [key.report_year for key, basis in zip(self.keys, bases, strict=True) if basis == TO_DATE]
        row = self.con.execute(
            f"select max(month) from {self.tables.monthly_series} where figure_id = ? and service = ?"
            " and list_contains(?, report_year) and is_full_month group by report_year order by 1",
            [self.keys[0].figure_id, self.keys[0].service, years],
        ).fetchone()
        return int(row[0]) if row and row[0] else None

    def periods(self, wholes: Sequence[Totals | None], months: int | None) -> tuple[Periods | None, tuple[str, ...]]:
        """Return the totals of every group in both years; None, and why, where they do not add up to the years."""
        if not self.form.adds_up:
            return None, ("It is a median, or follows from other figures: it does not add up over months or services.",)
        parts, own = self._parts(), [(self.keys[0].figure_id, self.keys[0].service)]
        for services, by_month in ((parts, True), (own, True), (parts, False)):
            periods = self._read(services, by_month, months) if services and (by_month or months is None) else None
            if periods and (months is not None or all(map(self._is_whole, periods, wholes))) and all(periods):
                return periods, ()
        if not any(self._read(own, True, months) or ()):
            return None, ("It has no months and no services, so it has no parts by them.",)
        return None, (
            "Its months do not add up to its year, as of a census, and no services do: it has no parts by them.",
        )

    def _is_whole(self, period: Mapping[Cell, Totals], whole: Totals | None) -> bool:
        return whole is not None and _sum(period.values(), self.form) == whole

    def _parts(self) -> list[tuple[str, str]]:
        """The figures and services that the seed of sums says this one is all of, the first sum that has any."""
        if not self._has(self.tables.figure_sums, "sum_id", "figure_id", "service", "is_whole", "is_exhaustive"):
            return []
        sums: dict[str, list[tuple[str, str]]] = {}
        for name, figure, service in self.con.execute(
            f"select distinct parts.sum_id, parts.figure_id, parts.service from {self.tables.figure_sums} as wholes"
            f" inner join {self.tables.figure_sums} as parts using (sum_id) where wholes.is_whole"
            " and wholes.figure_id = ? and wholes.service = ? and not parts.is_whole and parts.is_exhaustive"
            " order by all",
            [self.keys[0].figure_id, self.keys[0].service],
        ).fetchall():
            # Of another figure it is the numerators that add up.
            if figure == self.keys[0].figure_id or self.form.is_count:
                sums.setdefault(name, []).append((figure, service))
        return next(iter(sums.values()), [])

    def _read(self, services: Sequence[tuple[str, str]], by_month: bool, months: int | None) -> Periods | None:
        relation = self.tables.monthly_series if by_month else self.tables.indicators
        if not self._has(relation, "numerator", "denominator", *(("month",) if by_month else ())):
            return None
        month = "month" if by_month else "null"
        periods: tuple[dict[Cell, Totals], dict[Cell, Totals]] = {}, {}
        for period, key in zip(periods, self.keys, strict=True):
            for figure, service, at, numerator, denominator in self.con.execute(
                f"select figure_id, service, {month}, numerator, denominator from {relation}"
                " where list_contains(?, figure_id || ' ' || service) and report_year = ?"
                f" and ({month} is null or ?::bigint is null or {month} <= ?) order by all",
                [[f"{figure} {service}" for figure, service in services], key.report_year, months, months],
            ).fetchall():
                own = service if figure == self.keys[0].figure_id else f"{figure} {service}"
                name = own if len(services) > 1 else ""
                totals = _totals(Row(numerator, denominator, 0.0), self.form)
                if totals is not None:
                    period[(name, f"{at:02}" if at is not None else "")] = totals
        return periods

    def _has(self, relation: str, *wanted: str) -> bool:
        """Whether a table is there, with these columns."""
        return {*wanted} <= self.columns.get(relation, {}).keys()


def _totals(row: Row | None, form: Form) -> Totals | None:
    if row is None or row.numerator is None:
        return None
    return Totals(Fraction(row.numerator), None if form.is_count else Fraction(row.denominator or 0))


def _sum(totals: Iterable[Totals], form: Form) -> Totals:
    rows = list(totals)
    numerator = sum((one.numerator for one in rows), Fraction(0))
    denominator = sum((one.denominator or Fraction(0) for one in rows), Fraction(0))
    return Totals(numerator, None if form.is_count else denominator)


def _value(whole: Totals, form: Form) -> Fraction:
    if whole.denominator is None:
        return whole.numerator
    return (form.scale or 1) * whole.numerator / whole.denominator


def _groups(
    periods: Periods, cells: Mapping[Cell, Contribution], shown: Sequence[Decimal], presentation: Presentation
) -> dict[str, tuple[GroupChange, ...]]:
    """Sum the cells over either dimension that has more than one group, and round the parts of each."""
    groups = {}
    for place, dimension in enumerate(("service", "month")):
        parts = summed(cells, place)
        if len(parts) < 2:
            continue
        names = (
            sorted(parts) if dimension == "month" else sorted(parts, key=lambda name: (-abs(parts[name].total), name))
        )
        step = presentation.step(*shown)
        printed = largest_remainder([parts[name].total for name in names], shown[1] - shown[0], step)
        totals = [_by_group(period, place) for period in periods]
        groups[dimension] = tuple(
            GroupChange(
                name,
                totals[0].get(name),
                totals[1].get(name),
                parts[name],
                of_group,
                rate := largest_remainder([parts[name].rate, parts[name].mix], of_group, step)[0],
                of_group - rate,
            )
            for name, of_group in zip(names, printed, strict=True)
        )
    return groups


def _by_group(period: Mapping[Cell, Totals], place: int) -> dict[str, Totals]:
    sums: dict[str, Totals] = {}
    for cell, one in period.items():
        before = sums.get(cell[place])
        denominator = one.denominator
        if before is not None and denominator is not None:
            denominator += before.denominator or 0
        sums[cell[place]] = Totals((before.numerator if before else 0) + one.numerator, denominator)
    return sums


def _breaks(
    con: duckdb.DuckDBPyConnection, tables: ReportTables, keys: tuple[FigureKey, FigureKey]
) -> tuple[Break, ...]:
    """The breaks between the beginning of the earlier year and the end of the later one, oldest first."""
    first, last = sorted((keys[0].report_year, keys[1].report_year))
    names = ("starts_on", "kind", "reason_fi", "reason_sv", "reason_en")
    with suppress(duckdb.CatalogException):
        rows = fetch_dicts(
            con,
            f"select * from {tables.comparability_breaks} where figure_id = ? and service = ?"
            " and starts_on > make_date(?, 1, 1) and starts_on <= make_date(?, 12, 31)",
            [keys[0].figure_id, keys[0].service, first, last],
        )
        found = {(row["starts_on"], *(str(row.get(name) or "") for name in names[1:])) for row in rows}
        return tuple(Break(*one) for one in sorted(found))
    return ()


def _without_each_month(
    con: duckdb.DuckDBPyConnection, figure: Recomputation, keys: tuple[FigureKey, FigureKey], presentation: Presentation
) -> dict[str, tuple[Decimal | None, Decimal | None]]:
    """Return the figure as shown, in both years, without the rows of each month; none where rows tell no month."""
    dated = {
        relation: identifier(feed.retention.by)
        for relation, feed in figure.feed_tables.items()
        if feed.retention.by and not feed.retention.of and feed.limits.kinds.get(feed.retention.by) != "integer"
    }
    form = form_of(figure.recorded["after"].values())
    shown: dict[str, tuple[Decimal | None, Decimal | None]] = {}
    for month in _months_with_rows(con, dated, keys):
        years = ", ".join(literal(f"{key.report_year}-{month:02}") for key in keys)
        conditions = {relation: f"strftime({by}, '%Y-%m') in ({years})" for relation, by in dated.items()}
        try:
            rows = figure.rows_without(conditions)
        except NotRebuildable:
            return {}
        values = [presentation.shown(con, form.exact(pick(rows, key)[0])) for key in keys]
        shown[f"{month:02}"] = values[0], values[1]
    return shown


def _months_with_rows(
    con: duckdb.DuckDBPyConnection, dated: Mapping[str, str], keys: tuple[FigureKey, FigureKey]
) -> list[int]:
    """Return the months of either year that any of these raw tables has rows of; none where they may not be read."""
    months = set[int]()
    for relation, by in dated.items():
        with suppress(duckdb.CatalogException):
            sql = f"select distinct month({by}) from {relation} where year({by}) in (?, ?)"
            months |= {int(row[0]) for row in con.execute(sql, [key.report_year for key in keys]).fetchall()}
    return sorted(months)
