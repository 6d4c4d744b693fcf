"""Load the deliveries of a run, and tell what came of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import duckdb

from kpi.base.errors import DeliveryError
from kpi.base.events import Event, note
from kpi.compile.graph import Graph
from kpi.deliveries.kept import deleted
from kpi.deliveries.load import LoadReport, load
from kpi.deliveries.rawfiles import RawFolder, kept_beside
from kpi.deliveries.reject_threshold import refuse_bad_files
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.options import Options, Tell


def take_in(
    con: duckdb.DuckDBPyConnection,
    warehouse: Warehouse,
    graph: Graph,
    folder: RawFolder,
    options: Options,
    tell: Tell,
) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Load what changed. Returns all warnings, and what became of each file.

    Raises DeliveryError when files are worse than their contract allows, when all of them are gone, or when what was
    kept of deleted ones is.
    """
    _refuse_lost(warehouse, folder, options)
    report = load(con, graph.feeds, warehouse.raw, folder, options.as_of, tell)
    worse_than_allowed: DeliveryError | None = None
    try:
        refuse_bad_files(con, graph.feeds, options.max_reject_share)
    except DeliveryError as error:
        worse_than_allowed = error
    # What the error says of a file is not a warning beside it.
    _tell(report, folder, tell, worse_than_allowed.paths if worse_than_allowed else ())
    had = warehouse.facts(warehouse.current()).get("files", [])
    known = deleted(kept_beside(warehouse.raw), folder.kept)
    is_lost = any((f"{file['feed']}/{file['file']}", file["content_hash"]) not in known for file in had)
    if is_lost and not folder.files and not options.publish_despite_checks:
        raise DeliveryError(
            f"All deliveries are gone from {warehouse.raw}: is a disk not mounted? Readers keep the build they"
            " had. If it is meant, publish it with --publish-despite-checks REASON."
        )
    if worse_than_allowed:
        raise worse_than_allowed
    columns = (
        "feed, file, content_hash, records, rows_loaded, rows_rejected, rows_superseded, superseded_by,"
        " same_content_as, epoch(delivered_at)::bigint as delivered_at"
    )
    found = con.execute(f"select {columns} from raw.deliveries order by feed, file")
    names, rows = [name for name, *_ in found.description], found.fetchall()
    return report.warnings, [dict(zip(names, row, strict=True)) for row in rows]


def _refuse_lost(warehouse: Warehouse, folder: RawFolder, options: Options) -> None:
    """Raise DeliveryError when figures that are only kept any more are gone: nothing could derive them again."""
    known = warehouse.facts(warehouse.current()).get("retained", [])
    lost = sorted(set(known) - {one.name for one in folder.kept})
    if lost and not options.publish_despite_checks:
        raise DeliveryError(
            f"Gone from {kept_beside(warehouse.raw)}: {', '.join(lost)}. It held figures whose deliveries were deleted;"
            " get it back from a backup. Readers keep the build they had. If it is meant, publish it with"
            " --publish-despite-checks REASON."
        )


def _tell(report: LoadReport, folder: RawFolder, tell: Tell, told_later: Collection[str]) -> None:
    """Tell what was loaded and what is worth a warning; not of the files that the run is about to stop for."""
    records = f"{report.records:,}".replace(",", " ")
    tell(
        f"Loaded {len(report.loaded)} new or changed files, dropped {len(report.removed)};"
        f" the deliveries hold {records} records."
    )
    for path in report.removed[:10]:
        tell(f"  warning: {path}: no longer there, its rows are gone.")
    if len(report.removed) > 10:
        tell(f"  warning: and {len(report.removed) - 10} more files are no longer there.")
    # What an earlier run told of a delivery that is still the same is not told every night.
    known = {file.path for file in folder.files} - set(report.loaded)
    # A file that is the same may be warned of because of one that is not, or that counts as newer now: it is replaced.
    fresh = [
        warning
        for warning in report.warnings
        if warning.partition("/")[0] in report.reordered or any(path in warning for path in report.loaded)
    ]
    old = [warning for warning in report.warnings if warning.partition(": ")[0] in known and warning not in fresh]
    later = re.compile(r"refused, |\d+ of \d+ records rejected")  # what the error says too
    new = [
        warning
        for warning in report.warnings
        if warning not in old
        and not (warning.partition(": ")[0] in told_later and later.match(warning.partition(": ")[2]))
    ]
    for warning in new:
        note(tell, Event("warning", stage="load", name=warning))  # for the log: each of them
    for line in grouped(new):
        tell(f"  warning: {line}")
    if old:
        tell(f"  {len(old)} older warnings of deliveries that are the same: see rows_rejected in raw.deliveries.")


def grouped(warnings: Iterable[str]) -> Iterator[str]:
    """Yield the warnings of deliveries, those that say the same of several files of a feed as one line.

    They say the same when they differ in numbers alone. The line counts the files and gives the first one's words.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for warning in warnings:
        path, _, text = warning.partition(": ")
        feed, is_file, _ = path.partition("/")
        key = (feed, re.sub(r"\d+", "#", text)) if is_file else (path, text)
        groups.setdefault(key, []).append(warning)
    for (feed, _), alike in groups.items():
        if len(alike) == 1:
            yield alike[0]
            continue
        yield f"{feed}: {len(alike)} files, the first is {alike[0]} Each of them: kpi show raw.deliveries"
