"""Rejected rows that come back: when a contract or mapping is mended, how many of them are rows now.

A feed whose contract changed is loaded anew from the same files. What was rejected before is put aside first and looked
for afterwards: a record of the same bytes that is no reject any more was taken.
"""

from __future__ import annotations

from dataclasses import dataclass

from kpi.events import Emit, Event, emit_event
from kpi.lazy import duckdb
from kpi.presentation import one_line
from kpi.sql import counted

_BEFORE = "rejected_before"
SHOWN = 5  # reasons of a feed in the line for people; all of them are in the events


@dataclass(frozen=True, slots=True)
class RecoveredRows:
    """Rows of a feed that were rejected for a reason and are loaded now. A row with two reasons counts for both."""

    feed: str
    column: str
    reason: str
    rows: int


def remember_rejects(con: duckdb.DuckDBPyConnection, feed: str) -> None:
    """Put the rejects of a feed aside, with the hash of their files, before they are loaded anew."""
    rows = "select feed, file, content_hash, record_number, reasons from raw.rejects inner join raw.deliveries"
    con.execute(f"create temp table if not exists {_BEFORE} as {rows} using (feed, file) limit 0")
    con.execute(f"insert into {_BEFORE} {rows} using (feed, file) where feed = ?", [feed])


def forget_rejects(con: duckdb.DuckDBPyConnection) -> None:
    """Drop what was put aside, if anything was."""
    con.execute(f"drop table if exists temp.{_BEFORE}")


def recovered_rows(con: duckdb.DuckDBPyConnection, emit: Emit) -> tuple[RecoveredRows, ...]:
    """Return the rows put aside that are rows now, by feed and reason, commonest first, and emit them.

    Of each feed there is an event `recovered` with its rows and a line for people, then one for each reason. A file
    that changed since is another delivery: of its rows nothing is said.
    """
    is_there = "select 1 from duckdb_tables() where table_name = ? and temporary"
    if not con.execute(is_there, [_BEFORE]).fetchone():
        return ()
    taken = (
        f"from {_BEFORE} as old inner join raw.deliveries as file using (feed, file, content_hash)"
        " where file.refused is null and not exists (select 1 from raw.rejects as still where still.feed = old.feed"
        " and still.file = old.file and still.record_number = old.record_number)"
    )
    rows = con.execute(f"select feed, count(*) {taken} group by feed order by feed").fetchall()
    found = tuple(
        RecoveredRows(*row)
        for row in con.execute(
            "select feed, reason.column_name as column_name, reason.reason as why, count(*) as rows from"
            f" (select distinct old.feed, old.file, old.record_number, unnest(old.reasons) as reason {taken})"
            " group by all order by feed, rows desc, column_name, why"
        ).fetchall()
    )
    for feed, number in rows:
        of_feed = [one for one in found if one.feed == feed]
        emit_event(emit, Event("recovered", _line(feed, number, of_feed), "load", feed, rows=number))
        for one in of_feed:
            name = ": ".join(part for part in (feed, one.column, one.reason) if part)
            emit_event(emit, Event("recovered.reason", stage="load", name=one_line(name), rows=one.rows))
    forget_rejects(con)
    return found


def _line(feed: str, number: int, reasons: list[RecoveredRows]) -> str:
    shown = [f"{one.rows} x {one.column}{': ' if one.column else ''}{one.reason}" for one in reasons[:SHOWN]]
    more = [f"{len(reasons) - SHOWN} more reasons"] if reasons[SHOWN:] else []
    is_or_are = "is a row" if number == 1 else "are rows"
    return one_line(f"{feed}: {counted(number, 'reject')} {is_or_are} now: {'; '.join([*shown, *more])}.")
