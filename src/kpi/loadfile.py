"""One delivered file into its raw table. Rows in = rows loaded + rows rejected, always.

A plain file is read by DuckDB itself and loaded in one statement that must take every record; when it does not, and
for every other file, the records are split here and each bad row is told with all its reasons.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import duckdb

from kpi import cells, delivery, statements
from kpi.delivery import Layout
from kpi.engine import fetch_one
from kpi.errors import BuildError
from kpi.feed import DeliveryMapping, Feed
from kpi.rawfiles import content_hash


def load_file(
    con: duckdb.DuckDBPyConnection, feed: Feed, path: Path, workspace: Path, try_plain: bool
) -> dict[str, object]:
    """Load one file and return what the ledger says of it: hash, encoding, columns, records, rows loaded, rejected.

    What is hashed is what is loaded, even if the file changes meanwhile. `workspace` is a private folder for a copy.
    Raises BuildError when the rows loaded and rejected are not the records of the file, which no delivery can cause.
    """
    file, before = path.name, path.stat()
    data = path.read_bytes()
    mapping = next((m for m in feed.mappings if any(fnmatchcase(file, pattern) for pattern in m.files)), None)
    names = {name: name for name in mapping.reads} if mapping else cells.header_names(feed)
    line: dict[str, object] = {
        "content_hash": content_hash(data),
        "bytes": len(data),
        "mapping": mapping.name if mapping else None,
        "read_as": "refused",
    }
    try:
        layout = delivery.read_layout(delivery.decompress(data, file), names)
    except delivery.Refusal as refusal:
        return line | {"refused": refusal.reason, "records": 0, "rows_loaded": 0, "rows_rejected": 0}
    line |= {
        "encoding": layout.encoding,
        "separator": delivery.SEPARATORS[layout.separator],
        "unknown_columns": list(layout.unknown),
        "missing_columns": [name for name in dict.fromkeys(names.values()) if name not in layout.positions],
    }
    refusal_reason = _refusal(feed, mapping, layout)
    expected = delivery.plain_records(layout) if try_plain and not refusal_reason else None
    if expected is not None:
        as_is = layout.body is data and layout.head == 0 and b"\r" not in data and not set("*?[") & set(str(path))
        source = path if as_is else workspace / "delivery.csv"
        if not as_is:
            source.write_bytes(layout.body[layout.head :].replace(b"\r\n", b"\n"))
        sql = statements.plain_insert(feed, file, str(source), layout, mapping)
        unchanged = (lambda: _identity(path.stat()) == _identity(before)) if as_is else (lambda: True)
        if not _insert_all(con, sql, expected, unchanged):
            expected = None
    if expected is not None:
        return line | {"read_as": "plain", "records": expected, "rows_loaded": expected, "rows_rejected": 0}
    records = delivery.split_records(layout)
    _register(con, records)
    try:
        if refusal_reason:
            loaded, rejected = 0, _count(con, statements.reject_all(feed, file, refusal_reason))
            line["refused"] = refusal_reason
        else:
            con.execute(statements.judge_records(feed, layout, mapping))
            loaded, rejected = (_count(con, sql) for sql in statements.insert_judged(feed, file))
            line["read_as"] = "careful"
            con.execute("drop table judged")
    finally:
        con.unregister("records")
    if loaded + rejected != len(records):
        told = f"{file} has {len(records)} records, but {loaded} were loaded and {rejected} rejected."
        raise BuildError(f"raw.{feed.name}", told)
    return line | {"records": len(records), "rows_loaded": loaded, "rows_rejected": rejected}


def _refusal(feed: Feed, mapping: DeliveryMapping | None, layout: Layout) -> str:
    required = mapping.reads if mapping else tuple(column.name for column in feed.columns if column.required)
    missing = [name for name in required if name not in layout.positions]
    if layout.twice:
        return f"the header names a column twice: {', '.join(layout.twice)}"
    if missing:
        return f"required columns are missing: {', '.join(missing)}; found were: {', '.join(layout.header)}"
    return ""


def _insert_all(con: duckdb.DuckDBPyConnection, sql: str, expected: int, unchanged: Callable[[], bool]) -> bool:
    """Run the insert; keep it only when it took every record of a file that stayed as it was."""
    con.execute("begin")
    try:
        complete = _count(con, sql) == expected and unchanged()
    except (duckdb.InvalidInputException, duckdb.ConversionException):
        complete = False  # a doubtful cell, or a record of another width; which one is for the careful way to tell
    con.execute("commit" if complete else "rollback")
    return complete


def _identity(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _register(con: duckdb.DuckDBPyConnection, records: Sequence[str]) -> None:
    import numpy as np
    import pyarrow as pa

    numbers = pa.array(np.arange(1, len(records) + 1))
    con.register("records", pa.table({"_record": numbers, "line": pa.array(records, type=pa.large_string())}))


def _count(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(str(fetch_one(con, sql)[0]))
