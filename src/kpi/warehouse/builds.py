"""The builds on disk: private folders, sealed builds, the published one, the writer's lock and the ledger.

It is on a file, which says who holds it, and on the folder of that file too, so that nobody loses it when the file is
removed.

Only for telling: what is rebuilt follows from the compiled SQL.

A build is a folder `builds/<id>` that never changes once it has that name. Readers follow the symlink `current`, which
is swapped by a rename; whoever has a build open keeps it.

Imports nothing heavy.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from kpi.build_record import FILE, BuildRecord, NodeRecord, RecordError, from_json, outline_from_json, to_json
from kpi.codec import from_line, to_line
from kpi.errors import ConfigError, DiskFull, LockHeld, Problem, is_disk_full, is_not_allowed, nearest
from kpi.events import Emit, Event, emit_event, now, silent
from kpi.files import RELEASE_NAME, RELEASES, is_regular, read_regular, remove_scratch, to_disk, why_unreadable
from kpi.ingest.masking import message
from kpi.presentation import headline
from kpi.warehouse.permissions import DATABASE, close, database_folder, make_place, open_up, written

if TYPE_CHECKING:
    from kpi.settings import WarehouseSettings


LOOK_EVERY = 0.25  # seconds


@contextmanager
def held(path: Path, wait_seconds: float = 0, emit: Emit = silent) -> Iterator[bool]:
    """Hold the lock, waiting for it at most so long; yields whether there was anything to wait for.

    Raises LockHeld, saying who holds it and since when, or ConfigError when the file cannot be written.
    """
    descriptor = _open(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        waited = _take(descriptor, folder, wait_seconds, emit)
        import socket  # not at the top: a refresh with nothing to do never gets here

        holder = f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        with suppress(OSError):  # of a disk that is full: only others are told it
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, holder.encode(), 0)
        yield waited
    finally:
        os.close(descriptor)
        os.close(folder)


def is_held(path: Path) -> bool:
    """Tell whether a process holds the lock at this moment."""
    for place in (path, path.parent):
        if not place.is_dir() and not is_regular(place):
            continue
        descriptor = os.open(place, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            continue  # a file system where folders have no locks
        finally:
            os.close(descriptor)
    return False


def is_open(database: Path) -> bool:
    """Tell whether a process, this one or another of any user, has a DuckDB file open at this moment.

    DuckDB holds a record lock on a file that it reads. The kernel tells of other processes' locks alone, and closing
    the file would give up our own, so our own files are looked up first. Where Linux is not there to tell, it is none.
    """
    try:
        own = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
        if os.path.realpath(database) in own:
            return True
        descriptor = os.open(database, os.O_RDONLY)
    except OSError:
        return False
    try:
        # As Linux lays out `struct flock`: type, whence, start, length, process.
        lock_query = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        return bool(struct.unpack_from("h", fcntl.fcntl(descriptor, fcntl.F_GETLK, lock_query))[0] != fcntl.F_UNLCK)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path) and not is_regular(path):
            raise ConfigError(f"{path} is no file, so no lock can be held on it. Move it away. See: kpi doctor")
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        if error.errno == errno.EROFS:
            raise ConfigError(f"{path} is on a file system that is read-only. See: kpi doctor") from None
        if not is_not_allowed(error):
            raise
        owner = path if path.exists() else path.parent if path.parent.exists() else path.parent.parent
        message = f"{path} cannot be written by user {os.getuid()}"
        message += f"; {owner.name} belongs to user {owner.stat().st_uid}" if owner.exists() else ""
        raise ConfigError(
            f"{message}. Run as the owner of the warehouse, or give it to the user that refreshes."
        ) from None


def _lock(descriptor: int, folder: int) -> None:
    """Take both locks. Raises BlockingIOError when another process has either."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return  # a file system where folders have no locks


def _take(descriptor: int, folder: int, wait_seconds: float, emit: Emit) -> bool:
    started = time.monotonic()
    message = ""
    while True:
        try:
            _lock(descriptor, folder)
            return bool(message)
        except BlockingIOError:
            holder = os.pread(descriptor, 4096, 0).decode("utf-8", "replace").strip() or "another process"
        waited = time.monotonic() - started
        if waited >= wait_seconds:
            gave_up = f" Waited {waited:.0f} s for it." if wait_seconds else ""
            raise LockHeld(
                f"the warehouse is being written by {holder}.{gave_up} Try again when it is done, or with --wait."
            )
        if holder != message:
            emit_event(emit, Event("waiting", f"Waiting: the warehouse is being written by {holder}.", stage="wait"))
            message = holder
        time.sleep(min(LOOK_EVERY, max(0.0, wait_seconds - waited)))


# Failing rows that `kpi test --store-failures` kept of a build, beside it.
FAILURES = "failures.duckdb"
# The folder of a build's pages.
PAGES = "site"
_NEWEST = {"candidate": "build that failed or was held back", "latest": "build"}


@dataclass(frozen=True, slots=True)
class StoredBuild:
    """A build that is on disk, by its folder, with what is noted of it; `is_current` says that readers see it."""

    folder: Path
    record: BuildRecord
    is_current: bool

    @property
    def id(self) -> str:
        """The build's id, which is its folder's name whatever the record says."""
        return self.folder.name


@dataclass(frozen=True, slots=True)
class LedgerEvent:
    """What became of a build, at a time (UTC, ISO 8601), and why: `event` is such as published, failed, pruned."""

    at: str
    build: str
    event: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Warehouse:
    """The folder `warehouse/` of a project."""

    root: Path

    @property
    def raw(self) -> Path:
        """Where the source systems deliver."""
        return self.root / "raw"

    @property
    def builds(self) -> Path:
        """Where every build has its folder."""
        return self.root / "builds"

    def current(self) -> Path | None:
        """Return the folder of the published build, or None when nothing was published yet."""
        link = self.root / "current"
        return self.builds / os.readlink(link).rpartition("/")[2] if link.is_symlink() else None

    def folder(self, build: str | None = None) -> Path:
        """Return the folder of a build, or of the one published at this moment, whatever is published afterwards.

        A build is named by its id, its number, a beginning of its id that no other has, `candidate` (the newest that
        failed or was held back) or `latest` (the newest, whatever became of it). Raises ConfigError when there is none.
        """
        if build is None:
            folder = self.current()
            if folder is None or not os.path.isfile(folder / DATABASE):
                raise ConfigError(f"{self.root}: nothing is published here yet. Run: kpi refresh")
            return folder
        return self.builds / self._named(build)

    def _named(self, wanted: str) -> str:
        """The id of the build that is meant: an id, its number, a beginning that only one has, or a word for one."""
        names = [entry.name for entry in self.build_folders()]
        if wanted in names:
            return wanted
        if wanted in _NEWEST:
            return self._newest(wanted)
        if wanted.isdecimal():
            matches = [name for name in names if name.partition("-")[0] == wanted.zfill(5)]
        else:
            matches = [name for name in names if wanted and name.startswith(wanted)]
        if len(matches) > 1:
            raise ConfigError(f"'{wanted}' may be build {' or '.join(matches)}. Write more of its id.")
        if not matches:
            raise ConfigError(f"there is no build '{wanted}'.{nearest(wanted, [*names, *_NEWEST])} See: kpi builds")
        return matches[0]

    def _newest(self, word: str) -> str:
        for folder in reversed(self.build_folders()):
            is_meant = word == "latest" or self.record(folder).status in ("failed", "held back")
            if folder.name[0].isdigit() and is_meant and os.path.lexists(database_folder(folder) / DATABASE):
                return folder.name
        raise ConfigError(f"no {_NEWEST[word]} is kept, or none that you may open. See: kpi builds")

    def published(self) -> str:
        """Return the id of the build that readers see. Raises ConfigError when there is none."""
        self.folder()
        return (self.current() or self.builds).name

    def published_before(self, build: str) -> str:
        """Return the id of the newest kept build, older than the given one, that was published. Raises ConfigError."""
        older = [one.id for one in self.list_builds() if one.record.status == "published" and one.id < build]
        if not older:
            raise ConfigError(f"no build published before {build} is kept, or none that you may open. See: kpi builds")
        return older[-1]

    def record(self, folder: Path) -> BuildRecord:
        """Return what is noted of the build in a folder. Where that cannot be read, `problem` says why."""
        return self._read(folder, _read_record)

    def outline(self, folder: Path) -> BuildRecord:
        """Return the same without nodes and data tests, which take most of the time: what most readers ask for."""
        return self._read(folder, _read_outline)

    def _read(self, folder: Path, reader: Callable[[Path, tuple[int, ...]], BuildRecord]) -> BuildRecord:
        try:
            file = folder / FILE
            about = os.stat(file)
            return reader(file, (about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns))
        except OSError as error:
            problem = f"its {FILE} cannot be read: {error.strerror or type(error).__name__}"
        except RecordError as error:
            problem = str(error)
        return BuildRecord(folder.resolve().name, problem=problem)

    def current_record(self) -> BuildRecord | None:
        """Return what is noted of the published build, None when nothing is published."""
        current = self.current()
        return self.record(current) if current else None

    def list_builds(self) -> list[StoredBuild]:
        """Return every build that is kept, oldest first."""
        current = self.current()
        return [
            StoredBuild(folder, self.record(folder), current is not None and folder.name == current.name)
            for folder in self.build_folders()
        ]

    def last_run(self) -> BuildRecord | None:
        """Return what is noted of the newest build, whatever became of it; None when there is none."""
        numbered = [folder for folder in self.build_folders() if folder.name[0].isdigit()]
        return replace(self.record(numbered[-1]), id=numbered[-1].name) if numbered else None

    def nodes_of(self, build: str = "") -> Mapping[str, NodeRecord]:
        """Return what is noted of the nodes of a build, or of the published one; empty when nothing is published.

        A build may be named by its folder too; a folder that holds none has no nodes. Raises ConfigError when there is
        no such build, or what is noted of the one that is named cannot be read.
        """
        if not build:
            published = self.current_record()
            return (published.nodes if published else None) or {}
        folder = Path(build) if Path(build).is_dir() else self.folder(build)
        if not os.path.lexists(folder / FILE):
            return {}
        record = self.record(folder)
        if record.problem:
            raise ConfigError(f"--state: nothing can be compared with build {folder.resolve().name}: {record.problem}.")
        return record.nodes or {}

    def last_results(self) -> dict[str, str]:
        """Return how each node of the last run ended: success, error, skipped; of tests pass, fail, warn."""
        last = self.last_run()
        if last is None or last.nodes is None:
            return {}
        ended: dict[str, str] = {node: record.status for node, record in last.nodes.items() if record.status}
        tests = {node.rpartition(".")[2]: node for node in last.nodes if node.startswith("test.")}
        for check in last.checks:
            if check.run_in == last.id and check.name in tests:
                ended[tests[check.name]] = check.status
        return ended

    def ledger(self) -> list[LedgerEvent]:
        """Return every event of the ledger, oldest first. A line that is cut short or damaged is passed over."""
        content = b""
        with suppress(OSError):  # what cannot be read is set aside by who writes next, and the doctor says so
            content = read_regular(self.builds / "ledger.jsonl")
        return [event for line in content.split(b"\n") if (event := from_line(LedgerEvent, line))]

    def build_folders(self) -> list[Path]:
        """Return the folders of all builds, oldest first."""
        if not self.builds.is_dir():
            return []
        return sorted(folder for folder in self.builds.iterdir() if folder.is_dir() and folder.name[0] != ".")


@lru_cache(maxsize=8)
def _read_record(file: Path, identity: tuple[int, ...]) -> BuildRecord:
    """Read a record; a run asks for that of the published build a dozen times. `identity` tells one file from another.

    Raises OSError and RecordError.
    """
    return from_json(read_regular(file))


@lru_cache(maxsize=8)
def _read_outline(file: Path, identity: tuple[int, ...]) -> BuildRecord:
    return outline_from_json(read_regular(file))


def begin(warehouse: Warehouse, warehouse_settings: WarehouseSettings, start_from: Path | None) -> Path:
    """Make the private folder of a new build, with a copy of the database of another build when one is given."""
    import shutil

    # Numbered first: builds sort by name in the order they were made, whatever the clock does.
    names = [folder.name for folder in warehouse.build_folders()] + [event.build for event in warehouse.ledger()]
    number = max(map(number_of, names), default=0) + 1
    folder = warehouse.builds / f".tmp-{number:05}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    place = make_place(folder, warehouse_settings)
    if start_from is not None:
        shutil.copyfile(database_folder(start_from) / DATABASE, place / DATABASE)
        os.chmod(place / DATABASE, 0o644)
    return folder


def finalize(
    warehouse: Warehouse, folder: Path, record: BuildRecord, warehouse_settings: WarehouseSettings, hashed: str = ""
) -> Path:
    """Write the record of a build, get everything to disk, make it read-only and give the folder its name.

    `hashed` is the hash of its database, of the stewards' where they have their own, when it is known.

    Where schemas are left out for readers, the stewards' part of it is closed to all others; so is all of a build
    that has no file for readers.
    """
    database, place = folder / DATABASE, database_folder(folder)
    checksum, size = written(database, hashed if place == folder else "")
    record = replace(record, checksum=checksum, bytes=size)
    if record.stewards and place != folder:
        checksum, size = written(place / DATABASE, hashed)
        record = replace(record, stewards=replace(record.stewards, checksum=checksum, bytes=size))
    (folder / FILE).write_text(to_json(record), encoding="utf-8")
    if place != folder:
        for entry in (*place.iterdir(), place, *([] if database.is_file() else [folder])):
            close(entry, warehouse_settings.stewards_group)
    # Hundreds of pages are not waited for one by one: after a power cut kpi site DIR writes them again.
    for entry in sorted(path for top in folder.iterdir() if top.name != PAGES for path in (top, *top.rglob("*"))):
        if entry == database:
            os.chmod(entry, 0o444)
        to_disk(entry)
    if place != folder and database.is_file():
        open_up(folder, warehouse.builds)
    to_disk(folder)
    final = warehouse.builds / folder.name.removeprefix(".tmp-")
    folder.rename(final)
    to_disk(warehouse.builds)
    return final


def publish(warehouse: Warehouse, folder: Path) -> Problem | None:
    """Point `current` at a build, in one step that readers cannot see halfway.

    Returns a problem when readers have it and the disk did not say that it keeps it.
    """
    link = warehouse.root / ".current-next"
    link.unlink(missing_ok=True)
    link.symlink_to(Path("builds") / folder.name, target_is_directory=True)
    os.replace(link, warehouse.root / "current")
    try:
        to_disk(warehouse.root)
    except OSError as error:
        message = f"readers have build {folder.name}, but the disk did not confirm it: {error}."
        return Problem("build.unconfirmed", message, suggestion="See: kpi doctor")
    return None


def number_of(build: str) -> int:
    """Return the number that a build's id begins with; 0 when it has none."""
    first = build.partition("-")[0]
    return int(first) if first.isdigit() else 0


UNREADABLE = "unreadable-ledger-"
BACK, RELEASED = "rolled back to", "released"  # events of the ledger


@contextmanager
def writing(warehouse: Warehouse, wait_seconds: float = 0, emit: Emit = silent) -> Iterator[bool]:
    """Hold the one writer's lock, waiting for it at most so long; yields whether it had to. Raises LockHeld.

    When the disk is full in the meantime, what was being written is removed, and DiskFull raised.
    """
    with held(warehouse.builds / ".lock", wait_seconds, emit) as waited:
        link = warehouse.root / "current"
        if link.is_dir() and not link.is_symlink():
            raise ConfigError(f"{link} is a folder, not the link that readers follow. Move it away, then run again.")
        try:
            _clean(warehouse)
            _set_aside(warehouse, emit)
            _catch_up(warehouse)
            yield waited
        except Exception as error:
            if not is_disk_full(error):
                raise
            _clean(warehouse)
            message = "What this run had written was removed, and readers keep the build they had."
            first = headline(str(error))
            raise DiskFull(
                f"the disk is full ({first}). {message} kpi doctor tells how much room is needed."
            ) from error


def is_being_written(warehouse: Warehouse) -> bool:
    """Tell whether a process holds the writer's lock at this moment."""
    return is_held(warehouse.builds / ".lock")


def record(warehouse: Warehouse, build: str, event: str, reason: str = "", at: str = "") -> None:
    """Append one event of a build to the ledger, of this moment or of the instant given."""
    line = to_line(LedgerEvent(at or now(), build, event, message(reason)))
    path = warehouse.builds / "ledger.jsonl"
    # A crash may have cut the last line short; a line end of our own keeps the next one whole.
    broken = path.is_file() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("ab") as stream:
        stream.write(("\n" if broken else "").encode() + line.encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def _clean(warehouse: Warehouse) -> None:
    """Remove what a killed run left, but for what another user did. Only the holder of the lock may."""
    import shutil

    for leftover in warehouse.builds.glob(".tmp-*"):
        is_folder = leftover.is_dir() and not leftover.is_symlink()
        shutil.rmtree(leftover, ignore_errors=True) if is_folder else leftover.unlink()
    (warehouse.root / ".current-next").unlink(missing_ok=True)
    releases = warehouse.root.parent / "seeds" / RELEASES
    for left in releases.glob(".*"):  # as the project's own files they would count
        if RELEASE_NAME.fullmatch(left.name[1:]):
            shutil.rmtree(left, ignore_errors=True)
    remove_scratch()
    # Others may be writing such a file at this moment: what is an hour old, nobody writes any more.
    for left in (path for name in (".cache", "runs") for path in (warehouse.root / name).glob(".*")):
        with suppress(OSError):
            if left.lstat().st_mtime < time.time() - 3600:
                left.unlink()


def _set_aside(warehouse: Warehouse, emit: Emit) -> None:
    """Move a ledger that cannot be read and written out of the way: the builds themselves tell most of what it did."""
    path = warehouse.builds / "ledger.jsonl"
    why = why_unreadable(path)
    if not why and path.is_file() and not os.access(path, os.W_OK):
        why = f"user {os.getuid()} may not write it"
    if why:
        aside = path.with_name(f"{UNREADABLE}{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        os.rename(path, aside)
        emit(f"  warning: the ledger could not be used ({why}): it is now {aside.name}, and a new one is begun.")


def _catch_up(warehouse: Warehouse) -> None:
    """Record what a run made that died before it could say so, what a lost ledger knew, and what is gone.

    What a run was about to publish and did not is removed.
    """
    current, events, folders = warehouse.current(), warehouse.ledger(), warehouse.build_folders()
    late = f"recorded late: {'the run that made it was cut short' if events else 'the ledger was lost'}"
    for build in sorted(missing(events, folders)):
        record(warehouse, build, "gone", "its folder is not there any more")
    if current in folders and current.name not in ever_published(warehouse):
        record(warehouse, current.name, "published", late, _shown_since(warehouse, events))
    elif current in folders and (shown_builds := showings(events)) and shown_builds[-1].build != current.name:
        reason = "recorded late: what took readers there was cut short"
        record(warehouse, current.name, BACK, reason, _shown_since(warehouse, events))
    for build, release in _unrecorded_releases(warehouse, events, folders):
        record(warehouse, build, RELEASED, release)
    newest = max((number_of(event.build) for event in events), default=0)
    shown = number_of(current.name) if current else 0
    for folder in folders if newest or shown else ():
        if number_of(folder.name) <= newest or folder == current:
            continue
        status = warehouse.record(folder).status
        status = "failed" if status == "unknown" else status
        if status == "published" and number_of(folder.name) > shown and events:
            remove(folder)
        else:
            record(warehouse, folder.name, status, late)


def _shown_since(warehouse: Warehouse, events: Sequence[LedgerEvent]) -> str:
    """Since when readers see the current build: its link says it. Never before what is recorded already."""
    swapped = datetime.fromtimestamp(os.lstat(warehouse.root / "current").st_mtime, UTC)
    return max(f"{swapped:%Y-%m-%dT%H:%M:%SZ}", events[-1].at if events else "")


def _unrecorded_releases(
    warehouse: Warehouse, events: Iterable[LedgerEvent], folders: Iterable[Path]
) -> Iterator[tuple[str, str]]:
    """Build and name of each release of a build that lies here, which the ledger does not know."""
    home = warehouse.root.parent / "seeds" / RELEASES
    recorded_releases = {event.reason for event in events if event.event == RELEASED}
    names = {path.name for path in home.iterdir()} - recorded_releases if home.is_dir() else ()
    builds = {folder.name for folder in folders}
    for name in sorted(name for name in names if RELEASE_NAME.fullmatch(name)):
        with suppress(OSError):  # one that was made elsewhere, or is damaged, is no matter of the ledger's
            build = re.search(rb'^build: "(.*)"', read_regular(home / name / "release.yml"), re.MULTILINE)
            if build and (of_build := build[1].decode("utf-8", "replace")) in builds:
                yield of_build, name


def missing(events: Iterable[LedgerEvent], folders: Sequence[Path]) -> set[str]:
    """Return the ids of builds that the ledger does not say are gone, and whose folders are."""
    last = {event.build: event.event for event in events}
    return {build for build, event in last.items() if event not in ("pruned", "gone")} - {path.name for path in folders}


def ever_published(warehouse: Warehouse) -> set[str]:
    """Return the ids of all builds that readers were ever shown."""
    return {event.build for event in warehouse.ledger() if event.event == "published"}


def forget_reasons(warehouse: Warehouse) -> None:
    """Take out of the ledger what runs failed of, which may quote a row. Only the holder of the lock may."""
    events = warehouse.ledger()
    if not any(event.event == "failed" and event.reason for event in events):
        return
    lines = [to_line(replace(event, reason="") if event.event == "failed" else event) for event in events]
    new = warehouse.builds / ".tmp-ledger"
    with new.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{line}\n" for line in lines)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(new, warehouse.builds / "ledger.jsonl")


@dataclass(frozen=True, slots=True)
class Showing:
    """A time in which readers saw a build: from when, and until when it was (empty: they see it still), in UTC."""

    build: str
    start: str
    end: str = ""


def showings(events: Iterable[LedgerEvent]) -> list[Showing]:
    """Return which builds readers saw and when, oldest first, as the ledger writes instants."""
    shown_builds: list[Showing] = []
    for event in events:
        if event.event in ("published", BACK):
            if shown_builds:
                shown_builds[-1] = replace(shown_builds[-1], end=event.at)
            shown_builds.append(Showing(event.build, event.at))
    return shown_builds


def remove(folder: Path) -> None:
    """Remove the folder of a build, so that no part of it ever stands under its name."""
    import shutil

    doomed = folder.with_name(f".tmp-{folder.name}")
    folder.rename(doomed)
    shutil.rmtree(doomed)
