"""Load deliveries: valid rows into `raw.<feed>`, rejected ones into `raw.rejects`, every file into `raw.deliveries`.

Only files whose content or contract changed are read. Feeds are brought up beside each other, as many as there are
threads; what they share is written when all are there, in their order, so that it is the same however they ran.

What is suspect in deliveries is a warning, which stops nothing; a file worse than its contract allows stops the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import chain
from pathlib import Path

from kpi.database import beside, fetch_one, one_thread
from kpi.errors import DeliveryError, Place, Problem, nearest
from kpi.events import Emit, Event, emit_event, silent
from kpi.ingest import calendar, ledger, raw_table, statements
from kpi.ingest.calendar import count_months
from kpi.ingest.contract import FILE_NAME, MOST_REJECTED, TIME_OF_DELIVERY, Feed
from kpi.ingest.csv_reader import shortened
from kpi.ingest.ledger import create_tables, forget_files, forget_outdated, read_lines, write_lines
from kpi.ingest.masking import quoted
from kpi.ingest.raw_files import ENDINGS, RawFolder, kept_beside, load_kept
from kpi.ingest.raw_table import FeedChanges, FeedLoad, compare_folder
from kpi.ingest.retention import past_retention, survey
from kpi.lazy import duckdb
from kpi.presentation import listed, one_line
from kpi.sql import counted, literal

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
        *_without_zeros(con, feeds),
    )


def _unknown_folders(folder: RawFolder, feeds: Mapping[str, Feed]) -> Iterator[LoadWarning]:
    for name in sorted({file.feed for file in folder.files} - set(feeds)):
        message = f"no feed has this name, its files are not read.{nearest(name, feeds)}"
        yield LoadWarning(Problem("folder.unknown", message, Place(f"{quoted(name)}/")))
    for path in folder.ignored:
        if "/" in path:
            message = "hidden, or not a .csv or .csv.gz file; not read."
        elif path.lower().endswith(ENDINGS):
            message = "in no feed's folder; not read. Move it into the folder of its feed."
        else:
            message = "a link that leads out of the folder, or nowhere; not read."
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
    if problem := folder.deleted_problem:
        yield LoadWarning(problem, related=tuple(file.path for file in folder.deleted))


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
                message = f"{rejected} of {counted(records, 'record')} rejected, see raw.rejects."
                found.append(("file.rejected_records", message))
            if masked:
                found.append(("file.masked_rows", f"personal data was masked in {counted(masked, 'row')}."))
            if ahead:
                found.append(("file.dated_ahead", f"{counted(ahead, 'row')} dated after the day of the refresh."))
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
            by = listed(others, 3)
            how = _HOW.get(feeds[name].newer_by, f"by {feeds[name].newer_by}")
            message = f"all its rows ({records}) are replaced by {by}, newer {how}."
            yield LoadWarning(_file_problem("file.replaced", name, file, message), name, others)
        if same:
            message = f"holds the same as {name}/{same}: it was delivered twice."
            yield LoadWarning(_file_problem("file.delivered_twice", name, file, message), name, (f"{name}/{same}",))


_SHRUNK = 0.5  # of the records that a file had under its name before


def _shrunk(before: Mapping[str, Mapping[str, ledger.Line]], found: Sequence[FeedLoad]) -> Iterator[LoadWarning]:
    """Files that were delivered again under their name with much less in them: half an export, or an empty one."""
    for load in found:
        for line in load.lines:
            old = before.get(load.feed.name, {}).get(line["file"])
            if old is None or line["refused"] or line["records"] >= _SHRUNK * old["records"]:
                continue
            message = f"holds {counted(line['records'], 'record')}; it held {old['records']} before, which are gone."
            yield LoadWarning(_file_problem("file.shrunk", load.feed.name, line["file"], message), load.feed.name)


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


def _without_zeros(con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed]) -> Iterator[LoadWarning]:
    """Files whose keys are those of others but for zeros at the front: none replaces the other, and both count."""
    columns = [
        (feed, one.name)
        for feed in feeds
        for one in feed.columns
        if one.name in feed.key and one.kind == "text" and not one.codes
    ]
    having = con.execute(statements.find_with_zeros(columns)).fetchall() if columns else []
    for feed, column in (columns[place] for (place,) in sorted(having)):
        make, find = statements.find_lost_zeros(feed, column)
        con.execute(make)
        for file, count, others in con.execute(find).fetchall():
            related = tuple(f"{feed.name}/{other}" for other in others)
            message = (
                f"{counted(count, 'row')} with a {column} that stands in {listed(related, 3)} with zeros at the front:"
                " did a spreadsheet drop them? Such rows count twice."
            )
            yield LoadWarning(_file_problem("file.without_zeros", feed.name, file, message), feed.name, related)


_HOW = {FILE_NAME: "by its name", TIME_OF_DELIVERY: "by its time of delivery"}


def refuse_bad_files(con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed], max_reject_share: float | None) -> None:
    """Raise DeliveryError when a file has more rejects than its feed's contract allows.

    `max_reject_share` (0 to 1) replaces the contract's threshold for this run. A refused file counts as a share of 1,
    however few its records.
    """
    bad = [] if max_reject_share == 1 else list(_counted_twice(con))
    lines = [str(problem) for problem in bad]
    for feed, file, records, rejected, refused, allowed in _bad_files(con, feeds, max_reject_share):
        message = f"{rejected} of {counted(records, 'record')} rejected; allowed are {allowed}."
        if refused:
            message = f"refused with its {counted(records, 'record')}: {refused}."
        bad.append(_file_problem("file.refused" if refused else "file.rejected_records", feed, file, message))
        lines.append(str(bad[-1]))
        if refused:
            continue
        lines += [f"    {count:>8} x {reason}" for reason, count in _commonest(con, feed, file)]
    if lines:
        raise DeliveryError(
            "Deliveries worse than their contract allows:\n  "
            + "\n  ".join(lines)
            + "\nThe rejected rows are in raw.rejects of the failed build. Mend the files, or let them through once"
            " with --max-reject-share; refused files only with a share of 1.",
            bad,
        )


def _counted_twice(con: duckdb.DuckDBPyConnection) -> Iterator[Problem]:
    """Files that hold the same as another whose rows count as well: where a key is made of the file's name."""
    for feed, file, other in con.execute(
        "select one.feed, one.file, other.file from raw.deliveries as one inner join raw.deliveries as other"
        " on one.feed = other.feed and one.same_content_as = other.file and other.rows_superseded < other.rows_loaded"
        " where one.rows_loaded > 0 order by one.path"
    ).fetchall():
        message = f"holds the same as {feed}/{other}, and the rows of both would count. Take one of them away."
        yield _file_problem("file.counted_twice", feed, file, message)


def _bad_files(
    con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed], max_reject_share: float | None
) -> list[tuple[str, str, int, int, str | None, int]]:
    """Return feed, name, records, rejects, why it is refused and how many may be rejected, of each file beyond that.

    In the order of the feeds, then of names. One statement: one a feed takes as long as loading a small file.
    """
    suspect = "select distinct feed from raw.deliveries where rows_rejected > 0 or refused is not null"
    suspects = {name for (name,) in con.execute(suspect).fetchall()}
    bad, allowed = [], []
    for place, feed in enumerate(feeds):
        if feed.name not in suspects:
            continue
        limit = (
            f"least(greatest({feed.reject_share} * records, {feed.reject_rows}), {MOST_REJECTED} * records)"
            if max_reject_share is None
            else f"{max_reject_share} * records"
        )
        refused_too = (feed.reject_share if max_reject_share is None else max_reject_share) < 1
        name = literal(feed.name)
        bad.append(f"when {name} then rows_rejected > {limit} or (refused is not null and {refused_too})")
        allowed.append(f"when {name} then {{'place': {place}, 'rows': floor({limit})::bigint}}")
    if not bad:
        return []
    limits = f"select *, case feed {' '.join(allowed)} end as allowed, case feed {' '.join(bad)} end as is_bad"
    return con.execute(
        f"select feed, file, records, rows_rejected, refused, allowed.rows from ({limits} from raw.deliveries)"
        " where is_bad order by allowed.place, file"
    ).fetchall()


def _commonest(con: duckdb.DuckDBPyConnection, feed: str, file: str) -> list[tuple[str, int]]:
    return con.execute(
        "select if(r.column_name = '', '', r.column_name || ': ') || r.reason as told, count(*) as n"
        " from (select unnest(reasons) as r from raw.rejects where feed = ? and file = ?)"
        " group by told order by n desc, told limit 10",
        [feed, file],
    ).fetchall()


_MOST_JOBS = 4  # feeds at a time: the largest of them takes half of the work
_FEW = 1 << 20  # bytes of deliveries that are not worth a thread
_FAULTS = 20_000  # rows that are fetched at a time
_PATIENCE = 0.05  # seconds between two attempts to stop what is running


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
    recovered: tuple[ledger.RecoveredRows, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings as text, a line each, each beginning with the path it is about."""
        return tuple(one_line(str(warning.problem)) for warning in self.problems)


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
    made, which no delivery can cause, and DeliveryError when what is kept of deleted deliveries cannot be used, or when
    a file changed after the run began.
    """
    ledger.forget_rejects(con)
    forget_outdated(con, feeds)
    create_tables(con, feeds)
    load_kept(con, kept_beside(raw), folder.kept)
    lines = read_lines(con)
    changes = [compare_folder(feed, folder, lines.get(feed.name, {}), as_of) for feed in feeds]
    with one_thread(con) as threads:
        found = _bring_up(con, changes, raw, threads, emit)
        recovered = ledger.recovered_rows(con, emit)
        count_months(con, feeds)
    calendar.write_calendar(con, feeds, as_of)
    return LoadReport(
        loaded=tuple(f"{one.feed.name}/{name}" for one in found for name in one.loaded),
        removed=tuple(f"{one.feed.name}/{name}" for one in found for name in one.removed),
        records=int(str(fetch_one(con, "select coalesce(sum(records), 0)::bigint from raw.deliveries")[0])),
        problems=(*warnings_of(con, feeds, folder, as_of), *_shrunk(lines, found)),
        reordered=frozenset(one.feed.name for one in found if one.is_reordered),
        recovered=recovered,
    )


def _bring_up(
    con: duckdb.DuckDBPyConnection, changes: Sequence[FeedChanges], raw: Path, threads: int, emit: Emit
) -> list[FeedLoad]:
    """Bring up every feed that has changes, then write what they share: rejects and ledger."""
    due = [one for one in changes if one.is_any]
    forget_files(con, [one.feed.name for one in due], [(one.feed.name, name) for one in due for name in one.outdated])
    sizes = {one.feed.name: sum(one.files[name].size for name in one.changed) for one in due}
    jobs = 1 if sum(sizes.values()) < _FEW else max(1, min(threads, _MOST_JOBS, len(due)))
    found: list[FeedLoad] = []
    with ExitStack() as stack:
        connections = {one.feed.name: stack.enter_context(beside(con)) for one in due}

        def bring_up(one: FeedChanges) -> FeedLoad:
            name = one.feed.name
            return raw_table.bring_up(connections[name], one, raw / name, raw_table.HELD // jobs)

        largest_first = sorted(due, key=lambda one: -sizes[one.feed.name])
        loads = stack.enter_context(_at_once(bring_up, largest_first, jobs, tuple(connections.values())))
        for place, one in enumerate(changes):
            emit_event(emit, Event("loading", stage="load", name=one.feed.name, done=place, total=len(changes)))
            if one.feed.name in connections:
                found.append(loads(one))
                _emit_files(found[-1], emit)
        _write_rejects(con, [one for one in found if one.has_faults])
    write_lines(con, [line for one in found for line in one.lines])
    return found


@contextmanager
def _at_once(
    task: Callable[[FeedChanges], FeedLoad],
    items: Sequence[FeedChanges],
    jobs: int,
    connections: Sequence[duckdb.DuckDBPyConnection],
) -> Iterator[Callable[[FeedChanges], FeedLoad]]:
    """Begin a task for each item, so many at a time; yields what waits for one. Whatever is left is stopped at the end.

    An error is that of the item which is waited for, so it is the same in whatever order they ran.
    """
    if jobs == 1:
        yield task
        return
    from concurrent.futures import ThreadPoolExecutor, wait

    pool = ThreadPoolExecutor(jobs, thread_name_prefix="load")
    futures = {item.feed.name: pool.submit(task, item) for item in items}
    try:
        yield lambda item: futures[item.feed.name].result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        while running := [future for future in futures.values() if not future.done()]:
            for connection in connections:
                connection.interrupt()
            wait(running, timeout=_PATIENCE)
        pool.shutdown()  # what ran has ended; its threads have then too


def _write_rejects(con: duckdb.DuckDBPyConnection, found: Sequence[FeedLoad]) -> None:
    """Write what is wrong with the records of feeds into `raw.rejects`, in their order."""
    if not found:
        return
    import pyarrow as pa

    readers = [
        one.con.sql(f"select {literal(one.feed.name)} as feed, * from faults order by _file, _record").to_arrow_reader(
            _FAULTS
        )
        for one in found
    ]
    batches = pa.RecordBatchReader.from_batches(readers[0].schema, chain.from_iterable(readers))
    con.register("faults_of_feeds", batches)
    raw_table.run_statement(con, "raw.rejects", statements.reject_faults())
    con.unregister("faults_of_feeds")


def _emit_files(load: FeedLoad, emit: Emit) -> None:
    """Tell of each file that was loaded how many rows it has, and which files are gone."""
    for name in load.removed:
        emit_event(emit, Event("removed", stage="load", name=f"{load.feed.name}/{name}"))
    rows = {line["file"]: line["rows_loaded"] for line in load.lines}
    for name in sorted(load.loaded):
        emit_event(emit, Event("loaded", stage="load", name=f"{load.feed.name}/{name}", rows=rows[name]))
