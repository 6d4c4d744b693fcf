"""What is kept of deliveries that were deleted by their retention: `warehouse/kept/<build>/`.

Each folder holds the figures of one build as it published them, the list of the deliveries that went, and the sums of
both files (as sha256sum writes them). It is written whole, renamed into place and never changed: from that moment the
deliveries on its list are not read, whether they lie there still or again. Imports nothing heavy.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kpi.base.errors import DeliveryError
from kpi.base.names import literal

if TYPE_CHECKING:
    import duckdb

SUMS = "SHA256SUMS"
KEPT_INDICATORS = (
    ("figure_id", "VARCHAR"),
    ("service", "VARCHAR"),
    ("report_year", "BIGINT"),
    ("basis", "VARCHAR"),
    ("numerator", "DOUBLE"),
    ("denominator", "DOUBLE"),
    ("value", "DOUBLE"),
    ("event_count", "BIGINT"),
    ("kept_from", "VARCHAR"),
    ("kept_on", "DATE"),
)
DELETED_DELIVERIES = (
    ("feed", "VARCHAR"),
    ("file", "VARCHAR"),
    ("content_hash", "VARCHAR"),
    ("records", "BIGINT"),
    ("rows_loaded", "BIGINT"),
    ("rows_rejected", "BIGINT"),
    ("rows_superseded", "BIGINT"),
    ("first_year", "BIGINT"),
    ("last_year", "BIGINT"),
    ("kept_from", "VARCHAR"),
    ("deleted_on", "DATE"),
)
# The raw tables that are made of it, each from a file of that name, and what tells their rows apart.
TABLES: dict[str, tuple[tuple[str, str], ...]] = {
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
        raise DeliveryError(f"{error.filename or kept} cannot be read: {error.strerror}.") from None


def read_folder(kept: Path, name: str) -> KeptFolder:
    """Return one folder after comparing its files with their sums. Raises DeliveryError, or OSError."""
    folder = kept / name
    sums = folder / SUMS
    text = sums.read_bytes() if sums.is_file() else b""
    lines = [line.partition("  ") for line in text.decode("utf-8", "replace").splitlines()]
    told = {name: checksum for checksum, _, name in lines}
    for table, columns in TABLES.items():
        file = folder / file_of(table)
        content = file.read_bytes() if file.is_file() else b""
        header = ",".join(column for column, _ in columns)
        if hashlib.sha256(content).hexdigest() != told.get(file.name) or content.split(b"\n", 1)[0] != header.encode():
            raise DeliveryError(
                f"{file} is not as it was written: it holds what is left of deliveries that were deleted. Get the"
                f" folder {name} back from a backup. If the change is meant, say so by new sums: cd {folder} &&"
                f" sha256sum *.csv > {SUMS}"
            )
    return KeptFolder(name, hashlib.sha256(text).hexdigest())


def write_sums(folder: Path) -> None:
    """Write the sums of a folder's files."""
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" for file in sorted(folder.glob("*.csv"))]
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
    import duckdb

    for table, columns in TABLES.items():
        typed = ", ".join(f"{column} {kind}" for column, kind in columns)
        con.execute(f"create or replace table raw.{table} ({typed})")
        struct = ", ".join(f"{literal(column)}: {literal(kind)}" for column, kind in columns)
        for folder in folders:
            file = kept / folder.name / file_of(table)
            # Checked against its sum, so there is nothing to guess: what does not fit is an edit by hand.
            form = (
                f"auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', columns = {{{struct}}}"
            )
            try:
                con.execute(f"insert into raw.{table} from read_csv({literal(str(file))}, {form})")
            except duckdb.Error as error:
                told = str(error).partition("\n")[0]
                raise DeliveryError(f"{file} cannot be read: {told}. Get it back from a backup.") from None
        twice = con.execute(f"select {_KEYS[table]} from raw.{table} group by all having count(*) > 1").fetchone()
        if twice:
            told = f"{kept}: {' '.join(map(str, twice))} stands twice in {file_of(table)} of {len(folders)} folders."
            raise DeliveryError(f"{told} Each figure is kept once, from one build: take one of the rows out.")
