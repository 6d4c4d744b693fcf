"""`raw.deliveries` and `raw.rejects`: a line for each delivered file and for each record that is no row."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from kpi.errors import BuildError
from kpi.ingest import calendar, feed_months, raw_files, rejects, release_files
from kpi.ingest.contract import Feed
from kpi.ingest.raw_files import content_hash
from kpi.lazy import duckdb
from kpi.sql import identifier

LEDGER = (
    ("feed", "VARCHAR"),
    ("file", "VARCHAR"),
    ("path", "VARCHAR"),
    ("content_hash", "VARCHAR"),
    ("unpacked_hash", "VARCHAR"),
    ("contract", "VARCHAR"),
    ("bytes", "BIGINT"),
    ("encoding", "VARCHAR"),
    ("separator", "VARCHAR"),
    ("mapping", "VARCHAR"),
    ("refused", "VARCHAR"),
    ("unknown_columns", "VARCHAR[]"),
    ("missing_columns", "VARCHAR[]"),
    ("warnings", "VARCHAR[]"),
    ("records", "BIGINT"),
    ("rows_loaded", "BIGINT"),
    ("rows_rejected", "BIGINT"),
    ("rows_superseded", "BIGINT"),
    ("rows_clock_flagged", "BIGINT"),
    ("rows_masked", "BIGINT"),
    ("rows_dated_ahead", "BIGINT"),
    ("latest_date", "DATE"),
    ("delivered_at", "TIMESTAMP"),
    ("delivery_number", "BIGINT"),
    ("superseded_by", "VARCHAR[]"),
    ("same_content_as", "VARCHAR"),
    ("rows_rounded", "BIGINT"),
    ("columns_maybe_thousands", "VARCHAR[]"),
    ("columns_without_seconds", "VARCHAR[]"),
)
REJECTS = (
    ("feed", "VARCHAR"),
    ("file", "VARCHAR"),
    ("record_number", "BIGINT"),
    ("line_text", "VARCHAR"),
    ("reasons", "STRUCT(column_name VARCHAR, value VARCHAR, reason VARCHAR, code VARCHAR)[]"),
)
# The raw tables that are no feed's.
OWN: Mapping[str, Sequence[tuple[str, str]]] = {
    "deliveries": LEDGER,
    "rejects": REJECTS,
    feed_months.TABLE: feed_months.COLUMNS,
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
    tables: list[tuple[str, Sequence[tuple[str, str]]]] = [*OWN.items()]
    tables += [(feed.name, _stored(feed)) for feed in feeds]
    for table, columns in tables:
        typed = ", ".join(f"{identifier(name)} {kind}" for name, kind in columns)
        con.execute(f"create table if not exists raw.{identifier(table)} ({typed})")


def _stored(feed: Feed) -> tuple[tuple[str, str], ...]:
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
    if feed_months.TABLE in tables and tuple(tables[feed_months.TABLE]) != feed_months.COLUMNS:
        del tables[feed_months.TABLE]
        con.execute(f"drop table raw.{feed_months.TABLE}")
    used = dict(con.execute("select feed, max(contract) from raw.deliveries group by feed").fetchall())
    current = {feed.name for feed in feeds if used.get(feed.name) in (None, contract_fingerprint(feed))}
    shapes = {feed.name: feed.table_columns for feed in feeds}
    # Where nothing is delivered the schema is as free as any: what else is in it is not a feed's.
    for table in ({*tables, *used} if feeds else {*used}) - {*OWN}:
        if table not in current or tuple(tables.get(table, ())) != shapes[table]:
            if table in used:
                rejects.remember_rejects(con, table)
            con.execute(f"drop table if exists raw.{identifier(table)}")
            con.execute("delete from raw.deliveries where feed = ?", [table])
            con.execute("delete from raw.rejects where feed = ?", [table])
            if feed_months.TABLE in tables:
                con.execute(f"comment on table raw.{feed_months.TABLE} is null")  # all are counted anew


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
