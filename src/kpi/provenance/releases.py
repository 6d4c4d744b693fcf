"""A release of a report year: its figures frozen as text, and whether a build made again has the same figures."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.database import fetch_dicts
from kpi.errors import ConfigError
from kpi.files import to_disk
from kpi.ingest import release_files
from kpi.ingest.raw_files import RawFolder, deleted, kept_beside
from kpi.lazy import duckdb
from kpi.presentation import visible, with_decimals
from kpi.provenance.figure_values import SAME_FIGURE, SAME_VALUES
from kpi.provenance.revisions import Years, has_table, node_rows
from kpi.sql import literal

if TYPE_CHECKING:
    from kpi.build_record import BuildRecord
    from kpi.settings import ReportTables

GUIDE = "docs/guides/release-a-year.md"
FINISHED_NEVER = ("running", "future")  # states of a year that is not over


@dataclass(frozen=True, slots=True)
class Release:
    """What is to be written of a release: the fields of its `release.yml` and the rows of its files, in their order."""

    fields: Mapping[str, object]
    figures: Sequence[Sequence[object]]
    definitions: Sequence[Sequence[object]]
    deliveries: Sequence[Sequence[object]]
    nodes: Sequence[Sequence[object]]


def refuse_without_tables(con: duckdb.DuckDBPyConnection, tables: ReportTables) -> None:
    """Raise ConfigError when a build lacks what a release is made from, and compared with."""
    needed = (tables.observation_status, tables.indicators_released, tables.revisions, tables.revision_reasons)
    if missing := [name for name in needed if not has_table(con, name)]:
        raise ConfigError(
            f"the project has no {', '.join(missing)}: nothing could be compared with what is released. Which sources"
            f" and models it takes: {GUIDE}"
        )


def refuse_unfinished(con: duckdb.DuckDBPyConnection, tables: ReportTables, year: int, of_year: int) -> list[str]:
    """Return which feeds are still waited for. Raises ConfigError for a year without figures, or that is not over.

    `of_year` is the year of the day that the build is of.
    """
    rows = con.execute(f"select distinct report_year from {tables.observation_status} order by 1").fetchall()
    years = [int(row[0]) for row in rows]
    if year not in years:
        there = ", ".join(map(str, years)) or "none"
        raise ConfigError(
            f"there are no figures of {year}, so there is nothing to release. Years with figures: {there}."
        )
    waiting: list[tuple[str, str]] = []
    if has_table(con, tables.unfinished_years):
        sql = f"select feed, state from {tables.unfinished_years} where report_year = ? order by all"
        waiting = con.execute(sql, [year]).fetchall()
    if year >= of_year or any(state in FINISHED_NEVER for _, state in waiting):
        raise ConfigError(f"{year} is not over: its figures are of the year to date. It can be released when it is.")
    return [feed for feed, _ in waiting]


_FIGURES = """
    select i.figure_id, i.service, i.report_year, i.basis,
        cast(i.numerator as varchar), cast(i.denominator as varchar), cast(i.value as varchar), i.event_count,
        cast(cast(s.printed_value as decimal(38, 2)) as varchar), s.decimals, s.unit, s.obs_status
    from {indicators} as i
    inner join {status} as s
        on i.figure_id = s.figure_id and i.service = s.service and i.report_year = s.report_year and i.basis = s.basis
    where i.report_year = ?
    order by i.figure_id, i.service, i.basis
"""


def freeze(
    con: duckdb.DuckDBPyConnection,
    tables: ReportTables,
    record: BuildRecord,
    details: Mapping[str, object],
    years: Years,
) -> Release:
    """Return a report year as a build has it. `details` are the fields that the build does not tell, `years` those of
    its deliveries. Grain of the figures: one row per figure_id, service and basis."""
    year = details["report_year"]
    sql = _FIGURES.format(indicators=tables.indicators, status=tables.observation_status)
    figures = [_as_printed(row) for row in con.execute(sql, [year]).fetchall()]
    files = [
        (
            *(one.feed, one.file, one.content_hash, one.records, one.rows_loaded, one.rows_rejected),
            *(one.rows_superseded, one.delivered_at, *years.get(one.path, (None, None))),
        )
        for one in sorted(record.files or (), key=lambda one: (one.feed, one.file))
    ]
    fields = {
        **details,
        "build": record.id,
        "as_of": record.as_of,
        "kpi_code": record.inputs.code if record.inputs else "",
        "duckdb_version": record.engine.rpartition(" ")[2],
        "variables": record.inputs.variables if record.inputs else "",
        "kept": " ".join(record.retained),
    }
    return Release(
        fields, figures, _definitions(con, tables, {str(row[0]) for row in figures}), files, node_rows(record)
    )


def _as_printed(row: tuple[Any, ...]) -> tuple[object, ...]:
    """A row of figures with its printed value written with the decimals it is printed with."""
    printed, decimals = row[8:10]
    return (*row[:8], None if printed is None else with_decimals(printed, decimals), *row[9:])


def _definitions(con: duckdb.DuckDBPyConnection, tables: ReportTables, figures: set[str]) -> list[tuple[object, ...]]:
    """What the project's catalogue says of the figures, a row for each column of it that is filled."""
    if not has_table(con, tables.figures):
        return []
    return [
        (row["figure_id"], column, text)
        for row in fetch_dicts(con, f"select columns(*)::varchar from {tables.figures} order by figure_id")
        for column, text in row.items()
        if row["figure_id"] in figures and column != "figure_id" and text is not None
    ]


def write_release(root: Path, release: Release) -> Path:
    """Write a release into the project, whole or not at all. Returns its folder. Never writes over another one."""
    home = release_files.releases_folder(root)
    folder = home / str(release.fields["release"])
    new = home / f".{folder.name}"
    if folder.exists():
        raise ConfigError(f"{folder} is there already: a release is never written over.")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        _write_files(new, release)
        for path in (*new.iterdir(), new):
            to_disk(path)
        os.rename(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)  # else it would be committed with the rest
    with suppress(OSError):  # it is there, whatever the disk says of its name
        to_disk(home)
    return folder


def _write_files(folder: Path, release: Release) -> None:
    """Write the files of a release."""
    (folder / release_files.SUMS).touch()  # from the first file on it is a release to whoever looks for properties
    lines = [f"{name}: {_yaml(release.fields.get(name))}\n" for name, _ in release_files.FIELDS]
    (folder / release_files.RELEASE).write_text("".join(lines), encoding="utf-8")
    parts = (release.figures, release.definitions, release.deliveries, release.nodes)
    for (name, columns), rows in zip(release_files.FILES.items(), parts, strict=True):
        (folder / name).write_text(release_files.to_csv(columns, rows), encoding="utf-8")
    release_files.write_sums(folder)


def _yaml(value: object) -> str:
    """A value as YAML on one line: JSON is YAML, with what nobody sees written out."""
    if value in (None, ""):
        return "null"
    return visible(json.dumps(value if isinstance(value, int) else str(value), ensure_ascii=False))


def next_name(root: Path, year: int) -> tuple[str, int]:
    """Return name and number of the next release of a year."""
    numbers = [number for of, number in map(release_files.number_of, release_files.names_of(root)) if of == year]
    number = max(numbers, default=0) + 1
    return f"{year}-{number}", number


def missing_deliveries(folder: Path, raw: Path, lying: RawFolder) -> list[str]:
    """Say which deliveries of a release are not there as they were: gone, pruned, or of other content.

    One of earlier years alone that was deleted by its retention is not missing: its figures are kept.
    """
    year, pruned = release_files.number_of(folder.name)[0], deleted(kept_beside(raw), lying.kept)
    there = {file.path: file.content_hash for file in lying.files}
    by_hash = {file.content_hash: file.path for file in lying.files}
    messages = []
    for row in release_files.rows_of(folder, "deliveries.csv"):
        path, wanted = f"{row['feed']}/{row['file']}", row["content_hash"]
        is_earlier = bool(row["last_year"]) and int(row["last_year"]) < year
        if there.get(path) == wanted or (is_earlier and (path, wanted) in pruned):
            continue
        if path in there:
            now = there[path]
            messages.append(f"{path} was altered: released with sha256 {wanted[:12]}…, now it has {now[:12]}…")
        elif (path, wanted) in pruned:
            messages.append(f"{path} was deleted by its retention: sha256 {wanted[:12]}…")
        else:
            hint = f"; {by_hash[wanted]} has its content" if wanted in by_hash else ""
            messages.append(f"{path} is gone: sha256 {wanted[:12]}…{hint}")
    return messages


@dataclass(frozen=True, slots=True)
class FigureDifference:
    """A figure of a release that comes out otherwise. Values as text, not rounded; None of one that is not there."""

    figure_id: str
    service: str
    basis: str
    released: str | None
    value: str | None

    def __str__(self) -> str:
        basis = f" ({self.basis})" if self.basis != "calendar_year" else ""
        return f"{self.figure_id} {self.service}{basis}: released {self.released}, comes out {self.value}"


def compare_figures(
    con: duckdb.DuckDBPyConnection, folder: Path, indicators: str
) -> tuple[int, tuple[FigureDifference, ...]]:
    """Compare the figures of a release with those of a build, to the last digit.

    Returns how many were compared, and those that differ. What the build has besides is no part of the release.
    """
    columns = release_files.FIGURES
    con.execute(f"create or replace temp table released ({', '.join(f'{name} {kind}' for name, kind in columns)})")
    struct = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in columns)
    form = f"auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', columns = {{{struct}}}"
    file = literal(str(folder / "figures.csv"))
    con.execute(f"insert into released from read_csv({file}, {form}, nullstr = '')")
    rows = con.execute(
        f"select b.figure_id, b.service, b.basis, cast(b.value as varchar), cast(a.value as varchar) from released as b"
        f" left join {indicators} as a on {SAME_FIGURE} where a.figure_id is null or not ({SAME_VALUES}) order by all"
    ).fetchall()
    count = con.execute("select count(*) from released").fetchall()[0][0]
    return int(count), tuple(FigureDifference(*row) for row in rows)


def releases_with(root: Path, deliveries: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the paths of those deliveries, by path and hash, that hold rows of a released year, by release."""
    wanted, paths = set(deliveries), dict[str, list[str]]()
    for name in release_files.names_of(root):
        folder, (year, _) = release_files.releases_folder(root) / name, release_files.number_of(name)
        for row in release_files.rows_of(folder, "deliveries.csv"):
            path = f"{row['feed']}/{row['file']}"
            is_of_year = not row["first_year"] or int(row["first_year"]) <= year <= int(row["last_year"])
            if (path, row["content_hash"]) in wanted and is_of_year:
                paths.setdefault(name, []).append(path)
    return paths
