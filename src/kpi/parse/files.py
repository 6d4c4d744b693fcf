"""The files of a dbt project, found as dbt finds them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from kpi.base.errors import CompileError

# More than any project has: what names a whole disk is refused, and not read for hours.
MOST_ENTRIES, MOST_BYTES = 200_000, 4_000_000
_HIDDEN = ".#~"
_BLANK = 4096  # bytes; a longer file is not only blanks


def files_in(root: Path, folders: Sequence[Path], suffix: str) -> list[tuple[Path, Path]]:
    """Every file with the suffix, relative to the project, with the folder it was looked for in; in path order.

    As dbt has it: whatever the case of the suffix, in folders that are links too, and not those that editors and
    people hide by a first character. Raises CompileError for a link that leads out of the project.
    """
    found = {
        path.relative_to(root): folder
        for folder in folders
        for path in _below(root, root / folder)
        if path.suffix.lower() == suffix and path.name[0] not in _HIDDEN and path.is_file()
    }
    for path, folder in found.items():
        if (root / path).is_symlink() and not _is_within(root / path, root, root / folder):
            raise _leads_out(path)
    return sorted(found.items())


def folder_problem(base: Path, folder: Path) -> str:
    """Say why files may not be looked for in a folder that the project in `base` names; empty when they may.

    A project that names /etc, or a link to it, would have its files read and quoted.
    """
    if not _is_within(base / folder, base):
        return "lies outside the project. Copy what is needed into the project"
    entries = 0
    for _, folders, names in os.walk(base / folder):
        entries += len(folders) + len(names)
        if entries > MOST_ENTRIES:
            return f"holds more than {MOST_ENTRIES} files. Name the folder that has the project's alone"
    return ""


def _below(root: Path, folder: Path) -> Iterator[Path]:
    """Every file in a folder and in those below it; each folder once, should a link lead back to it."""
    seen = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(here)
        if place in seen:
            folders.clear()
            continue
        # A package beside the project may be a link itself, as dbt makes one of a local package.
        if not _is_within(Path(place), root, folder):
            raise _leads_out(Path(here).relative_to(root))
        seen.add(place)
        folders.sort()
        yield from (Path(here, name) for name in names)


def _is_within(path: Path, *folders: Path) -> bool:
    """Whether a path, wherever links lead, is one of the folders or within it."""
    try:
        real = path.resolve()
        return any(real.is_relative_to(folder.resolve()) for folder in folders)
    except (OSError, RuntimeError):  # a link to itself
        return False


def _leads_out(path: Path) -> CompileError:
    return CompileError(path, 0, "a link that leads out of the project. Copy what it leads to into the project.")


def text_of(root: Path, file: Path) -> str:
    """Read a text file of the project. Raises CompileError when it is not UTF-8."""
    try:
        if file.suffix.lower() != ".csv" and (root / file).stat().st_size > MOST_BYTES:
            raise CompileError(file, 1, f"a file of more than {MOST_BYTES} bytes. Split it.")
        return (root / file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CompileError(file, line, f"not UTF-8 ({error.reason} at byte {error.start}).") from None


def is_blank(root: Path, file: Path) -> bool:
    """Tell whether there is nothing in a file: then dbt passes over it."""
    return (root / file).stat().st_size < _BLANK and not text_of(root, file).strip()
