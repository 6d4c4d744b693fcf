"""External sources: which files a location names, whether they may be read, and what they hold now."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.errors import CompileError
from kpi.files import checksum
from kpi.sql import literal

if TYPE_CHECKING:
    from kpi.project.properties import Source


# What reads a table of a DuckDB file: its location begins with it.
DATABASE = "read_duckdb"


def outside_files(root: Path, location: str) -> list[Path]:
    """The files that a source's location names, wildcards followed; those that are not absolute are the project's."""
    files = []
    for name in re.findall(r"'((?:[^']|'')*)'", location):
        path = Path(name.replace("''", "'").removeprefix("file://"))
        if path.suffix or "*" in name:
            base = Path(path.anchor) if path.is_absolute() else root
            pattern = str(path.relative_to(path.anchor)) if path.is_absolute() else str(path)
            files += sorted(one for one in base.glob(pattern) if one.is_file())
    return files


def location_problem(root: Path, folders: Iterable[str], location: str) -> str:
    """Say why a source may not be read from this location; empty when it may.

    It is a file, or a function that reads some, and each lies in the project or in one of the `folders` it names in
    vars: kpi_warehouse: source_folders, wherever links lead.
    """
    from kpi.database import location_problem as sql_problem

    if problem := sql_problem(location):
        return problem
    allowed = [root.resolve(), *((root / Path(folder).expanduser()).resolve() for folder in folders)]
    for name in re.findall(r"'((?:[^']|'')*)'", location):
        path = Path(name.replace("''", "'").removeprefix("file://"))
        if not path.suffix and "*" not in name and not path.is_absolute():
            continue
        wild = next((at for at, part in enumerate(path.parts) if re.search(r"[*?\[]", part)), len(path.parts))
        fixed = root.joinpath(*path.parts[:wild])
        strange = ".." in path.parts[wild:] or not any(fixed.resolve().is_relative_to(one) for one in allowed)
        files = [] if strange else outside_files(root, literal(name.replace("''", "'")))
        if strange or not all(any(file.resolve().is_relative_to(one) for one in allowed) for file in files):
            message = "Copy it into the project, or name its folder in vars: kpi_warehouse: source_folders."
            return f"'{name[:200]}' lies outside the project. {message}"
    return ""


@dataclass(frozen=True, slots=True)
class FileRead:
    """Files that SQL reads by itself: from `start` to `end` stands what can stand after `from`, the `location`."""

    start: int
    end: int
    location: str

    @property
    def table(self) -> str:
        """A name for the table that they are: of the first file, and of all that the location says."""
        match = re.search(r"'((?:[^']|'')*)'", self.location)
        stem = re.sub(r"\W+", "_", Path(match[1]).stem if match else "").strip("_").lower()
        return f"{stem or 'table'}_{checksum(self.location, 4)}"


def files_read(sql: str) -> list[FileRead]:
    """Return the files that SQL reads outright: by a function of DuckDB, or by their names after `from` or `join`."""
    if not _MAY_READ_FILES.search(sql):
        return []
    import sqlglot

    from kpi.database import FILE_READERS

    kinds = sqlglot.TokenType
    try:
        tokens = sqlglot.Dialect.get_or_raise("duckdb").tokenize(sql)
    except sqlglot.errors.SqlglotError:
        return []
    files: list[FileRead] = []
    for place, token in enumerate(tokens):
        before, after = (tokens[at].token_type if 0 <= at < len(tokens) else None for at in (place - 1, place + 1))
        is_name = token.token_type != kinds.STRING
        if files and token.start < files[-1].end:
            continue
        if is_name and token.text.lower() in FILE_READERS and after == kinds.L_PAREN:
            end = _closed_at(tokens[place + 1 :])
            files.append(FileRead(token.start, end, _with_texts(sql[token.start : end], token.start, tokens[place:])))
        elif before not in (kinds.FROM, kinds.JOIN) or after == kinds.DOT or not _A_FILE.search(token.text):
            continue
        elif token.token_type in (kinds.STRING, kinds.IDENTIFIER):
            files.append(FileRead(token.start, token.end + 1, literal(token.text)))
    return files


def _with_texts(sql: str, start: int, tokens: Sequence[Any]) -> str:
    """A call with its files as texts: DuckDB takes a name in double quotes for one too."""
    identifiers = [one for one in tokens if one.end < start + len(sql) and one.token_type.name == "IDENTIFIER"]
    for one in reversed(identifiers):
        if _A_FILE.search(one.text) or "/" in one.text:
            sql = sql[: one.start - start] + literal(one.text) + sql[one.end + 1 - start :]
    return sql


def _closed_at(tokens: Sequence[Any]) -> int:
    """Where the bracket ends that the first of these words opens."""
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.text, 0) if token.token_type.name.endswith("_PAREN") else 0
        if not depth:
            return int(token.end) + 1
    return int(tokens[-1].end) + 1


_A_FILE = re.compile(r"\.(csv|tsv|txt|parquet|json|jsonl|ndjson)(\.gz|\.zst)?$", re.IGNORECASE)
_MAY_READ_FILES = re.compile(
    r"read_|sniff_|_scan|(from|join)\s+['\"][^'\"]+\.(csv|tsv|txt|parquet|json|jsonl|ndjson)", re.IGNORECASE
)


def unreadable(root: Path, folders: Sequence[str], sources: Sequence[Source]) -> Iterator[CompileError]:
    """Yield a mistake for each source that is files which may not be read."""
    for source in sources:
        if source.location and (problem := location_problem(root, folders, source.location)):
            about = source.properties
            yield CompileError(about.file, about.line, f"external_location of '{source.name}': {problem}")


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
