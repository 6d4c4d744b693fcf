"""A raw folder in memory of a test: deliver files, load them, look at what became of them.

The loader is run as the nightly job runs it, on the project's own contracts, on a database in memory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from kpi import database
from kpi.errors import DeliveryError
from kpi.ingest import loader, raw_table
from kpi.ingest.contract import Feed, is_feed, read_feed
from kpi.ingest.loader import LoadReport, refuse_bad_files
from kpi.ingest.raw_files import scan
from kpi.project.project import load_project
from oracle import CONTRACTS, Contract, FeedResult
from oracle import read_feed as oracle_reads

ROOT = Path(__file__).resolve().parents[2]
TODAY = date(2026, 1, 15)
Row = tuple[Any, ...]


@cache
def contracts() -> dict[str, Feed]:
    """The contract of every feed, as the project's YAML has it."""
    return {source.name: read_feed(source) for source in load_project(ROOT).sources if is_feed(source)}


def aliases(feed: str) -> dict[str, str]:
    """Each header alias of a feed and the column it means."""
    return {alias: column.name for column in contracts()[feed].columns for alias in column.aliases}


def oracle_contract(feed: str) -> Contract:
    """What the oracle knows of a feed, with the aliases of the project's contract."""
    return CONTRACTS[feed].with_aliases(aliases(feed))


class Loader:
    """Feeds, a folder of deliveries and a database that they are loaded into."""

    def __init__(self, raw: Path, feeds: Sequence[Feed]) -> None:
        self.raw, self.feeds = raw, tuple(feeds)
        self.con = database.scratch()

    def deliver(self, name: str, content: str | bytes, feed: str = "") -> None:
        """Write a delivery, of the first feed when none is named."""
        path = self.raw / (feed or self.feeds[0].name) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def remove(self, name: str, feed: str = "") -> None:
        """Take a delivery away."""
        (self.raw / (feed or self.feeds[0].name) / name).unlink()

    def load(self, as_of: date = TODAY, careful: bool = False) -> LoadReport:
        """Load what changed; with `careful` read each cell by the full grammar, which otherwise few need."""
        with patch.object(raw_table, "read_delivery", partial(raw_table.read_delivery, careful=careful)):
            return loader.load(self.con, self.feeds, self.raw, scan(self.raw), as_of)

    def refused(self, max_reject_share: float | None = None) -> str:
        """What is said of files that are worse than their contract allows; nothing when all are good enough."""
        try:
            refuse_bad_files(self.con, self.feeds, max_reject_share)
        except DeliveryError as error:
            return str(error)
        return ""

    def rows(self, columns: str = "*", feed: str = "", where: str = "not _is_superseded") -> list[Row]:
        """Rows in force, or others, in order of file and record."""
        table = feed or self.feeds[0].name
        sql = f'select {columns} from raw."{table}" where {where} order by encode(_file), _record'
        return self.con.execute(sql).fetchall()

    def ledger(self, columns: str, file: str = "%") -> list[Row]:
        """Columns of raw.deliveries in order of feed and file: of all files, or of those with a name like this."""
        sql = f"select {columns} from raw.deliveries where file like ? order by feed, encode(file)"
        return self.con.execute(sql, [file]).fetchall()

    def words(self, column: str, file: str) -> list[Any]:
        """The values of a column in one file, in order of its records."""
        return [value for (value,) in self.rows(column, where=f"_file = '{file}'")]

    def rejects(self) -> list[tuple[str, int, list[str]]]:
        """File, record number and the reasons of every reject, each reason as `column: reason`."""
        return self.con.execute(
            "select file, record_number, list_transform(reasons,"
            " lambda r: if(r.column_name = '', '', r.column_name || ': ') || r.reason)"
            " from raw.rejects order by encode(file), record_number"
        ).fetchall()

    def content(self) -> dict[str, list[Row]]:
        """All rows of all raw tables, without the order in which they lie."""
        names = [feed.name for feed in self.feeds] + ["deliveries", "rejects"]
        return {name: sorted(self.con.execute(f'select * from raw."{name}"').fetchall(), key=repr) for name in names}


def compare_with_oracle(loader: Loader) -> None:
    """Assert that ledger, rejects and rows are what the oracle makes of the same folder."""
    for feed in loader.feeds:
        expected = oracle_reads(feed.name, loader.raw / feed.name, oracle_contract(feed.name))
        assert _ledger(loader, feed) == _oracle_ledger(expected)
        assert _rejects(loader, feed) == {
            (file.name, reject.record): {column for column, _ in reject.reasons}
            for file in expected.files
            for reject in file.rejects
        }
        assert _rows(loader, feed) == _oracle_rows(expected, feed)


def _ledger(loader: Loader, feed: Feed) -> list[Row]:
    columns = "file, encoding, separator, records, rows_loaded, rows_rejected, rows_superseded, refused is not null"
    sql = f"select {columns}, unknown_columns from raw.deliveries where feed = ? order by encode(file)"
    rows = loader.con.execute(sql, [feed.name]).fetchall()
    # The known name that one resembles is no matter of the oracle's.
    return [(*row, unknown and [text.partition(" (")[0] for text in unknown]) for *row, unknown in rows]


def _oracle_ledger(expected: FeedResult) -> list[Row]:
    names = {",": "comma", ";": "semicolon", "\t": "tab", None: None}
    found = []
    for file in sorted(expected.files, key=lambda file: os.fsencode(file.name)):
        counts = (file.records, file.loaded, file.rejected, file.superseded)
        is_read = file.refused not in ("unreadable", "no_header")
        about = (file.encoding, names[file.separator]) if is_read else (None, None)
        unknown = [f"column {n}" for n, name in enumerate(file.header, 1) if name in file.unknown_columns]
        found.append((file.name, *about, *counts, file.refused is not None, unknown if is_read else None))
    return found


def _rejects(loader: Loader, feed: Feed) -> dict[tuple[str, int], set[str]]:
    """The columns that are wrong in each reject of files that were read; '' for the whole record."""
    rows = loader.con.execute(
        "select r.file, record_number,"
        " list_transform(reasons, lambda r: if(r.reason like 'the key stands%', '', r.column_name))"
        " from raw.rejects as r join raw.deliveries as d on d.feed = r.feed and d.file = r.file"
        " where r.feed = ? and d.refused is null",
        [feed.name],
    ).fetchall()
    return {(file, record): set(columns) for file, record, columns in rows}


def _rows(loader: Loader, feed: Feed) -> list[dict[str, Any]]:
    names = [name for name, _ in feed.table_columns if name != "_is_superseded"]
    columns = ", ".join(f'"{name}"' for name in names)
    return [dict(zip(names, row, strict=True)) for row in loader.rows(columns, feed.name)]


def _oracle_rows(expected: FeedResult, feed: Feed) -> list[dict[str, Any]]:
    said = {"twice": "occurs twice", "skipped": "does not exist"}
    found = []
    for row in sorted(expected.rows, key=lambda row: (str(row["_file"]).encode(), int(str(row["_record"])))):
        flags = [flag.split(":") for flag in str(row["_clock"]).split(",") if flag]
        clock = ", ".join(f"{column} {said[kind]}" for column, kind in flags) or None
        names = [name for name, _ in feed.table_columns if name not in ("_is_superseded", "_clock_flags")]
        found.append({name: row.get(name) for name in names} | {"_clock_flags": clock})
    # In the order of the table's columns, so that a difference is easy to see.
    return [{name: row[name] for name, _ in feed.table_columns if name != "_is_superseded"} for row in found]
