"""The report years that a build tells of, for who asks for one that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kpi.base.errors import ConfigError

if TYPE_CHECKING:
    import duckdb


def check_year(con: duckdb.DuckDBPyConnection, year: int, figure_id: str | None = None) -> None:
    """Raise ConfigError, saying which years there are, when nothing is told of a report year, or of a figure in it."""
    rows = con.execute(
        "select distinct report_year from marts.indicators where $figure is null or figure_id = $figure order by 1",
        {"figure": figure_id},
    ).fetchall()
    years = [str(row[0]) for row in rows]
    if str(year) not in years:
        of_what = f"'{figure_id}'" if figure_id else "no figure"
        told = f"{of_what} is {'not ' if figure_id else ''}told of {year}."
        raise ConfigError(f"{told}{_there_are(years)}")


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
