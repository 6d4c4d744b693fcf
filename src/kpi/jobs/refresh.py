"""The nightly job: load what changed, rebuild what that touches, check, publish. Nothing changed means nothing done.

A build is made in a private folder as a candidate: loaded, built, checked, finalized, and then published or kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kpi.build_record import BuildRecord, Inputs, OptionsRecord, StorageRecord, YearRecord
from kpi.environment import environment_of
from kpi.errors import CheckFailed, ConfigError, KpiError, LockHeld, Problem, interruptible, is_disk_full
from kpi.events import Emit, Event, emit_event, now
from kpi.ingest import raw_files, release_files
from kpi.ingest.raw_files import kept_beside
from kpi.jobs.options import Options, Outcome
from kpi.presentation import headline
from kpi.project.external import contents, reached
from kpi.settings import spill_folder
from kpi.sql import counted
from kpi.warehouse.builds import Warehouse, begin, finalize, publish, writing
from kpi.warehouse.lifecycle import (
    close_earlier,
    copy_compactly,
    is_grown,
    is_prune_due,
    prune,
    record_outcome,
    rolled_back_from,
    start_for,
)
from kpi.warehouse.permissions import DATABASE, close, database_folder, has_its_size, refuse_unusable, stewards_of

if TYPE_CHECKING:
    import threading

    import duckdb

    from kpi.engine.artifacts import Results
    from kpi.engine.compile import Compiled
    from kpi.engine.graph import Graph
    from kpi.jobs.pipeline import PipelineContext
    from kpi.project.project import Project
    from kpi.provenance.revisions import Revision
    from kpi.settings import EngineSettings


REVISIONS_TOLD = 20
CACHE = Path(".cache/derived")  # below the warehouse: what was found out before of rows that are as they were
CHECKSUMS = Path(".cache/deliveries")  # and those of files that are as they were
_NOTES = 10  # that a run tells; `kpi compile` tells all


@dataclass(frozen=True, slots=True)
class Start:
    """The build that a run starts from, by its folder and record; neither when it starts from nothing, and warnings."""

    folder: Path | None = None
    record: BuildRecord | None = None
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    """What lies in the raw folder, and what a run would be made from, before the lock is taken."""

    folder: raw_files.RawFolder
    inputs: Inputs

    @classmethod
    def now(cls, root: Path, options: Options) -> _Found:
        """Look at the project and the raw folder as they are."""
        warehouse = root.resolve() / "warehouse"
        checksums = raw_files.Checksums(warehouse / CHECKSUMS, is_read=not options.full_refresh)
        folder = raw_files.scan(warehouse / "raw", checksums)
        checksums.save()
        return cls(folder, inputs_of(root.resolve(), folder, options))


def refresh(root: Path, options: Options, emit: Emit) -> Outcome:
    """Bring the published build up to date with the project and the deliveries.

    `tell` gets a line for each step. Raises DeliveryError, CompileErrors, BuildErrors or CheckFailed, after which
    readers still see what they saw before and the failed candidate is kept, or LockHeld.
    """
    warehouse = Warehouse(root.resolve() / "warehouse")
    found = _Found.now(root, options)
    if is_needless(root, warehouse, options, found.inputs):
        _clean_up(warehouse, emit)
        return _nothing_to_do(warehouse, emit)
    return _run(root, options, emit, found, lambda settings: start_of(warehouse, options, found.folder, settings))


def start_of(warehouse: Warehouse, options: Options, folder: raw_files.RawFolder, engine: str) -> Start:
    """Return what a refresh starts from: nothing when nothing can, when all is to be rebuilt, or for privacy."""
    newest, warnings = start_for(warehouse)
    before = warehouse.record(newest) if newest else None
    # Deleted rows stand in the free blocks of a copied file: where deliveries were deleted it is written from nothing.
    is_retained = (before.retained if before else ()) == tuple(one.name for one in folder.kept)
    from_nothing = (options.full_refresh or not is_retained) and not options.is_partial
    if from_nothing or before is None or before.engine != engine:
        return Start(warnings=warnings)
    return Start(newest, before, warnings)


def retry(root: Path, options: Options, emit: Emit) -> Outcome:
    """Continue the last failed candidate: what it built and is still right is kept, the rest of the run done.

    It selects what the failed run selected, and runs unit tests and keeps failing rows when that did. Raises what
    `refresh` raises, and ConfigError when there is nothing to continue: the last run did not fail, or failed in
    loading, or readers have another build by now.
    """
    warehouse = Warehouse(root.resolve() / "warehouse")
    failed = _last_failed(warehouse)
    repeated = {one.name: getattr(failed.options, one.name) for one in fields(OptionsRecord)}
    repeated["unit_tests"] |= options.unit_tests
    repeated["store_failures"] |= options.store_failures
    options = replace(options, **repeated, continued=(*failed.continues, failed.id))

    def start(engine: str) -> Start:
        if is_by_spark(failed.engine) != is_by_spark(engine):
            other = "spark" if is_by_spark(failed.engine) else "duckdb"
            raise ConfigError(
                f"build {failed.id} was computed by {other}. Continue it there: kpi retry --engine {other}"
            )
        if _last_failed(warehouse).id != failed.id or failed.engine != engine:
            raise ConfigError(f"build {failed.id} cannot be continued any more. Run: kpi refresh")
        built = sum(node.built_in == failed.id for node in (failed.nodes or {}).values())
        why = headline(failed.reason)
        emit(f"Continuing build {failed.id} ({why}), which built {counted(built, 'node')}.")
        return Start(warehouse.builds / failed.id, failed)

    return _run(root, options, emit, _Found.now(root, options), start)


def _last_failed(warehouse: Warehouse) -> BuildRecord:
    """The record of the last run, which failed and can be continued. Raises ConfigError."""
    last = warehouse.last_run()
    if last is None:
        raise ConfigError("there is nothing to retry: nothing was run yet. Run: kpi refresh")
    if last.problem:
        raise ConfigError(f"build {last.id} cannot be continued: {last.problem}. Run: kpi refresh")
    if last.status != "failed":
        message = f"the last run made build {last.id}, which is {last.status}"
        raise ConfigError(f"there is nothing to retry: {message}. Run: kpi refresh")
    if last.nodes is None:
        raise ConfigError(f"build {last.id} failed before anything was built: nothing to retry. Run: kpi refresh")
    current = warehouse.current()
    if last.current != (current.name if current else None):
        message = f"build {last.id} was made when readers had {last.current or 'none'}"
        raise ConfigError(f"{message}, now they have {current and current.name}: nothing to retry. Run: kpi refresh")
    return last


def _run(root: Path, options: Options, emit: Emit, found: _Found, start_by: Callable[[str], Start]) -> Outcome:
    """Compile, take the lock and make a build. `start_by` gives what it starts from, by the project and DuckDB."""
    from kpi.database import refuse_leaking
    from kpi.engine.compile import compiled
    from kpi.jobs.build_site import check_report
    from kpi.jobs.pipeline import PipelineContext
    from kpi.validation.rule import check_expectations, read_expectations

    refuse_leaking()
    warehouse = Warehouse(root.resolve() / "warehouse")
    emit_event(emit, Event("compiling", stage="compile"))
    project = compiled(root, options.variables, options.target, options.invocation)
    graph = project.graph
    check_expectations(read_expectations(graph.project), graph)
    check_report(graph)
    emit(f"Compiled {len(graph.built())} seeds and models, {len(graph.tests())} tests, {len(graph.feeds)} feeds.")
    for line in graph.notes[:_NOTES]:
        emit(f"  note: {line}")
    if len(graph.notes) > _NOTES:
        emit(f"  note: {len(graph.notes) - _NOTES} more notes: kpi compile")
    engine = engine_of(graph.project, options)
    refuse_engine(project, engine)
    importing = _Expectations() if options.validate and has_report_years(graph) else None
    with writing(warehouse, options.wait_seconds, emit) as waited:
        if waited:
            # The run that was waited for may have done it all, or something changed meanwhile.
            found = _Found.now(root, options)
            if is_needless(root, warehouse, options, found.inputs):
                return _nothing_to_do(warehouse, emit)
            graph = compiled(root, options.variables, options.target, options.invocation).graph
        start = start_by(settings_of(graph.project, engine))
        _emit_other_engine(warehouse, start, engine, emit)
        for problem in start.warnings:
            emit(f"  warning: {problem}")
        warehouse_settings = graph.project.warehouse_settings
        refuse_unusable(graph)
        if warehouse_settings.stewards_schemas and (warehouse.root / "runs").is_dir():
            close(warehouse.root / "runs", warehouse_settings.stewards_group)  # what a run tells may quote a row
        grown = start.record is not None and is_grown(start.record, warehouse_settings)
        candidate = begin(warehouse, warehouse_settings, None if grown else start.folder)
        if start.folder and start.record and grown:
            settings = warehouse_settings.engine_settings(options.settings or {})
            copy_compactly(start.folder, candidate, start.record, settings, emit)
        # Where memory is scarce, what takes 200 MB is imported when DuckDB has given back what it built with.
        is_scarce = "memory_limit" in warehouse_settings.engine_settings(options.settings or {})
        is_certain = _is_validation_needed(start.record, found.inputs) and not is_scarce
        begun = importing.start if importing and is_certain else lambda: None
        context = PipelineContext(warehouse, graph, options, found.folder, emit, begun, engine)
        outcome = Run(context, candidate, start.record, found.inputs, importing).run()
        return replace(outcome, warnings=(*start.warnings, *outcome.warnings))


def is_needless(root: Path, warehouse: Warehouse, options: Options, inputs: Inputs) -> bool:
    """Tell whether a refresh with these options has nothing to do."""
    asks_for_more = options.full_refresh or options.is_partial or options.continued
    return not asks_for_more and is_up_to_date(root, warehouse, inputs)


def _clean_up(warehouse: Warehouse, emit: Emit) -> None:
    """Remove what a killed run left and builds that are too old, if there are any and nobody is writing."""
    newest = rolled_back_from(warehouse) or warehouse.current()
    if newest is None:
        return
    warehouse_settings = warehouse.outline(newest).warehouse_settings  # as the project says: it is the same
    is_due = is_prune_due(warehouse, warehouse_settings)
    if is_due or any(warehouse.builds.glob(".tmp-*")):
        with suppress(LockHeld), writing(warehouse):
            if is_due:
                prune(warehouse, warehouse_settings, emit)


def _nothing_to_do(warehouse: Warehouse, emit: Emit) -> Outcome:
    build, left = warehouse.published(), rolled_back_from(warehouse)
    message = f"Nothing changed since build {build}: nothing to do."
    if left is not None:
        message = f"Nothing changed since build {left.name}, which was rolled back: readers keep {build}."
        message += f" To let them see it again: kpi rollback {left.name}"
    emit_event(emit, Event("nothing to do", message))
    return Outcome(build, published=True, nothing_to_do=True)


def is_up_to_date(root: Path, warehouse: Warehouse, inputs: Inputs) -> bool:
    """Tell whether the published build was made from the same inputs, or the one it was rolled back from.

    Opens neither. What somebody took back is not published again from the same inputs.
    """
    current = warehouse.current()
    if current is None:
        return False
    shown, left = warehouse.outline(current), rolled_back_from(warehouse)
    if not has_its_size(current, shown):
        return False
    return was_made_from(root, inputs, shown) or bool(left and was_made_from(root, inputs, warehouse.outline(left)))


def was_made_from(root: Path, inputs: Inputs, before: BuildRecord) -> bool:
    """Tell whether a build was made from these inputs and from what lies outside them as it is now."""
    read = before.ingredients.environment
    return (
        _is_same(inputs, before)
        and environment_of(read, root.resolve()) == read
        and contents(root.resolve(), before.outside) == before.outside
        and _has_its_times(root.resolve() / "warehouse" / "raw", before)
    )


def _has_its_times(raw: Path, before: BuildRecord) -> bool:
    """Tell whether the files whose time of delivery decides something still have the time that a build noted."""
    timed = [file for file in before.files or () if file.delivered_at is not None]
    return all(raw_files.modified(raw / file.feed / file.file) == file.delivered_at for file in timed)


def inputs_of(root: Path, folder: raw_files.RawFolder, options: Options) -> Inputs:
    """Return what a run with these options would be made from."""
    from kpi.files import code_digest, project_digest

    return Inputs(
        project=project_digest(root),
        code=code_digest(),
        raw=folder.digest(),
        day=str(options.as_of),
        variables=hashlib.blake2b(
            repr(
                [*sorted((options.variables or {}).items()), *filter(None, (options.target, _engine(options)))]
            ).encode(),
            digest_size=16,
        ).hexdigest(),
    )


def _engine(options: Options) -> str:
    """The engine that a run was told to use, whatever the project says; empty when it was told none."""
    given = options.engine or {}
    return f"engine {given.get('engine') or 'spark'}" if given else ""


def _is_same(inputs: Inputs, before: BuildRecord) -> bool:
    made = before.inputs
    return made is not None and replace(made, day=inputs.day) == inputs and before.is_same_on(inputs.day)


def _is_validation_needed(before: BuildRecord | None, inputs: Inputs) -> bool:
    """Tell before anything is built whether every year will be validated: what was found earlier is of no use then."""
    return before is None or before.years is None or before.inputs is None or before.inputs.code != inputs.code


class _Expectations:
    """Imports Great Expectations, which takes seconds, while DuckDB builds and leaves the interpreter free."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, if that has not been done."""
        import threading

        from kpi.validation.expectations import import_great_expectations

        if self._thread is None:
            self._thread = threading.Thread(target=import_great_expectations, daemon=True)
            self._thread.start()

    def join(self) -> None:
        """Wait until it is there, when that was begun; else it is imported when there is something to validate."""
        if self._thread:
            self._thread.join()


@contextmanager
def open_candidate(
    warehouse: Warehouse, graph: Graph, options: Options, candidate: Path
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the database of a build's private folder for writing, confined to what it is made from."""
    from kpi import database

    spill, settings = resources(warehouse, graph, options, candidate)
    with database.building(database_folder(candidate) / DATABASE, spill, settings, within(warehouse, graph)) as con:
        yield con


def resources(warehouse: Warehouse, graph: Graph, options: Options, candidate: Path) -> tuple[Path, dict[str, str]]:
    """Where a build may spill, and DuckDB's other settings."""
    warehouse_settings, root = graph.project.warehouse_settings, graph.project.root
    settings = warehouse_settings.engine_settings(options.settings or {})
    given = settings.pop("temp_directory", "")
    if warehouse_settings.stewards_schemas and not given:
        spill = database_folder(candidate) / "spill"
    else:
        spill = spill_folder(warehouse.root, root, given)
    return spill, {"file_search_path": str(root), **settings}


def within(warehouse: Warehouse, graph: Graph) -> list[Path]:
    """The files that what is run may read: deliveries and what is kept of them, seeds, files outside, and builds."""
    from kpi.engine.materializations import seed_folders

    project = graph.project
    outside = [path for location in graph.outside for path in reached(project.root, location)]
    kept = [kept_beside(warehouse.raw), release_files.releases_folder(project.root)]
    return [warehouse.raw, *kept, warehouse.builds, *seed_folders(project), *outside]


class Importing(Protocol):
    """Something heavy that is imported beside the build: once that is under way, and awaited when it is needed."""

    def start(self) -> None:
        """Begin, if that has not been done."""

    def join(self) -> None:
        """Wait until it is there, if that was begun."""


class Run:
    """One build on its way from a private folder to a published build."""

    def __init__(
        self,
        context: PipelineContext,
        candidate: Path,
        before: BuildRecord | None,
        inputs: Inputs,
        importing: Importing | None,
    ) -> None:
        self.context = context
        self.warehouse, self.graph = context.warehouse, context.graph
        self.options, self.emit = context.options, context.emit
        self.candidate, self.before, self.importing = candidate, before, importing
        self.warehouse_settings = context.graph.project.warehouse_settings
        self.record = _begun(context, candidate, before, inputs)
        self.warnings: tuple[Problem, ...] = ()
        self.revisions: tuple[Revision, ...] = ()

    def run(self) -> Outcome:
        """Build, check, seal, publish; on failure keep the candidate and tell readers nothing."""
        try:
            with interruptible():
                self._build()
                failures = self._verdict()
                if self.warehouse_settings.stewards_schemas and (not failures or self.options.publish_despite_checks):
                    self._part()
        except KpiError as error:
            if is_disk_full(error):  # there is no room to keep it
                raise
            failed = self._keep_failed(str(error), headline(str(error.problems[0].public())))
            if self.record.nodes is not None:
                error.args = (f"{error}\nWhat was built is kept as build {failed.name}. Mend it, then: kpi retry",)
            raise
        except KeyboardInterrupt:
            self._keep_failed("interrupted", "interrupted")
            raise
        if failures and not self.options.publish_despite_checks:
            failed = self._keep_failed("checks failed", "checks failed")
            as_steward = ", stewards=True" if self.warehouse_settings.stewards_schemas else ""
            raise CheckFailed(
                "Checks failed; readers keep the build they had.\n  "
                + "\n  ".join(map(str, failures))
                + f"\nThe candidate is kept: kpi.open(build={failed.name!r}{as_steward})."
                " Mend it, then: kpi retry. To publish it all the same: --publish-despite-checks REASON",
                failures,
            )
        return self._publish(failures)

    def _build(self) -> None:
        import duckdb

        from kpi import database
        from kpi.cache import caching
        from kpi.engine.artifacts import write_artifacts

        with open_candidate(self.warehouse, self.graph, self.options, self.candidate) as con:
            try:
                with interruptible(), caching(self.warehouse.root / CACHE, is_read=not self.options.full_refresh):
                    self._work_on(con)
            except (KpiError, KeyboardInterrupt):
                with suppress(duckdb.Error):  # what failed first is what is reported
                    con.execute("checkpoint")
                raise
            con.execute("checkpoint")
            storage = StorageRecord(**database.storage(con))
            self.record = replace(self.record, rows=database.row_counts(con), storage=storage)
            write_artifacts(self.candidate, self.graph, results_of(self.record), con, self._of_same_project())
        self._verify()

    def _of_same_project(self) -> Path | None:
        """The folder of the build that this one began from, when it is of the project as it is, by this kpi."""
        before, now = self.before, self.record
        if not (before and before.inputs and now.inputs) or before.ingredients != now.ingredients:
            return None
        is_same = replace(before.inputs, raw=now.inputs.raw, day=now.inputs.day) == now.inputs
        return self.warehouse.builds / before.id if is_same else None

    def _work_on(self, con: duckdb.DuckDBPyConnection) -> None:
        from kpi.jobs.pipeline import run_pipeline
        from kpi.warehouse.run_log import unreadable, write_table

        result = run_pipeline(con, self.context, self.before, self.record)
        self.record, self.warnings = result.record, result.warnings
        if result.error:
            raise result.error
        self._validate(con)
        self._compare_releases(con)
        self._note_freshness(con)
        for problem in unreadable(self.warehouse.root):
            self._warn(problem)
        write_table(con, self.warehouse.root, with_messages=not self.warehouse_settings.stewards_schemas)
        self._write_site(con)

    def _write_site(self, con: duckdb.DuckDBPyConnection) -> None:
        """Write the pages of the build, or carry over those of the build before when they would be the same."""
        from kpi.jobs.build_site import write_beside

        before = self.warehouse.builds / self.before.id if self.before else None
        if written := write_beside(con, self.graph, self.candidate, self.record, before):
            index = self.warehouse.builds / self.record.id / "site" / "fi" / "index.html"
            for warning in written.warnings:
                self._warn(Problem("site.typed_number", warning))
            pages = f"{written.pages - written.carried} of {written.pages}" if written.carried else written.pages
            self.emit(f"Wrote {pages} pages: {index}")

    def _validate(self, con: duckdb.DuckDBPyConnection) -> None:
        """Validate each report year; carried over when nothing that is validated has changed."""
        if self.importing is None:
            return
        from kpi.jobs import check_build
        from kpi.validation.report import About, is_labelled_synthetic
        from kpi.validation.rule import read_expectations

        expectations = read_expectations(self.graph.project)
        validated = {node.id for node in self.graph.built() if str(node.relation) in expectations.read_tables()}
        feeds = check_build.feed_expectations(self.graph.feeds)
        expected = (*(str(feed) for feed in feeds), f"rules {expectations.checksum}")
        synthetic = is_labelled_synthetic(self.warehouse.raw)
        self.record = replace(self.record, expected=expected, synthetic=synthetic)
        before = self.before
        if before and before.years is not None and self._is_validated_alike(before, validated):
            self.record = replace(self.record, years=before.years)
            check_build.carry_over(self.warehouse.builds / before.id, self.candidate)
            return
        emit_event(self.emit, Event("validating", stage="validate"))
        self.importing.join()
        self.context.release_memory(con)
        about = About(self.record.id, self.options.as_of, synthetic)
        results = check_build.validate_candidate(con, self.candidate, expectations, feeds, about)
        broken = tuple(
            YearRecord(r.report_year, r.expectation, r.severity, r.observed) for r in results if not r.success
        )
        self.record = replace(self.record, years=broken)
        years = len({result.report_year for result in results})
        self.emit(f"Validated {len(results)} expectations of {years} report years.")

    def _compare_releases(self, con: duckdb.DuckDBPyConnection) -> None:
        """Find the released figures that differ. Those that nobody accounted for keep the build from readers."""
        from kpi.ingest.retention import years_of
        from kpi.provenance.revisions import find_revisions

        limits, project = [feed.limits for feed in self.graph.feeds], self.graph.project
        found = find_revisions(con, project.report_tables, project.root, self.record, lambda: years_of(con, limits))
        self.revisions = tuple(one for one in found if one.is_open)

    def _is_validated_alike(self, before: BuildRecord, validated: set[str]) -> bool:
        """Whether validating this build would say what it said of the one before: the same rules, tables and days."""
        now, inputs, old = self.record, self.record.inputs, before.inputs
        if not (inputs and old and inputs.code == old.code and before.is_same_on(inputs.day)):
            return False
        if (now.expected, now.synthetic) != (before.expected, before.synthetic):
            return False
        was, nodes = before.nodes or {}, now.nodes or {}
        return all(node in was and was[node].version == nodes[node].version for node in validated)

    def _note_freshness(self, con: duckdb.DuckDBPyConnection) -> None:
        """Note how far each feed has come, and on which days that would be the same.

        Synthetic deliveries are not expected to go on.
        """
        from kpi.ingest.calendar import late_problems, measure, read_months, unchanged_between
        from kpi.validation.report import is_labelled_synthetic

        months = read_months(con, self.graph.feeds, self.options.as_of, is_settled=True)
        first, end = unchanged_between(months, self.options.as_of)
        self.record = replace(self.record, unchanged_between=(str(first), str(end)))
        if self.graph.feeds and not is_labelled_synthetic(self.warehouse.raw):
            due = measure(con, months)
            self.record = replace(self.record, freshness=tuple(due))
            for problem in late_problems(due, self.options.as_of):
                self._warn(problem)

    def _verify(self) -> None:
        """Read the finished file back."""
        from kpi.errors import BuildError
        from kpi.jobs.pipeline import read_back

        emit_event(self.emit, Event("publishing", stage="publish"))
        try:
            seen = read_back(database_folder(self.candidate) / DATABASE, self.context.memory_limit)
        except BuildError:
            self.record = replace(self.record, nodes=None)  # it is no start for a retry
            raise
        if seen != self.record.rows:
            raise BuildError(DATABASE, "the finished file does not hold what was built. Is the disk full?")

    def _part(self) -> None:
        """Write the file for all readers, without what is for stewards."""
        from kpi.jobs.pipeline import write_readers_file

        spill, settings = resources(self.warehouse, self.graph, self.options, self.candidate)
        settings = {"temp_directory": str(spill), **settings}
        schemas = self.warehouse_settings.stewards_schemas
        self.record = replace(self.record, readers=write_readers_file(self.candidate, schemas, settings, self.emit))

    def _verdict(self) -> list[Problem]:
        from kpi.jobs.pipeline import example_lines, verdict

        failures, warnings = verdict(self.record)
        for problem in warnings:
            self.emit(f"  warning: {problem}")
        for message in example_lines(self.record):
            self.emit(message)
        self.warnings = (*self.warnings, *warnings)
        failures += [one.problem() for one in self.revisions[:REVISIONS_TOLD]]
        if more := self.revisions[REVISIONS_TOLD:]:
            message = f"{len(more)} more released figures differ, and nobody accounted for them"
            failures.append(Problem("revision.open", message, suggestion="See: kpi revisions"))
        return failures

    def _keep_failed(self, reason: str, public: str) -> Path:
        """Keep the candidate for who may look at it. All readers see the ledger, which gets the `public` reason."""
        self.record = replace(self.record, status="failed", reason=reason, finished_at=now())
        if self.record.nodes is not None and not (self.candidate / "run_results.json").is_file():
            from kpi.engine.artifacts import write_artifacts

            write_artifacts(self.candidate, self.graph, results_of(self.record), None)
        if database_folder(self.candidate) != self.candidate:
            (self.candidate / DATABASE).unlink(missing_ok=True)  # what is not for readers has no file for them
        build = finalize(self.warehouse, self.candidate, self.record, self.warehouse_settings)
        self._settle(build.name, "failed", "see its build.json" if self.warehouse_settings.stewards_schemas else public)
        return build

    def _publish(self, failures: Sequence[Problem]) -> Outcome:
        reason = self.options.publish_despite_checks if failures else ""
        held_back = self._held_back()
        self.record = replace(
            self.record,
            status="held back" if held_back else "published",
            reason=held_back or reason,
            overruled=tuple(str(problem.public()) for problem in failures),
            warnings=tuple(problem.public() for problem in self.warnings),
            finished_at=now(),
        )
        build = finalize(self.warehouse, self.candidate, self.record, self.warehouse_settings)
        if held_back:
            self.emit(f"Not published: {held_back}. Open it with kpi.open(build={build.name!r}).")
        else:
            if problem := publish(self.warehouse, build):
                self._warn(problem)
            # Readers have it: whatever goes wrong from here on is a warning, and does not make the run fail.
            despite = f" Despite failed checks: {reason}" if reason else ""
            self._afterwards(lambda: self.emit(f"Published build {build.name}.{despite}"))
            self._afterwards(lambda: close_earlier(self.warehouse, self.warehouse_settings, self.emit))
        self._settle(build.name, "held back" if held_back else "published", held_back or reason)
        return Outcome(build.name, published=not held_back, warnings=self.warnings)

    def _held_back(self) -> str:
        """Why readers do not get this build although nothing failed; empty when they do."""
        if left := self.record.partial:
            more = f" and {len(left) - 10} more" if len(left) > 10 else ""
            return f"left as they were: {', '.join(left[:10])}{more}"
        return (
            "its report years were not validated" if has_report_years(self.graph) and not self.options.validate else ""
        )

    def _settle(self, build: str, event: str, reason: str) -> None:
        for problem in record_outcome(self.warehouse, self.warehouse_settings, build, event, reason, self.emit):
            self._warn(problem)

    def _warn(self, problem: Problem) -> None:
        self.warnings = (*self.warnings, problem)
        self.emit(f"  warning: {problem}")

    def _afterwards(self, step: Callable[[], object]) -> None:
        try:
            step()
        except (OSError, KeyboardInterrupt) as error:
            message = f"readers have the build, but what comes after was not all done: {str(error) or 'interrupted'}"
            self.warnings = (*self.warnings, Problem("build.unfinished", message))


def _begun(context: PipelineContext, candidate: Path, before: BuildRecord | None, inputs: Inputs) -> BuildRecord:
    """Return the record of a build that is begun: what it is made from, and nothing of what it holds."""
    from kpi.engine.fingerprint import ingredients_of

    graph, options, project = context.graph, context.options, context.graph.project
    current = context.warehouse.current()
    return BuildRecord(
        id=candidate.name.removeprefix(".tmp-"),
        status="building",
        started_at=now(),
        as_of=str(options.as_of),
        engine=settings_of(project, context.engine),
        inputs=inputs,
        ingredients=ingredients_of(project, graph.environment_read),
        outside=graph.outside,
        retained=tuple(one.name for one in context.folder.kept),
        options=OptionsRecord(**{one.name: getattr(options, one.name) for one in fields(OptionsRecord)}),
        warehouse_settings=project.warehouse_settings,
        based_on=before.id if before else None,
        current=current.name if current else None,
        continues=options.continued,
        tables=project.report_tables.names(),
        stewards=stewards_of(project.warehouse_settings),
    )


def results_of(record: BuildRecord) -> Results:
    """Return what dbt's artifacts say of a build."""
    from kpi.engine.artifacts import Results

    options = {one.name: getattr(record.options, one.name) for one in fields(OptionsRecord)} if record.options else {}
    return Results(record.id, record.nodes or {}, record.checks, record.unit_tests, record.rows or {}, options)


def has_report_years(graph: Graph) -> bool:
    """Tell whether a build of the project has report years to validate."""
    return any(str(node.relation) in graph.project.report_tables.with_report_years() for node in graph.built())


def settings_of(project: Project, engine: EngineSettings | None = None) -> str:
    """What makes a build file useless as a start for the next: another storage version, or another engine."""
    import duckdb

    computed = "spark " if engine and engine.is_spark else ""
    return f"{project.name} {computed}duckdb {duckdb.__version__}"


def is_by_spark(engine: str) -> bool:
    """Tell whether Spark computed a build, by what `settings_of` notes of it."""
    return engine.split()[1:2] == ["spark"]


def engine_of(project: Project, options: Options) -> EngineSettings:
    """Return what computes models and tests in a run with these options. Raises ConfigError."""
    return project.engine_settings.with_options(options.engine or {})


def refuse_engine(project: Compiled, engine: EngineSettings) -> None:
    """Look whether Spark is there and would count everything as DuckDB does, when it is to be used.

    Raises ConfigError or EngineLost when it cannot be used, CompileErrors for what would be another number there.
    """
    if engine.is_spark:
        from kpi.databases.spark import refuse_unusable
        from kpi.engine.spark_refusals import check_for_spark

        refuse_unusable(engine)
        check_for_spark(project.graph, project.columns)


def _emit_other_engine(warehouse: Warehouse, start: Start, engine: EngineSettings, emit: Emit) -> None:
    """Say that everything is built because another engine made what readers have."""
    published = warehouse.current_record()
    if start.record is None and published and is_by_spark(published.engine) != engine.is_spark:
        other, this = ("DuckDB", "Spark") if engine.is_spark else ("Spark", "DuckDB")
        emit(f"Build {published.id} was computed by {other}, so nothing of it is a start for {this}: all is built.")
