"""Deliveries of one feed into its raw table: every record becomes a row or a reject with its reasons.

Files are cut into records here; all that follows is one statement over the records of all files of one form. Records
that it doubts are taken out again and told with their reasons.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import duckdb

from kpi.base.engine import fetch_one
from kpi.base.errors import BuildError, DeliveryError
from kpi.base.events import Event, Tell, note
from kpi.deliveries import cells, delivery, personal, statements
from kpi.deliveries.delivery import Layout
from kpi.deliveries.feed import DeliveryMapping, Feed
from kpi.deliveries.rawfiles import content_hash
from kpi.deliveries.records import Cut, Form, cut_records, form_of

_BATCH = 122_880  # rows of one piece of work, as large as a row group of DuckDB
_HELD = 64 << 20  # bytes of files that wait for others of their form


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A file that was read. `records` is an Arrow table, `line` what the ledger says of it, `size` is in bytes."""

    mapping: DeliveryMapping | None
    form: Form | None
    records: Any
    size: int
    line: dict[str, object]


def load_files(
    con: duckdb.DuckDBPyConnection, feed: Feed, paths: Sequence[Path], careful: bool = False
) -> Iterator[dict[str, object]]:
    """Load files of a feed; yields for each what the ledger says of it before its rows are counted.

    What is hashed is what is loaded, even if a file changes meanwhile. Keys are not looked at. `careful` reads every
    cell by the full grammar: for tests that this makes no difference.
    """
    waiting: list[_Delivery] = []
    for path in paths:
        found = _read(feed, path, careful)
        yield found.line
        if found.line["refused"]:
            _run(con, feed, {"records": [found]}, statements.reject_all(feed, str(found.line["refused"])))
        else:
            waiting.append(found)
        if sum(one.size for one in waiting) > _HELD:
            _insert(con, feed, waiting)
            waiting.clear()
    _insert(con, feed, waiting)


def refuse_changed(lines: Iterable[Mapping[str, object]], hashed: Mapping[str, str]) -> None:
    """Raise DeliveryError when a file is not what it was when the run began: it is still being written, most likely.

    A build says what it was made from. If it said so of a file that became another, and then itself again, the next run
    would find nothing to do.
    """
    for line in lines:
        if line["content_hash"] != hashed[str(line["file"])]:
            told = "changed after the run had begun. Is it still being written? Run again when it is whole"
            raise DeliveryError(f"{line['path']} {told}.")


def note_files(
    con: duckdb.DuckDBPyConnection, feed: Feed, changed: Sequence[str], gone: Sequence[str], tell: Tell
) -> None:
    """Tell of each file that was loaded how many rows it has, and which files are gone."""
    for name in gone:
        note(tell, Event("removed", stage="load", name=f"{feed.name}/{name}"))
    if changed:
        wanted = "select file, rows_loaded from raw.deliveries where feed = ? and list_contains(?, file) order by file"
        for name, rows in con.execute(wanted, [feed.name, list(changed)]).fetchall():
            note(tell, Event("loaded", stage="load", name=f"{feed.name}/{name}", rows=rows))


def settle_keys(con: duckdb.DuckDBPyConnection, feed: Feed, folder: Path, among_claimed: bool) -> None:
    """Reject what repeats a key of its own file, then mark the rows that a later file replaces.

    Looks at all keys of the feed, or with `among_claimed` only at those in the table `claimed`. Raises BuildError when
    a file is no longer what it was when it was loaded.
    """
    count, find = statements.find_repeated(feed, among_claimed)
    if not fetch_one(con, count)[0] and not among_claimed and not feed.census:
        return  # no row can have replaced another
    con.execute(find)
    again = con.execute(
        "select file, content_hash from raw.deliveries"
        " where feed = ? and file in (select _file from beyond_first) order by file",
        [feed.name],
    ).fetchall()
    for file, hashed in again:
        found = _read(feed, folder / file)
        if found.line["content_hash"] != hashed:
            raise BuildError(f"raw.{feed.name}", f"{file} changed while it was loaded. Run again.")
        _run(con, feed, {"records": [found]}, statements.reject_beyond_first(feed))
    for sql in (statements.delete_beyond_first(feed), *statements.supersede(feed, among_claimed)):
        con.execute(sql)


def _read(feed: Feed, path: Path, careful: bool = False) -> _Delivery:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BuildError(f"raw.{feed.name}", f"{path.name} cannot be read: {error.strerror}.") from None
    mapping = next((m for m in feed.mappings if any(fnmatchcase(path.name, pattern) for pattern in m.files)), None)
    names = {name: name for name in mapping.reads} if mapping else cells.header_names(feed)
    line: dict[str, object] = {
        "feed": feed.name,
        "file": path.name,
        "path": f"{feed.name}/{path.name}",
        "content_hash": content_hash(data),
        "bytes": len(data),
        "mapping": mapping.name if mapping else None,
    }
    try:
        layout = delivery.read_layout(delivery.decompress(data, path.name), names)
    except delivery.Refusal as refusal:
        return _Delivery(mapping, None, None, 0, line | {"refused": personal.quoted(str(refusal), 1000), "records": 0})
    cut = cut_records(layout, careful)
    line |= {
        "encoding": layout.encoding,
        "separator": delivery.SEPARATORS[layout.separator],
        "unknown_columns": [personal.quoted(name) for name in layout.unknown],
        "missing_columns": [name for name in dict.fromkeys(names.values()) if name not in layout.positions],
        "refused": personal.quoted(_refusal(feed, mapping, layout), 1000) or None,
        "records": int((~cut.blank).sum()),
    }
    form, records = form_of(layout, cut, careful), _records(layout, cut, path.name)
    return _Delivery(mapping, form, records, len(layout.body), line)


def _refusal(feed: Feed, mapping: DeliveryMapping | None, layout: Layout) -> str:
    required = mapping.reads if mapping else tuple(column.name for column in feed.columns if column.required)
    missing = [name for name in required if name not in layout.positions]
    if layout.twice:
        return f"the header names a column twice: {', '.join(layout.twice)}"
    if missing:
        return f"required columns are missing: {', '.join(missing)}; found were: {', '.join(layout.header)}"
    secret = [column.name for column in feed.columns if column.pseudonym]
    if secret and personal.has_identity_code(layout.body[layout.start :]):
        return f"{' or '.join(secret)} looks like a personal identity code, which must not be delivered"
    return ""


def _records(layout: Layout, cut: Cut, file: str) -> Any:
    """Make an Arrow table of `_file`, `_record` (null for a blank line) and `_line` without copying any text."""
    import numpy as np
    import pyarrow as pa

    offsets, count = np.concatenate(([layout.start], cut.ends)), len(cut.ends)
    table = pa.table(
        {
            "_file": pa.DictionaryArray.from_arrays(np.zeros(count, np.int8), [file]),
            "_record": pa.array(np.cumsum(~cut.blank), mask=cut.blank if cut.blank.any() else None),
            "_line": pa.LargeStringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(layout.body)),
        }
    )
    return pa.Table.from_batches(table.to_batches(max_chunksize=_BATCH), table.schema)


def _insert(con: duckdb.DuckDBPyConnection, feed: Feed, waiting: Sequence[_Delivery]) -> None:
    """Insert what was read: one statement for all forms of file that have the same mapping, or none."""
    for name in dict.fromkeys(one.line["mapping"] for one in waiting):
        found = [one for one in waiting if one.line["mapping"] == name]
        mapping = found[0].mapping
        forms = dict.fromkeys(one.form for one in found if one.form)
        places = {form: f"records_{number}" for number, form in enumerate(forms)}
        tables = {place: [one for one in found if one.form == form] for form, place in places.items()}
        parameters = cells.clock_parameters(feed, mapping.time_zone if mapping else feed.time_zone)
        sources = [statements.texts(feed, form, mapping, place) for form, place in places.items()]
        _run(con, feed, tables, statements.insert_all(feed, statements.judge(feed, mapping, sources)), parameters)
        con.execute(statements.find_doubtful(feed))
        files = {file for (file,) in con.execute("select distinct _file from doubtful").fetchall()}
        if files:
            sources = [
                statements.texts(feed, form, mapping, statements.doubtful_among(place))
                for form, place in places.items()
                if any(one.line["file"] in files for one in tables[place])
            ]
            _run(con, feed, tables, statements.reject(feed, statements.judge(feed, mapping, sources)), parameters)
            con.execute(statements.delete_doubtful(feed))


def _run(
    con: duckdb.DuckDBPyConnection,
    feed: Feed,
    tables: Mapping[str, Sequence[_Delivery]],
    sql: str,
    parameters: Any = None,
) -> None:
    """Run one statement over the records of files, by the name of their table. Raises BuildError naming it."""
    import pyarrow as pa

    for name, found in tables.items():
        if any(one.records is None for one in found):
            return  # an unreadable file has no records
        con.register(name, pa.concat_tables(one.records for one in found))
    try:
        con.execute(sql, parameters)
    except duckdb.Error as error:
        raise BuildError(f"raw.{feed.name}", personal.of_error(error), sql) from None
    finally:
        for name in tables:
            con.unregister(name)
