"""A run that is killed at one of its steps on files, in the process of the test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


class Killed(BaseException):
    """Nothing catches it; what is done in leaving a block is done no more either, for each step fails from now on."""


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let all steps on files fail from one of them on, counted from 0: moves, links, removals and changes of modes."""
    steps = 0

    def counted(do: object) -> object:
        def work(*given: object, **named: object) -> object:
            nonlocal steps
            steps += 1
            if steps > step:
                raise Killed
            return do(*given, **named)  # type: ignore[operator]

        return work

    for name in ("unlink", "replace", "link", "chmod", "rmdir"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    for name in ("unlink", "mkdir", "rmdir"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    with suppress(Killed):
        yield
    monkeypatch.undo()
