"""Small files beside the data that anybody may have put there: read only when they are files, so that nothing hangs."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_regular(path: Path) -> bytes:
    """Return what a file holds. Raises OSError for what cannot be read, and for what is no file.

    Opening a pipe that nobody writes to would wait for ever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a file", str(path))
        return stream.read()


def is_regular(path: Path) -> bool:
    """Tell whether a path is a file, or a link to one; not a folder, a pipe, or a link to nothing or to itself."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def why_unreadable(path: Path) -> str:
    """Say why what stands there cannot be read; empty when it can, or when nothing of the name is there."""
    if not os.path.lexists(path):
        return ""
    if path.is_symlink() and not path.exists():
        return "it is a link to nothing"
    if not is_regular(path):
        return "it is no file"
    if not os.access(path, os.R_OK):
        return f"user {os.getuid()} may not read it"
    return ""
