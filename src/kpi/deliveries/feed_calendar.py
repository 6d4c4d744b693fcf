"""What is there of each feed, as the calendar of what is due looks at it, and the table that models read of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

from kpi.base.names import identifier
from kpi.deliveries.calendar import Delivered, FeedMonths, unfinished_years
from kpi.deliveries.retention import Limits, followed

if TYPE_CHECKING:
    import duckdb

    from kpi.deliveries.feed import Feed

TABLE = "feed_calendar"
COLUMNS = (
    ("feed", "VARCHAR"),
    ("report_year", "BIGINT"),
    ("state", "VARCHAR"),
    ("last_full_month", "BIGINT"),
    ("expected_by", "DATE"),
    ("very_late_by", "DATE"),
)


def read_months(con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed], day: date) -> list[FeedMonths]:
    """Look in the raw tables what is there of each feed, in name order. Rows after `day` do not count."""
    limits = {feed.name: feed.limits for feed in feeds}
    return [_read(con, feed, limits, day) for feed in sorted(feeds, key=lambda feed: feed.name)]


def _read(con: duckdb.DuckDBPyConnection, feed: Feed, limits: Mapping[str, Limits], day: date) -> FeedMonths:
    cadence, of, by = feed.cadence, feed.retention.of, feed.retention.by
    kinds = followed(limits[feed.name], limits).kinds if of else feed.limits.kinds
    if by and kinds[by] == "integer":
        years = {int(year) for (year,) in con.execute(f"select distinct year from ({_years(feed)})").fetchall()}
        later = frozenset(year for year in years if year > day.year)
        newest, file = _newest(con, _days(feed, limits, by=""), day)[1:]
        told = FeedMonths(feed.name, feed.expected_every, cadence, day, None, {}, frozenset(years) - later, later)
        return replace(told, newest=newest, newest_file=file)
    rows = _days(feed, limits, by)
    first, newest, file = _newest(con, rows, day)
    longest = max(cadence.very_late_after_days or 0, cadence.late_after_days or 0)
    values = {"day": day, "since": date(day.year - 1, 1, 1) - timedelta(days=longest)}
    found = con.execute(
        f"select year(day), month(day), max(day), count(distinct day) from ({rows})"
        " where day between $since and $day group by all order by all",
        values,
    ).fetchall()
    later = frozenset(
        int(year)
        for (year,) in con.execute(
            f"select distinct year(day) from ({rows}) where day >= ?", [date(day.year + 1, 1, 1)]
        ).fetchall()
    )
    return FeedMonths(
        feed=feed.name,
        every=feed.expected_every,
        cadence=cadence,
        day=day,
        first=(first.year, first.month) if first else None,
        months={(year, month): Delivered(last, days) for year, month, last, days in found},
        later=later,
        newest=newest,
        newest_file=file,
        takes_years_from=of,
        is_monthly_count=any(column.first_of_month for column in feed.columns),
        starts_on=feed.expected_from,
    )


def _years(feed: Feed) -> str:
    return f"select {identifier(feed.retention.by)} as year from raw.{identifier(feed.name)} where not _is_superseded"


def _newest(con: duckdb.DuckDBPyConnection, rows: str, day: date) -> tuple[date | None, date | None, str]:
    """Return the first and the newest day of rows up to a day, and the file with that; else the last file."""
    first, newest, file, last = con.execute(
        "select min(day) filter (where day <= $day), max(day) filter (where day <= $day),"
        f" arg_max(_file, day) filter (where day <= $day), max(_file) from ({rows})",
        {"day": day},
    ).fetchall()[0]
    return first, newest, file or last or ""


def _days(feed: Feed, limits: Mapping[str, Limits], by: str) -> str:
    """SQL of `day` and `_file` of the rows in force: by the report year's column, else by the first date there is."""
    dates = [identifier(column.name) for column in feed.columns if column.kind in ("timestamp", "date")]
    table = f"raw.{identifier(feed.name)}"
    if by and feed.retention.of:
        other = followed(limits[feed.name], limits)
        keys = ", ".join(map(identifier, other.key))
        dated = (
            f"select {keys}, {identifier(by)}::date as day from raw.{identifier(other.feed)} where not _is_superseded"
        )
        return f"select day, _file from {table} inner join ({dated}) using ({keys}) where not _is_superseded"
    column = identifier(by) if by else dates[0] if dates else "null"
    return f"select {column}::date as day, _file from {table} where not _is_superseded"


def write_calendar(con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed], day: date) -> None:
    """Replace `raw.feed_calendar`. Grain: one row per feed and report year that is not finished on the day."""
    import pyarrow as pa

    found = unfinished_years(read_months(con, feeds, day), day)
    con.execute(f"delete from raw.{TABLE}")
    if found:
        rows = [{name: getattr(one, name) for name, _ in COLUMNS} for one in found]
        types = {"VARCHAR": pa.string(), "BIGINT": pa.int64(), "DATE": pa.date32()}
        schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS])
        con.register("calendar", pa.Table.from_pylist(rows, schema=schema))
        con.execute(f"insert into raw.{TABLE} from calendar")
        con.unregister("calendar")
