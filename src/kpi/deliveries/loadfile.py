"""Deliveries of one feed into its raw table: every record becomes a row or a reject with its reasons.

Files are cut into records here; all that follows is one statement over the records of all files of one form. Records
that it doubts are taken out again and told with their reasons.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from kpi.base.engine import fetch_one
from kpi.base.errors import BuildError, DeliveryError
from kpi.base.events import Event, Tell, note
from kpi.deliveries import cells, corrections, delivery, headers, personal, statements, suspects
from kpi.deliveries.delivery import Layout
from kpi.deliveries.dialect import SEPARATORS
from kpi.deliveries.feed import DeliveryMapping, Feed
from kpi.deliveries.rawfiles import content_hash
from kpi.deliveries.records import Cut, Form, cut_records, form_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BATCH = 122_880  # rows of one piece of work, as large as a row group of DuckDB
_HELD = 64 << 20  # bytes of files that wait for others of their form


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A file that was read. `line` is what the ledger says of it, `size` is in bytes.

    `records` and `illegible` are Arrow tables: of all records, those that cannot be decoded without their number, and
    of these alone.
    """

    mapping: DeliveryMapping | None
    form: Form | None
    records: Any
    illegible: Any
    size: int
    line: dict[str, object]


def load_files(
    con: duckdb.DuckDBPyConnection, feed: Feed, paths: Sequence[Path], careful: bool = False
) -> Iterator[dict[str, object]]:
    """Load files of a feed; yields for each what the ledger says of it before its rows are counted.

    What is hashed is what is loaded, even if a file changes meanwhile. Keys are not looked at. `careful` reads every
    cell by the full grammar: for tests that this makes no difference.
    """
    con.execute("create or replace temp table numbers_read (_file varchar, rounded bigint, thousands varchar[])")
    waiting: list[_Delivery] = []
    for path in paths:
        found = _read(feed, path, careful)
        yield found.line
        if found.line["refused"]:
            _run(con, feed, {"records": [found]}, statements.reject_all(feed, str(found.line["refused"])))
            continue
        if found.illegible is not None:
            reason = f"holds bytes that are not {found.line['encoding']}"
            rejects = replace(found, records=found.illegible)
            _run(con, feed, {"records": [rejects]}, statements.reject_all(feed, reason))
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


def note_numbers(con: duckdb.DuckDBPyConnection, feed: Feed) -> None:
    """Write into the ledger what was odd about the numbers of the files that `load_files` loaded."""
    con.execute(
        "update raw.deliveries set rows_rounded = rounded, columns_maybe_thousands = nullif(thousands, [])"
        " from numbers_read where feed = ? and file = numbers_read._file",
        [feed.name],
    )


def settle_keys(con: duckdb.DuckDBPyConnection, feed: Feed, folder: Path, among_claimed: bool) -> None:
    """Reject what repeats a key of its own file, then mark the rows that a later file replaces.

    Looks at all keys of the feed, or with `among_claimed` only at those in the table `claimed`. Raises BuildError when
    a file is no longer what it was when it was loaded.
    """
    count, find = corrections.find_repeated(feed, among_claimed)
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
    for sql in (statements.delete_beyond_first(feed), *corrections.supersede(feed, among_claimed)):
        con.execute(sql)


def _read(feed: Feed, path: Path, careful: bool = False) -> _Delivery:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BuildError(f"raw.{feed.name}", f"{path.name} cannot be read: {error.strerror}.") from None
    mapping = next((m for m in feed.mappings if any(fnmatchcase(path.name, pattern) for pattern in m.files)), None)
    names = {name: name for name in mapping.reads} if mapping else cells.header_names(feed)
    dialect = mapping.dialect if mapping else feed.dialect
    line: dict[str, object] = {
        "feed": feed.name,
        "file": path.name,
        "path": f"{feed.name}/{path.name}",
        "content_hash": (hashed := content_hash(data)),
        "unpacked_hash": hashed,
        "bytes": len(data),
        "mapping": mapping.name if mapping else None,
    }
    try:
        content = delivery.decompress(data, path.name)
        line |= {"unpacked_hash": hashed if content is data else content_hash(content)}
        layout = delivery.read_layout(content, names, dialect)
    except delivery.Refusal as refusal:
        refused_for = personal.quoted(str(refusal), 1000)
        return _Delivery(mapping, None, None, None, 0, line | {"refused": refused_for, "records": 0})
    cut = cut_records(layout, careful)
    refused = _refusal(feed, mapping, layout, names)
    line |= {
        "encoding": layout.encoding,
        "separator": SEPARATORS[layout.separator],
        "unknown_columns": [personal.quoted(name) for name in headers.unknown_columns(layout.header, names)],
        "missing_columns": [name for name in dict.fromkeys(names.values()) if name not in layout.positions],
        "warnings": [] if refused else suspects.warnings_of(layout, cut, _quotable(feed, mapping)),
        "refused": personal.quoted(refused, 1000) or None,
        "records": int((~cut.blank).sum()),
    }
    pieces = suspects.pieces_at(layout, cut, () if refused else layout.illegible)
    records, illegible = _records(layout, cut, path.name, pieces)
    return _Delivery(mapping, form_of(layout, cut, careful), records, illegible, len(layout.body), line)


def _quotable(feed: Feed, mapping: DeliveryMapping | None) -> list[str]:
    """The columns whose words may be told: nobody writes freely in them, and they name no person."""
    texts = [] if mapping else [column for column in feed.columns if column.kind == "text"]
    return [column.name for column in texts if not column.free_text and not column.pseudonym]


def _refusal(feed: Feed, mapping: DeliveryMapping | None, layout: Layout, names: Mapping[str, str]) -> str:
    required = mapping.reads if mapping else tuple(column.name for column in feed.columns if column.required)
    missing = [name for name in required if name not in layout.positions]
    if layout.twice:
        return f"the header names a column twice: {', '.join(layout.twice)}"
    if missing:
        return headers.missing_columns(layout, names, missing)
    secret = [column.name for column in feed.columns if column.pseudonym]
    if secret and personal.has_identity_code(layout.body[layout.start :]):
        return f"{' or '.join(secret)} looks like a personal identity code, which must not be delivered"
    return ""


def _records(layout: Layout, cut: Cut, file: str, illegible: NDArray[np.int64]) -> tuple[Any, Any]:
    """Make an Arrow table of `_file`, `_record` (null for a blank line) and `_line` without copying any text.

    The pieces that are `illegible` have no `_record` in it; the second table has those alone, None when there are none.
    """
    import numpy as np
    import pyarrow as pa

    offsets, count = np.concatenate(([layout.start], cut.ends)), len(cut.ends)
    files = pa.DictionaryArray.from_arrays(np.zeros(count, np.int8), [file])
    lines = pa.LargeStringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(layout.body))
    numbers, is_none = np.cumsum(~cut.blank), cut.blank.copy()
    is_none[illegible] = True
    numbered = pa.array(numbers, mask=is_none if is_none.any() else None)
    table = pa.table({"_file": files, "_record": numbered, "_line": lines})
    table = pa.Table.from_batches(table.to_batches(max_chunksize=_BATCH), table.schema)
    if not illegible.size:
        return table, None
    taken = {"_file": files.take(illegible), "_record": pa.array(numbers[illegible]), "_line": lines.take(illegible)}
    return table, pa.table(taken)


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
        if statements.numbers(feed):
            _look_at_numbers(con, feed, tables, sources)
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


def _look_at_numbers(
    con: duckdb.DuckDBPyConnection, feed: Feed, tables: Mapping[str, Sequence[_Delivery]], sources: Sequence[str]
) -> None:
    """Put into the table `numbers_read` what is odd about the decimal numbers of files, if anything is."""
    files = {"files": [one.line["file"] for found in tables.values() for one in found]}
    find, forget = statements.find_odd_numbers(feed)
    if con.execute(find, files).fetchall():
        con.execute(forget, files)
        _run(con, feed, tables, f"insert into numbers_read {statements.read_numbers(feed, sources)}")


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
