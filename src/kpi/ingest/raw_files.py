"""Files in `warehouse/raw` and `warehouse/kept`, each with the checksum of its content. Imports nothing heavy.

Each folder holds the figures of one build as it published them, the list of the deliveries that went, and the sums of
both files (as sha256sum writes them). It is written whole, renamed into place and never changed: from that moment the
deliveries on its list are not read, whether they lie there still or again. Imports nothing heavy.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from kpi.errors import DeliveryError, Place, Problem
from kpi.files import read_regular
from kpi.ingest.masking import hidden_codes
from kpi.lazy import duckdb
from kpi.presentation import listed, one_line
from kpi.sql import Columns, definition, literal, typed_columns

SUMS = "SHA256SUMS"
SYNTHETIC_LABEL = "SYNTEETTISTÄ AINEISTOA"
KEPT_INDICATORS = typed_columns("""
    figure_id varchar, service varchar, report_year bigint, basis varchar, numerator double, denominator double,
    value double, event_count bigint, kept_from varchar, kept_on date
""")
DELETED_DELIVERIES = typed_columns("""
    feed varchar, file varchar, content_hash varchar, records bigint, rows_loaded bigint, rows_rejected bigint,
    rows_superseded bigint, first_year bigint, last_year bigint, kept_from varchar, deleted_on date
""")
# The raw tables that are made of it, each from a file of that name, and what tells their rows apart.
TABLES: dict[str, Columns] = {
    "kept_indicators": KEPT_INDICATORS,
    "deleted_deliveries": DELETED_DELIVERIES,
}
RELATIONS = frozenset(f"raw.{table}" for table in TABLES)
_KEYS = {
    "kept_indicators": "figure_id, service, report_year, basis",
    "deleted_deliveries": "feed, file, content_hash",
}


@dataclass(frozen=True, slots=True)
class KeptFolder:
    """A folder of what is kept. `name` is the build that the figures are from, unless it is being written."""

    name: str
    content_hash: str


def file_of(table: str) -> str:
    """Return the name of the file that a table is made of."""
    return f"{table}.csv"


def read_folders(kept: Path) -> tuple[KeptFolder, ...]:
    """Return all folders of what is kept, oldest first. Raises DeliveryError when one is not as it was written."""
    try:
        found = sorted(entry.name for entry in kept.iterdir() if entry.is_dir() and entry.name[0] != ".")
        return tuple(read_folder(kept, name) for name in found)
    except FileNotFoundError:
        if kept.exists():
            raise
        return ()
    except OSError as error:
        raise DeliveryError(f"{error.filename or kept} cannot be read: {error.strerror}.", is_unreadable=True) from None


def read_folder(kept: Path, name: str) -> KeptFolder:
    """Return one folder after comparing its files with their sums. Raises DeliveryError, or OSError."""
    folder = kept / name
    sums = folder / SUMS
    text = sums.read_bytes() if sums.is_file() else b""
    lines = [line.partition("  ") for line in text.decode("utf-8", "replace").splitlines()]
    message = {name: checksum for checksum, _, name in lines}
    for table, columns in TABLES.items():
        file = folder / file_of(table)
        content = file.read_bytes() if file.is_file() else b""
        header = ",".join(column for column, _ in columns)
        if content_hash(content) != message.get(file.name) or content.split(b"\n", 1)[0] != header.encode():
            raise DeliveryError(
                f"{file} is not as it was written: it holds what is left of deliveries that were deleted. Get the"
                f" folder {name} back from a backup. If the change is meant, say so by new sums: cd {folder} &&"
                f" sha256sum *.csv > {SUMS}"
            )
    return KeptFolder(name, content_hash(text))


def write_sums(folder: Path) -> None:
    """Write the sums of a folder's files."""
    lines = [f"{hash_of(file)}  {file.name}" for file in sorted(folder.glob("*.csv"))]
    (folder / SUMS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def deleted(kept: Path, folders: Iterable[KeptFolder]) -> frozenset[tuple[str, str]]:
    """Return path below the raw folder and content hash of every delivery that is on record as deleted."""
    found = set()
    for folder in folders:
        with (kept / folder.name / file_of("deleted_deliveries")).open(encoding="utf-8", newline="") as stream:
            found |= {(f"{row['feed']}/{row['file']}", row["content_hash"]) for row in csv.DictReader(stream)}
    return frozenset(found)


def load_kept(con: duckdb.DuckDBPyConnection, kept: Path, folders: Sequence[KeptFolder]) -> None:
    """Make the raw tables anew from the folders. Raises DeliveryError for what cannot be read or is kept twice."""
    from kpi import database

    for table, columns in TABLES.items():
        con.execute(f"create or replace table raw.{table} ({definition(columns)})")
        for folder in folders:
            file = kept / folder.name / file_of(table)
            try:
                con.execute(f"insert into raw.{table} from {csv_rows(file, columns)}")
            except duckdb.Error as error:
                message = f"{file} cannot be read: {database.first_line(error)}. Get it back from a backup."
                raise DeliveryError(message, is_unreadable=True) from None
        twice = con.execute(f"select {_KEYS[table]} from raw.{table} group by all having count(*) > 1").fetchone()
        if twice:
            message = f"{kept}: {' '.join(map(str, twice))} stands twice in {file_of(table)} of {len(folders)} folders."
            raise DeliveryError(f"{message} Each figure is kept once, from one build: take one of the rows out.")


def csv_rows(file: Path, columns: Columns) -> str:
    """SQL of the rows of a CSV file that kpi wrote.

    It was checked against its sum, so there is nothing to guess: what does not fit is an edit by hand.
    """
    struct = ", ".join(f"{literal(column)}: {literal(kind)}" for column, kind in columns)
    form = "auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', nullstr = ''"
    return f"read_csv({literal(str(file))}, {form}, columns = {{{struct}}})"


ENDINGS = (".csv", ".csv.gz")  # in any case: Windows writes .CSV
# Here while `kpi demo` moves its finished folders into place, and after one that was killed doing so.
UNFINISHED_DEMO = Path(".demo-partial", "ready.json")


@dataclass(frozen=True, slots=True)
class RawFile:
    """One delivered file. `path` is relative to the raw folder, with forward slashes; `size` is in bytes.

    `modified` is when it was last written, in seconds since 1970 (UTC). It counts only where a contract says so.
    """

    feed: str
    name: str
    content_hash: str
    size: int
    modified: int = field(default=0, compare=False)

    @property
    def path(self) -> str:
        """The file's path below the raw folder."""
        return f"{self.feed}/{self.name}"


@dataclass(frozen=True, slots=True)
class RawFolder:
    """All deliveries in byte order of feed and name, and what was passed over.

    `kept` is what is left of deliveries that were deleted by their retention, `deleted` are those of them that lie
    there all the same.
    """

    files: tuple[RawFile, ...]
    ignored: tuple[str, ...]
    kept: tuple[KeptFolder, ...] = ()
    deleted: tuple[RawFile, ...] = ()

    def digest(self) -> str:
        """A hash of the path and content of every file that is read, and of the paths passed over: a run tells them."""
        lines = [f"{file.path}\0{file.content_hash}" for file in self.files]
        lines += [f"kept/{folder.name}\0{folder.content_hash}" for folder in self.kept]
        text = "\n".join([*lines, *(f"passed over/{path}" for path in self.ignored)])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def deleted_problem(self) -> Problem | None:
        """What a run tells of deliveries that were deleted and lie there all the same."""
        if not self.deleted:
            return None
        message = f"deleted by retention, {'lies' if len(self.deleted) == 1 else 'lie'} there and not read."
        place = Place(one_line(listed([file.path for file in self.deleted], 3)))
        return Problem("file.deleted", message, place, "See: kpi prune-raw")


def content_hash(data: bytes) -> str:
    """Hash a file's bytes, as `sha256sum` does."""
    return hashlib.sha256(data).hexdigest()


def hash_of(file: Path) -> str:
    """Hash a file's bytes, as `sha256sum` does."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def modified(file: Path) -> int | None:
    """Return when a file was last written, in seconds since 1970 (UTC); None when it is not there."""
    try:
        return int(file.stat().st_mtime)
    except OSError:
        return None


CHECKSUMS = Path(".cache/deliveries")  # below the warehouse: those of files that are as they were


class Checksums:
    """Checksums of files by their paths, each for as long as the file's inode, size and times are as they were.

    Nobody can write into a file and keep the time at which its inode changed. What was changed within two seconds
    before it was read is not noted: in the same tick of a coarse clock it could change again.
    """

    def __init__(self, file: Path, is_read: bool = True) -> None:
        self._file = file
        self._known: dict[str, list[object]] = {}
        self._seen: dict[str, list[object]] = {}
        self._settled = time.time_ns() - 2_000_000_000
        with suppress(OSError, ValueError, RecursionError):
            content = json.loads(read_regular(file)) if is_read else {}
            self._known = content if isinstance(content, dict) else {}

    def find(self, path: str, about: os.stat_result) -> str | None:
        """Return the checksum of a file that is as it was, None of any other."""
        known = self._known.get(path)
        if not isinstance(known, list) or len(known) != 5 or known[:4] != _identity(about):
            return None
        self._seen[path] = known
        return known[4] if isinstance(known[4], str) else None

    def add(self, path: str, about: os.stat_result, checksum: str) -> None:
        """Note the checksum of a file that was just read."""
        if max(about.st_mtime_ns, about.st_ctime_ns) < self._settled:
            self._seen[path] = [*_identity(about), checksum]

    def save(self) -> None:
        """Write what was seen, when it is something new. A folder that cannot be written is no error."""
        if self._seen == self._known:
            return
        new = self._file.with_name(f".{self._file.name}-{os.getpid()}")
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
                json.dump(self._seen, stream)
            os.replace(new, self._file)


def _identity(about: os.stat_result) -> list[object]:
    return [about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def scan(raw: Path, checksums: Checksums | None = None) -> RawFolder:
    """Hash every delivery directly below `raw/<feed>/`; not those whose checksum is known.

    What is hidden, not named in UTF-8, or a link that leads out of the raw folder is passed over and told. Raises
    DeliveryError for a file or a folder that cannot be read, for one whose name holds an identity code, which would
    stand in every row that came from it, and for what is kept when it is not as it was written.
    """
    files: list[RawFile] = []
    ignored: list[str] = []
    try:
        home = raw.resolve()
    except (OSError, RuntimeError):
        raise DeliveryError(f"{raw} cannot be read: it is a link to itself.", is_unreadable=True) from None
    if os.path.exists(raw / UNFINISHED_DEMO):
        raise DeliveryError(f"{raw} holds a part of what `kpi demo` writes: it was stopped. Run: kpi demo")
    for feed in _entries(raw):
        if not _is(feed.is_dir):
            # A delivery that lies beside the folders of feeds is one that somebody misses.
            is_delivery = feed.name.lower().endswith(ENDINGS)
            if is_delivery or (feed.is_symlink() and not _is(feed.is_file)):
                ignored.append(os.fsencode(hidden_codes(feed.name)).decode("utf-8", "backslashreplace"))
            continue
        if _leads_out(feed, home):
            ignored.append(feed.name)
            continue
        for entry in _entries(Path(feed.path)):
            if hidden_codes(entry.name) != entry.name:
                message = f"{feed.name}/{hidden_codes(entry.name)}: the name of this file holds an identity code."
                raise DeliveryError(f"{message} Rename it: names of files stand in every row and in logs.")
            shown = os.fsencode(f"{feed.name}/{entry.name}").decode("utf-8", "backslashreplace")
            is_delivery = entry.name.lower().endswith(ENDINGS)
            is_hidden = entry.name[0] == "."
            is_file = _is(entry.is_file) and not _leads_out(entry, home) and shown == f"{feed.name}/{entry.name}"
            if is_delivery and not is_hidden and is_file:
                files.append(_read(feed.name, entry, checksums))
            elif is_delivery or not is_hidden:
                ignored.append(shown)
    kept = read_folders(kept_beside(raw))
    gone = deleted(kept_beside(raw), kept)
    are_gone = [(file.path, file.content_hash) in gone for file in files]
    return RawFolder(
        files=tuple(file for file, is_gone in zip(files, are_gone, strict=True) if not is_gone),
        ignored=tuple(ignored),
        kept=kept,
        deleted=tuple(file for file, is_gone in zip(files, are_gone, strict=True) if is_gone),
    )


def kept_beside(raw: Path) -> Path:
    """Return the folder of what is kept of deleted deliveries."""
    return raw.parent / "kept"


def is_labelled_synthetic(raw: Path) -> bool:
    """Tell whether the deliveries carry the label that `kpi demo` puts beside them."""
    try:
        label = read_regular(raw / "README.txt").decode("utf-8", "replace")
    except OSError:  # there is none, or not for whoever asks
        return False
    return label.startswith(SYNTHETIC_LABEL)


def _is(ask: Callable[[], bool]) -> bool:
    """Whether an entry is what is asked; a link to itself, which raises, is nothing."""
    try:
        return ask()
    except OSError:
        return False


def _leads_out(entry: os.DirEntry[str], home: Path) -> bool:
    return entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(home)


def _read(feed: str, entry: os.DirEntry[str], checksums: Checksums | None) -> RawFile:
    try:
        about = entry.stat()
        if checksums and (known := checksums.find(f"{feed}/{entry.name}", about)):
            return RawFile(feed, entry.name, known, about.st_size, int(about.st_mtime))
        with open(entry.path, "rb") as stream:
            before = os.fstat(stream.fileno())
            hashed = hashlib.file_digest(stream, "sha256").hexdigest()
            size, about = stream.tell(), os.fstat(stream.fileno())
        if checksums and size == about.st_size and _identity(before) == _identity(about):
            checksums.add(f"{feed}/{entry.name}", about, hashed)
        return RawFile(feed, entry.name, hashed, size, int(about.st_mtime))
    except OSError as error:
        raise DeliveryError(f"{feed}/{entry.name} cannot be read: {error.strerror}.", is_unreadable=True) from None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DeliveryError(f"{folder} cannot be read: {error.strerror}.", is_unreadable=True) from None
