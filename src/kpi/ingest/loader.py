"""Load deliveries: valid rows into `raw.<feed>`, rejected ones into `raw.rejects`, every file into `raw.deliveries`.

A feed with a contract is counted, so no model has to list the feeds.

Files are cut into records here; all that follows is one statement over the records of all files of one form. Records
that it doubts are taken out again and told with their reasons.

Only files whose content or contract changed are read. Keys are looked at after that, over all files of each feed that
was touched, so the order in which files arrived never matters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.database import duckdb, fetch_one, kind_of, one_thread
from kpi.errors import BuildError, ContractError, DeliveryError, Place, Problem, nearest
from kpi.events import Emit, Event, emit_event, silent
from kpi.ingest import calendar, cells, csv_reader, masking, raw_files, rejects, release_files, statements
from kpi.ingest.contract import MOST_REJECTED, SEPARATORS, DeliveryMapping, Feed
from kpi.ingest.csv_reader import Cut, Form, Layout, cut_records, form_of, shortened
from kpi.ingest.file_order import FILE_NAME, TIME_OF_DELIVERY
from kpi.ingest.masking import quoted
from kpi.ingest.raw_files import RawFolder, content_hash, kept_beside
from kpi.ingest.retention import followed, past_retention, survey
from kpi.presentation import one_line
from kpi.sql import counted, identifier, literal

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    from numpy.typing import NDArray

    from kpi.ingest.contract import Feed


TABLE = "feed_months"
COLUMNS = (
    ("feed", "VARCHAR"),
    ("report_year", "BIGINT"),
    ("report_month", "BIGINT"),
    ("row_count", "BIGINT"),
    ("service_count", "BIGINT"),
)
_COMMENT = (
    "select comment from duckdb_tables() where database_name = current_database() and schema_name = 'raw'"
    f" and table_name = {literal(TABLE)}"
)
# Which rows of each feed are in force hangs on its files, and on how many of their rows others supersede.
_STATE = (
    "select feed, md5(string_agg(concat_ws('|', file, content_hash, contract, rows_loaded, rows_superseded), '/'"
    " order by file)) from raw.deliveries group by feed"
)


def check_report_years(feeds: Sequence[Feed]) -> list[ContractError]:
    """Return an error for every feed with several dates whose contract does not say which gives the report year."""
    mistakes = []
    for feed in feeds:
        dates = [column.name for column in feed.columns if column.kind in ("timestamp", "date")]
        if not feed.retention.by and len(dates) > 1:
            message = f"raw.{TABLE} counts the rows of '{feed.name}' by report year: say by 'raw_retention_by' which"
            mistakes.append(ContractError(f"{message} column gives it: {', '.join(dates)}.", feed.retention.where))
    return mistakes


def definitions(feeds: Sequence[Feed]) -> dict[str, str]:
    """Return a hash of how the rows of each feed are counted, by its name."""
    by_name = {feed.name: feed for feed in feeds}
    return {
        feed.name: hashlib.blake2b(_months(feed, by_name).encode(), digest_size=8).hexdigest()
        for feed in sorted(feeds, key=lambda feed: feed.name)
    }


def count_months(con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed]) -> None:
    """Bring `raw.feed_months` up to the raw tables and `raw.deliveries`, counting only the feeds that changed.

    Grain: one row per feed, report_year and report_month with rows in force. The year is null where the date of a row
    is missing or its feed has none, the month also where the contract names the year alone. `service_count` is the
    number of different values of the contract's `services_by`, 1 without one.
    """
    by_name, how = {feed.name: feed for feed in feeds}, definitions(feeds)
    state = dict(con.execute(_STATE).fetchall())
    now = {name: [how[name], state.get(name), state.get(feed.retention.of)] for name, feed in by_name.items()}
    row = con.execute(_COMMENT).fetchone()
    # What each feed was counted of, and how, stands in the table's comment.
    counted: dict[str, list[str | None]] = json.loads(row[0]) if row and row[0] else {}
    if not counted:
        con.execute(f"delete from raw.{TABLE}")
    for name in sorted({*counted, *by_name}):
        if counted.get(name) != now.get(name):
            con.execute(f"delete from raw.{TABLE} where feed = ?", [name])
            if name in by_name:
                con.execute(f"insert into raw.{TABLE} {_months(by_name[name], by_name)}")
    con.execute(f"comment on table raw.{TABLE} is {literal(json.dumps(now))}")


def _months(feed: Feed, by_name: Mapping[str, Feed]) -> str:
    """SQL of the rows of raw.feed_months that are one feed's."""
    rows, by, kinds = f"raw.{identifier(feed.name)} as counted", feed.retention.by, feed.limits.kinds
    if feed.retention.of not in ("", *by_name):
        by = ""  # its years are not there to be had
    elif feed.retention.of:
        other = followed(feed.limits, {name: one.limits for name, one in by_name.items()})
        dated = f"(select * from raw.{identifier(other.feed)} where not _is_superseded) as dated"
        same = " and ".join(f"counted.{identifier(key)} = dated.{identifier(key)}" for key in other.key)
        rows, kinds = f"{rows} inner join {dated} on {same}", other.kinds
    column = f"{'dated' if feed.retention.of else 'counted'}.{identifier(by)}"
    if not by:
        year = month = "null"
    elif kinds[by] == "integer":
        year, month = column, "null"
    else:
        year, month = f"year({column})", f"month({column})"
    services = f"count(distinct counted.{identifier(feed.services_by)})" if feed.services_by else "1"
    return (
        f"select {literal(feed.name)}, cast({year} as bigint) as report_year, cast({month} as bigint) as report_month,"
        f" count(*), {services} from {rows} where not counted._is_superseded group by 2, 3 order by 2, 3"
    )


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
            message = "changed after the run had begun. Is it still being written? Run again when it is whole"
            raise DeliveryError(f"{line['path']} {message}.")


def note_files(
    con: duckdb.DuckDBPyConnection, feed: Feed, changed: Sequence[str], gone: Sequence[str], emit: Emit
) -> None:
    """Tell of each file that was loaded how many rows it has, and which files are gone."""
    for name in gone:
        emit_event(emit, Event("removed", stage="load", name=f"{feed.name}/{name}"))
    if changed:
        wanted = "select file, rows_loaded from raw.deliveries where feed = ? and list_contains(?, file) order by file"
        for name, rows in con.execute(wanted, [feed.name, list(changed)]).fetchall():
            emit_event(emit, Event("loaded", stage="load", name=f"{feed.name}/{name}", rows=rows))


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
        return _Delivery(mapping, None, None, None, 0, line | {"refused": refused_for, "records": 0})
    cut = cut_records(layout, careful)
    refused = _refusal(feed, mapping, layout, names)
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
        return csv_reader.missing_columns(layout, names, missing)
    secret = [column.name for column in feed.columns if column.pseudonym]
    if secret and masking.has_identity_code(layout.body[layout.start :]):
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
        restricted = masking.of_error(error)
        raise BuildError(f"raw.{feed.name}", kind_of(error), sql, restricted=restricted) from None
    finally:
        for name in tables:
            con.unregister(name)


READING = "file.reading"  # what is suspect in how a file was read: of several kinds, told apart by their text


@dataclass(frozen=True, slots=True)
class LoadWarning:
    """A problem with deliveries that stops nothing, of a feed or of none, and the other files that it is about."""

    problem: Problem
    feed: str = ""
    related: tuple[str, ...] = ()


def _file_problem(code: str, feed: str, file: str, message: str) -> Problem:
    """A problem of one delivered file, of a feed by its name."""
    return Problem(code, one_line(message), Place(f"{feed}/{file}"))


def warnings_of(
    con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed], folder: RawFolder, as_of: date
) -> tuple[LoadWarning, ...]:
    """Return every warning. `as_of` is the day of the refresh."""
    return (
        *_unknown_folders(folder, {feed.name: feed for feed in feeds}),
        *_past_retention(con, feeds, folder, as_of),
        *_warnings(con),
        *_replaced(con, {feed.name: feed for feed in feeds}),
        *_spoilt(con),
    )


def _unknown_folders(folder: RawFolder, feeds: Mapping[str, Feed]) -> Iterator[LoadWarning]:
    for name in sorted({file.feed for file in folder.files} - set(feeds)):
        message = f"no feed has this name, its files are not read.{nearest(name, feeds)}"
        yield LoadWarning(Problem("folder.unknown", message, Place(f"{quoted(name)}/")))
    file, link = "hidden, or not a .csv or .csv.gz file", "a link that leads out of the folder, or nowhere"
    for path in folder.ignored:
        message = f"{file if '/' in path else link}; not read."
        yield LoadWarning(Problem("file.ignored", message, Place(quoted(path))))


def _past_retention(
    con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed], folder: RawFolder, as_of: date
) -> Iterator[LoadWarning]:
    """What may not be kept any longer. A run only tells of it: deleting is a decision."""
    limits = [feed.limits for feed in feeds]
    files: dict[str, list[int]] = {}
    aged = survey(con, limits)
    past = list(past_retention(aged, limits, as_of.year))
    for last_year, one in past:
        files.setdefault(one.feed, []).append(last_year)
    for feed, last in files.items():
        message = f"{len(last)} of its deliveries hold nothing after {last[0]}, past retention."
        yield LoadWarning(Problem("feed.past_retention", message, suggestion="See: kpi prune-raw", subject=feed), feed)
    kept_until = dict(con.execute("select feed, max(last_year) from raw.deleted_deliveries group by feed").fetchall())
    for one in sorted(set(aged).difference(one for _, one in past), key=lambda one: one.path):
        if one.first_year is not None and one.first_year <= kept_until.get(one.feed, 0):
            message = (
                f"holds rows of {one.first_year}, a year whose deliveries were deleted: they change no kept figure."
            )
            yield LoadWarning(_file_problem("file.of_deleted_year", one.feed, one.file, message), one.feed)
    if again := [file.path for file in folder.deleted]:
        more = f" and {len(again) - 3} more" if len(again) > 3 else ""
        lie = "lies" if len(again) == 1 else "lie"
        message = f"deleted by retention, {lie} there and not read."
        place = Place(one_line(f"{', '.join(again[:3])}{more}"))
        yield LoadWarning(Problem("file.deleted", message, place, "See: kpi prune-raw"), related=tuple(again))


def _warnings(con: duckdb.DuckDBPyConnection) -> Iterator[LoadWarning]:
    for feed, file, refused, unknown, missing, warnings, rejected, records, ahead, masked in con.execute(
        "select feed, file, refused, unknown_columns, missing_columns, warnings, rows_rejected, records,"
        " rows_dated_ahead, rows_masked from raw.deliveries order by path"
    ).fetchall():
        found: list[tuple[str, str]] = []
        if refused:
            found.append(("file.refused", f"refused, {refused}."))
        else:
            if not records:
                found.append(("file.empty", "holds no records."))
            if unknown:
                found.append(("file.unknown_columns", f"columns nobody asked for, ignored: {shortened(unknown)}."))
            if missing:
                message = f"optional columns that are not there, taken as missing: {', '.join(missing)}."
                found.append(("file.missing_columns", message))
            found += [(READING, f"{warning}.") for warning in warnings or ()]
            if rejected:
                message = f"{rejected} of {records} records rejected, see raw.rejects."
                found.append(("file.rejected_records", message))
            if masked:
                found.append(("file.masked_rows", f"personal data was masked in {masked} rows."))
            if ahead:
                found.append(("file.dated_ahead", f"{ahead} rows dated after the day of the refresh."))
        for code, message in found:
            yield LoadWarning(_file_problem(code, feed, file, message), feed)


def _replaced(con: duckdb.DuckDBPyConnection, feeds: Mapping[str, Feed]) -> Iterator[LoadWarning]:
    """Files of which nothing is in force any more, and files that were delivered twice."""
    for name, file, records, newer, same in con.execute(
        "select feed, file, rows_loaded, case when rows_loaded > 0 and rows_superseded = rows_loaded"
        " then superseded_by end, same_content_as from raw.deliveries order by path"
    ).fetchall():
        if newer:
            others = tuple(f"{name}/{other}" for other in newer)
            by = _first(others)
            how = _HOW.get(feeds[name].newer_by, f"by {feeds[name].newer_by}")
            message = f"all its rows ({records}) are replaced by {by}, newer {how}."
            yield LoadWarning(_file_problem("file.replaced", name, file, message), name, others)
        if same:
            message = f"holds the same as {name}/{same}: it was delivered twice."
            yield LoadWarning(_file_problem("file.delivered_twice", name, file, message), name, (f"{name}/{same}",))


def _spoilt(con: duckdb.DuckDBPyConnection) -> Iterator[LoadWarning]:
    """Files whose numbers or times a spreadsheet, or another export, may have changed."""
    for feed, file, rounded, thousands, blunt in con.execute(
        "select feed, file, rows_rounded, columns_maybe_thousands, columns_without_seconds from raw.deliveries"
        " order by path"
    ).fetchall():
        if rounded:
            message = f"{counted(rounded, 'number')} with more than 6 decimals, rounded to 6."
            yield LoadWarning(_file_problem("file.rounded", feed, file, message), feed)
        if thousands:
            message = (
                f"the numbers in {', '.join(thousands)} with a point, or with a comma, all look like 1.234 or"
                " 1,234: read as decimals, but were thousands meant? Deliver thousands without a mark, or say in the"
                " contract how many 'decimals' there are."
            )
            yield LoadWarning(_file_problem("file.maybe_thousands", feed, file, message), feed)
        if blunt:
            message = (
                f"no time in {', '.join(blunt)} has seconds: did a spreadsheet drop them?"
                " If the source has none, say 'precision: minute' of the column in the contract."
            )
            yield LoadWarning(_file_problem("file.without_seconds", feed, file, message), feed)


_HOW = {FILE_NAME: "by its name", TIME_OF_DELIVERY: "by its time of delivery"}


def _first(paths: Iterable[str], most: int = 3) -> str:
    found = list(paths)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def refuse_bad_files(con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed], max_reject_share: float | None) -> None:
    """Raise DeliveryError when a file has more rejects than its feed's contract allows.

    `max_reject_share` (0 to 1) replaces the contract's threshold for this run. A refused file counts as a share of 1,
    however few its records.
    """
    lines: list[str] = []
    bad: list[Problem] = []
    for feed in feeds:
        limit = (
            f"least(greatest({feed.reject_share} * records, {feed.reject_rows}), {MOST_REJECTED} * records)"
            if max_reject_share is None
            else f"{max_reject_share} * records"
        )
        refused_too = (feed.reject_share if max_reject_share is None else max_reject_share) < 1
        rows = con.execute(
            f"select file, records, rows_rejected, refused, floor({limit})::bigint from raw.deliveries"
            f" where feed = ? and (rows_rejected > {limit} or (refused is not null and {refused_too})) order by file",
            [feed.name],
        ).fetchall()
        for file, records, rejected, refused, allowed in rows:
            message = f"{rejected} of {records} records rejected; allowed are {allowed}."
            if refused:
                message = f"refused with its {records} records: {refused}."
            bad.append(_file_problem("file.refused" if refused else "file.rejected_records", feed.name, file, message))
            lines.append(str(bad[-1]))
            if refused:
                continue
            lines += [f"    {count:>8} x {reason}" for reason, count in _commonest(con, feed.name, file)]
    if lines:
        raise DeliveryError(
            "Deliveries worse than their contract allows:\n  "
            + "\n  ".join(lines)
            + "\nThe rejected rows are in raw.rejects of the failed build. Mend the files, or let them through once"
            " with --max-reject-share; refused files only with a share of 1.",
            bad,
        )


def _commonest(con: duckdb.DuckDBPyConnection, feed: str, file: str) -> list[tuple[str, int]]:
    return con.execute(
        "select if(r.column_name = '', '', r.column_name || ': ') || r.reason as told, count(*) as n"
        " from (select unnest(reasons) as r from raw.rejects where feed = ? and file = ?)"
        " group by told order by n desc, told limit 10",
        [feed, file],
    ).fetchall()


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
    TABLE: COLUMNS,
    calendar.TABLE: calendar.COLUMNS,
    **raw_files.TABLES,
    **release_files.TABLES,
}


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did, in paths below the raw folder, and what is worth a warning. `reordered` are feeds.

    `recovered` are rows that were rejected until their contract changed.
    """

    loaded: tuple[str, ...]
    removed: tuple[str, ...]
    records: int
    problems: tuple[LoadWarning, ...]
    reordered: frozenset[str] = frozenset()
    recovered: tuple[rejects.RecoveredRows, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings as text, a line each, each beginning with the path it is about."""
        return tuple(one_line(str(warning.problem)) for warning in self.problems)


def contract_fingerprint(feed: Feed) -> str:
    """A hash of the contract and of the code that applies it: when either changes, files are loaded anew."""
    code = hashlib.blake2b(digest_size=16)
    for module in sorted(Path(__file__).parent.glob("*.py")):
        code.update(module.read_bytes())
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
    emit: Emit = silent,
) -> LoadReport:
    """Bring the raw tables up to what lies in the raw folder, touching only what changed.

    `as_of` is the day of the refresh: later dates load and are warned about. Raises BuildError when rows were lost or
    made, which no delivery can cause, and DeliveryError when what is kept of deleted deliveries cannot be used.
    """
    rejects.forget_rejects(con)
    _forget_outdated(con, feeds)
    create_tables(con, feeds)
    raw_files.load_kept(con, kept_beside(raw), folder.kept)
    loaded, removed, reordered = list[str](), list[str](), set[str]()
    with one_thread(con):
        for place, feed in enumerate(feeds):
            emit_event(emit, Event("loading", stage="load", name=feed.name, done=place, total=len(feeds)))
            changed, gone, is_reordered = _bring_up(con, feed, raw, folder, as_of)
            reordered |= {feed.name} if is_reordered else set()
            note_files(con, feed, changed, gone, emit)
            loaded += [f"{feed.name}/{name}" for name in changed]
            removed += [f"{feed.name}/{name}" for name in gone]
        recovered = rejects.recovered_rows(con, emit)
        count_months(con, feeds)
    calendar.write_calendar(con, feeds, as_of)
    return LoadReport(
        loaded=tuple(loaded),
        removed=tuple(removed),
        records=int(str(fetch_one(con, "select coalesce(sum(records), 0)::bigint from raw.deliveries")[0])),
        problems=warnings_of(con, feeds, folder, as_of),
        reordered=frozenset(reordered),
        recovered=recovered,
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
    if TABLE in tables and tuple(tables[TABLE]) != COLUMNS:
        del tables[TABLE]
        con.execute(f"drop table raw.{TABLE}")
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
            if TABLE in tables:
                con.execute(f"comment on table raw.{TABLE} is null")  # all are counted anew


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
    order = statements.oldest_first(feed, folder)
    # Files that are still there but in another order: what all of them claim is settled anew.
    is_reordered = statements.is_reordered(con, feed, order, folder)
    if gone or changed or is_reordered:
        con.execute(statements.start_claimed(feed))
        if outdated or is_reordered:
            con.execute(statements.note_claimed(feed), {"files": list(old) if is_reordered else outdated})
            for sql in statements.forget(feed):
                con.execute(sql, {"files": outdated})
        contract, folder_of_feed = contract_fingerprint(feed), raw / feed.name
        paths = [folder_of_feed / name for name in changed]
        lines = list(load_files(con, feed, paths))
        refuse_changed(lines, new)
        _write_down(con, [line | {"contract": contract} for line in lines])
        note_numbers(con, feed)
        statements.number_files(con, feed, order, folder)
        if old:
            con.execute(statements.note_claimed(feed), {"files": changed})
        settle_keys(con, feed, folder_of_feed, among_claimed=bool(old))
        statements.compare_files(con, feed)
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
    masked = " or ".join(map(masking.is_masked, texts)) or "false"
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
        message = f"{file} has {records} records, but {loaded} were loaded and {rejected} rejected."
        raise BuildError(f"raw.{feed.name}", message)
