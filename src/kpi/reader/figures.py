"""The published build as a connection, its indicators as a frame, and tables as text."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi import database
from kpi.database import table_columns
from kpi.errors import ConfigError, nearest
from kpi.files import find_project
from kpi.lazy import duckdb
from kpi.presentation import LANGUAGES, significant
from kpi.provenance.figure_values import refuse_without_figures
from kpi.reader.screen import Status, late_feeds, screen_text
from kpi.settings import ReportTables
from kpi.site.figure_data import FIGURES, INDICATORS, FigureRow, code_list, columns, names_of, relation
from kpi.warehouse.builds import FAILURES, Showing, Warehouse, showings
from kpi.warehouse.permissions import DATABASE, database_path

if TYPE_CHECKING:
    from kpi.build_record import BuildRecord


USUAL = ReportTables()


def check_year(con: duckdb.DuckDBPyConnection, year: int, tables: ReportTables = USUAL) -> None:
    """Raise ConfigError, saying which years there are, when there is no figure of a report year."""
    refuse_without_figures(con, tables)
    rows = con.execute(f"select distinct report_year from {tables.indicators} order by 1").fetchall()
    years = [str(row[0]) for row in rows]
    if str(year) not in years:
        raise ConfigError(f"there are no figures of {year}.{_there_are(years)}")


def rows_of(con: duckdb.DuckDBPyConnection, table: str, year: int | None = None) -> str:
    """Return a SELECT of a table's rows, of one report year or all. Raises ConfigError when it has no such year."""
    if year is None:
        return f"select * from {table}"
    if "report_year" not in columns(con, table):
        raise ConfigError(f"{table} has no column report_year, so --year says nothing of it.")
    rows = con.execute(f"select distinct report_year from {table} where report_year is not null order by 1").fetchall()
    years = [str(row[0]) for row in rows]
    if str(year) not in years:
        raise ConfigError(f"{table} has no rows of {year}.{_there_are(years)}")
    return f"select * from {table} where report_year = {int(year)}"


def _there_are(years: Sequence[str]) -> str:
    return f" There {'are' if years[1:] else 'is'}: {', '.join(years) or 'no year'}."


def open_build(
    build: str | None = None,
    project_dir: Path | str | None = None,
    failures: bool = False,
    stewards: bool = False,
    as_of: date | str | None = None,
) -> duckdb.DuckDBPyConnection:
    """Open the published build, or the one named, read-only and hardened.

    With `as_of`, a day such as "2026-03-05", it is the build that readers saw at the end of that day.

    `build` is an id, its number (`00012`), a beginning of it, `candidate` (the newest that failed or was held back) or
    `latest` (the newest, whatever became of it).

    Its SQL reaches no file and changes no setting. The connection keeps its build whatever is published later. With
    `stewards` it has also the schemas that the project leaves out for other readers; with `failures` it is the failing
    rows that `kpi test --store-failures` kept. Raises ConfigError when there is none, or you may not open it.
    """
    warehouse = Warehouse(find_project(project_dir).resolve() / "warehouse")
    if as_of is not None:
        build = build_as_of(warehouse, as_of, build)
    folder = warehouse.folder(build)
    file = database_path(folder, stewards or failures, FAILURES if failures else DATABASE)
    if failures and not file.is_file():
        raise ConfigError(f"{folder}: no failing rows are kept here. Run: kpi test --store-failures")
    return database.reading(file)


def build_as_of(warehouse: Warehouse, as_of: date | str, build: str | None = None) -> str:
    """Return the build that readers saw at the end of a local day.

    Raises ConfigError when nothing was published yet, or when that build is gone: then it names the nearest in time
    that is kept.
    """
    if build is not None:
        raise ConfigError("as_of and a build: one or the other.")
    try:
        wanted = as_of if isinstance(as_of, date) else date.fromisoformat(as_of)
    except ValueError:
        raise ConfigError(f"as_of is a day such as 2026-03-05, not '{as_of}'.") from None
    end = f"{datetime.combine(wanted, time.max).astimezone().astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    shown = showings(warehouse.ledger())
    before = [one for one in shown if one.start <= end]
    present_builds = {folder.name for folder in warehouse.build_folders()}
    there = [one for one in shown if one.build in present_builds]
    if before and before[-1].build in present_builds:
        return before[-1].build
    what = f"nothing was published yet on {wanted}"
    if before:
        what = f"readers saw build {before[-1].build} on {wanted}, which is not kept any more"
    if not there:
        raise ConfigError(f"{what}, and no build is. Run: kpi refresh")
    near = min(there, key=lambda one: _seconds_between(one, end))
    until = f" to {near.end[:10]}" if near.end else " on"
    raise ConfigError(
        f"{what}. The nearest that is kept is {near.build}, which they saw from {near.start[:10]}{until}:"
        f" kpi.open(build={near.build!r}), --build {near.build}"
    )


def _seconds_between(one: Showing, moment: str) -> float:
    """How far a moment is from the time in which readers saw a build; 0 within it."""
    start, wanted = datetime.fromisoformat(one.start), datetime.fromisoformat(moment)
    end = datetime.fromisoformat(one.end) if one.end else None
    if wanted < start:
        return (start - wanted).total_seconds()
    return (wanted - end).total_seconds() if end and wanted > end else 0


def tables_of(build: str | None = None, project_dir: Path | str | None = None) -> ReportTables:
    """Return the names of the tables that figures are read from, as the build was made with them."""
    warehouse = Warehouse(find_project(project_dir).resolve() / "warehouse")
    return warehouse.outline(warehouse.folder(build)).report_tables


def hint_left_out(sql: str, build: str | None, project_dir: Path) -> str:
    """Say which schema that SQL, or a table's name, asks for is left out of the file for all readers; else nothing."""
    warehouse = Warehouse(project_dir.resolve() / "warehouse")
    schemas = warehouse.outline(warehouse.folder(build)).restricted_schemas
    mentions = sorted(schemas & set(re.findall(r"\w+", sql.lower())))
    return (
        f"\n{', '.join(mentions)} is left out of the file for all readers: --stewards opens the other."
        if mentions
        else ""
    )


def read_status(
    con: duckdb.DuckDBPyConnection, record: BuildRecord, tables: ReportTables, rows: Sequence[FigureRow]
) -> Status:
    """Return what matters of a build, by its record, its tables and its figures, as of today."""
    statuses: dict[int, Counter[str]] = {}
    printed = relation(con, tables.reconciliation, ("source_report", "status"))
    for report, status, count in con.execute(
        f"select source_report, status, count(*) from {printed} where source_report is not null group by all"
    ).fetchall():
        statuses.setdefault(report, Counter())[status] = count
    future = relation(con, tables.unfinished_years, ("report_year", "state"))
    years = {row.report_year for row in rows}
    unfinished = {row.report_year for row in rows if row.basis == "year_to_date"}
    unfinished.update(
        year for (year,) in con.execute(f"select distinct report_year from {future} where state = 'future'").fetchall()
    )
    return Status(
        build=record.id,
        years=tuple(sorted(years)),
        unfinished=frozenset(unfinished),
        statuses=statuses,
        differing=tuple(row for row in rows if row.status == "differs"),
        late=late_feeds(record, date.today()),
        is_synthetic=record.synthetic,
    )


def chosen_rows(rows: Sequence[FigureRow], wanted: Mapping[str, Any]) -> list[FigureRow]:
    """Return the figures of the `year`, `figure`, `service` and `family` that are wanted, and that differ if asked.

    Raises ConfigError, saying which there are, for a year, a family or a service that no figure is of.
    """
    matches, subject = list(rows), "there are"
    for name, value_of in _FILTERS.items():
        value = wanted.get(name)
        if value is None:
            continue
        values = sorted({str(value_of(row)) for row in matches})
        if str(value) not in values:
            if name == "year":
                raise ConfigError(f"{subject} no figures of {value}.{_there_are(values)}")
            raise ConfigError(f"there is no {name} '{value}'.{nearest(str(value), values)}")
        matches = [row for row in matches if str(value_of(row)) == str(value)]
        subject = f"'{value}' has"
    return [row for row in matches if row.status == "differs"] if wanted.get("differs") else matches


_FILTERS: Mapping[str, Callable[[FigureRow], object]] = {
    "figure": lambda row: row.figure_id,
    "family": lambda row: row.family,
    "service": lambda row: row.service,
    "year": lambda row: row.report_year,
}


def as_table(rows: Sequence[FigureRow]) -> tuple[list[str], list[list[object]]]:
    """Return figures as names of columns and rows, without their months; `target_is_met` is the last column."""
    names = [one.name for one in fields(FigureRow) if one.name != "months"]
    return [*names, "target_is_met"], [[*(getattr(row, name) for name in names), row.target_is_met] for row in rows]


def as_json(status: Status, rows: Sequence[FigureRow]) -> str:
    """Return what matters of a build, and figures, as JSON. Numbers that are shown, or printed, are decimals."""
    names, values = as_table(rows)
    figures = [
        dict(zip(names, row, strict=True)) | {"months": one.months} for row, one in zip(values, rows, strict=True)
    ]
    content = {
        "build": status.build,
        "report_years": status.years,
        "unfinished_years": sorted(status.unfinished),
        "is_synthetic": status.is_synthetic,
        "printed": {str(report): dict(sorted(counts.items())) for report, counts in sorted(status.statuses.items())},
        "late": [{"feed": feed, "expected_by": by} for feed, by in status.late],
        "figures": figures,
    }
    return json.dumps(content, indent=1, ensure_ascii=False, default=_plain, allow_nan=False)


def _plain(value: object) -> object:
    """A decimal as a number, where JSON has only those; a day as text."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)


def year_notes(con: duckdb.DuckDBPyConnection, tables: ReportTables, lang: str = "en") -> dict[int, list[str]]:
    """Return what is to be said of years whose figures are kept from a build, or that are not finished, by year."""
    notes: dict[int, list[str]] = {}
    origins = relation(con, tables.indicator_origins, ("report_year", "origin", "kept_from"))
    for year, build, count, of in con.execute(_ORIGINS.format(origins=origins)).fetchall():
        notes.setdefault(year, []).append(screen_text("kept", lang).format(build=build, count=f"{count}/{of}"))
    counted = relation(con, tables.indicators, INDICATORS)
    for year, month, count, of in con.execute(_COUNTED_MONTHS.format(indicators=counted)).fetchall():
        text = screen_text("by_hand" if month is None else "to_date", lang)
        notes.setdefault(year, []).append(text.format(month=month, count=f"{count}/{of}"))
    return notes


def definition_lines(
    con: duckdb.DuckDBPyConnection, figure_id: str, tables: ReportTables = USUAL, lang: str = "en"
) -> list[str]:
    """Return a figure's names, definition, unit and source as text, its name in the language first."""
    wanted = (*FIGURES, "source")
    unit, source = (code_list(con, tables, name, lang) for name in ("unit", "source"))
    row = con.execute(
        f"select {', '.join(f'name_{one}' for one in LANGUAGES)}, {names_of('f', 'definition', lang, repr(''))}, unit,"
        f" source from {relation(con, tables.figures, wanted)} as f where figure_id = ?",
        [figure_id],
    ).fetchone()
    if row is None:
        return []
    names = dict(zip(LANGUAGES, row[:3], strict=True))
    others = [f"  {one}: {names[one]}" for one in LANGUAGES if one != lang and names[one]]
    unit_name, said = (codes[code][0] if code in codes else code for codes, code in ((unit, row[4]), (source, row[5])))
    first = f"{figure_id}: {names[lang] or next(filter(None, row[:3]), figure_id)} ({unit_name})"
    return [first, *others, *(f"  {text}" for text in (row[3], said) if text)]


def resolve(con: duckdb.DuckDBPyConnection, wanted: str, names: ReportTables = USUAL) -> tuple[str, str]:
    """Return ('figure', id), ('table', schema.name) or ('service', id) for what was typed.

    Raises ConfigError naming the nearest.
    """
    tables = list(table_columns(con))
    figures: list[str] = []
    if names.figures in tables:
        figures = [row[0] for row in con.execute(f"select figure_id from {names.figures} order by 1").fetchall()]
    if wanted in figures:
        return "figure", wanted
    matches = [table for table in tables if wanted in (table, table.partition(".")[2])]
    if len(matches) == 1:
        return "table", matches[0]
    if matches:
        raise ConfigError(f"'{wanted}' may be {' or '.join(matches)}. Name its schema too.")
    services: list[str] = []
    if names.indicators in tables:
        services = [
            row[0] for row in con.execute(f"select distinct service from {names.indicators} order by 1").fetchall()
        ]
    if wanted in services:
        return "service", wanted
    names_of_all = [*figures, *services, *tables, *(table.partition(".")[2] for table in tables)]
    raise ConfigError(f"there is no figure, service or table '{wanted}'.{nearest(wanted, names_of_all)}")


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return rows as aligned text; a cell longer than 60 characters is cut, and says so by an ellipsis."""
    cells = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    numeric = [all(isinstance(row[p], int | float) or row[p] is None for row in rows) for p in range(len(columns))]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in cells
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


_ORIGINS = """
    select report_year, kept_from, count(*), any_value(year_count)
    from (select *, count(*) over (partition by report_year) as year_count from {origins})
    where origin = 'kept'
    group by report_year, kept_from
    order by report_year, kept_from
"""
_COUNTED_MONTHS = """
    select report_year, last_full_month, count(*), any_value(year_count)
    from (select *, count(*) over (partition by report_year) as year_count from {indicators})
    where basis = 'year_to_date'
    group by report_year, last_full_month
    order by report_year, last_full_month nulls last
"""


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = significant(value, 10) if isinstance(value, float) else str(value).replace("\n", "\\n")
    return text if len(text) <= 60 else f"{text[:59]}…"
