"""Retention of deliveries: how long a feed's rows are kept, and which deliveries are past it.

Counted in whole report years, as the figures are: with 3 years, in 2026 everything of 2022 and before is past. A
delivery is past when every row of it is; nothing here deletes anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kpi.errors import ContractError, Place, nearest
from kpi.lazy import duckdb
from kpi.project.properties import Source
from kpi.sql import identifier

RETENTION_SETTINGS = ("raw_retention_years", "raw_retention_by")
_DATED = ("timestamp", "date")
_AGED = (*_DATED, "integer")


@dataclass(frozen=True, slots=True)
class Retention:
    """For how many years after its own the rows of a year are kept; None is for ever.

    `by` is the column whose year is the report year, a date, a time or the year itself. With `of` it is that of
    another feed's row with the same key. `others` are further dates, which tell the age of a row without that one.
    `where` is the place in the contract.
    """

    years: int | None
    by: str
    of: str = ""
    others: tuple[str, ...] = ()
    where: Place = Place("")  # noqa: RUF009  a frozen value

    def last_year(self, year: int) -> int:
        """Return the latest report year that is past retention in the given year; for ever is before all years."""
        return year - self.years - 1 if self.years else 0


@dataclass(frozen=True, slots=True)
class ColumnAge:
    """One delivery and the report years of its rows; None when no row tells. `undated` counts rows that do not."""

    feed: str
    file: str
    content_hash: str
    records: int
    rows_loaded: int
    rows_rejected: int
    rows_superseded: int
    first_year: int | None
    last_year: int | None
    undated: int

    @property
    def path(self) -> str:
        """The file's path below the raw folder."""
        return f"{self.feed}/{self.file}"


def read_retention(source: Source, kinds: Mapping[str, str], census: str, every: str) -> Retention:
    """Read how long a feed's deliveries are kept. `kinds` are its columns and what they hold. Raises ContractError."""
    meta = source.meta.section("feed")
    years, by = meta.get("raw_retention_years"), meta.text("raw_retention_by")
    if years is not None and (not isinstance(years, int) or isinstance(years, bool) or years < 1):
        message = f"'raw_retention_years' is a whole number of years, 1 or more, not '{years}'."
        raise ContractError(message, meta.where("raw_retention_years"))
    if years is not None and every == "once":
        message = "a register has no retention: what is in use today may have been delivered at any time."
        raise ContractError(message, meta.where("raw_retention_years"))
    dates = tuple(name for name, kind in kinds.items() if kind in _DATED)
    of, _, column = by.rpartition(".")
    if of:
        return Retention(years, column, of, where=meta.where("raw_retention_by"))
    if by and kinds.get(by) not in _AGED:
        aged = [name for name, kind in kinds.items() if kind in _AGED]
        message = f"'raw_retention_by' names a date, a time or a year of the feed, not '{by}'.{nearest(by, aged)}"
        raise ContractError(message, meta.where("raw_retention_by"))
    by = by or census or (dates[0] if len(dates) == 1 else "")
    if years is not None and not by:
        elsewhere = ", as feed.column when it is that of another feed's row with the same key."
        choice = f": {', '.join(dates)}." if dates else elsewhere
        message = f"say by 'raw_retention_by' which column gives the report year{choice}"
        raise ContractError(message, meta.where("raw_retention_years"))
    rest = tuple(name for name in dates if name != by)
    return Retention(years, by, others=rest, where=meta.where("raw_retention_by"))


@dataclass(frozen=True, slots=True)
class Limits:
    """What tells the age of a feed's deliveries: its retention, its key, and what its columns hold."""

    feed: str
    retention: Retention
    key: tuple[str, ...]
    kinds: Mapping[str, str]


def followed(one: Limits, by_name: Mapping[str, Limits]) -> Limits:
    """Return the feed that a feed takes its years from. Raises ContractError when it cannot."""
    retention = one.retention
    other = by_name.get(retention.of)
    if other is None or other.kinds.get(retention.by) not in _AGED or not set(other.key) <= set(one.key):
        message = f"'{retention.of}.{retention.by}' is no date of a feed whose whole key is in that of '{one.feed}'."
        raise ContractError(f"{message}{nearest(retention.of, by_name)}", retention.where)
    if other.retention.years != retention.years:
        message = (
            f"'{one.feed}' takes its years from '{other.feed}', so 'raw_retention_years' of both must be the same."
        )
        raise ContractError(message, retention.where)
    return other


def survey(con: duckdb.DuckDBPyConnection, limits: Sequence[Limits]) -> list[ColumnAge]:
    """Return every delivery of the feeds that have a retention, with the years of its rows, in order of the names."""
    by_name = {one.feed: one for one in limits}
    found: list[ColumnAge] = []
    for one in sorted(limits, key=lambda one: one.feed):
        if one.retention.years is None:
            continue
        rows = con.execute(
            "select d.file, d.content_hash, d.records, d.rows_loaded, d.rows_rejected, d.rows_superseded,"
            " r.first_year, r.last_year, coalesce(r.undated, 0) from raw.deliveries as d left join ("
            "  select _file, min(year) as first_year, max(year) as last_year,"
            "  count(*) filter (where year is null) as undated"
            f" from ({_years(one, by_name)}) group by _file) as r on d.file = r._file"
            " where d.feed = ? order by d.file",
            [one.feed],
        ).fetchall()
        found += (ColumnAge(one.feed, *row) for row in rows)
    return found


def years_of(con: duckdb.DuckDBPyConnection, limits: Sequence[Limits]) -> dict[str, tuple[int, int]]:
    """Return the first and the last report year of the rows of each delivery that tells any, by its path.

    A feed whose contract names no column that gives the year has none.
    """
    by_name = {one.feed: one for one in limits}
    found: dict[str, tuple[int, int]] = {}
    for one in limits:
        if one.retention.by and one.retention.of in ("", *by_name):
            dated = f"({_years(one, by_name)}) where year is not null"
            rows = con.execute(f"select _file, min(year), max(year) from {dated} group by _file").fetchall()
            found |= {f"{one.feed}/{file}": (first, last) for file, first, last in rows}
    return found


def past_retention(aged: Iterable[ColumnAge], limits: Iterable[Limits], year: int) -> Iterator[tuple[int, ColumnAge]]:
    """Yield the deliveries that are past retention in a year, each with the latest report year of its feed that is."""
    last_years = {one.feed: one.retention.last_year(year) for one in limits}
    for one in aged:
        if one.last_year is not None and one.last_year <= last_years[one.feed] and not one.undated:
            yield last_years[one.feed], one


def _years(one: Limits, by_name: Mapping[str, Limits]) -> str:
    """SQL of `_file` and `year` of every row of a feed."""
    table, retention = f"raw.{identifier(one.feed)}", one.retention
    if not retention.of:
        return f"select _file, {_year(one)} as year from {table}"
    other = followed(one, by_name)
    # A row without the other counts nowhere, so it is as old as the rest of its file.
    keys = ", ".join(map(identifier, other.key))
    return (
        f"select _file, year from {table} inner join"
        f" (select {keys}, {_year(other)} as year from raw.{identifier(other.feed)} where not _is_superseded)"
        f" using ({keys})"
    )


def _year(one: Limits) -> str:
    by = identifier(one.retention.by)
    if one.kinds[one.retention.by] not in _DATED:
        return by
    dates = [f"{identifier(name)}::date" for name in one.retention.others]
    return f"year(coalesce({by}::date, greatest({', '.join(dates)})))" if dates else f"year({by})"
