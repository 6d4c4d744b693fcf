"""What is made once for all workers of a session: who needs it first makes it, the others wait."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from kpi.engine.compile import CACHE, Compiled, compiled

ROOT = Path(__file__).parents[2]


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Keep the other workers out as long as this lasts."""
    with file.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` filled, one for all workers, which must not change it."""
    base = factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / f"once-{name}"
    lock, done = folder.with_suffix(".lock"), folder.with_suffix(".done")
    lock.touch()
    with locked(lock):
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def copied(folder: Path, target: Path) -> Path:
    """Copy what was built once for a test that changes it; times, rights and links are those of what is copied."""
    target.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", f"{folder}/.", str(target)], check=True)
    return target


@cache
def county() -> Compiled:
    """The county's own project, compiled and bound; what one worker finds out is in the cache for the other."""
    with locked(ROOT / "pyproject.toml"):
        return compiled(ROOT)


def compilation() -> Path:
    """The file of what is known of the county's project when it is compiled; copies of the project begin with it."""
    county()
    return ROOT / CACHE


def keep_compilation(root: Path) -> None:
    """Let copies of the project begin with what was found out of one that was built: how figures are computed too."""
    new = (ROOT / CACHE).with_name(f".{os.getpid()}-compiled")
    with locked(ROOT / "pyproject.toml"):
        shutil.copyfile(root / CACHE, new)
        new.replace(ROOT / CACHE)
