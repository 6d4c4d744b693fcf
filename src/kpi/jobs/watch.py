"""`kpi build --watch`: after each saved file, build and test what it touches, in a working build nobody publishes.

The working database stays open for the whole watch, so a round costs what the change costs. After each round a copy of
it is put in place as the build `watch`, for reading: a database that is open for writing shuts out its readers.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kpi import database
from kpi.build_record import FILE, BuildRecord, to_json
from kpi.errors import ConfigError, KpiError, LockHeld
from kpi.events import Emit, Event
from kpi.events import now as utc_now
from kpi.files import project_files
from kpi.ingest.raw_files import scan
from kpi.jobs.candidate import within
from kpi.jobs.options import Options, settings_of
from kpi.lazy import duckdb
from kpi.settings import WarehouseSettings
from kpi.sql import counted
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import DATABASE, close, database_folder, make_place, refuse_unusable, stewards_of

if TYPE_CHECKING:
    from kpi.project.project import Project


BUILD = "watch"
EVERY_SECONDS = 0.5
Seen = Mapping[Path, tuple[int, int]]


def watch(root: Path, options: Options, emit: Emit, wait: Callable[[], object] | None = None) -> None:
    """Build and test what each saved file touches, until interrupted with Ctrl-C.

    What is wrong is reported, and the watch goes on. `wait` is called between two looks at the files. Raises LockHeld
    when another watch is running.
    """
    root = root.resolve()
    warehouse = Warehouse(root / "warehouse")
    wait = wait or (lambda: time.sleep(EVERY_SECONDS))
    with _alone(warehouse) as folder:
        _watch(root, warehouse, folder, replace(options, keep_going=True), emit, wait)


def _watch(
    root: Path, warehouse: Warehouse, folder: Path, options: Options, emit: Emit, wait: Callable[[], object]
) -> None:
    from kpi.project.project import load_project

    current = warehouse.current()
    record = warehouse.record(current) if current else None
    project = load_project(root, options.variables, options.target, options.invocation)
    _refuse_other_engine(project, options, emit)
    if current and record and record.engine == settings_of(project) and not record.problem:
        shutil.copyfile(database_folder(current) / DATABASE, folder / DATABASE)
        os.chmod(folder / DATABASE, 0o644)
    else:
        record = None
    emit(f"Watching {root}; the working build starts from {record.id if record else 'nothing'}. Ctrl-C ends it.")
    settings = project.warehouse_settings.engine_settings(options.settings or {})
    settings.pop("temp_directory", "")  # of a watch it stays in its own folder
    settings["file_search_path"] = str(root)
    locations = [source.location for source in project.sources if source.location]
    files = [folder, *within(warehouse, project, locations)]
    with database.building(folder / DATABASE, folder / "spill", settings, files) as con:
        earlier: Seen = {}
        number = 0
        try:
            while True:
                # Looked at before anything is read: what is saved during a round starts another.
                now = look(root)
                if now != earlier:
                    number += 1
                    paths = [path for path in {**earlier, **now} if earlier.get(path) != now.get(path)]
                    if earlier:
                        emit(f"{datetime.now():%H:%M:%S} {', '.join(sorted(str(p) for p in paths)[:5])}")
                    earlier = now
                    record = _round(con, root, options, record, f"{BUILD}-{number}", emit)
                    _show(warehouse, folder, record, emit)
                wait()
        except KeyboardInterrupt:
            emit("The watch has ended; what it built was not published.")


def _refuse_other_engine(project: Project, options: Options, emit: Emit) -> None:
    if options.engine and project.engine_settings.with_options(options.engine).is_spark:
        raise ConfigError("kpi build --watch computes with DuckDB alone. Leave out --engine, --master and --remote.")
    if project.engine_settings.is_spark:
        emit("note: a watch computes with DuckDB, whatever the project's engine; kpi build computes with Spark.")


def look(root: Path) -> Seen:
    """Return time of change and size of every file of the project that decides a build."""
    files = {}
    for path in project_files(root):
        try:
            about = path.stat()
        except FileNotFoundError:  # an editor that saves by renaming
            continue
        files[path.relative_to(root)] = (about.st_mtime_ns, about.st_size)
    return files


def _round(
    con: duckdb.DuckDBPyConnection,
    root: Path,
    options: Options,
    before: BuildRecord | None,
    build: str,
    emit: Emit,
) -> BuildRecord | None:
    """Compile, build and test once. Returns the record of the database as it then is; what is wrong is reported."""
    from kpi.engine.compile import compiled
    from kpi.jobs.pipeline import PipelineContext, run_pipeline

    started = time.perf_counter()
    warehouse = Warehouse(root / "warehouse")
    listener = _Lines()
    try:
        graph = compiled(root, options.variables, options.target, options.invocation).graph
        warehouse_settings = graph.project.warehouse_settings
        refuse_unusable(graph)
    except (KpiError, OSError) as error:  # a file may be gone for the moment in which it is saved
        emit(f"{error}")
        return before
    begun = BuildRecord(build, engine=settings_of(graph.project), stewards=stewards_of(warehouse_settings))
    try:
        context = PipelineContext(warehouse, graph, options, scan(warehouse.raw), listener)
    except KpiError as error:
        emit(f"failed: {error}")
        return before
    result = run_pipeline(con, context, before, begun)
    record = result.record
    if isinstance(result.error, KeyboardInterrupt):
        raise result.error
    if result.error:
        emit(f"failed: {result.error}")
        if record.nodes is None and not result.is_ingest_cut:
            return before
        if record.nodes is None:
            # Loading failed halfway: what the raw tables hold now has no name.
            earlier_nodes = (before.nodes if before else None) or {}
            nodes = {node: noted for node, noted in earlier_nodes.items() if not node.startswith("source.")}
            return replace(before or begun, nodes=nodes, stewards=begun.stewards)
    con.execute("checkpoint")
    for line in listener.lines:
        emit(line)
    for check in record.checks:
        if check.failures:
            word = "failed" if check.severity == "error" else "warning"
            emit(f"  {word}: {check.name} ({check.where}): {counted(check.failures, 'failing row')}")
    emit(f"{time.perf_counter() - started:.1f} s")
    return record


class _Lines:
    """Hears a run and keeps what it says, but for how much was loaded: nothing was, most times."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)

    def on_event(self, event: Event) -> None:
        from kpi.jobs.pipeline import LOAD_SUMMARY

        if event.message and event.event != LOAD_SUMMARY:
            self.lines.append(event.message)


def _show(warehouse: Warehouse, folder: Path, record: BuildRecord | None, emit: Emit) -> None:
    """Put a copy of the working database in place as the build `watch`."""
    if record is None or record.nodes is None:
        return
    is_first = not (warehouse.builds / BUILD / FILE).is_file()
    reason = "a watch's working build"
    shown = replace(record, id=BUILD, status="held back", reason=reason, finished_at=utc_now())
    _put_in_place(warehouse, folder / DATABASE, shown)
    if is_first:
        stewards = record.stewards is not None
        called = f"kpi query {'--stewards ' * stewards}--build {BUILD} '…'"
        emit(f"Open it with kpi.open(build={BUILD!r}{', stewards=True' * stewards}), or: {called}")


def _put_in_place(warehouse: Warehouse, database: Path, record: BuildRecord) -> None:
    """Make a copy of a database the build of that id, in place of an earlier one; who has that open keeps it."""
    name, stewards = record.id, record.stewards
    folder = warehouse.builds / f".next-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    place = make_place(folder, WarehouseSettings(stewards_schemas=stewards.schemas if stewards else ()))
    shutil.copyfile(database, place / DATABASE)
    os.chmod(place / DATABASE, 0o444)
    for path in (place / DATABASE, place, folder) if stewards else ():
        close(path, stewards.group if stewards else "")
    (folder / FILE).write_text(to_json(record), encoding="utf-8")
    final, old = warehouse.builds / name, warehouse.builds / f".old-{name}"
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    folder.rename(final)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _alone(warehouse: Warehouse) -> Iterator[Path]:
    """Give a private folder to the one watch. Not the writer's lock: a refresh goes on beside it. Raises LockHeld."""
    warehouse.builds.mkdir(parents=True, exist_ok=True)
    folder = warehouse.builds / ".watch"
    descriptor = os.open(warehouse.builds / ".watch.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeld("another kpi build --watch is running here. End it first.") from None
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)
