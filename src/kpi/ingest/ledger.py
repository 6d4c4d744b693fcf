"""`raw.deliveries` and `raw.rejects`: a line for each delivered file and for each record that is no row.

A feed whose contract changed is loaded anew from the same files. What was rejected before is put aside first and looked
for afterwards: a record of the same bytes that is no reject any more was recovered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kpi.errors import BuildError
from kpi.events import Emit, Event, emit_event
from kpi.ingest import calendar, raw_files, release_files
from kpi.ingest.contract import Feed
from kpi.ingest.raw_files import content_hash
from kpi.lazy import duckdb
from kpi.presentation import one_line
from kpi.sql import Columns, counted, definition, identifier, typed_columns

LEDGER = typed_columns("""
    feed varchar, file varchar, path varchar, content_hash varchar, unpacked_hash varchar, contract varchar,
    bytes bigint, encoding varchar, separator varchar, mapping varchar, refused varchar, unknown_columns varchar[],
    missing_columns varchar[], warnings varchar[], records bigint, rows_loaded bigint, rows_rejected bigint,
    rows_superseded bigint, rows_clock_flagged bigint, rows_masked bigint, rows_dated_ahead bigint, latest_date date,
    delivered_at timestamp, delivery_number bigint, superseded_by varchar[], same_content_as varchar,
    rows_rounded bigint, columns_maybe_thousands varchar[], columns_without_seconds varchar[]
""")
REJECTS = (
    ("feed", "VARCHAR"),
    ("file", "VARCHAR"),
    ("record_number", "BIGINT"),
    ("line_text", "VARCHAR"),
    ("reasons", "STRUCT(column_name VARCHAR, value VARCHAR, reason VARCHAR, code VARCHAR)[]"),
)
# The raw tables that are no feed's.
OWN: Mapping[str, Columns] = {
    "deliveries": LEDGER,
    "rejects": REJECTS,
    calendar.FEED_MONTHS: calendar.FEED_MONTHS_COLUMNS,
    calendar.TABLE: calendar.COLUMNS,
    **raw_files.TABLES,
    **release_files.TABLES,
}


def contract_fingerprint(feed: Feed) -> str:
    """A hash of the contract and of the code that applies it: when either changes, files are loaded anew."""
    return content_hash((feed.fingerprint + _code_hash()).encode())


@cache
def _code_hash() -> str:
    code = hashlib.blake2b(digest_size=16)
    for module in sorted(Path(__file__).parent.glob("*.py")):
        code.update(module.read_bytes())
    return code.hexdigest()


def create_tables(con: duckdb.DuckDBPyConnection, feeds: Iterable[Feed]) -> None:
    """Create the raw tables that are not there yet."""
    con.execute("create schema if not exists raw")
    for table, columns in (*OWN.items(), *((feed.name, _stored(feed)) for feed in feeds)):
        con.execute(f"create table if not exists raw.{identifier(table)} ({definition(columns)})")


def _stored(feed: Feed) -> Columns:
    # Looking for a way to compress texts that are all different costs more than a third of inserting a row.
    different = {column.name for column in feed.columns if column.kind == "text" and not column.codes} & set(feed.key)
    return tuple(
        (name, f"{kind} using compression uncompressed" if name in different else kind)
        for name, kind in feed.table_columns
    )


def forget_outdated(con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed]) -> None:
    """Drop the raw tables of another contract or another kpi, so that every file of theirs is loaded anew."""
    tables: dict[str, list[tuple[str, str]]] = {}
    # DuckDB quotes a field of a struct whose name is a word of SQL.
    for table, column, kind in con.execute(
        """select table_name, column_name, replace(data_type, '"', '') from duckdb_columns()"""
        " where schema_name = 'raw' and database_name = current_database() order by table_name, column_index"
    ).fetchall():
        tables.setdefault(table, []).append((column, kind))
    for table, columns in (("deliveries", LEDGER), ("rejects", REJECTS)):
        if tables.get(table, []) != list(columns):
            con.execute("drop schema if exists raw cascade")
            return
    if calendar.FEED_MONTHS in tables and tuple(tables[calendar.FEED_MONTHS]) != calendar.FEED_MONTHS_COLUMNS:
        del tables[calendar.FEED_MONTHS]
        con.execute(f"drop table raw.{calendar.FEED_MONTHS}")
    used = dict(con.execute("select feed, max(contract) from raw.deliveries group by feed").fetchall())
    current = {feed.name for feed in feeds if used.get(feed.name) in (None, contract_fingerprint(feed))}
    shapes = {feed.name: feed.table_columns for feed in feeds}
    # Where nothing is delivered the schema is as free as any: what else is in it is not a feed's.
    for table in ({*tables, *used} if feeds else {*used}) - {*OWN}:
        if table not in current or tuple(tables.get(table, ())) != shapes[table]:
            if table in used:
                remember_rejects(con, table)
            con.execute(f"drop table if exists raw.{identifier(table)}")
            con.execute("delete from raw.deliveries where feed = ?", [table])
            con.execute("delete from raw.rejects where feed = ?", [table])
            if calendar.FEED_MONTHS in tables:
                con.execute(f"comment on table raw.{calendar.FEED_MONTHS} is null")  # all are counted anew


Line = dict[str, Any]  # of the ledger, by the names of its columns


def read_lines(con: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Line]]:
    """Return the lines of the ledger by feed and file."""
    found: dict[str, dict[str, Line]] = {}
    for row in con.execute("from raw.deliveries").fetchall():
        line = dict(zip((name for name, _ in LEDGER), row, strict=True))
        found.setdefault(line["feed"], {})[line["file"]] = line
    return found


def forget_files(con: duckdb.DuckDBPyConnection, feeds: Collection[str], files: Collection[tuple[str, str]]) -> None:
    """Delete the lines of feeds, which will be written anew, and the rejects of files, pairs of feed and name."""
    con.execute("delete from raw.deliveries where list_contains(?, feed)", [list(feeds)])
    if files:
        gone = "(select unnest($feeds::varchar[]), unnest($files::varchar[]))"
        names = {"feeds": [feed for feed, _ in files], "files": [file for _, file in files]}
        con.execute(f"delete from raw.rejects where (feed, file) in {gone}", names)


def write_lines(con: duckdb.DuckDBPyConnection, lines: Sequence[Line]) -> None:
    """Write lines, with the number of their rejects. Raises BuildError when records of a file are missing."""
    if not lines:
        return
    # A list for each column: each as an Arrow table would import pandas.
    none = dict.fromkeys((name for name, _ in LEDGER if name.startswith("rows_")), 0)
    values = {name: [line.get(name, none.get(name)) for line in lines] for name, _ in LEDGER}
    columns = ", ".join(f"unnest(${name}::{kind}[]) as {identifier(name)}" for name, kind in LEDGER)
    rejected = "select feed, file, count(*) as rejected from raw.rejects group by all"
    con.execute(
        "insert into raw.deliveries select lines.* replace (coalesce(rejected, 0) as rows_rejected)"
        f" from (select {columns}) as lines left join ({rejected}) using (feed, file)",
        values,
    )
    feeds = list({line["feed"] for line in lines})
    for feed, file, records, loaded, rejected in con.execute(
        "select feed, file, records, rows_loaded, rows_rejected from raw.deliveries"
        " where list_contains(?, feed) and records <> rows_loaded + rows_rejected order by feed, file",
        [feeds],
    ).fetchall():
        message = f"{file} has {records} records, but {loaded} were loaded and {rejected} rejected."
        raise BuildError(f"raw.{feed}", message)


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
