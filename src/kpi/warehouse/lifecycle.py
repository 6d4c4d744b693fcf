"""Retention of builds: which stay, which are pruned, and which build readers are rolled back to.

A DuckDB file never shrinks: what is rebuilt leaves free blocks behind, which the next builds inherit with the file.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kpi.build_record import FILE, BuildRecord
from kpi.errors import ConfigError, Problem
from kpi.events import Emit, silent
from kpi.files import checksum, read_regular, replace_text
from kpi.ingest.raw_files import kept_beside
from kpi.lazy import duckdb
from kpi.presentation import listed
from kpi.sql import counted
from kpi.warehouse.builds import (
    BACK,
    RELEASED,
    LedgerEvent,
    Warehouse,
    ever_published,
    forget_reasons,
    is_open,
    publish,
    record,
    remove,
    showings,
    writing,
)
from kpi.warehouse.permissions import DATABASE, close, database_folder, is_closed, is_whole, open_up

if TYPE_CHECKING:
    from kpi.settings import WarehouseSettings


KEEP_RELEASED = 5  # builds of releases that stay whatever their number; by age they go all the same


def prune(warehouse: Warehouse, warehouse_settings: WarehouseSettings, emit: Emit = silent) -> tuple[str, ...]:
    """Remove builds beyond those to be kept, note it in the ledger, and say which by which rule. Returns their ids.

    Never the current one, nor one of the latest releases unless it is too old, nor one that somebody has open, nor one
    that was written, or that readers were pointed at, within the grace; unless it is one of many of a day: of those not
    the one readers saw before the current one, nor any that they were taken back to. Only the holder of the writer's
    lock may.
    """
    events, grace_began = warehouse.ledger(), f"{datetime.now(UTC) - warehouse_settings.grace:%Y-%m-%dT%H:%M:%SZ}"
    outcomes, current = _outcomes(events), warehouse.current()
    left = {one.build: one.end for one in showings(events) if one.end}  # when readers last went on to another build
    wanted, released = _wanted(events), released_builds(events)
    rules = {True: ("keep_published", "keep_published_days"), False: ("keep_failed", "keep_failed_days")}
    newer: Counter[object] = Counter()
    removed: dict[str, list[tuple[str, int]]] = {}
    for folder in reversed(warehouse.build_folders()):
        build = folder.name
        # What the ledger tells of each is enough, and much less to read than all their records.
        kind = (outcomes.get(build) or warehouse.record(folder).status) == "published"
        age, of_a_day = datetime.now(UTC).timestamp() - folder.stat().st_mtime, (kind, _day_of(folder))
        is_in_grace = age <= warehouse_settings.grace.total_seconds() or left.get(build, "") > grace_began
        by_number, by_age = rules[kind]
        count, days = getattr(warehouse_settings, by_number), getattr(warehouse_settings, by_age)
        rule = ""
        if not is_in_grace and newer[kind] >= count and build not in released:
            rule = f"{by_number} {count}"
        elif not is_in_grace and days and age > days * 86_400:
            rule = f"{by_age} {days:g}"
        elif 0 < warehouse_settings.keep_of_a_day <= newer[of_a_day] and build not in {*wanted, *released}:
            rule = f"keep_of_a_day {warehouse_settings.keep_of_a_day}"
        newer.update((kind, of_a_day))
        if not rule or folder == current:
            continue
        files = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
        if not any(is_open(file) for file in files if file.suffix == ".duckdb"):
            with suppress(OSError):  # a disk that is full is a reason to go on
                record(warehouse, build, "pruned", rule)
            size = sum(os.lstat(file).st_size for file in files)
            remove(folder)
            removed.setdefault(rule, []).append((build, size))
    releases = released_builds(events, KEEP_RELEASED + len(events))
    for name in (name for builds in removed.values() for name, _ in builds if name in releases):
        emit(f"  warning: build {name} was that of release {releases[name]}: kpi release verify builds it again.")
    for rule, builds in removed.items():
        ids = listed([name for name, _ in builds], 3)
        room = f"{sum(size for _, size in builds) / 1e6:.1f} MB"
        emit(f"Removed {counted(len(builds), 'build')}, {room}, by {rule}: {ids}.")
    if (warehouse.root / "lake").is_dir():
        from kpi.warehouse.lake import tidy

        tidy(warehouse, emit)
    return tuple(name for builds in removed.values() for name, _ in builds)


def released_builds(events: Iterable[LedgerEvent], newest: int = KEEP_RELEASED) -> dict[str, str]:
    """Return the builds that report years were released of lately, so many at most, each with its last release."""
    releases = {event.build: event.reason for event in events if event.event == RELEASED}
    return dict(sorted(releases.items())[-newest:])


def _outcomes(events: Iterable[LedgerEvent]) -> dict[str, str]:
    """What became of each build when it was finished, by the ledger; one that was ever published is published."""
    outcomes: dict[str, str] = {}
    for event in events:
        if event.event in ("published", "failed", "held back") and outcomes.get(event.build) != "published":
            outcomes[event.build] = event.event
    return outcomes


def _wanted(events: Iterable[LedgerEvent]) -> set[str]:
    """The build that readers saw before the one they see, and those that they were ever taken back to."""
    shown = [event.build for event in events if event.event in ("published", BACK)]
    before = [build for build in shown if build != shown[-1]]
    return {*before[-1:], *(event.build for event in events if event.event == BACK)}


def _day_of(folder: Path) -> str:
    """The day, in UTC, on which a build was begun, as its id has it; of another name, that of its folder."""
    match = re.fullmatch(r"\d+-(\d{8})T\d{6}Z", folder.name)
    return match[1] if match else f"{datetime.fromtimestamp(folder.stat().st_mtime, UTC):%Y%m%d}"


def record_outcome(
    warehouse: Warehouse,
    warehouse_settings: WarehouseSettings,
    build: str,
    event: str,
    reason: str,
    emit: Emit = silent,
) -> tuple[Problem, ...]:
    """Note what became of a build and remove old ones. Returns what went wrong: the build stands anyway."""
    troubles = []
    for step in (lambda: record(warehouse, build, event, reason), lambda: prune(warehouse, warehouse_settings, emit)):
        try:
            step()
        except OSError as error:
            message = f"build {build} is {event}, but what comes after that was not all done: {error}."
            troubles.append(Problem("build.unfinished", message, suggestion="See: kpi doctor"))
    return tuple(troubles)


def close_earlier(warehouse: Warehouse, warehouse_settings: WarehouseSettings, emit: Emit) -> None:
    """Close the other builds whose file for readers holds a schema that is left out now; who has one open keeps it."""
    current = warehouse.current()
    if warehouse_settings.stewards_schemas:
        forget_reasons(warehouse)
    closed = []
    for folder in warehouse.build_folders() if warehouse_settings.stewards_schemas else ():
        if (
            folder != current
            and not is_closed(folder, warehouse_settings.stewards_group)
            and shows(warehouse, folder, warehouse_settings.stewards_schemas)
        ):
            try:
                close(folder, warehouse_settings.stewards_group)
            except OSError as error:
                emit(f"  warning: build {folder.name} holds what is left out now and cannot be closed: {error}")
            else:
                closed.append(folder.name)
    if warehouse_settings.stewards_schemas and (warehouse.root / "lake").is_dir():
        from kpi.warehouse.lake import protect

        protect(warehouse, warehouse_settings)
    if closed:
        emit(f"Closed to readers, for they hold what is left out now: {', '.join(closed)}.")


def shows(warehouse: Warehouse, folder: Path, schemas: Collection[str]) -> list[str]:
    """Return which of these schemas a build's file for readers was not made without."""
    return (
        sorted(set(schemas) - warehouse.record(folder).restricted_schemas) if os.path.lexists(folder / DATABASE) else []
    )


def deleted_since(warehouse: Warehouse, record: BuildRecord) -> list[str]:
    """Return what is kept of deliveries that were deleted after a build was made: it may hold their rows."""
    figures = kept_beside(warehouse.raw)
    names = {entry.name for entry in figures.iterdir() if entry.name[0] != "."} if figures.is_dir() else set()
    return sorted(names - set(record.retained))


def start_for(warehouse: Warehouse) -> tuple[Path | None, tuple[Problem, ...]]:
    """Return the build that the next one starts from, and a warning when it is not the one readers see.

    It is the newest published one, from that of the readers on, whose every byte is as it was written: by its hash, or
    because nobody has touched the files that the last run of this machine wrote and hashed. Where nothing can start
    from what is noted of that build, it is none, and everything is rebuilt.
    """
    current, shown = warehouse.current(), ever_published(warehouse)
    if current and (_is_as_noted(warehouse, current) or is_whole(current, warehouse.record(current))):
        if (record := warehouse.record(current)).problem:
            message = f"everything is rebuilt, for nothing can start from build {current.name}: {record.problem}."
            return None, (Problem("build.start", message),)
        return current, ()
    if not current and not shown:
        return None, ()
    message = (
        f"the published build {current.name} is gone or" if current else "the link to the published build is gone or"
    )
    for build in reversed(warehouse.list_builds()):
        folder, is_older = build.folder, not current or build.id < current.name
        if build.id in shown and is_older and not build.record.problem and is_whole(folder, build.record):
            message += f" not what was written, see kpi doctor: this one starts from build {folder.name}."
            return folder, (Problem("build.start", message),)
    message += " not what was written, see kpi doctor: this one starts from nothing."
    return None, (Problem("build.start", message),)


_WHOLE = Path(".cache/whole")  # below the warehouse: by what the files of the last build are known, one line


def note_whole(warehouse: Warehouse, folder: Path) -> None:
    """Note that the files of a build are as they were written: this run wrote and hashed them and nobody has since."""
    with suppress(OSError):
        replace_text(warehouse.root / _WHOLE, _identity_of(folder))


def forget_whole(warehouse: Warehouse) -> None:
    """Let the next run read all of the build that it starts from: this one failed on it."""
    with suppress(OSError):
        (warehouse.root / _WHOLE).unlink(missing_ok=True)


def _is_as_noted(warehouse: Warehouse, folder: Path) -> bool:
    try:
        return read_regular(warehouse.root / _WHOLE).decode() == _identity_of(folder)
    except (OSError, ValueError):
        return False


def _identity_of(folder: Path) -> str:
    """Return what a build's files are known by: inode, size and times of each, and since when this machine runs.

    Nobody can write into a file and keep the time at which its inode changed; after a power cut, though, what was
    written may not be there. Raises OSError where one is missing, or no kernel tells when it began.
    """
    files = [folder / FILE, folder / DATABASE, database_folder(folder) / DATABASE]
    about = [os.stat(file) for file in files]
    states = [(one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in about]
    return checksum(repr((folder.name, states, Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8"))))


def is_prune_due(warehouse: Warehouse, warehouse_settings: WarehouseSettings) -> bool:
    """Tell whether a build may be old enough to be removed, without opening any of them: for a night like others."""
    limits = [days for days in (warehouse_settings.keep_published_days, warehouse_settings.keep_failed_days) if days]
    if not limits:
        return False
    oldest = datetime.now(UTC).timestamp() - max(min(limits) * 86_400, warehouse_settings.grace.total_seconds())
    current = warehouse.current()
    return any(folder != current and folder.stat().st_mtime < oldest for folder in warehouse.build_folders())


def roll_back(warehouse: Warehouse, build: str, reason: str, show_rows: bool = False) -> tuple[Problem, ...]:
    """Point `current` at an earlier published build, and note it in the ledger. Returns what went wrong afterwards.

    Raises ConfigError when it was never published or is damaged, or shows readers schemas that are left out of what
    they have and that is not asked for by `show_rows`; or LockHeld.
    """
    with writing(warehouse):  # held first, so that what is looked at here is not pruned meanwhile
        folder = warehouse.folder(build)
        build, noted = folder.name, warehouse.record(folder)
        if noted.status == "unknown":
            raise ConfigError(f"{build} is not known to have been published: {noted.problem}. See: kpi builds")
        if noted.status != "published":
            raise ConfigError(f"{build} was not published, it is for looking into only. See: kpi builds")
        if not is_whole(folder, noted):
            raise ConfigError(f"{build} is not what was written: readers would get errors. See: kpi doctor")
        current = warehouse.current()
        published = warehouse.current_record()
        shown = shows(warehouse, folder, published.restricted_schemas if published else ())
        if shown and not show_rows:
            message = (
                f"build {build} would show all readers {', '.join(shown)}, which are left out of what they have now."
            )
            raise ConfigError(f"{message} If that is meant: kpi rollback {build} --show-rows")
        open_up(
            folder, current if current in warehouse.build_folders() else warehouse.builds
        )  # it may have been closed
        troubles = [publish(warehouse, folder)]
        left = f"from {current.name if current else 'none'}"
        try:
            record(warehouse, build, BACK, f"{left}{f': {reason}' if reason else ''}")
        except OSError as error:
            text = f"readers see build {build}, but the ledger cannot be written: {error}. The next run records it."
            troubles.append(Problem("ledger.unwritten", text, suggestion="See: kpi doctor"))
        return tuple(filter(None, troubles))


def rolled_back_from(warehouse: Warehouse) -> Path | None:
    """Return the newest published build when readers were taken back to an older one, else None."""
    current = warehouse.current()
    message = ever_published(warehouse) if current else set()
    for folder in reversed(warehouse.build_folders()) if current else ():
        if folder == current:
            return None
        # One that is not in the ledger was never seen: its run was killed just before it published it.
        if folder.name in message and warehouse.outline(folder).status == "published":
            return folder
    return None


def free_share(record: BuildRecord) -> float | None:
    """Return which share of a build's blocks hold nothing, 0 to 1; None when it was not noted."""
    storage = record.storage
    return storage.free_blocks / storage.blocks if storage and storage.blocks else None


def is_grown(record: BuildRecord, warehouse_settings: WarehouseSettings) -> bool:
    """Tell whether more of a build's file is free than the settings allow."""
    share = free_share(record)
    return share is not None and 100 * share > warehouse_settings.compact_above_percent


def copy_compactly(source: Path, candidate: Path, noted: BuildRecord, settings: Mapping[str, str], emit: Emit) -> None:
    """Copy the database of the build in `source` into a candidate's empty folder: its content, not its free blocks.

    Rows, constraints, views, indexes and comments are the same, so nothing needs to be rebuilt. Where that
    cannot be had, the file is copied as it is, and a warning says so.
    """
    import shutil

    from kpi import database

    old, new = database_folder(source) / DATABASE, database_folder(candidate) / DATABASE
    share = f"{100 * (free_share(noted) or 0):.0f} %"
    try:
        database.copy_tables(old, new, {name: settings[name] for name in settings if name != "temp_directory"})
    except (duckdb.Error, OSError) as error:
        from kpi.errors import is_disk_full

        if is_disk_full(error):
            raise
        new.unlink(missing_ok=True)
        shutil.copyfile(old, new)
        os.chmod(new, 0o644)
        message = database.first_line(error)
        emit(f"  warning: {share} of build {noted.id}'s file is free, but it cannot be copied compactly: {message}")
        return
    sizes = f"{old.stat().st_size / 1e6:.1f} MB to {new.stat().st_size / 1e6:.1f} MB"
    emit(f"{share} of build {noted.id}'s file is free: this build starts from a fresh copy of its tables, {sizes}.")
