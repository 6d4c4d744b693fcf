"""Load deliveries: valid rows into `raw.<feed>`, rejected ones into `raw.rejects`, every file into `raw.deliveries`.

Only files whose content or contract changed are read. Feeds are brought up beside each other, as many as there are
threads; what they share is written when all are there, in their order, so that it is the same however they ran.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import chain
from pathlib import Path

from kpi.database import beside, duckdb, fetch_one, one_thread
from kpi.events import Emit, Event, emit_event, silent
from kpi.ingest import calendar, ledger, raw_table, statements
from kpi.ingest.calendar import count_months
from kpi.ingest.contract import Feed
from kpi.ingest.ledger import create_tables, forget_files, forget_outdated, read_lines, write_lines
from kpi.ingest.load_warnings import LoadWarning, warnings_of
from kpi.ingest.raw_files import RawFolder, kept_beside, load_kept
from kpi.ingest.raw_table import FeedChanges, FeedLoad, compare_folder
from kpi.presentation import one_line
from kpi.sql import literal

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
        problems=warnings_of(con, feeds, folder, as_of),
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
