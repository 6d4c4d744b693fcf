"""Deliveries into raw tables: good rows into `raw.<feed>`, bad ones into `raw.rejects`, every file in `raw.deliveries`.

Only files whose content or contract changed are read. Keys are looked at after that, over all files of each feed that
was touched, so the order in which files arrived never matters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb

from kpi.base.engine import fetch_one, one_thread
from kpi.base.errors import BuildError
from kpi.base.events import Event, Tell, note, silent
from kpi.base.names import identifier, literal
from kpi.deliveries import cells, corrections, feed_calendar, feed_months, kept, personal, statements
from kpi.deliveries.feed import Feed
from kpi.deliveries.loadfile import load_files, note_files, note_numbers, refuse_changed, settle_keys
from kpi.deliveries.rawfiles import RawFolder, content_hash, kept_beside
from kpi.deliveries.worth_telling import worth_telling

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
    ("reasons", "STRUCT(column_name VARCHAR, value VARCHAR, reason VARCHAR)[]"),
)
# The raw tables that are no feed's.
OWN: Mapping[str, Sequence[tuple[str, str]]] = {
    "deliveries": LEDGER,
    "rejects": REJECTS,
    feed_months.TABLE: feed_months.COLUMNS,
    feed_calendar.TABLE: feed_calendar.COLUMNS,
    **kept.TABLES,
}


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did, in paths below the raw folder, and what is worth a warning. `reordered` are feeds."""

    loaded: tuple[str, ...]
    removed: tuple[str, ...]
    records: int
    warnings: tuple[str, ...]
    reordered: frozenset[str] = frozenset()


def contract_fingerprint(feed: Feed) -> str:
    """A hash of the contract and of the code that applies it: when either changes, files are loaded anew."""
    code = hashlib.blake2b(digest_size=16)
    for module in (
        *("load", "loadfile", "statements", "corrections", "cells", "spelling", "column_rules", "delivery_order"),
        *("personal", "records", "suspects", "headers", "delivery", "encoding", "letters", "filekinds", "dialect"),
        *("feed", "feed_months"),
    ):
        code.update((Path(__file__).parent / f"{module}.py").read_bytes())
    return content_hash((feed.fingerprint + code.hexdigest()).encode())


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


def load(
    con: duckdb.DuckDBPyConnection,
    feeds: Sequence[Feed],
    raw: Path,
    folder: RawFolder,
    as_of: date,
    tell: Tell = silent,
) -> LoadReport:
    """Bring the raw tables up to what lies in the raw folder, touching only what changed.

    `as_of` is the day of the refresh: later dates load and are warned about. Raises BuildError when rows were lost or
    made, which no delivery can cause, and DeliveryError when what is kept of deleted deliveries cannot be used.
    """
    _forget_outdated(con, feeds)
    create_tables(con, feeds)
    kept.load_kept(con, kept_beside(raw), folder.kept)
    loaded, removed, reordered = list[str](), list[str](), set[str]()
    with one_thread(con):
        for place, feed in enumerate(feeds):
            note(tell, Event("loading", stage="load", name=feed.name, done=place, total=len(feeds)))
            changed, gone, is_reordered = _bring_up(con, feed, raw, folder, as_of)
            reordered |= {feed.name} if is_reordered else set()
            note_files(con, feed, changed, gone, tell)
            loaded += [f"{feed.name}/{name}" for name in changed]
            removed += [f"{feed.name}/{name}" for name in gone]
        feed_months.count_months(con, feeds)
    feed_calendar.write_calendar(con, feeds, as_of)
    return LoadReport(
        loaded=tuple(loaded),
        removed=tuple(removed),
        records=int(str(fetch_one(con, "select coalesce(sum(records), 0)::bigint from raw.deliveries")[0])),
        warnings=worth_telling(con, feeds, folder, as_of),
        reordered=frozenset(reordered),
    )


def _forget_outdated(con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed]) -> None:
    """Drop the raw tables of another contract or another kpi, so that every file of theirs is loaded anew."""
    tables: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in con.execute(
        "select table_name, column_name, data_type from duckdb_columns()"
        " where schema_name = 'raw' and database_name = current_database() order by table_name, column_index"
    ).fetchall():
        tables.setdefault(table, []).append((column, kind))
    for table, columns in (("deliveries", LEDGER), ("rejects", REJECTS)):
        if [name for name, _ in tables.get(table, [])] != [name for name, _ in columns]:
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
            con.execute(f"drop table if exists raw.{identifier(table)}")
            con.execute("delete from raw.deliveries where feed = ?", [table])
            con.execute("delete from raw.rejects where feed = ?", [table])
            if feed_months.TABLE in tables:
                con.execute(f"comment on table raw.{feed_months.TABLE} is null")  # all are counted anew


def _bring_up(
    con: duckdb.DuckDBPyConnection, feed: Feed, raw: Path, folder: RawFolder, as_of: date
) -> tuple[list[str], list[str], bool]:
    """Bring the table of one feed up to its folder. Returns the names of files that were loaded, and that are gone,
    and whether others count in another order now."""
    old = dict(con.execute("select file, content_hash from raw.deliveries where feed = ?", [feed.name]).fetchall())
    new = {file.name: file.content_hash for file in folder.files if file.feed == feed.name}
    gone = [name for name in old if name not in new]
    changed = [name for name in new if old.get(name) != new[name]]
    outdated = [name for name in old if old[name] != new.get(name)]
    order = corrections.oldest_first(feed, folder)
    # Files that are still there but in another order: what all of them claim is settled anew.
    is_reordered = corrections.is_reordered(con, feed, order, folder)
    if gone or changed or is_reordered:
        con.execute(corrections.start_claimed(feed))
        if outdated or is_reordered:
            con.execute(corrections.note_claimed(feed), {"files": list(old) if is_reordered else outdated})
            for sql in statements.forget(feed):
                con.execute(sql, {"files": outdated})
        contract, folder_of_feed = contract_fingerprint(feed), raw / feed.name
        paths = [folder_of_feed / name for name in changed]
        lines = list(load_files(con, feed, paths))
        refuse_changed(lines, new)
        _write_down(con, [line | {"contract": contract} for line in lines])
        note_numbers(con, feed)
        corrections.number_files(con, feed, order, folder)
        if old:
            con.execute(corrections.note_claimed(feed), {"files": changed})
        settle_keys(con, feed, folder_of_feed, among_claimed=bool(old))
        corrections.compare_files(con, feed)
    # What is dated ahead changes with the day of the refresh, though its file does not.
    ahead = "select 1 from raw.deliveries where feed = ? and (latest_date > ? or rows_dated_ahead > 0)"
    if gone or changed or is_reordered or con.execute(ahead, [feed.name, as_of]).fetchone():
        _count_rows(con, feed, as_of)
    return changed, gone, is_reordered


def _write_down(con: duckdb.DuckDBPyConnection, lines: Sequence[dict[str, object]]) -> None:
    """Put files into the ledger; their rows are counted when all of their feed are settled."""
    import pyarrow as pa

    counts = [name for name, _ in LEDGER if name.startswith("rows_")]
    empty: dict[str, object] = dict.fromkeys(name for name, _ in LEDGER)
    empty |= dict.fromkeys(counts, 0)
    if lines:
        con.register("lines", pa.Table.from_pylist([empty | line for line in lines]))
        con.execute("insert into raw.deliveries from lines")
        con.unregister("lines")


def _count_rows(con: duckdb.DuckDBPyConnection, feed: Feed, as_of: date) -> None:
    """Count what became of each file's records, in the tables themselves. Raises BuildError when any are missing."""
    dated = [identifier(column.name) for column in feed.columns if column.kind in ("timestamp", "date")]
    ahead = " or ".join(f"{column} >= {literal(str(as_of + timedelta(days=1)))}" for column in dated) or "false"
    texts = [identifier(column.name) for column in feed.columns if column.free_text == "mask"]
    masked = " or ".join(map(personal.is_masked, texts)) or "false"
    instants = [column for column in feed.columns if column.kind == "timestamp" and column.rules.precision != "minute"]
    blunt = ", ".join(map(cells.without_seconds, instants))
    latest = f"greatest({', '.join(f'max({column})' for column in dated)})::date" if dated else "null::date"
    con.execute(
        "update raw.deliveries set rows_loaded = loaded, rows_superseded = superseded, rows_clock_flagged = flagged,"
        " rows_masked = masked, rows_dated_ahead = ahead, latest_date = latest,"
        " columns_without_seconds = nullif(list_filter(without, lambda name: name is not null), [])"
        " from (select _file, count(*) as loaded, count(*) filter (where _is_superseded) as superseded,"
        f" count(_clock_flags) as flagged, count(*) filter (where {masked}) as masked,"
        f" count(*) filter (where {ahead}) as ahead, {latest} as latest, [{blunt}]::varchar[] as without"
        f" from raw.{identifier(feed.name)} group by _file) as counted"
        " where feed = ? and file = counted._file",
        [feed.name],
    )
    con.execute(
        "update raw.deliveries set rows_rejected = rejected"
        " from (select file, count(*) as rejected from raw.rejects where feed = $feed group by file) as counted"
        " where feed = $feed and deliveries.file = counted.file",
        {"feed": feed.name},
    )
    for file, records, loaded, rejected in con.execute(
        "select file, records, rows_loaded, rows_rejected from raw.deliveries"
        " where feed = ? and records <> rows_loaded + rows_rejected order by file",
        [feed.name],
    ).fetchall():
        told = f"{file} has {records} records, but {loaded} were loaded and {rejected} rejected."
        raise BuildError(f"raw.{feed.name}", told)
