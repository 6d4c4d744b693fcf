"""The raw table of one feed, brought up to its folder: rows inserted, faults found, keys settled, files counted.

Files are cut into records in Python; all that follows is one statement over the records of all files of one form.
Records that it doubts are taken out again and told with their reasons. Keys are looked at after that, over all files,
so the order in which they arrived never matters.

It works on a connection of its own and writes this one table, so feeds are brought up beside each other. What is wrong
with records waits in the temporary table `faults` for `raw.rejects`, which all feeds share.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.database import duckdb, kind_of
from kpi.errors import BuildError, DeliveryError
from kpi.ingest import cells, csv_reader, masking, statements
from kpi.ingest.contract import SEPARATORS, TIME_OF_DELIVERY, DeliveryMapping, Feed, in_order
from kpi.ingest.csv_reader import Cut, Form, Layout, cut_records, form_of
from kpi.ingest.ledger import Line, contract_fingerprint
from kpi.ingest.raw_files import RawFile, RawFolder, content_hash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_KEYS = 2_000_000  # about as many as are looked at together for one that stands twice
_MOST_HASHES = 100_000  # of keys that stand twice: with more of them keys are grouped
HELD = 64 << 20  # bytes of files that wait for others of their form, of all feeds together


@dataclass(frozen=True, slots=True)
class FeedChanges:
    """What became of a feed's folder since it was loaded: its `files`, and its `lines` of the ledger, by name.

    `changed` are the files to load, `gone` are no longer there, `order` is all that are there, oldest first.
    `is_reordered` tells that the ledger has them in another order, or with another time of delivery.
    """

    feed: Feed
    files: Mapping[str, RawFile]
    lines: Mapping[str, Line]
    as_of: date
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    order: tuple[str, ...]
    is_reordered: bool

    @property
    def outdated(self) -> list[str]:
        """The files whose rows are to go: those that are gone, and the changed ones that were loaded before."""
        return [*self.gone, *(name for name in self.changed if name in self.lines)]

    @property
    def dated_ahead(self) -> set[str]:
        """The files with rows that are, or were, dated after the day of the refresh."""
        return {
            name
            for name, line in self.lines.items()
            if line["rows_dated_ahead"] or (line["latest_date"] and line["latest_date"] > self.as_of)
        }

    @property
    def is_any(self) -> bool:
        """Whether its rows are to be looked at: files changed, or what is dated ahead does with the day."""
        return bool(self.changed or self.gone or self.is_reordered or self.dated_ahead)


def compare_folder(feed: Feed, folder: RawFolder, lines: Mapping[str, Line], as_of: date) -> FeedChanges:
    """Compare the files of a feed with its lines of the ledger. `as_of` is the day of the refresh."""
    files = {file.name: file for file in folder.files if file.feed == feed.name}
    order = in_order({name: file.modified for name, file in files.items()}, feed.newer_by)
    loaded = [lines[name] for name in order if name in lines]
    numbers = [line["delivery_number"] for line in loaded]
    is_late = any(line["delivered_at"] != delivered_at(feed, files[line["file"]]) for line in loaded)
    hashes = {name: line["content_hash"] for name, line in lines.items()}
    return FeedChanges(
        feed=feed,
        files=files,
        lines=lines,
        as_of=as_of,
        changed=tuple(name for name, file in files.items() if hashes.get(name) != file.content_hash),
        gone=tuple(name for name in lines if name not in files),
        order=order,
        is_reordered=numbers != sorted(numbers) or is_late,
    )


def delivered_at(feed: Feed, file: RawFile) -> datetime | None:
    """Return when a file was delivered, in UTC, if that decides which is the newer."""
    if feed.newer_by != TIME_OF_DELIVERY:
        return None
    return datetime.fromtimestamp(file.modified, UTC).replace(tzinfo=None)


@dataclass(frozen=True, slots=True)
class FeedLoad:
    """A feed that was brought up: its new `lines` of the ledger, and the connection with its table `faults`."""

    feed: Feed
    con: duckdb.DuckDBPyConnection
    lines: tuple[Line, ...]
    loaded: tuple[str, ...]
    removed: tuple[str, ...]
    is_reordered: bool
    has_faults: bool


def bring_up(con: duckdb.DuckDBPyConnection, changes: FeedChanges, folder: Path, held: int = HELD) -> FeedLoad:
    """Bring the table of one feed up to its folder.

    What is hashed is what is loaded, even if a file changes meanwhile. Raises DeliveryError for a file that is not what
    it was when the run began, and BuildError when one cannot be read or a statement fails.
    """
    feed, is_reordered = changes.feed, changes.is_reordered
    changed, gone, outdated = changes.changed, changes.gone, changes.outdated
    lines = {name: line for name, line in changes.lines.items() if name not in outdated}
    con.execute(statements.START_FAULTS)
    if changed or gone or is_reordered:
        writer = _Writer(con, feed, folder, held)
        if changes.lines:
            con.execute(statements.start_claimed(feed))
            claimed = list(changes.lines) if is_reordered else outdated
            if claimed:
                con.execute(statements.note_claimed(feed), {"files": claimed})
            if outdated:
                con.execute(statements.forget(feed), {"files": outdated})
        contract = contract_fingerprint(feed)
        for line in writer.load(changed):
            name = str(line["file"])
            if line["content_hash"] != changes.files[name].content_hash:
                # A build says what it was made from. If it said so of a file that became another, and then itself
                # again, the next run would find nothing to do.
                message = "changed after the run had begun. Is it still being written? Run again when it is whole"
                raise DeliveryError(f"{line['path']} {message}.")
            lines[name] = line | {"contract": contract}
        for name, more in writer.found_late.items():
            lines[name] |= more
        if changes.lines and changed:
            con.execute(statements.note_claimed(feed), {"files": list(changed)})
        writer.settle_keys(changes.order, among_claimed=bool(changes.lines))
        _compare_files(con, changes, lines)
    _count_rows(con, changes, lines)
    has_faults = bool(con.execute("select 1 from faults limit 1").fetchall())
    ordered = tuple(lines[name] for name in changes.files)
    return FeedLoad(feed, con, ordered, changed, gone, is_reordered, has_faults)


def _compare_files(con: duckdb.DuckDBPyConnection, changes: FeedChanges, lines: Mapping[str, Line]) -> None:
    """Note the order of files, by which of them rows of others were replaced, and which hold the same as another."""
    newer: dict[str, set[str]] = {}
    if len(lines) > 1:
        for file, other in con.execute(statements.find_superseding(changes.feed)).fetchall():
            newer.setdefault(file, set()).add(other)
    first: dict[object, str] = {}
    for number, name in enumerate(changes.order, start=1):
        line = lines[name]
        same = first.setdefault(line["unpacked_hash"], name) if line["records"] else name
        line |= {
            "delivery_number": number,
            "delivered_at": delivered_at(changes.feed, changes.files[name]),
            "superseded_by": [other for other in changes.order if other in newer[name]] if name in newer else None,
            "same_content_as": None if same == name else same,
        }


def _count_rows(con: duckdb.DuckDBPyConnection, changes: FeedChanges, lines: Mapping[str, Line]) -> None:
    """Count what became of each file's records, in the table itself.

    Of files that are as they were nothing but which of their rows are replaced can be other than the ledger has it,
    save with the day what is dated ahead.
    """
    new = [name for name in lines if name in changes.changed or name in changes.dated_ahead]
    result = con.execute(statements.count_rows(changes.feed, changes.as_of), {"files": new})
    names = [column[0] for column in result.description]
    none = dict.fromkeys(names[1:], 0) | {"latest_date": None, "columns_without_seconds": None}
    counts = {row[0]: dict(zip(names[1:], row[1:], strict=True)) for row in result.fetchall()}
    superseded = (
        dict(con.execute(statements.count_superseded(changes.feed)).fetchall()) if len(new) < len(lines) else {}
    )
    for name, line in lines.items():
        line.update(counts.get(name, none) if name in new else {"rows_superseded": superseded.get(name, 0)})


def run_statement(con: duckdb.DuckDBPyConnection, relation: str, sql: str, parameters: Any = None) -> None:
    """Run a statement that fills a relation. Raises BuildError naming that; what DuckDB says may quote a row."""
    try:
        con.execute(sql, parameters)
    except duckdb.Error as error:
        raise BuildError(relation, kind_of(error), sql, restricted=masking.of_error(error)) from None


@dataclass(slots=True)
class _Writer:
    """What inserts the files of a folder into the feed's raw table; `found_late` is more for the ledger, by file."""

    con: duckdb.DuckDBPyConnection
    feed: Feed
    folder: Path
    held: int
    found_late: dict[str, Line] = field(default_factory=dict)
    _hashes: dict[str, object] = field(default_factory=dict)
    _last: list[Delivery] = field(default_factory=list)  # the files that were inserted last, still in memory

    def load(self, files: Iterable[str]) -> Iterator[Line]:
        """Load files; yields for each what the ledger says of it before its rows are counted."""
        waiting: list[Delivery] = []
        for name in files:
            found = read_delivery(self.feed, self.folder / name)
            self._hashes[name] = found.line["content_hash"]
            yield found.line
            if found.line["refused"]:
                self._run_over(found.records, statements.find_fault("refused", str(found.line["refused"])))
                continue
            if found.illegible is not None:
                reason = f"holds bytes that are not {found.line['encoding']}"
                self._run_over(found.illegible, statements.find_fault("encoding", reason))
            waiting.append(found)
            if sum(one.size for one in waiting) > self.held:
                self._insert(waiting)
                waiting = []
        self._insert(waiting)

    def settle_keys(self, order: Sequence[str], among_claimed: bool) -> None:
        """Find what repeats a key of its own file, then mark the rows that a later file replaces.

        Looks at all keys of the feed, or with `among_claimed` only at those in the table `claimed`. `order` are its
        files, oldest first. Raises BuildError when a file is no longer what it was when it was loaded.
        """
        con, feed = self.con, self.feed
        if among_claimed:
            con.execute(statements.claim_anew(feed))
        (rows,) = con.execute(f"select count(*) from {statements.raw_table(feed)}").fetchall()[0]
        parts = 1 if among_claimed else 1 + rows // _KEYS
        hashes = None if among_claimed else self._repeated_hashes(parts)
        if hashes is not None:
            con.execute(statements.find_repeated_of(feed), {"hashes": hashes})
        else:
            for sql in statements.find_repeated(feed, among_claimed, parts):
                con.execute(sql)
        if con.execute("select 1 from repeated limit 1").fetchall():
            for sql in statements.find_clashing(feed):
                con.execute(sql)
            files = con.execute("select distinct _file from beyond_first order by _file").fetchall()
            if files:
                self._find_again([name for (name,) in files])
                con.execute(statements.delete_beyond_first(feed))
        elif not feed.census:
            return  # no row can have replaced another
        if len(order) > 1:
            con.execute(statements.supersede(feed, among_claimed), {"files": list(order)})

    def _repeated_hashes(self, parts: int) -> list[int] | None:
        """Return the hashes that several rows have of their keys, looking at so many parts; None when they are many.

        Sorting hashes takes half of what grouping keys takes, and a table of all keys much memory.
        """
        import numpy as np

        found: list[int] = []
        for part in range(parts):
            hashes = np.sort(self.con.execute(statements.key_hashes(self.feed, part, parts)).fetchnumpy()["hash"])
            found += np.unique(hashes[1:][hashes[1:] == hashes[:-1]]).tolist()
            if len(found) > _MOST_HASHES:
                return None
        return found

    def _find_again(self, names: Sequence[str]) -> None:
        """Put the records of the table `beyond_first`, of these files, into `faults`."""
        held = {str(one.line["file"]): one for one in self._last}
        for name in names:
            found = held.get(name) or read_delivery(self.feed, self.folder / name)
            if found.line["content_hash"] != self._hashes.get(name):
                raise BuildError(f"raw.{self.feed.name}", f"{name} changed while it was loaded. Run again.")
            self._run_over(found.records, statements.find_faults_beyond_first(self.feed))

    def _insert(self, waiting: Sequence[Delivery]) -> None:
        """Insert what was read: one statement for all forms of file that have the same mapping, or none."""
        self._last = list(waiting)
        for name in dict.fromkeys(one.line["mapping"] for one in waiting):
            found = [one for one in waiting if one.line["mapping"] == name]
            forms = dict.fromkeys(one.form for one in found if one.form)
            places = {form: f"records_{number}" for number, form in enumerate(forms)}
            tables = {place: [one for one in found if one.form == form] for form, place in places.items()}
            with self._registered(tables):
                self._insert_alike(places, tables, found[0].mapping)

    def _insert_alike(
        self, places: Mapping[Form, str], tables: Mapping[str, Sequence[Delivery]], mapping: DeliveryMapping | None
    ) -> None:
        """Insert files that have a mapping, or none, by the names of the registered tables of each form."""
        con, feed = self.con, self.feed
        parameters = cells.clock_parameters(feed, mapping.time_zone if mapping else feed.time_zone)
        sources = [statements.texts(feed, form, mapping, place) for form, place in places.items()]
        self._run(statements.insert_all(feed, statements.judge(feed, mapping, sources)), parameters)
        if statements.numbers(feed):
            self._look_at_numbers(tables, sources)
        con.execute(statements.find_doubtful(feed))
        files = {file for (file,) in con.execute("select distinct _file from doubtful").fetchall()}
        if not files:
            return
        sources = [
            statements.texts(feed, form, mapping, statements.doubtful_among(place))
            for form, place in places.items()
            if any(one.line["file"] in files for one in tables[place])
        ]
        # The texts first: what judges them is made ready once, and not for each form.
        self._run(f"create or replace temp table doubtful_texts as {' union all '.join(sources)}")
        judged = statements.judge(feed, mapping, ["from doubtful_texts"])
        self._run(statements.find_faults(judged), parameters)
        con.execute(statements.delete_doubtful(feed))
        self._refuse_reordered({str(one.line["file"]): one for found in tables.values() for one in found}, mapping)

    def _refuse_reordered(self, found: Mapping[str, Delivery], mapping: DeliveryMapping | None) -> None:
        """Refuse files in which the header stands again with its columns in another order, as two files joined to one.

        What follows it would load as values of other columns. A header again is never a record: it is among the faults.
        """
        names = _names(self.feed, mapping)
        parameters = {"files": list(found), "names": list(names)}
        refused: dict[str, str] = {}
        for file, number, line in self.con.execute(statements.find_headers(), parameters).fetchall():
            if form := found[file].form:
                texts = csv_reader.split_record(line, form.separator)
                again = {names[text]: place for place, text in enumerate(texts) if text in names}
                if again.keys() == dict(form.positions).keys() and again != dict(form.positions):
                    reason = f"record {number} is the header line again, with its columns in another order"
                    refused.setdefault(file, reason)
        for file, reason in refused.items():
            self.con.execute(statements.forget(self.feed), {"files": [file]})
            self.con.execute("delete from faults where _file = $file", {"file": file})
            for records in (found[file].records, found[file].illegible):
                self._run_over(records, statements.find_fault("refused", reason))
            self.found_late[file] = {"refused": reason, "warnings": []}

    def _look_at_numbers(self, tables: Mapping[str, Sequence[Delivery]], sources: Sequence[str]) -> None:
        """Note what is odd about the decimal numbers of files, if anything is."""
        files = {"files": [one.line["file"] for found in tables.values() for one in found]}
        find, forget = statements.find_odd_numbers(self.feed)
        if not self.con.execute(find, files).fetchall():
            return
        self.con.execute(forget, files)
        self._run(f"create or replace temp table numbers_read as {statements.read_numbers(self.feed, sources)}")
        for file, rounded, thousands in self.con.execute("from numbers_read").fetchall():
            self.found_late[file] = {"rows_rounded": rounded, "columns_maybe_thousands": thousands or None}

    def _run(self, sql: str, parameters: Any = None) -> None:
        run_statement(self.con, f"raw.{self.feed.name}", sql, parameters)

    def _run_over(self, records: Any, sql: str) -> None:
        """Run one statement over an Arrow table, `records`; nothing when it is None, as of an unreadable file."""
        if records is None:
            return
        self.con.register("records", records)
        try:
            self._run(sql)
        finally:
            self.con.unregister("records")

    @contextmanager
    def _registered(self, tables: Mapping[str, Sequence[Delivery]]) -> Iterator[None]:
        """Give names to the records of files."""
        import pyarrow as pa

        for name, found in tables.items():
            self.con.register(name, pa.concat_tables(one.records for one in found))
        try:
            yield
        finally:
            for name in tables:
                self.con.unregister(name)


_BATCH = 122_880  # rows of one piece of work, as large as a row group of DuckDB


@dataclass(frozen=True, slots=True)
class Delivery:
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


def read_delivery(feed: Feed, path: Path, careful: bool = False) -> Delivery:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BuildError(f"raw.{feed.name}", f"{path.name} cannot be read: {error.strerror}.") from None
    mapping = next((m for m in feed.mappings if any(fnmatchcase(path.name, pattern) for pattern in m.files)), None)
    names = _names(feed, mapping)
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
        content = csv_reader.decompress(data, path.name)
        line |= {"unpacked_hash": hashed if content is data else content_hash(content)}
        layout = csv_reader.read_layout(content, names, dialect)
    except csv_reader.Refusal as refusal:
        refused_for = masking.quoted(str(refusal), 1000)
        return Delivery(mapping, None, None, None, 0, line | {"refused": refused_for, "records": 0})
    cut = cut_records(layout, careful)
    refused = _refusal(feed, mapping, layout, names) or csv_reader.records_in_header(layout, cut, names)
    line |= {
        "encoding": layout.encoding,
        "separator": SEPARATORS[layout.separator],
        "unknown_columns": [masking.quoted(name) for name in csv_reader.unknown_columns(layout.header, names)],
        "missing_columns": [name for name in dict.fromkeys(names.values()) if name not in layout.positions],
        "warnings": [] if refused else csv_reader.warnings_of(layout, cut, _quotable(feed, mapping)),
        "refused": masking.quoted(refused, 1000) or None,
        "records": int((~cut.blank).sum()),
    }
    pieces = csv_reader.pieces_at(layout, cut, () if refused else layout.illegible)
    records, illegible = _records(layout, cut, path.name, pieces)
    return Delivery(mapping, form_of(layout, cut, careful), records, illegible, len(layout.body), line)


def _names(feed: Feed, mapping: DeliveryMapping | None) -> Mapping[str, str]:
    """Every header that a delivery may have, and the column that it means."""
    return {name: name for name in mapping.reads} if mapping else cells.header_names(feed)


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
        return csv_reader.missing_columns(layout, names, missing)
    secret = [column.name for column in feed.columns if column.pseudonym]
    if secret and masking.has_identity_code(layout.body, layout.start):
        return f"{' or '.join(secret)} looks like a personal identity code, which must not be delivered"
    return ""


def _records(layout: Layout, cut: Cut, file: str, illegible: NDArray[np.int64]) -> tuple[Any, Any]:
    """Make an Arrow table of `_file`, `_record` (null for a blank line) and `_line` without copying any text.

    The pieces that are `illegible` have no `_record` in it; the second table has those alone, None when there are none.
    """
    import numpy as np
    import pyarrow as pa

    def column(kind: Any, values: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> Any:
        # Not by pyarrow.array, which imports pandas to see whether it was given something of it.
        mask = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
        return pa.Array.from_buffers(kind, len(values), [mask, pa.py_buffer(values)])

    offsets, count = np.concatenate(([layout.start], cut.ends)), len(cut.ends)
    name = file.encode()
    names = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, len(name)], np.int32)), pa.py_buffer(name)]
    )
    files = pa.DictionaryArray.from_arrays(column(pa.int8(), np.zeros(count, np.int8)), names)
    lines = pa.LargeStringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(layout.body))
    numbers, is_record = np.cumsum(~cut.blank), ~cut.blank
    is_record[illegible] = False
    numbered = column(pa.int64(), numbers, None if is_record.all() else is_record)
    table = pa.Table.from_arrays([files, numbered, lines], ["_file", "_record", "_line"])
    table = pa.Table.from_batches(table.to_batches(max_chunksize=_BATCH), table.schema)
    if not illegible.size:
        return table, None
    places = column(pa.int64(), illegible)
    taken = [files.take(places), column(pa.int64(), numbers[illegible]), lines.take(places)]
    return table, pa.Table.from_arrays(taken, ["_file", "_record", "_line"])
