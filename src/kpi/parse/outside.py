"""Sources that are files outside the warehouse: which files a location names, and what they hold now."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from kpi.base.names import literal

# What reads a table of a DuckDB file: its location begins with it.
DATABASE = "read_duckdb"


def outside_files(root: Path, location: str) -> list[Path]:
    """The files that a source's location names, wildcards followed; those that are not absolute are the project's."""
    found = []
    for name in re.findall(r"'((?:[^']|'')*)'", location):
        path = Path(name.replace("''", "'").removeprefix("file://"))
        if path.suffix or "*" in name:
            base = Path(path.anchor) if path.is_absolute() else root
            pattern = str(path.relative_to(path.anchor)) if path.is_absolute() else str(path)
            found += sorted(one for one in base.glob(pattern) if one.is_file())
    return found


def reached(root: Path, location: str) -> list[Path]:
    """What a location's files need read: the files, and of those that wildcards found the folder too."""
    files = outside_files(root, location)
    # DuckDB looks for the log that a writer may have left beside a database, also where there is none.
    logs = [_log_of(file) for file in files if location.startswith(DATABASE)]
    return [*files, *logs, *({file.parent for file in files} if "*" in location else ())]


def in_database(file: str, schema: str, table: str) -> str:
    """The location of a table of a DuckDB file."""
    return f"{DATABASE}({literal(file)}, schema_name = {literal(schema)}, table_name = {literal(table)})"


def absolute(root: Path, sql: str) -> str:
    """SQL that reads the files of a location by whole paths, which is what a confined connection is asked for."""

    def whole(match: re.Match[str]) -> str:
        if not outside_files(root, match[0]):
            return match[0]  # a separator or a format, not a file
        name = match[1].replace("''", "'").removeprefix("file://")
        return literal(str(root / name))

    return re.sub(r"'((?:[^']|'')*)'", whole, sql)


def content_of(root: Path, location: str) -> str:
    """A hash of a location and of the content of its files."""
    digest = hashlib.blake2b(location.encode(), digest_size=16)
    for path in outside_files(root, location):
        # A file of the project is named from there: a project that is moved or copied has not changed.
        name = path.relative_to(root) if path.is_relative_to(root) else path
        digest.update(str(name).encode("utf-8", "surrogateescape"))
        for part in (path, _log_of(path)) if location.startswith(DATABASE) else (path,):
            if part.is_file():
                about = part.stat()
                digest.update(_digest_of(part, about.st_ino, about.st_size, about.st_mtime_ns))
    return digest.hexdigest()


@lru_cache(maxsize=256)
def _digest_of(path: Path, *about: int) -> bytes:
    """The content of a file. Many sources may be tables of one database: it is read once while it is the same."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def _log_of(database: Path) -> Path:
    return database.with_name(f"{database.name}.wal")


def contents(root: Path, locations: Iterable[str]) -> dict[str, str]:
    """Hash each of these locations, to tell without reading any YAML whether a build's sources are as they were."""
    return {location: content_of(root, location) for location in sorted(locations)}
