"""The nightly job: load what changed, rebuild what that touches, check, publish. Nothing changed means nothing done."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.environment import environment_of
from kpi.errors import ConfigError, LockHeld
from kpi.events import Emit, Event, emit_event
from kpi.ingest import raw_files
from kpi.jobs.candidate import Run, is_judged, is_judged_alike, settings_of
from kpi.jobs.options import Inputs, Options, Outcome
from kpi.project.external import contents
from kpi.settings import WarehouseSettings
from kpi.sql import counted
from kpi.warehouse.builds import Warehouse, begin, writing
from kpi.warehouse.lifecycle import copy_compactly, is_grown, is_prune_due, prune, rolled_back_from, start_for
from kpi.warehouse.permissions import close, has_its_size, refuse_unusable

if TYPE_CHECKING:
    import threading


# The folder of the build that a run starts from, that build's facts, and what is to be told of it.
Start = tuple[Path | None, dict[str, Any], tuple[str, ...]]
_NOTES = 10  # that a run tells; `kpi compile` tells all


def refresh(root: Path, options: Options, emit: Emit) -> Outcome:
    """Bring the published build up to date with the project and the deliveries.

    `tell` gets a line for each step. Raises DeliveryError, CompileErrors, BuildErrors or CheckFailed, after which
    readers still see what they saw before and the failed candidate is kept, or LockHeld.
    """
    warehouse = Warehouse(root.resolve() / "warehouse")
    folder = raw_files.scan(warehouse.raw)
    inputs = inputs_of(root.resolve(), folder, options)
    if _is_needless(root, warehouse, options, inputs):
        _clean_up(warehouse, emit)
        return _nothing_to_do(warehouse, emit)

    def start(settings: str) -> Start:
        newest, message = start_for(warehouse)
        before = warehouse.facts(newest)
        # Deleted rows stand in the free blocks of a copied file: where deliveries were deleted it is made anew.
        is_retained = before.get("retained", []) == [kept.name for kept in folder.kept]
        from_nothing = (options.full_refresh or not is_retained) and not options.is_partial
        return (None, {}, message) if from_nothing or before.get("settings") != settings else (newest, before, message)

    return _run(root, warehouse, options, emit, folder, inputs, start)


def retry(root: Path, options: Options, emit: Emit) -> Outcome:
    """Continue the last failed candidate: what it built and is still right is kept, the rest of the run done.

    It selects what the failed run selected, and runs unit tests and keeps failing rows when that did. Raises what
    `refresh` raises, and ConfigError when there is nothing to continue: the last run did not fail, or failed in
    loading, or readers have another build by now.
    """
    warehouse = Warehouse(root.resolve() / "warehouse")
    folder = raw_files.scan(warehouse.raw)
    failed = _last_failed(warehouse)
    asked = failed["asked"]
    options = replace(
        options,
        select=tuple(asked["select"]),
        exclude=tuple(asked["exclude"]),
        indirect=asked["indirect"],
        kinds=tuple(asked["kinds"]),
        state=asked["state"],
        selector=asked.get("selector", ""),
        usual_selector=asked.get("usual_selector", False),
        full_refresh=asked["full_refresh"],
        unit_tests=options.unit_tests or asked.get("unit_tests", False),
        store_failures=options.store_failures or asked.get("store_failures", False),
        continued=(*failed["continued"], failed["id"]),
    )

    def start(settings: str) -> Start:
        if _last_failed(warehouse)["id"] != failed["id"] or failed["settings"] != settings:
            raise ConfigError(f"build {failed['id']} cannot be continued any more. Run: kpi refresh")
        built = sum(node.get("built_in") == failed["id"] for node in failed["nodes"].values())
        why = failed["reason"].splitlines()[0]
        emit(f"Continuing build {failed['id']} ({why}), which built {counted(built, 'node')}.")
        return warehouse.builds / failed["id"], failed, ()

    return _run(root, warehouse, options, emit, folder, inputs_of(root.resolve(), folder, options), start)


def _last_failed(warehouse: Warehouse) -> dict[str, Any]:
    """The facts of the last run, which failed and can be continued. Raises ConfigError."""
    last = warehouse.last_run()
    if last.get("status") != "failed":
        message = (
            f"the last run made build {last['id']}, which is {last.get('status')}" if last else "nothing was run yet"
        )
        raise ConfigError(f"there is nothing to retry: {message}. Run: kpi refresh")
    if "nodes" not in last or "asked" not in last:
        raise ConfigError(f"build {last['id']} failed before anything was built: nothing to retry. Run: kpi refresh")
    current = warehouse.current()
    if last["current"] != (current.name if current else None):
        message = f"build {last['id']} was made when readers had {last['current'] or 'none'}"
        raise ConfigError(f"{message}, now they have {current and current.name}: nothing to retry. Run: kpi refresh")
    return last


def _run(
    root: Path,
    warehouse: Warehouse,
    options: Options,
    emit: Emit,
    folder: raw_files.RawFolder,
    inputs: Inputs,
    start: Callable[[str], Start],
) -> Outcome:
    from kpi.database import refuse_leaking
    from kpi.engine.compile import compiled
    from kpi.validation.rule import check_expectations, read_expectations

    refuse_leaking()
    emit_event(emit, Event("compiling", stage="compile"))
    graph = compiled(root, options.variables, options.target, options.invocation).graph
    check_expectations(read_expectations(graph.project), graph)
    emit(f"Compiled {len(graph.built())} seeds and models, {len(graph.tests())} tests, {len(graph.feeds)} feeds.")
    for line in graph.notes[:_NOTES]:
        emit(f"  note: {line}")
    if len(graph.notes) > _NOTES:
        emit(f"  note: {len(graph.notes) - _NOTES} more notes are told by: kpi compile")
    importing = _Expectations() if options.validate and is_judged(graph) else None
    with writing(warehouse, options.wait_seconds, emit) as waited:
        if waited:
            # The run that was waited for may have done it all, or something changed meanwhile.
            folder = raw_files.scan(warehouse.raw)
            inputs = inputs_of(root.resolve(), folder, options)
            if _is_needless(root, warehouse, options, inputs):
                return _nothing_to_do(warehouse, emit)
            graph = compiled(root, options.variables, options.target, options.invocation).graph
        folder_before, before, warnings = start(settings_of(graph.project))
        for line in warnings:
            emit(f"  warning: {line}")
        warehouse_settings = graph.project.warehouse_settings
        refuse_unusable(graph)
        if warehouse_settings.stewards_schemas and (warehouse.root / "runs").is_dir():
            close(warehouse.root / "runs", warehouse_settings.stewards_group)  # what a run tells may quote a row
        grown = folder_before is not None and is_grown(before, warehouse_settings)
        candidate = begin(warehouse, warehouse_settings, None if grown else folder_before)
        if folder_before and grown:
            copy_compactly(
                folder_before, candidate, before, warehouse_settings.engine_settings(options.settings or {}), emit
            )
        run = Run(warehouse, graph, options, emit, candidate, before, folder, inputs, importing)
        outcome = run.run()
        return replace(outcome, warnings=(*warnings, *outcome.warnings))


def _is_needless(root: Path, warehouse: Warehouse, options: Options, inputs: Inputs) -> bool:
    asks_for_more = options.full_refresh or options.is_partial or options.continued
    return not asks_for_more and is_up_to_date(root, warehouse, inputs)


def _clean_up(warehouse: Warehouse, emit: Emit) -> None:
    """Remove what a killed run left and builds that are too old, if there are any and nobody is writing."""
    made = warehouse.facts(rolled_back_from(warehouse) or warehouse.current())
    warehouse_settings = WarehouseSettings(**made.get("upkeep", {}))  # as the project says: it is the same
    is_due = is_prune_due(warehouse, warehouse_settings)
    if is_due or any(warehouse.builds.glob(".tmp-*")):
        with suppress(LockHeld), writing(warehouse):
            if is_due:
                prune(warehouse, warehouse_settings, emit)


def _nothing_to_do(warehouse: Warehouse, emit: Emit) -> Outcome:
    build, left = warehouse.facts(warehouse.current())["id"], rolled_back_from(warehouse)
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
    if current is None or not has_its_size(current, warehouse.facts(current)):
        return False
    made = [warehouse.facts(folder) for folder in (current, rolled_back_from(warehouse)) if folder]
    return any(was_made_from(root, inputs, before) for before in made)


def was_made_from(root: Path, inputs: Inputs, before: Mapping[str, Any]) -> bool:
    """Tell whether a build, by its facts, was made from these inputs and from what lies outside them as it is now."""
    read = before.get("ingredients", {}).get("environment", {})
    outside = before.get("outside", {})
    return (
        _is_same(inputs, before)
        and environment_of(read, root.resolve()) == read
        and contents(root.resolve(), outside) == outside
        and _has_its_times(root.resolve() / "warehouse" / "raw", before)
    )


def _has_its_times(raw: Path, before: Mapping[str, Any]) -> bool:
    """Tell whether the files whose time of delivery decides something still have the time that a build noted."""
    timed = [file for file in before.get("files", []) if file.get("delivered_at") is not None]
    return all(raw_files.modified(raw / file["feed"] / file["file"]) == file["delivered_at"] for file in timed)


def inputs_of(root: Path, folder: raw_files.RawFolder, options: Options) -> Inputs:
    """Return what a run with these options would be made from."""
    from kpi.files import code_digest, project_digest

    return Inputs(
        project=project_digest(root),
        code=code_digest(),
        raw=folder.digest(),
        day=str(options.as_of),
        variables=hashlib.blake2b(
            repr([*sorted((options.variables or {}).items()), *([options.target] if options.target else [])]).encode(),
            digest_size=16,
        ).hexdigest(),
    )


def _is_same(inputs: Inputs, before: Mapping[str, Any]) -> bool:
    made = before.get("inputs", {})
    same = bool(made) and all(getattr(inputs, name) == made.get(name) for name in Inputs.__slots__ if name != "day")
    return same and is_judged_alike(before, inputs.day)


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
        """Wait until it is there."""
        self.start()
        if self._thread:
            self._thread.join()
