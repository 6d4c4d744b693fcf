"""Deliveries into raw tables: good rows into `raw.<feed>`, bad ones into `raw.rejects`, every file in `raw.deliveries`.

Only files whose content or contract changed are read. Which rows a later file supersedes is worked out anew for each
feed that was touched, so the order in which files arrived never matters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb

from kpi import statements
from kpi.engine import fetch_one
from kpi.errors import DeliveryError, nearest
from kpi.feed import Feed
from kpi.loadfile import load_file
from kpi.names import identifier, literal
from kpi.rawfiles import RawFile, RawFolder, content_hash

LEDGER = (
    ("feed", "VARCHAR"),
    ("file", "VARCHAR"),
    ("path", "VARCHAR"),
    ("content_hash", "VARCHAR"),
    ("contract", "VARCHAR"),
    ("bytes", "BIGINT"),
    ("encoding", "VARCHAR"),
    ("separator", "VARCHAR"),
    ("mapping", "VARCHAR"),
    ("read_as", "VARCHAR"),
    ("refused", "VARCHAR"),
    ("unknown_columns", "VARCHAR[]"),
    ("missing_columns", "VARCHAR[]"),
    ("records", "BIGINT"),
    ("rows_loaded", "BIGINT"),
    ("rows_rejected", "BIGINT"),
    ("rows_superseded", "BIGINT"),
    ("rows_clock_flagged", "BIGINT"),
    ("rows_dated_ahead", "BIGINT"),
)
REJECTS = (
    ("feed", "VARCHAR"),
    ("file", "VARCHAR"),
    ("record_number", "BIGINT"),
    ("line_text", "VARCHAR"),
    ("reasons", "STRUCT(column_name VARCHAR, value VARCHAR, reason VARCHAR)[]"),
)


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did, in paths below the raw folder, and what is worth a warning."""

    loaded: tuple[str, ...]
    removed: tuple[str, ...]
    changed_feeds: frozenset[str]
    records: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Inputs:
    raw: Path
    as_of: date
    workspace: Path


def contract_fingerprint(feed: Feed) -> str:
    """A hash of the contract and of the code that applies it: when either changes, files are loaded anew."""
    code = hashlib.blake2b(digest_size=16)
    for module in ("loadfile", "statements", "cells", "delivery", "feed"):
        code.update((Path(__file__).parent / f"{module}.py").read_bytes())
    return content_hash((feed.fingerprint + code.hexdigest()).encode())


def create_tables(con: duckdb.DuckDBPyConnection, feeds: Iterable[Feed]) -> None:
    """Create the raw tables that are not there yet."""
    con.execute("create schema if not exists raw")
    tables: list[tuple[str, Sequence[tuple[str, str]]]] = [("deliveries", LEDGER), ("rejects", REJECTS)]
    tables += [(feed.name, feed.table_columns) for feed in feeds]
    for table, columns in tables:
        typed = ", ".join(f"{identifier(name)} {kind}" for name, kind in columns)
        con.execute(f"create table if not exists raw.{identifier(table)} ({typed})")


def load(
    con: duckdb.DuckDBPyConnection,
    feeds: Sequence[Feed],
    raw: Path,
    folder: RawFolder,
    as_of: date,
    workspace: Path,
) -> LoadReport:
    """Bring the raw tables up to what lies in the raw folder, touching only what changed.

    `as_of` is the day of the refresh: later dates load and are warned about. `workspace` is a private folder for
    copies of files. Raises BuildError when rows were lost or made, which no delivery can cause.
    """
    inputs = _Inputs(raw, as_of, workspace)
    fingerprints = {feed.name: contract_fingerprint(feed) for feed in feeds}
    _forget_changed_contracts(con, feeds, fingerprints)
    create_tables(con, feeds)
    known = {
        (feed, file): digest
        for feed, file, digest in con.execute("select feed, file, content_hash from raw.deliveries").fetchall()
    }
    wanted = {(file.feed, file.name): file for file in folder.files if file.feed in fingerprints}
    gone = [key for key in known if key not in wanted]
    changed = [file for key, file in wanted.items() if known.get(key) != file.content_hash]
    by_name = {feed.name: feed for feed in feeds}
    for feed_name, file_name in [
        *gone,
        *((file.feed, file.name) for file in changed if (file.feed, file.name) in known),
    ]:
        _forget(con, feed_name, file_name)
    for file in changed:
        _load_one(con, by_name[file.feed], file, fingerprints[file.feed], inputs)
    touched = {feed for feed, _ in gone} | {file.feed for file in changed}
    for name in sorted(touched):
        again = False
        for twice in _supersede(con, by_name[name]):
            _forget(con, name, twice)
            _load_one(con, by_name[name], wanted[name, twice], fingerprints[name], inputs, try_plain=False)
            again = True
        if again:
            _supersede(con, by_name[name])
    _count_superseded(con, touched)
    return LoadReport(
        loaded=tuple(file.path for file in changed),
        removed=tuple(f"{feed}/{file}" for feed, file in gone),
        changed_feeds=frozenset(touched),
        records=int(str(fetch_one(con, "select coalesce(sum(records), 0)::bigint from raw.deliveries")[0])),
        warnings=(*_unknown_folders(folder, by_name), *_warnings(con)),
    )


def refuse_bad_files(con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed], max_reject_share: float | None) -> None:
    """Raise DeliveryError when a file has more rejects than its feed's contract allows.

    `max_reject_share` (0 to 1) replaces the contract's threshold for this run. A refused file counts as a share of 1.
    """
    lines: list[str] = []
    for feed in feeds:
        limit = (
            f"greatest({feed.reject_share} * records, {feed.reject_rows})"
            if max_reject_share is None
            else f"{max_reject_share} * records"
        )
        refused_too = max_reject_share is None or max_reject_share < 1
        rows = con.execute(
            f"select file, records, rows_rejected, refused, floor({limit})::bigint from raw.deliveries"
            f" where feed = ? and (rows_rejected > {limit} or (refused is not null and {refused_too})) order by file",
            [feed.name],
        ).fetchall()
        for file, records, rejected, refused, allowed in rows:
            lines.append(
                f"{feed.name}/{file}: {rejected} of {records} records rejected; allowed are {allowed}."
                + (f" The file was refused: {refused}." if refused else "")
            )
            lines += [f"    {count:>8} x {reason}" for reason, count in _commonest(con, feed.name, file)]
    if lines:
        raise DeliveryError(
            "Deliveries worse than their contract allows:\n  "
            + "\n  ".join(lines)
            + "\nThe rejected rows are in raw.rejects of the failed build. Mend the files, or let them through once"
            " with --max-reject-share."
        )


def _commonest(con: duckdb.DuckDBPyConnection, feed: str, file: str) -> list[tuple[str, int]]:
    return con.execute(
        "select if(r.column_name = '', '', r.column_name || ': ') || r.reason as told, count(*) as n"
        " from (select unnest(reasons) as r from raw.rejects where feed = ? and file = ?)"
        " group by told order by n desc, told limit 10",
        [feed, file],
    ).fetchall()


def _forget_changed_contracts(con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed], now: Mapping[str, str]) -> None:
    """Drop the raw tables whose contract changed, so that every file of theirs is loaded anew."""
    con.execute("create schema if not exists raw")
    tables = {
        row[0] for row in con.execute("select table_name from duckdb_tables() where schema_name = 'raw'").fetchall()
    }
    if "deliveries" not in tables:
        return
    for feed, contract in con.execute("select distinct feed, contract from raw.deliveries").fetchall():
        if now.get(feed) != contract:
            con.execute("delete from raw.deliveries where feed = ?", [feed])
            con.execute("delete from raw.rejects where feed = ?", [feed])
            con.execute(f"drop table if exists raw.{identifier(feed)}")
    for table in tables - {"deliveries", "rejects"} - {feed.name for feed in feeds}:
        con.execute(f"drop table raw.{identifier(table)}")
    for feed in feeds:
        columns = con.execute(
            "select column_name, data_type from duckdb_columns() where schema_name = 'raw' and table_name = ?"
            " order by column_index",
            [feed.name],
        ).fetchall()
        if columns and tuple(columns) != feed.table_columns:
            con.execute(f"drop table raw.{identifier(feed.name)}")


def _forget(con: duckdb.DuckDBPyConnection, feed: str, file: str) -> None:
    con.execute(f"delete from raw.{identifier(feed)} where _file = ?", [file])
    con.execute("delete from raw.rejects where feed = ? and file = ?", [feed, file])
    con.execute("delete from raw.deliveries where feed = ? and file = ?", [feed, file])


def _load_one(
    con: duckdb.DuckDBPyConnection, feed: Feed, found: RawFile, contract: str, inputs: _Inputs, try_plain: bool = True
) -> None:
    line = load_file(con, feed, inputs.raw / found.feed / found.name, inputs.workspace, try_plain) | {
        "feed": feed.name,
        "file": found.name,
        "path": found.path,
        "contract": contract,
        "rows_superseded": 0,
        **_told_of(con, feed, found.name, inputs.as_of),
    }
    names = [name for name, _ in LEDGER]
    con.execute(
        f"insert into raw.deliveries values ({', '.join('?' for _ in names)})", [line.get(name) for name in names]
    )


def _told_of(con: duckdb.DuckDBPyConnection, feed: Feed, file: str, as_of: date) -> dict[str, object]:
    dated = [identifier(column.name) for column in feed.columns if column.kind in ("timestamp", "date")]
    ahead = " or ".join(f"{column} >= {literal(str(as_of + timedelta(days=1)))}" for column in dated) or "false"
    flagged, later = fetch_one(
        con,
        f"select count(*) filter (where _clock_flags is not null), count(*) filter (where {ahead})"
        f" from raw.{identifier(feed.name)} where _file = ?",
        [file],
    )
    return {"rows_clock_flagged": flagged, "rows_dated_ahead": later}


def _supersede(con: duckdb.DuckDBPyConnection, feed: Feed) -> list[str]:
    """Mark the rows that a later file replaces. Returns the files in which a key was loaded twice."""
    table = f"raw.{identifier(feed.name)}"
    con.execute(f"update {table} set _is_superseded = false where _is_superseded")
    find, mark = statements.supersede(feed)
    con.execute(find)
    twice = [row[0] for row in con.execute(statements.keys_twice_in_a_file(feed)).fetchall()]
    if not twice:
        con.execute(mark)
    con.execute("drop table repeated")
    return twice


def _count_superseded(con: duckdb.DuckDBPyConnection, feeds: Iterable[str]) -> None:
    for feed in sorted(feeds):
        con.execute(
            "update raw.deliveries set rows_superseded = coalesce((select count(*) from"
            f" raw.{identifier(feed)} as r where r._is_superseded and r._file = deliveries.file), 0) where feed = ?",
            [feed],
        )


def _unknown_folders(folder: RawFolder, feeds: Mapping[str, Feed]) -> list[str]:
    strangers = sorted({file.feed for file in folder.files} - set(feeds))
    return [f"{name}/: no feed has this name, its files are not read.{nearest(name, feeds)}" for name in strangers] + [
        f"{path}: not a .csv or .csv.gz file, not read." for path in folder.ignored if "/" in path
    ]


def _warnings(con: duckdb.DuckDBPyConnection) -> list[str]:
    told = []
    for path, refused, unknown, missing, rejected, records, ahead in con.execute(
        "select path, refused, unknown_columns, missing_columns, rows_rejected, records, rows_dated_ahead"
        " from raw.deliveries order by path"
    ).fetchall():
        if refused:
            told.append(f"{path}: refused, {refused}.")
            continue
        if unknown:
            told.append(f"{path}: columns nobody asked for, ignored: {', '.join(unknown)}.")
        if missing:
            told.append(f"{path}: optional columns that are not there, taken as missing: {', '.join(missing)}.")
        if rejected:
            told.append(f"{path}: {rejected} of {records} records rejected, see raw.rejects.")
        if ahead:
            told.append(f"{path}: {ahead} rows dated after the day of the refresh.")
    return told
