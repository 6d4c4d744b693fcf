"""The published build as a connection, its indicators as a frame, and tables as text."""

from __future__ import annotations

import os
import re
from calendar import month_name
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from kpi.errors import ConfigError, nearest
from kpi.presentation import presented, significant, with_decimals
from kpi.settings import ReportTables
from kpi.warehouse.builds import FAILURES, Warehouse
from kpi.warehouse.permissions import DATABASE, database_path

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from kpi.provenance.explanation import Explanation, Where


USUAL = ReportTables()


def check_year(
    con: duckdb.DuckDBPyConnection, year: int, figure_id: str | None = None, tables: ReportTables = USUAL
) -> None:
    """Raise ConfigError, saying which years there are, when nothing is told of a report year, or of a figure in it."""
    rows = con.execute(
        f"select distinct report_year from {tables.indicators} where $figure is null or figure_id = $figure order by 1",
        {"figure": figure_id},
    ).fetchall()
    years = [str(row[0]) for row in rows]
    if str(year) not in years:
        of_what = f"'{figure_id}'" if figure_id else "no figure"
        message = f"{of_what} is {'not ' if figure_id else ''}told of {year}."
        raise ConfigError(f"{message}{_there_are(years)}")


def rows_of(con: duckdb.DuckDBPyConnection, table: str, year: int | None = None) -> str:
    """Return a SELECT of a table's rows, of one report year or all. Raises ConfigError when it has no such year."""
    if year is None:
        return f"select * from {table}"
    columns = [column[0] for column in con.execute(f"select * from {table} limit 0").description or []]
    if "report_year" not in columns:
        raise ConfigError(f"{table} has no column report_year, so --year says nothing of it.")
    rows = con.execute(f"select distinct report_year from {table} where report_year is not null order by 1").fetchall()
    years = [str(row[0]) for row in rows]
    if str(year) not in years:
        raise ConfigError(f"{table} has no rows of {year}.{_there_are(years)}")
    return f"select * from {table} where report_year = {int(year)}"


def _there_are(years: Sequence[str]) -> str:
    return f" There {'are' if years[1:] else 'is'}: {', '.join(years) or 'no year'}."


def find_project(start: Path | str | None = None) -> Path:
    """Return the project's folder: `start`, else KPI_PROJECT_DIR, else the nearest one at or above where we are."""
    given = start or os.environ.get("KPI_PROJECT_DIR")
    if given:
        return _usable(Path(given))
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dbt_project.yml").is_file():
            return _usable(folder)
    message = "Name the project with --project-dir, project_dir= or KPI_PROJECT_DIR."
    raise ConfigError(f"{here}: no dbt_project.yml here or above. {message}")


def _usable(folder: Path) -> Path:
    """Return the folder. Raises ConfigError when DuckDB could not name a file in it."""
    try:
        path = str(folder.resolve())
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{folder} is no folder: {error}") from None
    wrong = next((sign for sign in path if sign in "?*[" or not sign.isprintable()), "")
    if wrong:
        shown = path.encode("unicode_escape", "backslashreplace").decode()
        message = "DuckDB does not take it for a part of a file's name. Rename the folder, or move the project."
        raise ConfigError(f"{shown} has {wrong!a} in it: {message}")
    return folder


def open_build(
    build: str | None = None,
    project_dir: Path | str | None = None,
    failures: bool = False,
    stewards: bool = False,
) -> duckdb.DuckDBPyConnection:
    """Open the published build, or the one named, read-only and hardened.

    `build` is an id, its number (`00012`), a beginning of it, `candidate` (the newest that failed or was held back) or
    `latest` (the newest, whatever became of it).

    Its SQL reaches no file and changes no setting. The connection keeps its build whatever is published later. With
    `stewards` it has also the schemas that the project leaves out for other readers; with `failures` it is the failing
    rows that `kpi test --store-failures` kept. Raises ConfigError when there is none, or you may not open it.
    """
    from kpi import database

    warehouse = Warehouse(find_project(project_dir).resolve() / "warehouse")
    folder = warehouse.folder(build)
    file = database_path(folder, stewards or failures, FAILURES if failures else DATABASE)
    if failures and not file.is_file():
        raise ConfigError(f"{folder}: no failing rows are kept here. Run: kpi test --store-failures")
    return database.reading(file)


def tables_of(build: str | None = None, project_dir: Path | str | None = None) -> ReportTables:
    """Return the names of the tables that figures are read from, as the build was made with them."""
    warehouse = Warehouse(find_project(project_dir).resolve() / "warehouse")
    return ReportTables.from_names(warehouse.record(warehouse.folder(build)).tables)


def explain(figure_id: str, service: str | None = None, year: int | None = None, **where: Unpack[Where]) -> Explanation:
    """Explain one figure of a build: its parts, its path to the raw rows, and what left rows out.

    `print(kpi.explain("nps", "health", 2025).text)` is the screen of `kpi explain`; `.rows()` are the raw rows. Without
    `year` it is the last finished one. `basis`, `build`, `project_dir`, `stewards` and `lang` are as in the command.
    Raises ConfigError, with the nearest name, for a figure that is not there.
    """
    from kpi.provenance.explain import explain as explain_figure

    return explain_figure(find_project(where.get("project_dir")), figure_id, service, year, **where)


def hint_left_out(asked: str, build: str | None, project_dir: Path) -> str:
    """Say which schema that SQL, or a table's name, asks for is left out of the file for all readers; else nothing."""
    warehouse = Warehouse(project_dir.resolve() / "warehouse")
    found = warehouse.record(warehouse.folder(build)).restricted_schemas
    named = sorted(found & set(re.findall(r"\w+", asked.lower())))
    return f"\n{', '.join(named)} is left out of the file for all readers: --stewards opens the other." if named else ""


def indicators(
    report_year: int | None = None, build: str | None = None, project_dir: Path | str | None = None
) -> pd.DataFrame:
    """Return marts.indicators as a frame, of one report year or all.

    Grain: one row per figure_id, service, report_year and basis, in that order. `value` is unrounded, in the unit of
    seeds.figures; shares are in percent. A year that is not finished has the basis year_to_date, and `last_full_month`
    (1 to 12) says up to which month it is counted; null for a finished year and what was entered by hand. Raises
    ConfigError for a year of which nothing is told.
    """
    tables = tables_of(build, project_dir)
    with open_build(build, project_dir) as con:
        if report_year is not None:
            check_year(con, report_year, tables=tables)
        return con.execute(
            f"select * from {tables.indicators} where $year is null or report_year = $year"
            " order by figure_id, service, report_year, basis",
            {"year": report_year},
        ).df()


def figure_lines(
    con: duckdb.DuckDBPyConnection,
    figure_id: str | None = None,
    year: int | None = None,
    service: str | None = None,
    tables: ReportTables = USUAL,
) -> list[str]:
    """Return the indicators by report year, latest first, beside the printed value and its status; at most 80 wide.

    All of them, or those of one figure, year or service. Raises ConfigError for a year that is not there.
    """
    if year is not None:
        check_year(con, year, figure_id, tables)
    rows = con.execute(tables.in_sql(_FIGURES), {"figure": figure_id, "year": year, "service": service}).fetchall()
    lines: list[str] = []
    seen: tuple[object, object] = (None, None)
    origins, counted = _origins(con, tables), _counted_months(con, tables, figure_id, service)
    for of_year, figure, name, unit, of_service, value, places, basis, qualifier, printed, decimals, status in rows:
        if of_year != seen[0]:
            lines += ["", _line(f"Report year {of_year}", "value", "printed", "status"), "-" * 80]
            lines += [
                f"kept from build {build}, deliveries deleted: {'all' if count == of else f'{count} of {of}'} figures"
                for build, count, of in origins.get(of_year, [])
            ]
            lines += counted.get(of_year, [])
        if (of_year, figure) != seen:
            lines.append(f"{figure}{f': {name}' if name else ''}"[:80])
        seen = of_year, figure
        partial = _PARTIAL.get(basis, "")
        shown = "-" if value is None else f"{with_decimals(str(value), places)}{_UNITS.get(unit, '')}"
        lines.append(_line(f"  {of_service}{partial}", shown, _printed(qualifier, printed, decimals), status or ""))
    return lines


def _origins(con: duckdb.DuckDBPyConnection, tables: ReportTables) -> dict[int, list[tuple[str, int, int]]]:
    """Of each year in which figures are kept: the build they are from, how many, and how many the year has."""
    found: dict[int, list[tuple[str, int, int]]] = {}
    if _has(con, tables.indicator_origins):
        for year, *message in con.execute(tables.in_sql(_ORIGINS)).fetchall():
            found.setdefault(year, []).append(tuple(message))
    return found


def _counted_months(
    con: duckdb.DuckDBPyConnection, tables: ReportTables, figure_id: str | None, service: str | None
) -> dict[int, list[str]]:
    """Of each year that is not finished: a line for each stretch of months that its figures are counted over."""
    found: dict[int, list[str]] = {}
    columns = con.execute(f"select column_name from (describe {tables.indicators})").fetchall()
    if ("last_full_month",) in columns:  # a build of before has none
        for year, month, count, of in con.execute(
            tables.in_sql(_COUNTED_MONTHS), {"figure": figure_id, "service": service}
        ).fetchall():
            first, last = month_name[1], month_name[month or 1]
            message = "by hand" if month is None else first if month == 1 else f"{first} to {last}"
            how_many = "" if count == of else f": {count} of {of} figures"
            found.setdefault(year, []).append(f"not finished, year to date: {message}{how_many}")
    return found


def _has(con: duckdb.DuckDBPyConnection, table: str) -> bool:
    sql = "select 1 from information_schema.tables where table_schema || '.' || table_name = ?"
    return con.execute(sql, [table]).fetchone() is not None


def summary_lines(con: duckdb.DuckDBPyConnection, tables: ReportTables = USUAL) -> list[str]:
    """Return how the printed figures of each report stand, one line per report."""
    origin, join = "null", ""
    if _has(con, tables.indicator_origins):
        origin, join = "origin", f"left join {tables.indicator_origins} using (figure_id, service, report_year, basis)"
    rows = con.execute(
        "select source_report, count(*), count(*) filter (where status = 'reproduced'),"
        " count(*) filter (where status = 'documented_inconsistency'), count(*) filter (where status = 'differs'),"
        f" count(*) filter (where status = 'not_delivered'), count(*) filter (where {origin} = 'kept')"
        f" from {tables.reconciliation} {join} group by source_report order by source_report"
    ).fetchall()
    return [
        f"Report of {report}: {total} printed figures: {good} reproduced, {documented} documented,"
        f" {differs} differ, {absent} not delivered{f'; {kept} are kept' if kept else ''}."
        for report, total, good, documented, differs, absent, kept in rows
    ]


def definition_lines(con: duckdb.DuckDBPyConnection, figure_id: str, tables: ReportTables = USUAL) -> list[str]:
    """Return a figure's names, definition, unit and source as text."""
    row = con.execute(
        f"select name_en, name_fi, name_sv, definition_en, unit, source from {tables.figures} where figure_id = ?",
        [figure_id],
    ).fetchone()
    if row is None:
        return []
    english, finnish, swedish, definition, unit, source = row
    return [
        f"{figure_id}: {english} ({unit})",
        f"  fi: {finnish}",
        f"  sv: {swedish}",
        f"  {definition}",
        f"  {source}",
    ]


def resolve(con: duckdb.DuckDBPyConnection, wanted: str, names: ReportTables = USUAL) -> tuple[str, str]:
    """Return ('figure', id), ('table', schema.name) or ('service', id) for what was typed.

    Raises ConfigError naming the nearest.
    """
    tables = [
        f"{schema}.{name}"
        for schema, name in con.execute(
            "select table_schema, table_name from information_schema.tables order by all"
        ).fetchall()
    ]
    figures: list[str] = []
    if names.figures in tables:
        figures = [row[0] for row in con.execute(f"select figure_id from {names.figures} order by 1").fetchall()]
    if wanted in figures:
        return "figure", wanted
    found = [table for table in tables if wanted in (table, table.partition(".")[2])]
    if len(found) == 1:
        return "table", found[0]
    if found:
        raise ConfigError(f"'{wanted}' may be {' or '.join(found)}. Name its schema too.")
    services: list[str] = []
    if names.indicators in tables:
        services = [
            row[0] for row in con.execute(f"select distinct service from {names.indicators} order by 1").fetchall()
        ]
    if wanted in services:
        return "service", wanted
    known = [*figures, *services, *tables, *(table.partition(".")[2] for table in tables)]
    raise ConfigError(f"there is no figure, service or table '{wanted}'.{nearest(wanted, known)}")


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
    from (select *, count(*) over (partition by report_year) as year_count from marts.indicator_origins)
    where origin = 'kept'
    group by report_year, kept_from
    order by report_year, kept_from
"""
_COUNTED_MONTHS = """
    select report_year, last_full_month, count(*), any_value(year_count)
    from (select *, count(*) over (partition by report_year) as year_count
        from marts.indicators
        where ($figure is null or figure_id = $figure) and ($service is null or service = $service))
    where basis = 'year_to_date'
    group by report_year, last_full_month
    order by report_year, last_full_month nulls last
"""
_PARTIAL = {"partial_year": " (partial year)", "year_to_date": " (to date)"}
_UNITS = {"percent": " %", "seconds": " s", "count_per_day": " a day"}
_QUALIFIERS = {"about": "about ", "more_than": "over ", "less_than": "under "}
_FIGURES = """
    select
        i.report_year,
        i.figure_id,
        f.name_en,
        f.unit,
        i.service,
        {shown} as shown,
        f.decimals,
        i.basis,
        r.qualifier,
        r.published_value,
        r.decimals,
        r.status
    from marts.indicators as i
    left join seeds.figures as f on i.figure_id = f.figure_id
    left join marts.reconciliation as r
        on i.figure_id = r.figure_id
        and i.service = r.service
        and i.report_year = r.report_year
        and i.basis = r.basis
    where ($figure is null or i.figure_id = $figure)
        and ($year is null or i.report_year = $year)
        and ($service is null or i.service = $service)
    order by i.report_year desc, f.family, i.figure_id, i.service, i.basis
""".replace("{shown}", presented("i.value", "cast(f.decimals as varchar)", "f.unit"))


def _line(label: str, value: str, printed: str, status: str) -> str:
    return f"{label:<42} {value:>10} {printed:>13}  {status}".rstrip()


def _printed(qualifier: str | None, value: Any, decimals: str | None) -> str:
    if value is None:
        return ""
    places = int(decimals) if decimals and decimals.isdigit() else 0
    to_the_minute = " (min)" if decimals == "minute" else ""
    return f"{_QUALIFIERS.get(str(qualifier), '')}{value:.{places}f}{to_the_minute}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = significant(value, 10) if isinstance(value, float) else str(value).replace("\n", "\\n")
    return text if len(text) <= 60 else f"{text[:59]}…"
