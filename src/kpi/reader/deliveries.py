"""What became of each delivered file of a build, with every warning about it; and its rejected rows, by reason.

Cells are shown as `raw.rejects` has them, where personal data is masked. Those of a column that is a pseudonym or free
text are not shown at all: a name in a comment cannot be masked. Who sent the file finds the cell by its record number.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kpi.build_record import BuildRecord
from kpi.errors import ConfigError, nearest
from kpi.files import checksum, staging_folder
from kpi.lazy import duckdb
from kpi.presentation import one_line, visible
from kpi.site.dataset import guarded
from kpi.sql import counted, literal

if TYPE_CHECKING:
    from kpi.ingest.contract import Feed


@dataclass(frozen=True, slots=True)
class DeliveryWarning:
    """What is worth a warning of a delivery: the kind of problem, and what it is."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class DeliveredFile:
    """A delivered file: its records, and how many of its rows were loaded, rejected, superseded; None if unknown.

    A warning about a whole feed, or about a file that no feed reads, is of a `file` with no records at all.
    """

    feed: str
    file: str
    records: int | None = None
    rows_loaded: int | None = None
    rows_rejected: int | None = None
    rows_superseded: int | None = None
    warnings: list[DeliveryWarning] = field(default_factory=list)


def delivered_files(record: BuildRecord, feed: str | None = None) -> list[DeliveredFile]:
    """Return the files of a build by feed and name, or those of one feed. Raises ConfigError when there is no such."""
    files = {
        (file.feed, file.file): DeliveredFile(
            file.feed, file.file, file.records, file.rows_loaded, file.rows_rejected, file.rows_superseded
        )
        for file in record.files or ()
    }
    for problem in record.warnings:
        if not problem.code.startswith(("file.", "folder.", "feed.")):
            continue
        of_feed, _, name = problem.place.file.partition("/")
        key = (problem.subject or of_feed, "" if problem.subject else name)
        text = f"{problem.message}{f' {problem.suggestion}' if problem.suggestion else ''}"
        files.setdefault(key, DeliveredFile(*key)).warnings.append(DeliveryWarning(problem.code, text))
    if feed is not None and (feeds := {name for name, _ in files}) and feed not in feeds:
        raise ConfigError(f"there is no feed '{feed}'.{nearest(feed, feeds)}")
    return [files[key] for key in sorted(files) if feed in (None, key[0])]


def delivery_lines(files: Sequence[DeliveredFile]) -> Iterator[str]:
    """Yield a line for each feed, and below it one for each warning."""
    for feed, of_feed in itertools.groupby(files, key=lambda file: file.feed):
        members = list(of_feed)
        delivered = [file for file in members if file.records is not None]
        numbers = (
            counted(len(delivered), "file"),
            counted(sum(file.records or 0 for file in delivered), "record"),
            f"{sum(file.rows_rejected or 0 for file in delivered)} rejected",
            counted(sum(len(file.warnings) for file in members), "warning"),
        )
        yield one_line(f"{feed}: {', '.join(numbers)}")
        for file in members:
            head = f"{file.file}: " if file.file else ""
            yield from (one_line(f"  {head}{warning.message}") for warning in file.warnings)
    if not files:
        yield "There are no deliveries."


CELLS = 5  # different cells of a reason that are listed
NOT_SHOWN = "[not shown]"
HEADER = ("record_number", "column", "cell", "reason")
_NAME = 100  # characters of a delivery's name that are kept
_BATCH = 10_000


@dataclass(frozen=True, slots=True)
class RejectReason:
    """Why rows of a feed were rejected: how many rows of how many files, and the commonest different cells.

    `column` is empty for a reason that is about the row or the file. A row with several reasons counts for each.
    """

    feed: str
    column: str
    reason: str
    rows: int
    files: int
    cells: tuple[str, ...]


def private_columns(feeds: Sequence[Feed]) -> set[tuple[str, str]]:
    """Return feed and column of all whose cells are not shown: pseudonyms and free text."""
    return {
        (feed.name, column.name) for feed in feeds for column in feed.columns if column.free_text or column.pseudonym
    }


def reject_reasons(
    con: duckdb.DuckDBPyConnection, private: Collection[tuple[str, str]], feed: str = "", file: str = ""
) -> tuple[RejectReason, ...]:
    """Return the reasons of a build's rejects by feed, commonest first; of one feed or file when it is named.

    `file` is a path below the raw folder, or a file's name. Raises ConfigError when there is no such feed or file.
    """
    where = _chosen(con, feed, file)
    rows = con.execute(
        "with cells as (select feed, column_name, reason, cell, count(*) as uses, min(record_number) as first"
        f" from ({_cells(private, where)}) group by all),"
        " totals as (select feed, column_name, reason, count(distinct (file, record_number)) as rows,"
        f" count(distinct file) as files from ({_cells(private, where)}) group by all)"
        " select totals.feed, totals.column_name, totals.reason, totals.rows, totals.files,"
        f" list(cells.cell order by cells.uses desc, cells.cell) filter (where cells.cell is not null)[:{CELLS}]"
        " from totals inner join cells using (feed, column_name, reason) group by all"
        " order by totals.feed, totals.rows desc, totals.column_name, totals.reason"
    ).fetchall()
    return tuple(
        RejectReason(of_feed, column, reason, number, files, tuple(cells or ()))
        for of_feed, column, reason, number, files, cells in rows
    )


def reason_lines(reasons: Sequence[RejectReason]) -> Iterator[str]:
    """Yield a line for each feed, and below it one for each reason with its cells."""
    feed = ""
    for one in reasons:
        if one.feed != feed:
            feed = one.feed
            yield one_line(f"{feed}:")
        about = f"{one.column}: " if one.column else ""
        cells = ", ".join(f"'{one_line(cell, 60)}'" if cell != NOT_SHOWN else cell for cell in one.cells)
        of_files = f" in {one.files} files" if one.files > 1 else ""
        yield one_line(f"  {one.rows:>6} x {about}{one.reason}{of_files}{f': {cells}' if cells else ''}")
    if not reasons:
        yield "No row is rejected."


def write_for_senders(
    con: duckdb.DuckDBPyConnection, private: Collection[tuple[str, str]], folder: Path, feed: str = "", file: str = ""
) -> list[tuple[str, Path, int]]:
    """Write a CSV of the rejects of each delivery into a folder. Returns delivery, file and number of reasons of each.

    One line for each reason of each record, by record number; as a spreadsheet opens it with a double click: semicolons
    and a mark that it is UTF-8, and no cell is a formula. Only you can read the files. Raises ConfigError when one of
    them is there already, before anything is written.
    """
    where = _chosen(con, feed, file)
    deliveries = con.execute(f"select distinct feed, file from raw.rejects where {where} order by all").fetchall()
    names = sender_names(deliveries)
    if collisions := [name for name in names.values() if os.path.lexists(folder / name)]:
        more = f" and {len(collisions) - 1} more" if collisions[1:] else ""
        raise ConfigError(f"{folder / collisions[0]}{more} is there already. Name another folder, or remove it.")
    lines = []
    with staging_folder(folder) as staging:
        for (of_feed, of_file), name in names.items():
            one = f"feed = {literal(of_feed)} and file = {literal(of_file)}"
            select = f"select record_number, column_name, cell, reason from ({_cells(private, one)})"
            result = con.execute(f"{guarded(con, select)} order by record_number, column_name, reason")
            lines.append((one_line(f"{of_feed}/{of_file}"), folder / name, _write(staging / name, result)))
        for name in names.values():
            os.rename(staging / name, folder / name)
    return lines


def sender_names(deliveries: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return a file name for each delivery (feed and file): different ones, and safe wherever they are unpacked.

    Letters, digits, dots, dashes and underscores stay. A name that lost something, or that another delivery has too, in
    capitals or not, is told apart by a hash.
    """
    plain = {one: _plain_name(*one) for one in deliveries}
    uses = Counter(name.casefold() for name, _ in plain.values())
    return {
        one: f"{name}{'' if is_whole and uses[name.casefold()] == 1 else f'.{_hash(*one)}'}.rejects.csv"
        for one, (name, is_whole) in plain.items()
    }


def _plain_name(feed: str, file: str) -> tuple[str, bool]:
    stem = re.sub(r"\.csv(\.gz)?$", "", file, flags=re.IGNORECASE)
    safe_name = re.sub(r"[^\w.-]+", "_", stem)[:_NAME].strip(".")
    return f"{feed}.{safe_name}", safe_name == stem


def _hash(feed: str, file: str) -> str:
    return checksum(f"{feed}/{file}", 4)


def _write(path: Path, result: duckdb.DuckDBPyConnection) -> int:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    rows = 0
    with io.TextIOWrapper(os.fdopen(handle, "wb"), encoding="utf-8", newline="") as stream:
        stream.buffer.write(codecs.BOM_UTF8)
        writer = csv.writer(stream, delimiter=";", lineterminator="\r\n")
        writer.writerow(HEADER)
        while batch := result.fetchmany(_BATCH):
            rows += len(batch)
            writer.writerows(
                [value if not isinstance(value, str) else visible(value) for value in row] for row in batch
            )
    return rows


def _cells(private: Collection[tuple[str, str]], where: str) -> str:
    """SQL of a row for each reason of each reject, with its cell as it may be shown."""
    pairs = ", ".join(f"({literal(feed)}, {literal(column)})" for feed, column in sorted(private)) or "(null, null)"
    return (
        "select feed, file, record_number, why.column_name as column_name, why.reason as reason,"
        f" case when (feed, why.column_name) in ({pairs}) then if(why.value is null, null, {literal(NOT_SHOWN)})"
        " else why.value end as cell"
        f" from (select feed, file, record_number, unnest(reasons) as why from raw.rejects where {where})"
    )


def _chosen(con: duckdb.DuckDBPyConnection, feed: str, file: str) -> str:
    """SQL that chooses a feed or file, both of which have to be among the deliveries."""
    feeds = [name for (name,) in con.execute("select distinct feed from raw.deliveries order by 1").fetchall()]
    if feed and feed not in feeds:
        raise ConfigError(f"nothing is delivered for a feed '{one_line(feed)}'.{nearest(feed, feeds)}")
    conditions = [f"feed = {literal(feed)}"] if feed else []
    if file:
        conditions.append(f"(file = {literal(file)} or concat(feed, '/', file) = {literal(file)})")
    where = " and ".join(conditions) or "true"
    if file and not con.execute(f"select 1 from raw.deliveries where {where} limit 1").fetchone():
        paths = [path for (path,) in con.execute("select path from raw.deliveries order by 1").fetchall()]
        raise ConfigError(f"there is no delivery '{one_line(file)}'.{nearest(file, paths)}")
    return where


def sender_lines(files: Sequence[tuple[str, Path, int]]) -> Iterator[str]:
    """Yield a line for each file that was written for a sender."""
    for delivery, path, rows in files:
        yield one_line(f"{path}: {counted(rows, 'reason')} of {delivery}")
    if not files:
        yield "No row is rejected: nothing is written."
