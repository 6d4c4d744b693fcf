"""The files of a dbt project, found as dbt finds them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from kpi.base.errors import CompileError

_HIDDEN = ".#~"
_BLANK = 4096  # bytes; a longer file is not only blanks


def files_in(root: Path, folders: Sequence[Path], suffix: str) -> list[tuple[Path, Path]]:
    """Every file with the suffix, relative to the project, with the folder it was looked for in; in path order.

    As dbt has it: whatever the case of the suffix, in folders that are links too, and not those that editors and
    people hide by a first character.
    """
    found = {
        path.relative_to(root): folder
        for folder in folders
        for path in _below(root / folder)
        if path.suffix.lower() == suffix and path.name[0] not in _HIDDEN and path.is_file()
    }
    return sorted(found.items())


def _below(folder: Path) -> Iterator[Path]:
    """Every file in a folder and in those below it; each folder once, should a link lead back to it."""
    seen = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(here)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders.sort()
        yield from (Path(here, name) for name in names)


def text_of(root: Path, file: Path) -> str:
    """Read a text file of the project. Raises CompileError when it is not UTF-8."""
    try:
        return (root / file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CompileError(file, line, f"not UTF-8 ({error.reason} at byte {error.start}).") from None


def is_blank(root: Path, file: Path) -> bool:
    """Tell whether there is nothing in a file: then dbt passes over it."""
    return (root / file).stat().st_size < _BLANK and not text_of(root, file).strip()
