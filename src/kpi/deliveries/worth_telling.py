"""What is worth a warning in deliveries that were loaded all the same, and in those that were not read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from kpi.base.errors import nearest
from kpi.base.names import counted
from kpi.base.terminal import one_line
from kpi.deliveries import retention
from kpi.deliveries.delivery_order import FILE_NAME, TIME_OF_DELIVERY
from kpi.deliveries.feed import Feed
from kpi.deliveries.headers import shortened
from kpi.deliveries.personal import quoted
from kpi.deliveries.rawfiles import RawFolder

if TYPE_CHECKING:
    import duckdb


def worth_telling(
    con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed], folder: RawFolder, as_of: date
) -> tuple[str, ...]:
    """Return every warning as a line, each beginning with the path it is about. `as_of` is the day of the refresh."""
    found = (
        *_unknown_folders(folder, {feed.name: feed for feed in feeds}),
        *_past_retention(con, feeds, folder, as_of),
        *_warnings(con),
        *_replaced(con, {feed.name: feed for feed in feeds}),
        *_spoilt(con),
    )
    return tuple(one_line(line) for line in found)


def _unknown_folders(folder: RawFolder, feeds: Mapping[str, Feed]) -> list[str]:
    strangers = sorted({file.feed for file in folder.files} - set(feeds))
    told = "no feed has this name, its files are not read."
    file, link = "hidden, or not a .csv or .csv.gz file", "a link that leads out of the folder, or nowhere"
    return [f"{quoted(name)}/: {told}{nearest(name, feeds)}" for name in strangers] + [
        f"{quoted(path)}: {file if '/' in path else link}; not read." for path in folder.ignored
    ]


def _past_retention(con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed], folder: RawFolder, as_of: date) -> list[str]:
    """What may not be kept any longer. A run only tells of it: deleting is a decision."""
    limits = [feed.limits for feed in feeds]
    files: dict[str, list[int]] = {}
    aged = retention.survey(con, limits)
    past = list(retention.past(aged, limits, as_of.year))
    for last_year, one in past:
        files.setdefault(one.feed, []).append(last_year)
    told = [
        f"{feed}: {len(last)} of its deliveries hold nothing after {last[0]}, past retention. See: kpi prune-raw"
        for feed, last in files.items()
    ]
    kept_until = dict(con.execute("select feed, max(last_year) from raw.deleted_deliveries group by feed").fetchall())
    told += [
        f"{one.path}: holds rows of {one.first_year}, a year whose deliveries were deleted: they change no kept figure."
        for one in sorted(set(aged).difference(one for _, one in past), key=lambda one: one.path)
        if one.first_year is not None and one.first_year <= kept_until.get(one.feed, 0)
    ]
    if again := [file.path for file in folder.deleted]:
        more = f" and {len(again) - 3} more" if len(again) > 3 else ""
        lie = "lies" if len(again) == 1 else "lie"
        told.append(f"{', '.join(again[:3])}{more}: deleted by retention, {lie} there and not read. See: kpi prune-raw")
    return told


def _warnings(con: duckdb.DuckDBPyConnection) -> list[str]:
    told = []
    for path, refused, unknown, missing, warnings, rejected, records, ahead, masked in con.execute(
        "select path, refused, unknown_columns, missing_columns, warnings, rows_rejected, records, rows_dated_ahead,"
        " rows_masked from raw.deliveries order by path"
    ).fetchall():
        if refused:
            told.append(f"{path}: refused, {refused}.")
            continue
        if not records:
            told.append(f"{path}: holds no records.")
        if unknown:
            told.append(f"{path}: columns nobody asked for, ignored: {shortened(unknown)}.")
        if missing:
            told.append(f"{path}: optional columns that are not there, taken as missing: {', '.join(missing)}.")
        told += [f"{path}: {warning}." for warning in warnings or ()]
        if rejected:
            told.append(f"{path}: {rejected} of {records} records rejected, see raw.rejects.")
        if masked:
            told.append(f"{path}: personal data was masked in {masked} rows.")
        if ahead:
            told.append(f"{path}: {ahead} rows dated after the day of the refresh.")
    return told


def _replaced(con: duckdb.DuckDBPyConnection, feeds: Mapping[str, Feed]) -> list[str]:
    """Files of which nothing is in force any more, and files that were delivered twice."""
    found = []
    for name, path, records, newer, same in con.execute(
        "select feed, path, rows_loaded, case when rows_loaded > 0 and rows_superseded = rows_loaded"
        " then superseded_by end, same_content_as from raw.deliveries order by path"
    ).fetchall():
        if newer:
            by = _first(f"{name}/{file}" for file in newer)
            how = _HOW.get(feeds[name].newer_by, f"by {feeds[name].newer_by}")
            found.append(f"{path}: all its rows ({records}) are replaced by {by}, newer {how}.")
        if same:
            found.append(f"{path}: holds the same as {name}/{same}: it was delivered twice.")
    return found


def _spoilt(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Files whose numbers or times a spreadsheet, or another export, may have changed."""
    found = []
    for path, rounded, thousands, blunt in con.execute(
        "select path, rows_rounded, columns_maybe_thousands, columns_without_seconds from raw.deliveries order by path"
    ).fetchall():
        if rounded:
            found.append(f"{path}: {counted(rounded, 'number')} with more than 6 decimals, rounded to 6.")
        if thousands:
            found.append(
                f"{path}: the numbers in {', '.join(thousands)} with a point, or with a comma, all look like 1.234 or"
                " 1,234: read as decimals, but were thousands meant? Deliver thousands without a mark, or say in the"
                " contract how many 'decimals' there are."
            )
        if blunt:
            found.append(
                f"{path}: no time in {', '.join(blunt)} has seconds: did a spreadsheet drop them?"
                " If the source has none, say 'precision: minute' of the column in the contract."
            )
    return found


_HOW = {FILE_NAME: "by its name", TIME_OF_DELIVERY: "by its time of delivery"}


def _first(paths: Iterable[str], most: int = 3) -> str:
    found = list(paths)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more
