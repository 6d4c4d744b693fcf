"""A build on its way from a private folder to readers: loaded, built, checked, finalized, then published or kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path

from kpi import database
from kpi.build_record import BuildRecord, Inputs, OptionsRecord, StorageRecord, YearRecord
from kpi.cache import caching
from kpi.engine.artifacts import Results, write_artifacts
from kpi.engine.graph import Graph
from kpi.engine.materializations import seed_folders
from kpi.engine.plan import ingredients_of
from kpi.errors import BuildError, CheckFailed, KpiError, Problem, interruptible, is_disk_full
from kpi.events import Event, emit_event, now
from kpi.ingest import release_files
from kpi.ingest.calendar import late_problems, measure, read_months, unchanged_between
from kpi.ingest.raw_files import is_labelled_synthetic, kept_beside
from kpi.ingest.retention import years_of
from kpi.jobs import check_build
from kpi.jobs.build_site import write_beside
from kpi.jobs.options import Options, Outcome, settings_of
from kpi.jobs.pipeline import (
    PipelineContext,
    example_lines,
    hashing,
    read_back,
    run_pipeline,
    verdict,
    write_readers_file,
)
from kpi.lazy import duckdb
from kpi.presentation import headline, listed
from kpi.project.external import reached
from kpi.project.project import Project
from kpi.provenance.revisions import Revision, find_revisions
from kpi.settings import spill_folder
from kpi.sql import counted
from kpi.validation.rule import read_expectations
from kpi.warehouse.builds import Warehouse, finalize, publish
from kpi.warehouse.lifecycle import close_earlier, forget_whole, note_whole, record_outcome
from kpi.warehouse.permissions import DATABASE, database_folder, stewards_of
from kpi.warehouse.run_log import unreadable, write_table

MOST_REVISIONS = 20  # in the message of a run
CACHE = Path(".cache/derived")  # below the warehouse: what was found out before of rows that are as they were


class GreatExpectations:
    """Imports Great Expectations, which takes seconds, while DuckDB builds and leaves the interpreter free."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, if that has not been done and no answers of it are remembered: they may be all that is needed."""
        from kpi.validation.expectations import has_answers, import_great_expectations

        if self._thread is None and not has_answers():
            self._thread = threading.Thread(target=import_great_expectations, name="great expectations", daemon=True)
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
    spill, settings = resources(warehouse, graph, options, candidate)
    files = within(warehouse, graph.project, graph.outside)
    with database.building(database_folder(candidate) / DATABASE, spill, settings, files) as con:
        yield con


def resources(warehouse: Warehouse, graph: Graph, options: Options, candidate: Path) -> tuple[Path, dict[str, str]]:
    """Where a build may spill, and DuckDB's other settings: of a memory limit it gets what Python leaves."""
    warehouse_settings, root = graph.project.warehouse_settings, graph.project.root
    settings = warehouse_settings.engine_settings(options.settings or {})
    if limit := settings.get("memory_limit"):
        settings["memory_limit"] = database.beside_python(limit)
    spill_setting = settings.pop("temp_directory", "")
    if warehouse_settings.stewards_schemas and not spill_setting:
        spill = database_folder(candidate) / "spill"
    else:
        spill = spill_folder(warehouse.root, root, spill_setting)
    return spill, {"file_search_path": str(root), **settings}


def within(warehouse: Warehouse, project: Project, locations: Iterable[str]) -> list[Path]:
    """The files that what is run may read: deliveries and what is kept of them, seeds, builds, and files outside.

    `locations` are those of sources that are files outside.
    """
    outside = [path for location in locations for path in reached(project.root, location)]
    retained, releases = kept_beside(warehouse.raw), release_files.releases_folder(project.root)
    return [warehouse.raw, retained, releases, warehouse.builds, *seed_folders(project), *outside]


class Run:
    """One build on its way from a private folder to a published build."""

    def __init__(
        self,
        context: PipelineContext,
        candidate: Path,
        before: BuildRecord | None,
        inputs: Inputs,
        importing: GreatExpectations | None,
    ) -> None:
        self.context = context
        self.warehouse, self.graph = context.warehouse, context.graph
        self.options, self.emit = context.options, context.emit
        self.candidate, self.before, self.importing = candidate, before, importing
        self.warehouse_settings = context.graph.project.warehouse_settings
        self.record = _begun(context, candidate, before, inputs)
        self.warnings: tuple[Problem, ...] = ()
        self.revisions: tuple[Revision, ...] = ()
        self._hash = ""  # of the finished file of the build, from when it was read back
        self._hashed: Callable[[], str] = str  # gives it before that, when another thread has read the file

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
            # The file is as it will be: another thread reads it while what is only read of it is written beside it.
            with hashing(database_folder(self.candidate) / DATABASE) as self._hashed:
                self._write_site(con)
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
        result = run_pipeline(con, self.context, self.before, self.record)
        self.record, self.warnings = result.record, result.warnings
        if result.error:
            raise result.error
        check_build.refuse_impossible_figures(con, self.graph)
        for problem in check_build.unknown_codes(con, self.graph):
            self._warn(problem)
        self._validate(con)
        self._compare_releases(con)
        self._note_freshness(con)
        for problem in unreadable(self.warehouse.root):
            self._warn(problem)
        write_table(con, self.warehouse.root, with_messages=not self.warehouse_settings.stewards_schemas)

    def _write_site(self, con: duckdb.DuckDBPyConnection) -> None:
        """Write the pages of the build, or carry over those of the build before when they would be the same."""
        before = self.warehouse.builds / self.before.id if self.before else None
        if result := write_beside(con, self.graph, self.candidate, self.record, before):
            index = self.warehouse.builds / self.record.id / "site" / "fi" / "index.html"
            for warning in result.warnings:
                self._warn(Problem("site.typed_number", warning))
            pages = f"{result.pages - result.carried} of {result.pages}" if result.carried else result.pages
            self.emit(f"Wrote {pages} pages: {index}")

    def _validate(self, con: duckdb.DuckDBPyConnection) -> None:
        """Validate each report year; carried over when nothing that is validated has changed."""
        if self.importing is None:
            return
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
        day = self.options.as_of
        results = check_build.validate_candidate(con, self.candidate, expectations, feeds, day, synthetic)
        broken = tuple(
            YearRecord(r.report_year, r.expectation, r.severity, r.observed) for r in results if not r.success
        )
        self.record = replace(self.record, years=broken)
        years = counted(len({result.report_year for result in results}), "report year")
        self.emit(f"Validated {counted(len(results), 'expectation')} of {years}.")

    def _compare_releases(self, con: duckdb.DuckDBPyConnection) -> None:
        """Find the released figures that differ. Those that nobody accounted for keep the build from readers."""
        limits, project = [feed.limits for feed in self.graph.feeds], self.graph.project
        revisions = find_revisions(con, project.report_tables, project.root, self.record, lambda: years_of(con, limits))
        self.revisions = tuple(one for one in revisions if one.is_open)

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
        emit_event(self.emit, Event("publishing", stage="publish"))
        try:
            file = database_folder(self.candidate) / DATABASE
            row_counts, self._hash = read_back(file, self.context.memory_limit, self._hashed())
        except BuildError:
            self.record = replace(self.record, nodes=None)  # it is no start for a retry
            raise
        if row_counts != self.record.rows:
            raise BuildError(DATABASE, "the finished file does not hold what was built. Is the disk full?")

    def _part(self) -> None:
        """Write the file for all readers, without what is for stewards."""
        spill, settings = resources(self.warehouse, self.graph, self.options, self.candidate)
        settings = {"temp_directory": str(spill), **settings}
        schemas = self.warehouse_settings.stewards_schemas
        self.record = replace(self.record, readers=write_readers_file(self.candidate, schemas, settings, self.emit))

    def _verdict(self) -> list[Problem]:
        failures, warnings = verdict(self.record)
        for problem in warnings:
            self.emit(f"  warning: {problem}")
        for message in example_lines(self.record):
            self.emit(message)
        self.warnings = (*self.warnings, *warnings)
        failures += [one.problem() for one in self.revisions[:MOST_REVISIONS]]
        if more := self.revisions[MOST_REVISIONS:]:
            message = f"{len(more)} more released figures differ, and nobody accounted for them"
            failures.append(Problem("revision.open", message, suggestion="See: kpi revisions"))
        return failures

    def _keep_failed(self, reason: str, public: str) -> Path:
        """Keep the candidate for who may look at it. All readers see the ledger, which gets the `public` reason."""
        forget_whole(self.warehouse)
        self.record = replace(self.record, status="failed", reason=reason, finished_at=now())
        if self.record.nodes is not None and not (self.candidate / "run_results.json").is_file():
            write_artifacts(self.candidate, self.graph, results_of(self.record), None)
        if database_folder(self.candidate) != self.candidate:
            (self.candidate / DATABASE).unlink(missing_ok=True)  # what is not for readers has no file for them
        build = finalize(self.warehouse, self.candidate, self.record, self.warehouse_settings, self._hash)
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
        build = finalize(self.warehouse, self.candidate, self.record, self.warehouse_settings, self._hash)
        if held_back:
            self.emit(f"Not published: {held_back}. Open it with kpi.open(build={build.name!r}).")
        else:
            if problem := publish(self.warehouse, build):
                self._warn(problem)
            note_whole(self.warehouse, build)
            # Readers have it: whatever goes wrong from here on is a warning, and does not make the run fail.
            despite = f" Despite failed checks: {reason}" if reason else ""
            self._afterwards(lambda: self.emit(f"Published build {build.name}.{despite}"))
            self._afterwards(lambda: close_earlier(self.warehouse, self.warehouse_settings, self.emit))
        self._settle(build.name, "held back" if held_back else "published", held_back or reason)
        return Outcome(build.name, published=not held_back, warnings=self.warnings)

    def _held_back(self) -> str:
        """Why readers do not get this build although nothing failed; empty when they do."""
        if left := self.record.partial:
            return f"left as they were: {listed(left, 10)}"
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
    options = {one.name: getattr(record.options, one.name) for one in fields(OptionsRecord)} if record.options else {}
    return Results(record.id, record.nodes or {}, record.checks, record.unit_tests, record.rows or {}, options)


def has_report_years(graph: Graph) -> bool:
    """Tell whether a build of the project has report years to validate."""
    return any(str(node.relation) in graph.project.report_tables.with_report_years() for node in graph.built())
