"""A folder that a command writes for people: new files take the place of old ones once all of them are written."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from kpi.errors import LockHeld
from kpi.warehouse.builds import to_disk

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


@contextmanager
def staging_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write into what shall be in `folder`, which is made; it is removed at the end.

    It is beside `folder`, where that can be, for then both can change places in one step; else in it. A folder that is
    made here goes again when nothing came into it. Raises OSError, and LockHeld when another command writes there.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    is_beside = os.access(folder.parent, os.W_OK | os.X_OK) and not os.path.ismount(folder)
    staging = (folder.parent if is_beside else folder) / f".{folder.name}.kpi-next"
    with _alone(folder):
        try:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            yield staging
        except OSError as error:
            # Whoever is told of it named the folder, and has never heard of the other one.
            if error.filename and os.fsdecode(error.filename).startswith(f"{staging}{os.sep}"):
                error.filename = str(folder)
            raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            if is_new:
                with suppress(OSError):  # it holds what was written
                    folder.rmdir()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder, so that files of two commands never mix. Raises LockHeld when another one holds it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        is_held = False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            about, now = os.fstat(descriptor), folder.stat()
            is_held = about.st_ino != now.st_ino  # it changed places between the two
        except BlockingIOError:
            is_held = True
        except OSError:
            pass  # a file system where folders have no locks
        if is_held:
            raise LockHeld(f"{folder} is being written by another command. Try again when it is done.")
        yield
    finally:
        os.close(descriptor)


def change_places(folder: Path, staging: Path, others: Sequence[Path]) -> bool:
    """Let both folders change places, files of others being in both; tell whether that could be done in one step."""
    if staging.parent == folder or any(path.is_symlink() or not path.is_file() for path in others):
        return False  # a folder cannot be in two places
    try:
        for path in others:
            os.link(path, staging / path.name)
        about = folder.stat()
        if about.st_uid != staging.stat().st_uid or about.st_gid != staging.stat().st_gid:
            os.chown(staging, about.st_uid, about.st_gid)
        shutil.copystat(folder, staging)
        to_disk(staging)
        rename = ctypes.CDLL(None, use_errno=True).renameat2
        done = rename(_HERE, os.fsencode(staging), _HERE, os.fsencode(folder), _EXCHANGE) == 0
    except (OSError, AttributeError):
        done = False
    if done:
        to_disk(folder.parent)
        return True
    for path in others:
        (staging / path.name).unlink(missing_ok=True)
    return False
