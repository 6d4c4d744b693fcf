"""The nightly job: load what changed, rebuild what that touches, check, publish. Nothing changed means nothing done.

Whether anything did change is found out here, and what a run starts from; `kpi.jobs.candidate` makes the build.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kpi.build_record import BuildRecord, Inputs, OptionsRecord
from kpi.environment import environment_of
from kpi.errors import ConfigError, LockHeld, Problem
from kpi.events import Emit, Event, emit_event
from kpi.files import checksum, code_digest, project_digest
from kpi.ingest import raw_files
from kpi.jobs.options import Options, Outcome, engine_of, is_by_spark, refuse_engine, settings_of
from kpi.presentation import headline
from kpi.project.external import contents
from kpi.sql import counted
from kpi.warehouse.builds import Warehouse, begin, writing
from kpi.warehouse.lifecycle import copy_compactly, is_grown, is_prune_due, prune, rolled_back_from, start_for
from kpi.warehouse.permissions import (
    DATABASE,
    close,
    database_folder,
    has_its_size,
    refuse_unusable,
)

if TYPE_CHECKING:
    from kpi.settings import EngineSettings


_NOTES = 10  # that a run says; `kpi compile` has all


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
        checksums = raw_files.Checksums(warehouse / raw_files.CHECKSUMS, is_read=not options.full_refresh)
        folder = raw_files.scan(warehouse / "raw", checksums)
        checksums.save()
        return cls(folder, inputs_of(root.resolve(), folder, options))


def refresh(root: Path, options: Options, emit: Emit) -> Outcome:
    """Bring the published build up to date with the project and the deliveries.

    `emit` gets a line for each step. Raises DeliveryError, CompileErrors, BuildErrors or CheckFailed, after which
    readers still see what they saw before and the failed candidate is kept, or LockHeld.
    """
    warehouse = Warehouse(root.resolve() / "warehouse")
    state = _Found.now(root, options)
    if is_needless(root, warehouse, options, state.inputs):
        _clean_up(warehouse, emit)
        return _nothing_to_do(warehouse, state.folder, emit)
    return _run(root, options, emit, state, lambda settings: start_of(warehouse, options, state.folder, settings))


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


def _run(root: Path, options: Options, emit: Emit, state: _Found, start_by: Callable[[str], Start]) -> Outcome:
    """Compile, take the lock and make a build. `start_by` gives what it starts from, by the project and DuckDB."""
    from kpi.cache import caching
    from kpi.engine.compile import CACHE

    with caching(root.resolve() / CACHE):  # read and written once, for what is compiled and for what pages say of it
        return _compile_and_build(root, options, emit, state, start_by)


def _compile_and_build(
    root: Path, options: Options, emit: Emit, state: _Found, start_by: Callable[[str], Start]
) -> Outcome:
    from kpi.database import refuse_leaking
    from kpi.engine.compile import compiled
    from kpi.jobs.candidate import GreatExpectations, Run, has_report_years
    from kpi.jobs.pipeline import PipelineContext, prepare_hashing
    from kpi.site.sentences import check_report
    from kpi.validation.rule import check_expectations, read_expectations

    refuse_leaking()
    warehouse = Warehouse(root.resolve() / "warehouse")
    emit_event(emit, Event("compiling", stage="compile"))
    project = compiled(root, options.variables, options.target, options.invocation)
    graph = project.graph
    check_expectations(read_expectations(graph.project), graph)
    check_report(graph)
    tests, feeds = counted(len(graph.tests()), "test"), counted(len(graph.feeds), "feed")
    emit(f"Compiled {len(graph.built())} seeds and models, {tests}, {feeds}.")
    for line in graph.notes[:_NOTES]:
        emit(f"  note: {line}")
    if len(graph.notes) > _NOTES:
        emit(f"  note: {len(graph.notes) - _NOTES} more notes: kpi compile")
    engine = engine_of(graph.project, options)
    refuse_engine(project, engine)
    importing = GreatExpectations() if options.validate and has_report_years(graph) else None
    with writing(warehouse, options.wait_seconds, emit) as waited:
        if waited:
            # The run that was waited for may have done it all, or something changed meanwhile.
            state = _Found.now(root, options)
            if is_needless(root, warehouse, options, state.inputs):
                return _nothing_to_do(warehouse, state.folder, emit)
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
        if start.folder:
            prepare_hashing(database_folder(start.folder) / DATABASE)
        candidate = begin(warehouse, warehouse_settings, None if grown else start.folder)
        if start.folder and start.record and grown:
            settings = warehouse_settings.engine_settings(options.settings or {})
            copy_compactly(start.folder, candidate, start.record, settings, emit)
        # Where memory is scarce, what takes 200 MB is imported when DuckDB has given back what it built with.
        is_scarce = "memory_limit" in warehouse_settings.engine_settings(options.settings or {})
        is_certain = _is_validation_needed(start.record, state.inputs) and not is_scarce
        begun = importing.start if importing and is_certain else lambda: None
        context = PipelineContext(warehouse, graph, options, state.folder, emit, begun, engine)
        outcome = Run(context, candidate, start.record, state.inputs, importing).run()
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


def _nothing_to_do(warehouse: Warehouse, folder: raw_files.RawFolder, emit: Emit) -> Outcome:
    build, left = warehouse.published(), rolled_back_from(warehouse)
    message = f"Nothing changed since build {build}: nothing to do."
    if left is not None:
        message = f"Nothing changed since build {left.name}, which was rolled back: readers keep {build}."
        message += f" To let them see it again: kpi rollback {left.name}"
    emit_event(emit, Event("nothing to do", message))
    if problem := folder.deleted_problem:
        emit(f"  warning: {problem}")
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
    environment = before.ingredients.environment
    return (
        _is_same(inputs, before)
        and environment_of(environment, root.resolve()) == environment
        and contents(root.resolve(), before.outside) == before.outside
        and _has_its_times(root.resolve() / "warehouse" / "raw", before)
    )


def _has_its_times(raw: Path, before: BuildRecord) -> bool:
    """Tell whether the files whose time of delivery decides something still have the time that a build noted."""
    timed = [file for file in before.files or () if file.delivered_at is not None]
    return all(raw_files.modified(raw / file.feed / file.file) == file.delivered_at for file in timed)


def inputs_of(root: Path, folder: raw_files.RawFolder, options: Options) -> Inputs:
    """Return what a run with these options would be made from."""
    return Inputs(
        project=project_digest(root),
        code=code_digest(),
        raw=folder.digest(),
        day=str(options.as_of),
        variables=checksum(
            repr([*sorted((options.variables or {}).items()), *filter(None, (options.target, _engine(options)))])
        ),
    )


def _engine(options: Options) -> str:
    """The engine that a run was told to use, whatever the project says; empty when it was told none."""
    settings = options.engine or {}
    return f"engine {settings.get('engine') or 'spark'}" if settings else ""


def _is_same(inputs: Inputs, before: BuildRecord) -> bool:
    earlier = before.inputs
    return earlier is not None and replace(earlier, day=inputs.day) == inputs and before.is_same_on(inputs.day)


def _is_validation_needed(before: BuildRecord | None, inputs: Inputs) -> bool:
    """Tell before anything is built whether every year will be validated: what was found earlier is of no use then."""
    return before is None or before.years is None or before.inputs is None or before.inputs.code != inputs.code


def _emit_other_engine(warehouse: Warehouse, start: Start, engine: EngineSettings, emit: Emit) -> None:
    """Say that everything is built because another engine made what readers have."""
    published = warehouse.current_record()
    if start.record is None and published and is_by_spark(published.engine) != engine.is_spark:
        other, this = ("DuckDB", "Spark") if engine.is_spark else ("Spark", "DuckDB")
        emit(f"Build {published.id} was computed by {other}, so nothing of it is a start for {this}: all is built.")
