"""The one writer's lock. The kernel gives it back when its process ends, however it ends, so none is ever stale.

It is on a file, which says who holds it, and on the folder of that file too, so that nobody loses it when the file is
removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from kpi.base.errors import ConfigError, LockHeld, is_not_allowed
from kpi.base.events import Event, Tell, note, silent
from kpi.base.files import is_regular

LOOK_EVERY = 0.25  # seconds


@contextmanager
def held(path: Path, wait_seconds: float = 0, tell: Tell = silent) -> Iterator[bool]:
    """Hold the lock, waiting for it at most so long; yields whether there was anything to wait for.

    Raises LockHeld, saying who holds it and since when, or ConfigError when the file cannot be written.
    """
    descriptor = _open(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        waited = _take(descriptor, folder, wait_seconds, tell)
        import socket  # not at the top: a refresh with nothing to do never gets here

        holder = f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
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
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        return bool(struct.unpack_from("h", fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK)
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
        told = f"{path} cannot be written by user {os.getuid()}"
        told += f"; {owner.name} belongs to user {owner.stat().st_uid}" if owner.exists() else ""
        raise ConfigError(
            f"{told}. Run as the owner of the warehouse, or give it to the user that refreshes."
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


def _take(descriptor: int, folder: int, wait_seconds: float, tell: Tell) -> bool:
    started = time.monotonic()
    told = ""
    while True:
        try:
            _lock(descriptor, folder)
            return bool(told)
        except BlockingIOError:
            holder = os.pread(descriptor, 4096, 0).decode("utf-8", "replace").strip() or "another process"
        waited = time.monotonic() - started
        if waited >= wait_seconds:
            gave_up = f" Waited {waited:.0f} s for it." if wait_seconds else ""
            raise LockHeld(
                f"the warehouse is being written by {holder}.{gave_up} Try again when it is done, or with --wait."
            )
        if holder != told:
            note(tell, Event("waiting", f"Waiting: the warehouse is being written by {holder}.", stage="wait"))
            told = holder
        time.sleep(min(LOOK_EVERY, max(0.0, wait_seconds - waited)))
