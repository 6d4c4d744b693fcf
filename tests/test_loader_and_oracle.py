"""The loader against the plain-Python oracle, file by file and row by row, on hostile deliveries."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from hostile import clean_file, mutations, write_hostile
from kpi import engine, load
from kpi.feed import Feed, is_feed, read_feed
from kpi.loadfile import load_files
from kpi.project import load_project
from kpi.rawfiles import scan
from oracle import CONTRACTS, SIX_FEEDS
from oracle import read_bytes as oracle_bytes
from oracle import read_feed as oracle_feed

ROOT = Path(__file__).parents[1]
TODAY = date(2100, 1, 1)


@pytest.fixture(scope="module")
def feeds() -> dict[str, Feed]:
    return {source.name: read_feed(source) for source in load_project(ROOT).sources if is_feed(source)}


@pytest.fixture
def con(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    (tmp_path / "db").mkdir()
    with engine.building(tmp_path / "db/kpi.duckdb", tmp_path / "db") as connection:
        yield connection


def aliases(feed: Feed) -> dict[str, str]:
    return {alias: column.name for column in feed.columns for alias in column.aliases}


def loaded_rows(con: duckdb.DuckDBPyConnection, feed: Feed) -> list[dict[str, Any]]:
    names = [name for name, _ in feed.table_columns if name not in ("_clock_flags", "_is_superseded")]
    listed = ", ".join(f'"{name}"' for name in names)
    rows = con.execute(f'select {listed} from raw."{feed.name}" where not _is_superseded order by _file, _record')
    return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def rejected(con: duckdb.DuckDBPyConnection, feed: str, file: str) -> dict[int, set[str]]:
    rows = con.execute(
        "select record_number, list_transform(reasons, lambda r: r.column_name) from raw.rejects"
        " where feed = ? and file = ?",
        [feed, file],
    ).fetchall()
    return {number: set(columns) for number, columns in rows}


@pytest.mark.parametrize("seed", range(6))
def test_hostile_deliveries(seed: int, feeds: dict[str, Feed], con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_hostile(raw, seed, rows=150, aliases={name: aliases(feeds[name]) for name in SIX_FEEDS}, dirt=0.05)
    chosen = [feeds[name] for name in SIX_FEEDS]
    load.load(con, chosen, raw, scan(raw), TODAY)
    for feed in chosen:
        expected = oracle_feed(feed.name, raw / feed.name, CONTRACTS[feed.name].with_aliases(aliases(feed)))
        ledger = con.execute(
            "select file, records, rows_loaded, rows_rejected, rows_superseded, refused is not null, encoding"
            " from raw.deliveries where feed = ? order by file",
            [feed.name],
        ).fetchall()
        assert [line[:6] for line in ledger] == [
            (f.name, f.records, f.loaded, f.rejected, f.superseded, f.refused is not None)
            for f in sorted(expected.files, key=lambda f: f.name)
        ]
        for file in expected.files:
            if file.refused:
                continue
            found = rejected(con, feed.name, file.name)
            assert set(found) == {reject.record for reject in file.rejects}, (feed.name, file.name)
        keys = [name for name, _ in feed.table_columns if name not in ("_clock_flags", "_is_superseded")]
        wanted = sorted(expected.rows, key=lambda row: (str(row["_file"]), int(str(row["_record"]))))
        assert loaded_rows(con, feed) == [{key: row.get(key) for key in keys} for row in wanted]


@pytest.mark.parametrize("name", SIX_FEEDS)
def test_one_byte_changed_in_a_clean_file(
    name: str, feeds: dict[str, Feed], con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """The quick way, the careful way and the oracle agree on clean files with one place changed."""
    feed = feeds[name]
    load.create_tables(con, [feed])
    changed = mutations(clean_file(name, seed=3, rows=12), seed=5)
    for turn in range(150):
        data = next(changed)
        path = tmp_path / f"turn{turn}.csv"
        path.write_bytes(data)
        expected, rows = oracle_bytes(CONTRACTS[name].with_aliases(aliases(feed)), path.name, data)
        names = [column for column, _ in feed.table_columns if column not in ("_clock_flags", "_is_superseded")]
        seen = {reject.record for reject in expected.rejects if ("", "duplicate") not in reject.reasons}
        for careful in (False, True):
            (line,) = load_files(con, feed, [path], careful)
            kept = loaded_rows(con, feed)
            told = set(rejected(con, name, path.name))
            con.execute(f'delete from raw."{name}"')
            con.execute("delete from raw.rejects")
            assert line["records"] == expected.records, data
            if expected.refused is None:
                assert told == seen, data
                # Keys are settled later, over all files: here the rows of a repeated key are still there.
                first = {row["_record"]: row for row in rows}
                repeated = expected.records - len(rows) - len(seen)
                assert len(kept) == len(rows) + repeated, data
                assert [row for row in kept if row["_record"] in first] == [
                    {column: row.get(column) for column in names} for row in rows
                ], data
