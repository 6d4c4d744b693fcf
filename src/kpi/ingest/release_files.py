"""Releases of report years as text in git: `seeds/releases/<year>-<number>/`, read and checked, and as raw tables.

A release is a folder that never changes: what was released (`release.yml`), its figures, their definitions, the
deliveries and the nodes it was made from, and the sums of these files. Beside them `acknowledged.csv` grows with every
revision that somebody accounted for. dbt takes no file of it for a seed, nor do we: a folder with a release is left out
where files of the project are looked for (`kpi.project.packages`).

The sums are of the text, without a byte order mark and with plain line ends: what git or a spreadsheet does to these
changes no release, and every other edit is found. Imports nothing heavy.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kpi.errors import ConfigError
from kpi.files import RELEASE_FILES, RELEASE_NAME, RELEASES, folder_lock, replace_text
from kpi.ingest.raw_files import csv_rows
from kpi.lazy import duckdb
from kpi.sql import Columns, definition, literal, typed_columns

ACKNOWLEDGED = "acknowledged.csv"
SUMS, RELEASE = sorted(RELEASE_FILES)

# What `release.yml` says, in this order.
FIELDS = typed_columns("""
    release varchar, report_year bigint, number bigint, build varchar, as_of date, released_at timestamp,
    released_by varchar, note varchar, despite varchar, code_revision varchar, code_changes varchar,
    kpi_version varchar, kpi_code varchar, duckdb_version varchar, variables varchar, kept varchar
""")
FIGURES = typed_columns("""
    figure_id varchar, service varchar, report_year bigint, basis varchar, numerator double, denominator double,
    value double, event_count bigint, printed_value decimal(38,2), decimals varchar, unit varchar, obs_status varchar
""")
DEFINITIONS: Columns = (("figure_id", "VARCHAR"), ("field", "VARCHAR"), ("text", "VARCHAR"))
DELIVERIES = typed_columns("""
    feed varchar, file varchar, content_hash varchar, records bigint, rows_loaded bigint, rows_rejected bigint,
    rows_superseded bigint, delivered_at bigint, first_year bigint, last_year bigint
""")
NODES: Columns = (("node", "VARCHAR"), ("checksum", "VARCHAR"), ("text", "VARCHAR"))
REVISIONS = typed_columns("""
    revision_id varchar, figure_id varchar, service varchar, report_year bigint, basis varchar, released_value double,
    value double, released_printed_value decimal(38,2), printed_value decimal(38,2), causes varchar, reason varchar,
    note varchar, acknowledged_by varchar, acknowledged_at timestamp
""")
# By the name of the file of a release: its columns.
FILES: Mapping[str, Columns] = {
    "figures.csv": FIGURES,
    "definitions.csv": DEFINITIONS,
    "deliveries.csv": DELIVERIES,
    "nodes.csv": NODES,
}
# By the name of the raw table: the file whose rows it has, with the release before them.
_TABLES = {
    "released_indicators": ("figures.csv", FIGURES),
    "released_definitions": ("definitions.csv", DEFINITIONS),
    "released_deliveries": ("deliveries.csv", DELIVERIES),
    "released_nodes": ("nodes.csv", NODES),
    "acknowledged_revisions": (ACKNOWLEDGED, REVISIONS),
}
TABLES: Mapping[str, Columns] = {
    "releases": FIELDS,
    **{table: (("release", "VARCHAR"), *columns) for table, (_, columns) in _TABLES.items()},
}
RELATIONS = frozenset(f"raw.{table}" for table in TABLES)


@dataclass(frozen=True, slots=True)
class ReleaseFolder:
    """The folder of one release, as it was written. `content_hash` covers what was acknowledged of it too."""

    path: Path
    report_year: int
    number: int
    content_hash: str

    @property
    def name(self) -> str:
        """The release, as `2025-1`."""
        return self.path.name


def releases_folder(root: Path) -> Path:
    """Return the folder of a project's releases, which is there once something was released."""
    return root / "seeds" / RELEASES


def number_of(name: str) -> tuple[int, int]:
    """Return report year and number of a release by its name; zeros when it is none."""
    found = RELEASE_NAME.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def names_of(root: Path) -> list[str]:
    """Return the names of all releases, by year and number, without reading any."""
    folder = releases_folder(root)
    if not folder.is_dir():
        return []
    found = [entry.name for entry in folder.iterdir() if entry.is_dir() and RELEASE_NAME.fullmatch(entry.name)]
    return sorted(found, key=number_of)


def read_releases(root: Path) -> tuple[ReleaseFolder, ...]:
    """Return all releases by year and number. Raises ConfigError when a file of one is not as it was released."""
    return tuple(read_release(releases_folder(root) / name) for name in names_of(root))


def digest(root: Path) -> str:
    """Return a hash that is another one as soon as a release or what was acknowledged is. Raises ConfigError."""
    return _digest(read_releases(root))


def _digest(releases: Iterable[ReleaseFolder]) -> str:
    columns = sorted((table, name, kind) for table, typed in TABLES.items() for name, kind in typed)
    text = "\n".join([repr(columns), *(f"{one.name} {one.content_hash}" for one in releases)])
    return hashlib.sha256(text.encode()).hexdigest()


def read_release(folder: Path) -> ReleaseFolder:
    """Return one release after comparing its files with their sums. Raises ConfigError."""
    year, number = number_of(folder.name)
    if wrong := wrong_with(folder):
        raise ConfigError(
            f"{wrong}: it is of release {folder.name}, which stands as it was released. Get it back:"
            f" git checkout -- {folder}. A year that is published anew is a release of its own: kpi release {year}"
        )
    texts = [text_of(folder / SUMS), text_of(folder / ACKNOWLEDGED) if (folder / ACKNOWLEDGED).exists() else ""]
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    return ReleaseFolder(folder, year, number, digest)


def wrong_with(folder: Path) -> str:
    """Say which file of a release is gone or edited; empty when none is."""
    sums = {name: total for total, _, name in (entry.partition("  ") for entry in _lines(folder / SUMS))}
    for name in (RELEASE, *FILES):
        if not (folder / name).is_file():
            return f"{folder / name} is gone"
        if sums.get(name) != sum_of(folder / name):
            return f"{folder / name} was edited, or {SUMS} was"
    acknowledged = folder / ACKNOWLEDGED
    header = ",".join(name for name, _ in REVISIONS)
    if acknowledged.exists() and _lines(acknowledged)[:1] != [header]:
        return f"{acknowledged} does not begin with the line {header}"
    return ""


def text_of(file: Path) -> str:
    """Return the text of a file of a release, without a byte order mark and with plain line ends."""
    try:
        return file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, UnicodeDecodeError):
        return ""


def sum_of(file: Path) -> str:
    """Return the sum of a file's text."""
    return hashlib.sha256(text_of(file).encode()).hexdigest()


def _lines(file: Path) -> list[str]:
    return text_of(file).splitlines()


def write_sums(folder: Path) -> None:
    """Write the sums of a release's files, as sha256sum does."""
    lines = [f"{sum_of(folder / name)}  {name}\n" for name in sorted((RELEASE, *FILES))]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def to_csv(columns: Columns, rows: Iterable[Sequence[object]]) -> str:
    """Return rows as the text of a CSV file with plain line ends; a null is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _ in columns])
    writer.writerows(rows)
    return text.getvalue()


def append_new_rows(file: Path, columns: Columns, rows: Iterable[Sequence[object]]) -> int:
    """Add those rows to a CSV file whose first cell no row of it has. Returns how many: all of them are added, or none.

    The file is made when it is not there, in a folder that is. Whoever else adds to it at this moment is waited for.
    """
    with folder_lock(file.parent, waits=True):
        for left in file.parent.glob(f".{file.name}-*"):  # by one that was killed
            left.unlink()
        before = text_of(file) if file.exists() else to_csv(columns, ())
        present = {row[0] for row in csv.reader(io.StringIO(before, newline="")) if row}
        new = [row for row in rows if str(row[0]) not in present]
        if new:
            added = to_csv(columns, new).split("\n", 1)[1]
            replace_text(file, f"{before}{'' if before.endswith(chr(10)) else chr(10)}{added}", durable=True)
        return len(new)


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    """Return the rows of a file of a release as texts, by column; none when the file is not there."""
    return list(csv.DictReader(io.StringIO(text_of(folder / name), newline="")))


def fields_of(folder: Path) -> dict[str, object]:
    """Return what `release.yml` says, by field. Raises ConfigError for what cannot be read."""
    from kpi.yaml_loader import read_yaml

    section = read_yaml(folder / RELEASE, folder / RELEASE)
    section.allow((name for name, _ in FIELDS), RELEASE)
    return dict(section)


def load_releases(con: duckdb.DuckDBPyConnection, releases: Sequence[ReleaseFolder]) -> None:
    """Make the raw tables of all releases anew, when they are of others. Raises ConfigError for what cannot be read."""
    from kpi import database

    written = _digest(releases)
    sql = "select comment from duckdb_tables() where schema_name = 'raw' and table_name = 'releases'"
    if con.execute(sql).fetchall() == [(written,)]:
        return
    con.execute("create schema if not exists raw")
    for table, columns in TABLES.items():
        con.execute(f"create or replace table raw.{table} ({definition(columns)})")
    for one in releases:
        said = fields_of(one.path)
        marks = ", ".join("?" * len(FIELDS))
        con.execute(f"insert into raw.releases values ({marks})", [_plain(said.get(name)) for name, _ in FIELDS])
        for table, (name, columns) in _TABLES.items():
            file = one.path / name
            if not file.exists():
                continue
            try:
                con.execute(f"insert into raw.{table} select {literal(one.name)}, * from {csv_rows(file, columns)}")
            except duckdb.Error as error:
                raise ConfigError(f"{file} cannot be read: {database.first_line(error)}.") from None
    con.execute(f"comment on table raw.releases is {literal(written)}")


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int) else str(value)
