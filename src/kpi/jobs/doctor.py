"""Whether the warehouse is well: permissions, disk, leftovers, checksums, ledger, access checks; with remedies."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

from kpi.build_record import BuildRecord
from kpi.errors import KpiError
from kpi.files import why_unreadable
from kpi.ingest import release_files
from kpi.ingest.calendar import LATE, late_problems
from kpi.ingest.masking import quoted
from kpi.ingest.raw_files import hash_of, scan
from kpi.jobs.notifications import FILE, addresses, is_exposed
from kpi.jobs.notifications import unreadable as unreadable_addresses
from kpi.lazy import duckdb
from kpi.sql import counted
from kpi.warehouse.builds import RELEASED, UNREADABLE, Warehouse, is_being_written, missing
from kpi.warehouse.lifecycle import deleted_since, rolled_back_from, shows
from kpi.warehouse.permissions import DATABASE, STEWARDS, database_folder, group_of, is_closed
from kpi.warehouse.run_log import history, unreadable

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `remedy` says what to do when it is not well."""

    level: Level
    what: str
    remedy: str = ""


def guarded(warehouse: Warehouse) -> Iterator[Finding]:
    """Look whether readers can get at schemas that the project leaves out for them; nothing when it leaves out none."""
    wanted = _wanted_restrictions(warehouse)
    published = warehouse.current_record()
    schemas = wanted if wanted is not None else published.restricted_schemas if published else frozenset()
    findings = [finding for folder in warehouse.build_folders() for finding in _modes(warehouse, folder)]
    if schemas:
        findings += _shown(warehouse, schemas)
        findings += _beside(warehouse)
        if not findings:
            findings.append(Finding("ok", f"readers cannot get at {', '.join(sorted(schemas))}"))
    yield from findings


def engine(warehouse: Warehouse) -> Iterator[Finding]:
    """Look whether Spark is there, when the project says that it computes the models; nothing when DuckDB does."""
    from kpi.engine.compile import read_project

    try:
        settings = read_project(warehouse.root.parent).engine_settings
    except KpiError:
        return  # whoever compiles it is told why
    if not settings.is_spark:
        return
    from kpi.engine.spark import address_of, refuse_unusable

    try:
        refuse_unusable(settings)
    except KpiError as error:
        yield Finding("error", f"the engine is Spark at {address_of(settings)}, and cannot be used", str(error))
        return
    yield Finding("ok", f"the engine is Spark at {address_of(settings)}")


def _wanted_restrictions(warehouse: Warehouse) -> frozenset[str] | None:
    """The schemas that the project leaves out; None when that is not known."""
    from kpi.engine.compile import read_project

    try:
        return frozenset(read_project(warehouse.root.parent).warehouse_settings.stewards_schemas)
    except KpiError:
        return None


def _modes(warehouse: Warehouse, folder: Path) -> Iterator[Finding]:
    """What others, or another group, can get at of a build's stewards' part."""
    place = database_folder(folder)
    if place == folder:
        return
    stewards = warehouse.record(folder).stewards
    group = stewards.group if stewards else ""
    has_readers = os.path.lexists(folder / DATABASE)
    for path in (place, place / DATABASE) if has_readers else (folder, place, place / DATABASE):
        try:
            about = path.stat()
        except OSError:  # it is closed to whoever asks
            continue
        mode, message = stat.S_IMODE(about.st_mode), path.relative_to(warehouse.builds)
        allowed = 0o700 | (0o050 if group else 0)
        if mode & ~allowed or (path.name == DATABASE and mode & 0o222):
            remedy = f"chmod {allowed if path.is_dir() else allowed & 0o440:04o} {path}"
            yield Finding("error", f"{message} is for stewards, and has the mode {mode:04o}", remedy)
        if group and group_of(about.st_gid) != group:
            yield Finding("error", f"{message} belongs to group {group_of(about.st_gid)}", f"chgrp {group} {path}")


def _shown(warehouse: Warehouse, schemas: frozenset[str]) -> Iterator[Finding]:
    """Builds that show readers what the project leaves out: made before it did."""
    current = warehouse.current()
    group = _group(warehouse)
    for folder in warehouse.build_folders():
        if not os.access(folder, os.X_OK) or is_closed(folder, group):
            continue
        if shown := shows(warehouse, folder, schemas):
            message = f"build {folder.name} shows all readers {', '.join(shown)}"
            newer = rolled_back_from(warehouse)
            forward = f"kpi rollback {newer.name}" if newer else "Run: kpi refresh"
            remedy = forward if folder == current else f"chmod 0700 {folder}, or remove it"
            yield Finding("warning", message, remedy)


def _beside(warehouse: Warehouse) -> Iterator[Finding]:
    """The same rows where no build guards them: as they were delivered, and in the logs of runs."""
    runs, raw = warehouse.root / "runs", warehouse.raw
    if runs.is_dir() and not is_closed(runs, _group(warehouse)):
        yield Finding("warning", f"readers may open {runs}, where errors quote rows", f"chmod 0700 {runs}")
    way = [folder.stat().st_mode & 0o001 for folder in (warehouse.root.parent, warehouse.root)]
    if raw.is_dir() and all(way) and raw.stat().st_mode & 0o001:
        message = f"others may look into {raw}, where the rows are that readers' builds leave out"
        yield Finding("warning", message, f"chmod o-rwx {raw}")


def _group(warehouse: Warehouse) -> str:
    published = warehouse.current_record()
    return published.stewards.group if published and published.stewards else ""


LEAST_FREE = 1 << 30  # bytes, where nothing was published yet to go by


def examine(warehouse: Warehouse) -> Iterator[Finding]:
    """Look at everything, in a fixed order. Changes nothing; reads every byte of every build that is kept."""
    parts: tuple[Callable[[Warehouse], Iterator[Finding]], ...] = (
        _versions,
        _time_zones,
        _permissions,
        guarded,
        engine,
        _disk,
        _raw,
        _leftovers,
        _current,
        _builds,
        _ledger,
        _releases,
        _nightly,
        _feeds,
    )
    for part in parts:
        yield from part(warehouse)


def _versions(warehouse: Warehouse) -> Iterator[Finding]:
    import platform

    from kpi.database import LEAKING

    now = f"duckdb {duckdb.__version__}"
    yield Finding("ok", f"Python {platform.python_version()}, {now}")
    published = warehouse.current_record()
    if published and published.engine and not published.engine.endswith(now):
        message = f"the published build was made with {published.engine}"
        yield Finding("warning", message, "The next refresh rebuilds everything.")
    for folder in warehouse.build_folders():
        if warehouse.record(folder).engine.endswith(f"duckdb {LEAKING}"):
            message = f"build {folder.name} was written by DuckDB {LEAKING}: its file may hold text of tables it lacks"
            remedy = "kpi refresh --full-refresh" if folder == warehouse.current() else f"rm -r {folder}"
            yield Finding("warning", f"{message} (duckdb#23382)", f"Pass it on to nobody. {remedy}")


def _time_zones(_: Warehouse) -> Iterator[Finding]:
    from zoneinfo import ZoneInfo

    from kpi.database import fetch_one, scratch

    # Three instants around a change of the clocks: UTC hour and the hour in Helsinki.
    examples = ((datetime(2025, 3, 30, 0, 59), 2), (datetime(2025, 3, 30, 1, 0), 4), (datetime(2025, 10, 26, 1, 0), 3))
    with scratch() as con:
        for instant, hour in examples:
            python = instant.replace(tzinfo=UTC).astimezone(ZoneInfo("Europe/Helsinki")).hour
            sql = f"select hour(timestamp '{instant}' at time zone 'UTC' at time zone 'Europe/Helsinki')"
            if (python, fetch_one(con, sql)[0]) != (hour, hour):
                yield Finding("error", f"time zone data is wrong at {instant} UTC", "Reinstall tzdata, and duckdb.")
                return
    yield Finding("ok", "time zone data of Europe/Helsinki")


def _permissions(warehouse: Warehouse) -> Iterator[Finding]:
    for folder in (warehouse.root, warehouse.builds):
        if folder.is_dir() and os.statvfs(folder).f_flag & os.ST_RDONLY:
            message = "Mount it writable. One that became read-only by itself has a disk that fails: see dmesg."
            yield Finding("error", f"{folder} is on a file system that is read-only", message)
        elif folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            message = f"{folder} cannot be written by user {os.getuid()}"
            yield Finding("error", message, "Run as the owner of the folder, or give it to the user that refreshes.")
        elif folder.is_dir() and folder.stat().st_mode & stat.S_IWOTH:
            yield Finding("error", f"{folder} can be written by everybody", f"chmod o-w {folder}")
    loose = [
        folder.name
        for folder in warehouse.build_folders()
        if os.path.isfile(folder / DATABASE) and (folder / DATABASE).stat().st_mode & 0o222
    ]
    for build in loose:
        yield Finding(
            "error", f"{build}/{DATABASE} is not read-only", f"chmod 0444 {warehouse.builds / build / DATABASE}"
        )
    if not loose:
        yield Finding("ok", "permissions of folders and builds")


def _disk(warehouse: Warehouse) -> Iterator[Finding]:
    current = warehouse.current()
    files = {current / DATABASE, database_folder(current) / DATABASE} if current else set[Path]()
    size = sum(os.stat(file).st_size for file in files if os.access(file, os.F_OK))
    place = next(folder for folder in (warehouse.root, *warehouse.root.parents) if folder.is_dir())
    free, needed = shutil.disk_usage(place).free, max(3 * size, LEAST_FREE)
    message = f"{free / 1e9:.1f} GB free, a refresh may need {needed / 1e9:.1f} GB"
    if free < needed:
        yield Finding("warning", message, "Free disk, or keep fewer builds.")
    else:
        yield Finding("ok", message)


def _raw(warehouse: Warehouse) -> Iterator[Finding]:
    from kpi.errors import DeliveryError

    try:
        folder = scan(warehouse.raw)
    except DeliveryError as error:
        # Of anything but what may not be read it says itself what to do.
        remedy = "Give the user that refreshes the right to read it." if error.is_unreadable else ""
        yield Finding("error", str(error), remedy)
        return
    for file in folder.deleted:
        yield Finding(
            "warning", f"raw/{file.path} was deleted by its retention and lies there", "kpi prune-raw --delete"
        )
    for name in folder.ignored:
        remedy = "A delivery is a .csv or .csv.gz file, no link that leads away, in the folder of its feed."
        yield Finding("warning", f"raw/{quoted(name)} is passed over", f"{remedy} Move it, or take it away.")
    yield Finding("ok", f"{len(folder.files)} deliveries can be read")


def _leftovers(warehouse: Warehouse) -> Iterator[Finding]:
    if is_being_written(warehouse):
        yield Finding("ok", "a refresh is running")
        return
    for left in sorted(warehouse.builds.glob(".tmp-*")) if warehouse.builds.is_dir() else []:
        owner = left.lstat().st_uid
        message = f"Belongs to user {owner}, who must remove it, or root: rm -r {left}"
        remedy = "The next refresh removes it." if owner == warehouse.builds.stat().st_uid else message
        yield Finding("warning", f"{left.name} was left by a run that died", remedy)
    for wal in sorted(warehouse.builds.rglob(f"{DATABASE}.wal")) if warehouse.builds.is_dir() else []:
        yield Finding("error", f"{wal} blocks opening the build", f"Remove it: rm {wal}")


def _current(warehouse: Warehouse) -> Iterator[Finding]:
    link, current = warehouse.root / "current", warehouse.current()
    if link.exists() and not link.is_symlink():
        yield Finding("error", f"{link} is no link", "Move it away and run: kpi refresh")
    elif current is None:
        yield Finding("warning", "nothing is published yet", "Run: kpi refresh")
    elif not (current / DATABASE).is_file():
        yield Finding(
            "error", f"readers are pointed at {current.name}, which is gone", "kpi rollback ID, or kpi refresh"
        )
    else:
        yield Finding("ok", f"readers see {current.name}")
        record = warehouse.record(current)
        if deleted_since(warehouse, record):
            message = f"{current.name} was made before deliveries were deleted, and may show their rows"
            yield Finding("warning", message, "Run: kpi prune-raw --delete; after a rollback: kpi rollback ID")
        if failed := record.overruled:
            message = f"{current.name} was published despite {counted(len(failed), 'failed check')}: {record.reason}"
            yield Finding("warning", message, "Mend what failed; the next run without the flag checks it again.")


def _builds(warehouse: Warehouse) -> Iterator[Finding]:
    current = warehouse.current()
    remedies = {True: "kpi rollback, then kpi refresh --full-refresh", False: "Remove its folder."}
    for folder in warehouse.build_folders():
        if not os.access(folder, os.R_OK | os.X_OK) or not os.access(database_folder(folder), os.R_OK | os.X_OK):
            yield Finding("warning", f"build {folder.name}: only stewards can look at all of it", "Run as its owner.")
            continue
        record = warehouse.record(folder)
        wrong = _wrong_with(folder, record)
        if wrong:
            yield Finding("error", f"build {folder.name}: {wrong}", remedies[current is not None and folder == current])
        elif record.problem:
            is_start = folder == current
            remedy = "The next refresh rebuilds everything." if is_start else "It can be read and rolled back to."
            yield Finding("warning", f"build {folder.name}: {record.problem}", remedy)
        else:
            yield Finding("ok", f"build {folder.name}: every byte is as it was written")


def _wrong_with(folder: Path, record: BuildRecord) -> str:
    """Say what is wrong with a build's files; empty when nothing is."""
    from kpi import database

    if record.status == "unknown":
        return record.problem
    failed = record.status == "failed"  # may have been stopped before it was whole
    expected = {folder / DATABASE: (record.checksum, record.rows)}
    if record.stewards:
        expected = {folder / STEWARDS / DATABASE: (record.stewards.checksum, record.rows)}
        if record.readers and not failed:
            expected[folder / DATABASE] = (record.checksum, record.readers.rows)
    for file, (expected_hash, rows) in expected.items():
        name = file.relative_to(folder)
        if not file.is_file():
            if not failed:
                return f"its {name} is gone"
        elif expected_hash and expected_hash != hash_of(file):
            return f"its {name} is not what was written"
        elif not failed:
            try:
                with database.reading(file) as con:
                    row_counts = database.row_counts(con)
            except duckdb.Error as error:
                return database.first_line(error)
            if row_counts != (row_counts if rows is None else rows):
                return "its tables do not have the rows that were written"
    return ""


def _ledger(warehouse: Warehouse) -> Iterator[Finding]:
    if why := why_unreadable(warehouse.builds / "ledger.jsonl"):
        message = "The next run that builds sets it aside and begins a new one; or give it to the user that refreshes."
        yield Finding("error", f"the ledger cannot be read: {why}", message)
        return
    for aside in sorted(warehouse.builds.glob(f"{UNREADABLE}*")):
        message = f"Where it can be read again: append ledger.jsonl to it and move it back; else remove {aside}"
        yield Finding("warning", f"{aside.name} is a ledger that could not be used", message)
    events = warehouse.ledger()
    recorded_builds = {event.build for event in events}
    folders = warehouse.build_folders()
    lost = sorted(missing(events, folders))
    strange = sorted({folder.name for folder in folders} - recorded_builds)
    for build in lost:
        message = "Bring it back from a backup if it is needed; the next run that builds notes that it is gone."
        yield Finding("warning", f"the ledger has {build}, whose folder is gone", message)
    for build in strange:
        yield Finding("warning", f"{build} is not in the ledger", "Was it copied here? If not needed, remove it.")
    if not lost and not strange:
        yield Finding("ok", f"the ledger's {len(recorded_builds)} builds agree with the folders")


def _releases(warehouse: Warehouse) -> Iterator[Finding]:
    """Whether every release is there as it was written, and its build."""
    root = warehouse.root.parent
    names, builds = release_files.names_of(root), {folder.name for folder in warehouse.build_folders()}
    released = {event.reason for event in warehouse.ledger() if event.event == RELEASED}
    for name in sorted(released - set(names)):
        folder = release_files.releases_folder(root) / name
        yield Finding("error", f"release {name} is gone from {folder.parent}", f"git checkout -- {folder}")
    is_well = True
    for name in names:
        folder = release_files.releases_folder(root) / name
        if wrong := release_files.wrong_with(folder):
            is_well = False
            yield Finding("error", f"release {name}: {wrong}", f"git checkout -- {folder}")
        elif (build := str(release_files.fields_of(folder).get("build"))) not in builds:
            yield Finding("warning", f"release {name} is of build {build}, which is gone", f"kpi release verify {name}")
    if names and is_well:
        yield Finding("ok", f"{counted(len(names), 'release')} as released")


def _nightly(warehouse: Warehouse) -> Iterator[Finding]:
    """The last run, and whether people will be notified of the next."""
    runs = history(warehouse.root)
    # A retry with nothing to retry says nothing of the warehouse.
    runs = [run for run in runs if run.outcome != "running" and (run.command, run.exit_code) != ("retry", 3)]
    if runs and runs[-1].exit_code == 0:
        yield Finding("ok", f"the last run {runs[-1].outcome} build {runs[-1].build}")
    elif runs:
        message = f"the last run, {runs[-1].run}, ended as: {runs[-1].outcome}"
        yield Finding("warning", message, f"kpi runs show {runs[-1].run}")
    for problem in unreadable(warehouse.root):
        yield Finding("warning", str(problem), "Give it to the user that refreshes, or remove it.")
    if why := unreadable_addresses(warehouse.root):
        message = f"{warehouse.root / FILE} cannot be read: {why}. Nobody is notified when a run fails"
        yield Finding("error", message, "Make it a UTF-8 file of the user that refreshes, chmod 600.")
    elif is_exposed(warehouse.root):
        path = warehouse.root / FILE
        yield Finding("error", f"others can read {path}, which holds passwords", f"chmod 600 {path}")
    elif not addresses(warehouse.root):
        yield Finding("ok", f"nobody is notified when a run fails: no address stands in {warehouse.root / FILE}")


def _feeds(warehouse: Warehouse) -> Iterator[Finding]:
    """Whether the deliveries of each feed go on coming, by what the published build noted."""
    from kpi.ingest.raw_files import is_labelled_synthetic

    if is_labelled_synthetic(warehouse.raw):
        yield Finding("ok", "the deliveries are labelled SYNTHETIC (raw/README.txt): no more of them is expected")
        return
    published = warehouse.current_record()
    due = published.freshness if published else ()
    late = list(late_problems(due, date.today()))
    for problem in late:
        level: Level = "error" if problem.code == LATE["very late"] else "warning"
        yield Finding(level, str(problem), "Ask who delivers it.")
    if due and not late:
        yield Finding("ok", f"no delivery of {len(due)} feeds is late")
