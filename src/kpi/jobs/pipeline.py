"""Bring an open database up to date with the project and the deliveries: load, build, test; then verify the file."""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb

from kpi import database
from kpi.build_record import BuildRecord, FileRecord, NodeRecord, ReadersRecord, TestRecord, UnitTestRecord
from kpi.database import first_line, relations
from kpi.engine.adapter import BUILD_VARIABLE, adapters
from kpi.engine.artifacts import state_of
from kpi.engine.graph import AUDIT_SCHEMA, Graph
from kpi.engine.incremental import keeps_rows
from kpi.engine.plan import UNBUILT, Content, Request, Step, checksums_of, definitions, orphaned_relations, steps_of
from kpi.engine.runner import (
    AdapterFor,
    RunResult,
    Task,
    increment_problems,
    new_record,
    prepare_run,
    run_hooks,
    run_nodes,
    source_records,
)
from kpi.engine.selector import Selection, State, select
from kpi.engine.test_runner import CheckResult, Store, examples_text, run_tests, with_examples
from kpi.engine.unit_tests import refuse_failing, run_unit_tests, unit_tests_of, with_unit_tests
from kpi.environment import hidden_values
from kpi.errors import BuildError, BuildErrors, DeliveryError, KpiError, Place, Problem, interruptible, is_disk_full
from kpi.events import Emit, Event, emit_event
from kpi.ingest import release_files
from kpi.ingest.loader import LoadReport, LoadWarning, load, refuse_bad_files
from kpi.ingest.raw_files import RawFolder, deleted, kept_beside
from kpi.jobs.options import Options, selector_of
from kpi.presentation import one_line
from kpi.settings import EngineSettings
from kpi.sql import counted, identifier, literal, relation_name
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import DATABASE, database_folder


def fully_refreshed(
    graph: Graph, before: Mapping[str, NodeRecord], definitions: Mapping[str, str], full_refresh: bool, emit: Emit
) -> frozenset[str]:
    """Return the ids of incremental models whose tables must not be added to.

    A full refresh asks for it, or what defines a model changed since the published build, whose nodes are `before`:
    then its old rows are not what the project says now. Says so, when it is the latter.
    """
    models = [node for node in graph.built() if node.materialized == "incremental"]
    if full_refresh:
        return frozenset(node.id for node in models)
    redefined = [
        node
        for node in models
        if not keeps_rows(node.config) and before.get(node.id, UNBUILT).definition != definitions[node.id]
    ]
    names = sorted(node.name for node in redefined if node.id in before)
    if names:
        emit(f"Built from nothing, for what defines them changed: {', '.join(names)}.")
    return frozenset(node.id for node in redefined)


def unmanaged_relations(graph: Graph, published: BuildRecord) -> frozenset[str]:
    """Return the relations of no node that stay: what hooks made, and snapshots that the project no longer has."""
    places = {str(node.relation) for node in graph.built()}
    return frozenset(set(published.snapshots) - places | set(published.kept))


def carry_over(
    con: duckdb.DuckDBPyConnection, graph: Graph, published: BuildRecord, database: Path, emit: Emit
) -> None:
    """Copy into a candidate that starts from nothing the tables that cannot be derived again, with their constraints.

    They are the snapshots, those of the project whatever is noted of the build, the unmanaged relations, and models
    with full_refresh: false.
    """
    protected = {
        str(node.relation)
        for node in graph.built()
        if node.kind == "snapshot" or node.config.get("full_refresh") is False
    }
    wanted = (protected | set(published.snapshots) | unmanaged_relations(graph, published)) - relations(con).keys()
    if not wanted or not database.is_file():
        return
    try:
        con.execute(f"attach {literal(str(database))} as published (read_only)")
    except duckdb.Error as error:
        held = f"it holds what cannot be derived again ({', '.join(sorted(wanted))}), and cannot be opened"
        remedy = "kpi rollback, so that an earlier build is what is started from; or bring it back from a backup."
        restricted = f"{held} ({first_line(error)}). {remedy}"
        raise BuildError(f"build {database.parent.name}", f"{held}. {remedy}", restricted=restricted) from None
    try:
        tables = con.execute(
            "select schema_name, table_name, sql from duckdb_tables() where database_name = 'published' order by all"
        ).fetchall()
        to_copy = [table for table in tables if relation_name(table[0], table[1]) in wanted]
        for schema, name, ddl in to_copy:
            place = f"{identifier(schema)}.{identifier(name)}"
            con.execute(f"create schema if not exists {identifier(schema)}")
            con.execute(ddl)
            con.execute(f"insert into {place} from published.{place}")
    finally:
        con.execute("detach published")
    if to_copy:
        names = ", ".join(relation_name(schema, name) for schema, name, _ in to_copy)
        emit(f"Carried over from the published build: {names}.")


EXCHANGE = ".tmp-spark"  # the folder among the builds for what goes to Spark and comes back
_LARGE = 32 << 20  # bytes of a file that is read in no less time than it takes to import what sums its blocks
LOAD_SUMMARY = "load summary"  # the event that says how much was loaded


@dataclass(frozen=True, slots=True)
class PipelineContext:
    """What a run works with, the same from its first step to its last.

    `folder` is what lies in the raw folder, `emit` hears what happens, `begin` is called before the first node is
    built. `engine` says what computes models and tests.
    """

    warehouse: Warehouse
    graph: Graph
    options: Options
    folder: RawFolder
    emit: Emit
    begin: Callable[[], object] = lambda: None
    engine: EngineSettings = field(default_factory=EngineSettings)

    @property
    def memory_limit(self) -> str:
        """How much memory DuckDB may have; empty when nobody said."""
        settings = self.graph.project.warehouse_settings.engine_settings(self.options.settings or {})
        return settings.get("memory_limit", "")

    def release_memory(self, con: duckdb.DuckDBPyConnection) -> None:
        """Between two stages, give back what DuckDB keeps of the one before, where there is a limit."""
        if self.memory_limit:
            database.release_memory(con)


def ingest_deliveries(
    con: duckdb.DuckDBPyConnection, context: PipelineContext
) -> tuple[tuple[Problem, ...], tuple[FileRecord, ...]]:
    """Load what changed. Returns all warnings, and what became of each file.

    Raises DeliveryError when files are worse than their contract allows, when all of them are gone, or when what was
    kept of deleted ones is.
    """
    warehouse, graph, folder, options = context.warehouse, context.graph, context.folder, context.options
    _refuse_lost(warehouse, folder, options)
    report = load(con, graph.feeds, warehouse.raw, folder, options.as_of, context.emit)
    worse_than_allowed: DeliveryError | None = None
    try:
        refuse_bad_files(con, graph.feeds, options.max_reject_share)
    except DeliveryError as error:
        worse_than_allowed = error
    # What the error says of a file is not a warning beside it.
    _emit_report(report, folder, context.emit, worse_than_allowed.files if worse_than_allowed else ())
    published = warehouse.current_record()
    had = (published.files if published else None) or ()
    pruned_files = deleted(kept_beside(warehouse.raw), folder.kept)
    is_lost = any((file.path, file.content_hash) not in pruned_files for file in had)
    if is_lost and not folder.files and not options.publish_despite_checks:
        raise DeliveryError(
            f"All deliveries are gone from {warehouse.raw}: is a disk not mounted? Readers keep the build they"
            " had. If it is meant, publish it with --publish-despite-checks REASON."
        )
    if worse_than_allowed:
        raise worse_than_allowed
    columns = (
        "feed, file, content_hash, records, rows_loaded, rows_rejected, rows_superseded, superseded_by,"
        " same_content_as, epoch(delivered_at)::bigint as delivered_at"
    )
    rows = con.execute(f"select {columns} from raw.deliveries order by feed, file").fetchall()
    return tuple(warning.problem for warning in report.problems), tuple(_file_record(*row) for row in rows)


def _file_record(*row: Any) -> FileRecord:
    file = FileRecord(*row)
    return replace(file, superseded_by=None if file.superseded_by is None else tuple(file.superseded_by))


def _refuse_lost(warehouse: Warehouse, folder: RawFolder, options: Options) -> None:
    """Raise DeliveryError when figures that are only kept any more are gone: nothing could derive them again."""
    published = warehouse.current_record()
    lost = sorted(set(published.retained if published else ()) - {one.name for one in folder.kept})
    if lost and not options.publish_despite_checks:
        raise DeliveryError(
            f"Gone from {kept_beside(warehouse.raw)}: {', '.join(lost)}. It held figures whose deliveries were deleted;"
            " get it back from a backup. Readers keep the build they had. If it is meant, publish it with"
            " --publish-despite-checks REASON."
        )


def _emit_report(report: LoadReport, folder: RawFolder, emit: Emit, in_error: Iterable[Problem]) -> None:
    """Report what was loaded and what is worth a warning; not the files that the run is about to stop for."""
    records = f"{report.records:,}".replace(",", " ")
    summary = (
        f"Loaded {counted(len(report.loaded), 'new or changed file')}, dropped {len(report.removed)};"
        f" the deliveries hold {records} record{'' if report.records == 1 else 's'}."
    )
    emit_event(emit, Event(LOAD_SUMMARY, summary, stage="load"))
    for path in report.removed[:10]:
        emit(f"  warning: {path}: no longer there, its rows are gone.")
    if len(report.removed) > 10:
        emit(f"  warning: and {len(report.removed) - 10} more files are no longer there.")
    # What an earlier run reported of a delivery that is still the same is not reported every night.
    same_files = {file.path for file in folder.files} - set(report.loaded)
    # A file that is the same may have a warning because of one that is not, or counts as newer now: it is replaced.
    loaded, said_by_error = set(report.loaded), {problem.key for problem in in_error}
    old = [
        warning
        for warning in report.problems
        if warning.problem.place.file in same_files
        and warning.feed not in report.reordered
        and loaded.isdisjoint(warning.related)
    ]
    new = [warning for warning in report.problems if warning not in old and warning.problem.key not in said_by_error]
    for warning in new:
        emit_event(emit, Event("warning", stage="load", name=one_line(str(warning.problem))))  # for the log: each
    for line in grouped(new):
        emit(f"  warning: {one_line(line)}")
    if old:
        warnings = counted(len(old), "older warning")
        emit(f"  {warnings} of deliveries that are the same: see rows_rejected in raw.deliveries.")


def grouped(warnings: Iterable[LoadWarning]) -> Iterator[str]:
    """Yield the warnings of deliveries, a line for each kind: how many files it is about, and the first one's words."""
    groups: dict[str, list[LoadWarning]] = {}
    for warning in warnings:
        groups.setdefault(warning.problem.code, []).append(warning)
    for alike in groups.values():
        first, feeds = alike[0].problem, len({warning.feed for warning in alike})
        if len(alike) == 1:
            yield str(first)
            continue
        files = counted(len(alike), "file") if first.place.file else counted(len(alike), "feed")
        of_feeds = f" of {feeds} feeds" if first.place.file and feeds > 1 else ""
        yield f"{files}{of_feeds}, the first is {first} Each of them: kpi deliveries"


def verdict(record: BuildRecord) -> tuple[list[Problem], list[Problem]]:
    """Return what the checks of a build found: what keeps it from readers, and what is worth a warning."""
    failures: list[Problem] = []
    warnings: list[Problem] = []
    for check in record.checks:
        if check.status != "pass":
            message = f"{counted(check.failures, 'failing row')}{f', kept in {check.stored}' if check.stored else ''}"
            problem = Problem("test.failed", message, Place(check.where), subject=check.name)
            (failures if check.status == "fail" else warnings).append(problem)
    for year in record.years or ():
        subject = f"{year.year} {year.expectation}"
        problem = Problem("expectation.failed", "does not hold", restricted=year.observed, subject=subject)
        (failures if year.severity == "error" else warnings).append(problem)
    return failures, warnings


def example_lines(record: BuildRecord) -> Iterator[str]:
    """Yield a line for each check that did not pass and has examples of its failing rows.

    Apart from what `verdict` says: that goes into mails, which quote no row, and is compared from night to night.
    """
    for check in record.checks:
        if check.status != "pass" and check.examples:
            yield f"  {check.name}, failing rows{examples_text(check.examples, check.failures)}"


def prepare_hashing(file: Path) -> None:
    """Import what sums the blocks of a large file, in another thread: the kernel can copy the file meanwhile."""
    if file.stat().st_size >= _LARGE:
        threading.Thread(target=importlib.import_module, args=("numpy",), daemon=True).start()


@contextmanager
def hashing(file: Path) -> Iterator[Callable[[], str]]:
    """Look at all blocks of a finished file in another thread, which is done when this is left.

    Yields what returns the file's hash then: nothing of a small file, where a block is not whole, or when it was
    written to since.
    """
    from concurrent.futures import ThreadPoolExecutor

    about = _identity_of(file)
    with ThreadPoolExecutor(1) as pool:
        pending_hash = pool.submit(database.hash_of_whole_blocks, file) if file.stat().st_size >= _LARGE else None
        yield lambda: pending_hash.result() if pending_hash and _identity_of(file) == about else ""


def _identity_of(file: Path) -> tuple[int, int, int]:
    about = file.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


def read_back(file: Path, memory_limit: str = "", hashed: str = "") -> tuple[dict[str, int], str]:
    """Open a finished file as a reader would and look at all of it.

    Returns the number of rows of each table, and the file's hash where that was worked out on the way, else nothing.
    `hashed` is that hash when all blocks were looked at before.

    An aborted write can leave a file with no tables, a bad disk one with a page that nobody can read. Of a large file
    the checksums of its blocks are compared; the tables are read where one is not right, for nothing may need that
    block. A quarter of the memory of a run is enough. Raises BuildError.
    """
    try:
        with database.reading(file, _a_quarter(memory_limit)) as con:
            rows_by_table = database.row_counts(con)
            if not hashed and file.stat().st_size >= _LARGE:
                hashed = database.hash_of_whole_blocks(file)
            if not hashed:
                database.read_all(con, rows_by_table)
            return rows_by_table, hashed
    except (duckdb.Error, UnicodeDecodeError) as error:
        remedy = "Run again; if it happens twice: kpi refresh --full-refresh, and have the disk looked at."
        message = "the finished file cannot be read back"
        restricted = f"{message} ({first_line(error)}). {remedy}"
        raise BuildError(DATABASE, f"{message}. {remedy}", restricted=restricted) from None


def _a_quarter(memory_limit: str) -> str:
    return re.sub(r"^[\d.]+", lambda amount: f"{float(amount[0]) / 4:g}", memory_limit)


def write_readers_file(
    candidate: Path, schemas: Collection[str], settings: dict[str, str], emit: Emit
) -> ReadersRecord:
    """Write the file that all readers open beside the whole one: without these schemas and kept failing rows.

    Returns what is noted of it: the rows of its tables, and the views that are tables in it. Raises BuildError.
    """
    source, target = database_folder(candidate) / DATABASE, candidate / DATABASE
    try:
        views = database.copy_without(source, target, {*schemas, AUDIT_SCHEMA}, settings)
    except duckdb.Error as error:
        if is_disk_full(error):
            raise
        message = f"the readers' file cannot be made without {', '.join(schemas)}"
        raise BuildError(DATABASE, message, restricted=f"{message}: {first_line(error)}") from None
    rows, _ = read_back(target, memory_limit=settings.get("memory_limit", ""))
    message = f"; tables there, not views: {', '.join(views)}" if views else ""
    size = f"{target.stat().st_size / 1e6:.1f} MB of {source.stat().st_size / 1e6:.1f} MB"
    emit(f"Left out of the readers' file: {', '.join(schemas)}. It has {len(rows)} tables, {size}{message}.")
    return ReadersRecord(rows, tuple(views))


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """What a run of the pipeline came to: the record as far as it got, its warnings, and the error that ended it.

    After an error the record still says what can be said of the database. `is_ingest_cut` tells that loading was begun
    and did not end: what the raw tables hold then has no name.
    """

    record: BuildRecord
    warnings: tuple[Problem, ...] = ()
    error: KpiError | KeyboardInterrupt | None = None
    is_ingest_cut: bool = False


@dataclass(slots=True)
class _Progress:
    """What is known so far of a build that is being made."""

    record: BuildRecord
    nodes: dict[str, NodeRecord] | None = None
    checks: dict[str, TestRecord] = field(default_factory=dict)
    partial: list[str] = field(default_factory=list)
    warnings: tuple[Problem, ...] = ()
    is_ingesting: bool = False

    def result(self, graph: Graph, error: KpiError | KeyboardInterrupt | None) -> PipelineResult:
        """Return the result of a run that ends here."""
        record = self.record
        if self.nodes is not None:
            checks = tuple(self.checks[test.name] for test in graph.tests() if test.name in self.checks)
            places = [node.relation for name, node in self.nodes.items() if name.startswith("snapshot.")]
            snapshots = tuple(sorted(filter(None, places)))
            record = replace(
                record, nodes=dict(self.nodes), checks=checks, partial=tuple(self.partial), snapshots=snapshots
            )
        return PipelineResult(record, self.warnings, error, self.is_ingesting)


def run_pipeline(
    con: duckdb.DuckDBPyConnection, context: PipelineContext, before: BuildRecord | None, record: BuildRecord
) -> PipelineResult:
    """Load what changed, build what that touches, and test it: the steps that `kpi plan` says.

    `before` is the record of the database as it is, None when it is empty; `record` that of the new build so far.
    The result's error is a DeliveryError; or BuildErrors when a node failed, after the rest with `options.keep_going`;
    or an interrupt. It has no nodes when loading failed.
    """
    progress = _Progress(record)
    try:
        folder = context.warehouse.builds / EXCHANGE
        with interruptible(), adapters(context.engine, context.graph, folder, record.id, context.emit) as adapter_for:
            _run_steps(con, context, before, progress, adapter_for)
    except (KpiError, KeyboardInterrupt) as error:
        return progress.result(context.graph, error)
    return progress.result(context.graph, None)


def request_of(context: PipelineContext, before: BuildRecord | None) -> Request:
    """Return what a run with these options is asked to do with the nodes; `before` as in `run_pipeline`."""
    graph, options, warehouse = context.graph, context.options, context.warehouse
    checksums = checksums_of(graph, context.folder)
    last_results = warehouse.last_results()
    state: State = state_of(graph, options.state, warehouse.nodes_of(options.state), checksums, last_results)
    selector = selector_of(graph.project, options)
    selection = Selection(options.select, options.exclude, options.indirect, options.kinds, selector)
    chosen = select(with_unit_tests(graph), selection, state)
    # A full refresh that is continued does not do again what it did.
    nodes = (before.nodes if before else None) or {}
    done = {node_id for node_id, node in nodes.items() if node.built_in in options.continued}
    return Request(
        graph,
        checksums,
        before or BuildRecord(""),
        chosen,
        forced=chosen - done if options.full_refresh else frozenset(),
        is_rebuild=before is None and warehouse.current() is not None,
    )


def _run_steps(
    con: duckdb.DuckDBPyConnection,
    context: PipelineContext,
    before: BuildRecord | None,
    progress: _Progress,
    adapter_for: AdapterFor,
) -> None:
    graph, options, emit = context.graph, context.options, context.emit
    request = request_of(context, before)
    _run_unit_tests(context, progress, request, adapter_for)
    adapter = adapter_for(con)
    task = replace(_task(con, context, request, progress.record.id), adapter=adapter)
    progress.record = replace(progress.record, kept=request.before.kept)
    # Of which build a row is can be asked in SQL without changing the SQL of any model.
    con.execute(f"set variable {BUILD_VARIABLE} = {literal(progress.record.id)}")
    _take_over_vintages(con, context, progress.record.id)
    progress.is_ingesting = True
    with _raw_as_it_was(con) as old:
        if graph.feeds:
            if any(str(node.relation) in release_files.RELATIONS for node in graph.nodes.values()):
                release_files.load_releases(con, release_files.read_releases(graph.project.root))
            progress.warnings, files = ingest_deliveries(con, context)
            progress.record = replace(progress.record, files=files)
        nodes = source_records(con, old, task)
    progress.is_ingesting = False
    context.release_memory(con)
    progress.checks = {check.name: check for check in request.before.checks}
    progress.nodes = nodes
    nodes.update({test.id: request.record_of(test.id) for test in graph.tests()})
    if graph.feeds and context.engine.is_spark:
        adapter.use_parquet(_lake_files(con, context, progress.record.id))
    present = prepare_run(con, task)
    steps = steps_of(request, present, {node_id: Content(record.version) for node_id, record in nodes.items()})
    ran = run_nodes(con, task, steps, nodes)
    emit(f"Built {len(ran.results)} of {len(graph.built())} seeds and models.")
    is_corrected = _is_corrected(request.before.files or (), progress.record.files or ())
    for problem in increment_problems(con, graph, ran.results, is_corrected):
        progress.warnings = (*progress.warnings, problem)
        emit(f"  warning: {problem}")
    progress.partial = [graph.nodes[node_id].name for node_id in ran.left]
    if not ran.failed or options.keep_going:
        _test(con, context, task, steps, ran, progress)
    run_hooks(con, "on-run-end", graph.on_run.after)
    progress.record = replace(progress.record, kept=tuple(orphaned_relations(graph, relations(con))))
    if ran.failed:
        raise BuildErrors(tuple(ran.failed.values()), ran.lines(graph))


def _is_corrected(before: Sequence[FileRecord], now: Sequence[FileRecord]) -> bool:
    """Tell whether rows that were there before went, changed or were replaced: not if files were only added to them."""
    files = {(file.feed, file.file): file for file in now}
    for old in before:
        new = files.get((old.feed, old.file))
        if new is None or (new.content_hash, new.rows_superseded) != (old.content_hash, old.rows_superseded):
            return True
    return False


def _lake_files(con: duckdb.DuckDBPyConnection, context: PipelineContext, build: str) -> dict[str, list[str]]:
    """Let the lake have the loaded tables as they are now. Returns the Parquet files of each."""
    from kpi.warehouse.lake import lake_of, write

    lake = lake_of(context.warehouse, context.graph.project.warehouse_settings, context.engine.lake)
    loaded = [place for place, kind in relations(con).items() if kind == "table" and place.startswith("raw.")]
    manifest = write(lake, con, build, loaded, context.emit)
    return {table.relation: lake.paths(table) for table in manifest.tables}


def _take_over_vintages(con: duckdb.DuckDBPyConnection, context: PipelineContext, build: str) -> None:
    """Give what began, or ended, in the failed builds that this one continues to this one: no reader saw those."""
    place, failed = context.graph.project.report_tables.vintages, list(context.options.continued)
    if failed and relations(con).get(place) == "table":
        for column in ("valid_from", "valid_to"):
            con.execute(f"update {place} set {column} = ? where {column} in (select unnest(?))", [build, failed])


def _run_unit_tests(context: PipelineContext, progress: _Progress, request: Request, adapter_for: AdapterFor) -> None:
    """Run the unit tests of what is rebuilt, when they are asked for. Raises CheckFailed when one fails."""
    if not context.options.unit_tests:
        return
    units = unit_tests_of(context.graph, _changed_models(request), request.chosen)
    results = run_unit_tests(context.graph, units, adapter_for) if units else ()
    records = {one.test.id: UnitTestRecord(one.status, one.message) for one in results}
    progress.record = replace(progress.record, unit_tests=records)
    refuse_failing(results)
    if results:
        context.emit(f"Ran {counted(len(results), 'unit test')} of what is rebuilt: none failed.")


def _task(con: duckdb.DuckDBPyConnection, context: PipelineContext, request: Request, build: str) -> Task:
    """Return what the run over the nodes works with, after copying in what a database from nothing must not lose."""
    graph, options, warehouse = context.graph, context.options, context.warehouse
    published = warehouse.current()
    derived_from = request.before
    if published and request.is_rebuild:
        derived_from = warehouse.record(published)
        carry_over(con, graph, derived_from, database_folder(published) / DATABASE, context.emit)
    now = definitions(graph)
    return Task(
        request,
        build,
        keep_going=options.keep_going,
        begin=context.begin,
        definitions=now,
        full_refresh=fully_refreshed(graph, derived_from.nodes or {}, now, options.full_refresh, context.emit),
        unmanaged=unmanaged_relations(graph, derived_from),
        emit=context.emit,
    )


def _changed_models(request: Request) -> list[str]:
    """The models that are other than they were: what their unit tests say does not depend on rows."""
    models = [node.id for node in request.graph.built() if node.kind == "model" and node.id in request.chosen]
    return [model for model in models if request.record_of(model).shape != request.checksums[model].shape]


@contextmanager
def _raw_as_it_was(con: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection | None]:
    raw = [place for place in database.relations(con) if place.startswith("raw.")]
    if not raw:
        yield None
        return
    with database.as_it_was(con, raw[0]) as old:
        yield old


def _test(
    con: duckdb.DuckDBPyConnection,
    context: PipelineContext,
    task: Task,
    steps: Iterable[Step],
    ran: RunResult,
    progress: _Progress,
) -> None:
    """Execute the steps of data tests."""
    due: dict[str, NodeRecord] = {}
    nodes, graph = progress.nodes or {}, context.graph
    planned = {step.id: step for step in steps}
    for test in graph.tests():
        now = new_record(test, task, {parent: nodes[parent].version for parent in test.depends_on})
        step = planned.get(test.id)
        if cause := ran.cause(test):
            ran.skipped[test.id] = cause
        elif step is None or not step.is_due(nodes[test.id], now.parents):
            continue
        elif step.action == "leave":
            progress.partial.append(test.name)
        else:
            due[test.id] = replace(now, built_in=task.build)
    emit_event(context.emit, Event("testing", stage="test", done=0, total=len(due)))
    context.release_memory(con)
    store = Store(database.CATALOG, context.options.store_failures)
    results = run_tests(con, [graph.nodes[test_id] for test_id in due], store, task.adapter)
    results = with_examples(con, graph, results)
    nodes.update(due)
    progress.checks |= {check.name: _test_record(check, task.build) for check in results}
    context.emit(f"Ran {counted(len(results), 'data test')}: {sum(check.is_error for check in results)} failed.")


def _test_record(check: CheckResult, build: str) -> TestRecord:
    return TestRecord(
        name=check.name,
        severity=check.severity,
        status=check.status,
        failures=check.failures,
        where=check.where,
        sql=hidden_values(check.sql),
        run_in=build,
        stored=check.stored,
        examples=tuple(check.examples),
    )
