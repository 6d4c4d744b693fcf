"""Why a figure moved, as people read it: between two years of a build, or between two builds."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.errors import ConfigError, nearest
from kpi.files import find_project
from kpi.lazy import duckdb
from kpi.presentation import listed, one_line, significant
from kpi.provenance.attribution import Attribution, BuildChange
from kpi.provenance.decomposition import GroupChange, Totals, YearChange, year_change
from kpi.provenance.explanation import UNITS
from kpi.provenance.figure_values import FigureKey, Rows, read_rows, refuse_without_figures
from kpi.provenance.recomputation import BuildSide
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import database_path

if TYPE_CHECKING:
    from kpi.ingest.contract import Feed

MOST_ROWS = 12  # rows of a figure that are told between two builds, unless one is named
MOST_SUBJECTS = 3  # named of the files, seeds or models of one cause
MOST_SERVICES = 3  # of a figure, when none is named


@dataclass(frozen=True, slots=True)
class ChangeReport:
    """Why a figure moved. `changes` are the facts, in exact fractions; `text` is what `kpi why` prints."""

    changes: tuple[YearChange | BuildChange, ...]
    heading: str = ""

    @property
    def text(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        if self.heading:
            yield self.heading
        for number, change in enumerate(self.changes):
            if number:
                yield ""
            yield from year_lines(change) if isinstance(change, YearChange) else build_lines(change)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each part, as data: amounts as text of a fraction, printed ones as decimals."""
        return [row for change in self.changes for row in _rows(change)]

    def to_json(self) -> str:
        return json.dumps(self.rows(), ensure_ascii=False, indent=1)

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.text)}</pre>"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which rows of a figure, and where they are."""

    service: str | None = None
    year: int | None = None
    basis: str = ""
    build: str | None = None
    stewards: bool = False
    project_dir: Path | str | None = None


def why(figure: str, from_: str | int | None = None, to: str | int | None = None, **options: Any) -> ChangeReport:
    """Return why a figure moved: between two report years, or between two builds, whichever `from_` and `to` name.

    A year has four digits. A build is named as in `kpi diff`: by its id or number, `current`, `previous`, `candidate`,
    `latest`. Without any it is the last year with figures and the one before. Contributions are in the figure's unit
    and sum to its change exactly, and as printed. Options, all by name: `service` and `basis` of the figure; `year`,
    between builds; `build`, whose years are meant, else the published one's; `stewards`; `project_dir`. Raises
    ConfigError when there is no such figure, service, year or build, saying what is missing.
    """
    wanted = _Wanted(**options)
    root = find_project(wanted.project_dir).resolve()
    warehouse = Warehouse(root / "warehouse")
    names = [None if one is None else str(one) for one in (from_, to)]
    is_year = [name is None or re.fullmatch(r"(19|20)\d\d", name) is not None for name in names]
    if all(is_year):
        years = [None if name is None else int(name) for name in names]
        side = side_of(warehouse, wanted.build, wanted.stewards)
        return _between_years(side, lambda: feeds_of(root), (figure, wanted.service, wanted.basis), years[0], years[1])
    if any(is_year):
        raise ConfigError("--from and --to are two years, or two builds: kpi why FIGURE --from 00003 --to current")
    if wanted.build:
        raise ConfigError("--build says of which build years are; between two builds it says nothing.")
    sides = [side_of(warehouse, name, wanted.stewards) for name in names]
    with Attribution(sides[0], sides[1], feeds_of(root)) as attribution:
        return _between_builds(attribution, figure, wanted)


def side_of(warehouse: Warehouse, build: str | None, stewards: bool) -> BuildSide:
    """Return a build to compare. Raises ConfigError that says what is missing of one that is kept no more."""
    try:
        if build in (None, "current"):
            folder = warehouse.folder()
        elif build == "previous":
            folder = warehouse.folder(warehouse.published_before(warehouse.published()))
        else:
            folder = warehouse.folder(build)
    except ConfigError as error:
        raise ConfigError(f"{error}{_fate_of(warehouse, str(build))}") from None
    return BuildSide(warehouse.record(folder), database_path(folder, stewards).resolve())


def _fate_of(warehouse: Warehouse, build: str) -> str:
    """Say what became of a build that is not kept, by the ledger."""
    number = build.zfill(5) if build.isdecimal() else build
    events = [one for one in warehouse.ledger() if number and one.build.startswith(number)]
    if not events:
        return ""
    pruning = next((one for one in reversed(events) if one.event == "pruned"), None)
    how = f"was removed at {pruning.at} by {pruning.reason}" if pruning else "is on record and its folder is gone"
    present_builds = ", ".join(folder.name for folder in warehouse.build_folders())
    return (
        f"\nBuild {events[-1].build} {how}. With it went its raw rows, its seeds, its compiled SQL and the list"
        f" of its deliveries, without which no cause can be told. Kept are: {present_builds or 'none'}."
    )


def feeds_of(root: Path) -> tuple[Feed, ...]:
    from kpi.engine.compile import compiled

    return compiled(root).graph.feeds


def _between_years(
    side: BuildSide,
    feeds: Callable[[], Sequence[Feed]],
    wanted: tuple[str, str | None, str],
    first: int | None,
    last: int | None,
) -> ChangeReport:
    from kpi import database

    figure, service, basis = wanted
    with database.reading(side.database) as con:
        refuse_without_figures(con, side.tables)
        rows = read_rows(con, side.tables.indicators, figure)
        if not rows:
            raise ConfigError(f"there is no figure '{figure}'.{nearest(figure, _figures(con, side))} See: kpi show")
        years = sorted({year for _, year, _ in rows})
        last = last or years[-1]
        first = first or max((year for year in years if year < last), default=last)
        if first == last and len(years) > 1:
            raise ConfigError(f"--from and --to are both {last}. There is: {', '.join(map(str, years))}.")
        if first == last:
            raise ConfigError(
                f"{figure} has figures of {last} alone: there is nothing to compare. See: kpi show {figure}"
            )
        services = [service] if service else _services(con, side, rows, figure, {first, last})
        changes = tuple(
            year_change(con, side, feeds, (FigureKey(figure, name, first, basis), FigureKey(figure, name, last, basis)))
            for name in services
        )
    return ChangeReport(changes)


def _figures(con: duckdb.DuckDBPyConnection, side: BuildSide) -> list[str]:
    return [row[0] for row in con.execute(f"select distinct figure_id from {side.tables.indicators}").fetchall()]


def _services(
    con: duckdb.DuckDBPyConnection, side: BuildSide, rows: Rows, figure: str, years: Iterable[int]
) -> list[str]:
    """Return the services of a figure that are no part of another one. Raises ConfigError when they are many."""
    valued = {(service, year) for (service, year, _), row in rows.items() if row.value is not None}
    names = sorted(
        service for service in {name for name, _ in valued} if all((service, year) in valued for year in years)
    )
    try:
        parts = con.execute(
            f"select distinct parts.service from {side.tables.figure_sums} as parts"
            f" inner join {side.tables.figure_sums} as wholes using (sum_id, figure_id)"
            " where wholes.is_whole and not parts.is_whole and figure_id = ?",
            [figure],
        ).fetchall()
    except duckdb.CatalogException:
        parts = []
    tops = [service for service in names if (service,) not in parts]
    if not names:
        raise ConfigError(f"{figure} has no service with a value in both years. See: kpi show {figure}")
    if len(tops) > MOST_SERVICES:
        raise ConfigError(f"{figure} has the services {', '.join(tops)}. Name one: --service {tops[0]}")
    return tops


def _between_builds(attribution: Attribution, figure: str, wanted: _Wanted) -> ChangeReport:
    before, after = attribution.before.record.id, attribution.after.record.id
    service, year, basis = wanted.service, wanted.year, wanted.basis
    keys = [
        key
        for key in attribution.keys(figure)
        if service in (None, key.service) and year in (None, key.report_year) and basis in ("", key.basis)
    ]
    heading = f"{before} -> {after}"
    if not keys:
        if not attribution.has(figure):
            raise ConfigError(f"there is no figure '{figure}' in build {before}, nor in {after}. See: kpi show")
        return ChangeReport((), f"{heading}: {figure} is the same{f' for {service}' if service else ''}.")
    # One that became another basis, as when a year was finished, is one row and no two.
    rows = {(key.service, key.report_year): key for key in reversed(keys)} if not basis else {key: key for key in keys}
    ordered = sorted(rows.values(), key=lambda key: (-key.report_year, key.service))
    more = (
        f"; the first {MOST_ROWS} of {len(ordered)} rows, see --service and --year" if len(ordered) > MOST_ROWS else ""
    )
    return ChangeReport(tuple(attribution.causes(key) for key in ordered[:MOST_ROWS]), f"{heading}{more}")


def build_lines(change: BuildChange) -> Iterator[str]:
    """Tell in lines why a figure differs between two builds."""
    how, unit = change.presentation, UNITS.get(change.presentation.unit, "")
    moved = f"{how.text(change.shown_before)} -> {how.text(change.shown_after)}{unit}"
    by = f" ({how.text(change.shown_change, sign=True)})" if change.shown_change is not None else ""
    yield f"{change.key}: {moved}{by}"
    if change.change is not None and change.before is not None and change.after is not None:
        yield f"  unrounded {_exact(change.before)} -> {_exact(change.after)} ({_exact(change.change, sign=True)})"
    for part in change.parts:
        amount = "" if part.amount is None else f"{how.text(part.printed, sign=True):>8}  "
        exact = "" if part.amount is None else f"  ({_exact(part.amount, sign=True)})"
        yield f"  {amount}{part.cause.replace('_', ' '):<18}  {subjects_text(part.subjects)}{exact}"
    if not change.parts:
        yield "  Nothing that it is made from differs."
    if change.without:
        yield "  It does not add up: each delivery's part is a mean over orders. Without one of them it would be"
        for path, value in change.without.items():
            yield f"  {how.text(value):>8}  without {one_line(path)}"
    for note in change.notes:
        yield f"  note: {one_line(note)}"


def year_lines(change: YearChange) -> Iterator[str]:
    """Tell in lines how a figure moved between two years."""
    how, unit, years = change.presentation, UNITS.get(change.presentation.unit, ""), change.years
    moved = f"{how.text(change.shown[0])} -> {how.text(change.shown[1])}{unit}"
    yield f"{change.figure} {change.service}, {years[0]} -> {years[1]}: {moved} ({how.text(change.shown_change, True)})"
    yield f"  unrounded {_exact(change.values[0])} -> {_exact(change.values[1])} ({_exact(change.change, sign=True)})"
    if all(totals is not None and totals.denominator is not None for totals in change.totals):
        yield f"  {_quotient(change.totals[0])} -> {_quotient(change.totals[1])}"
    if change.months is not None:
        yield f"  One of the years is not finished: of both, months 1 to {change.months} are counted."
    for one in change.breaks:
        yield f"  BREAK on {one.starts_on} ({one.kind}): {one_line(one.reason_en)} The years are not wholly comparable."
    for dimension, groups in change.groups.items():
        yield ""
        yield f"By {dimension}:"
        yield from _group_lines(change, groups)
    for note in change.notes:
        yield f"  {note}"
    if change.without:
        yield "  Without the rows of a month it would be:"
        for month, values in change.without.items():
            yield f"  {month:>6}  {how.text(values[0]):>9} -> {how.text(values[1])}"


def _group_lines(change: YearChange, groups: Sequence[GroupChange]) -> Iterator[str]:
    how, scale = change.presentation, change.form.scale or 1
    width = max(len(group.name) for group in groups)
    if change.form.is_count:
        yield f"  {'':<{width}} {change.years[0]:>12} {change.years[1]:>12} {'change':>10}"
        for group in groups:
            counts = " ".join(f"{_exact(one.numerator) if one else '-':>12}" for one in (group.before, group.after))
            yield f"  {group.name:<{width}} {counts} {how.text(group.printed, sign=True):>10}"
        yield f"  {'':<{width}} {'':>12} {'':>12} {how.text(change.shown_change, sign=True):>10}"
        return
    yield (
        f"  {'':<{width}} {'value':>19} {'% of denominator':>17} {'own value':>10} {'weight':>8} {'together':>9}"
        f" {'unrounded':>12}"
    )
    for group in groups:
        pair = group.before, group.after
        values = " -> ".join(_rate(one, scale) for one in pair)
        weights = " -> ".join(_weight(one, whole) for one, whole in zip(pair, change.totals, strict=True))
        parts = (group.printed_rate, group.printed_mix, group.printed)
        texts = [how.text(part, sign=True) for part in parts]
        yield (
            f"  {group.name:<{width}} {values:>19} {weights:>17} {texts[0]:>10} {texts[1]:>8} {texts[2]:>9}"
            f" {_exact(group.part.total, sign=True):>12}"
        )
    sums = [sum((getattr(group, name) for group in groups), Decimal(0)) for name in ("printed_rate", "printed_mix")]
    texts = [how.text(part, sign=True) for part in (*sums, change.shown_change)]
    yield (
        f"  {'':<{width}} {'':>19} {'':>17} {texts[0]:>10} {texts[1]:>8} {texts[2]:>9}"
        f" {_exact(change.change, sign=True):>12}"
    )


def subjects_text(subjects: Sequence[str]) -> str:
    """Return the names of what caused something, the first few and how many more."""
    return one_line(listed(subjects, MOST_SUBJECTS))


def _exact(value: Fraction, sign: bool = False) -> str:
    """Return a value with six significant digits, whole numbers in full."""
    text = str(value.numerator) if value.denominator == 1 else significant(float(value), 6)
    return f"+{text}" if sign and value > 0 else text


def _quotient(totals: Totals | None) -> str:
    return "-" if totals is None else f"{_exact(totals.numerator)} of {_exact(totals.denominator or Fraction(0))}"


def _rate(totals: Totals | None, scale: int) -> str:
    if totals is None or not totals.denominator:
        return "-"
    return f"{float(scale * totals.numerator / totals.denominator):.4g}"


def _weight(totals: Totals | None, whole: Totals | None) -> str:
    if totals is None or whole is None or not whole.denominator:
        return "0.0"
    return f"{float(100 * (totals.denominator or 0) / whole.denominator):.1f}"


def _rows(change: YearChange | BuildChange) -> Iterator[dict[str, Any]]:
    if isinstance(change, BuildChange):
        key = {"figure_id": change.key.figure_id, "service": change.key.service, "report_year": change.key.report_year}
        for part in change.parts:
            printed = None if part.printed is None else str(part.printed)
            amount = None if part.amount is None else str(part.amount)
            yield {**key, "cause": part.cause, "subjects": list(part.subjects), "amount": amount, "printed": printed}
        return
    about = {"figure_id": change.figure, "service": change.service, "from": change.years[0], "to": change.years[1]}
    for dimension, groups in change.groups.items():
        for group in groups:
            yield {
                **about,
                "dimension": dimension,
                "group": group.name,
                "rate": str(group.part.rate),
                "mix": str(group.part.mix),
                "amount": str(group.part.total),
                "printed": str(group.printed),
            }
