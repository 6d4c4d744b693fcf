"""A deletion tried out: the published build without deliveries, in a private copy, and what is kept of them then.

Figures of years that are past retention are kept as published when their rows are gone, and also when a rest of them
would tell something else. A figure of a later year must not change at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date
from itertools import count, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.base.errors import CheckFailed
from kpi.base.names import literal
from kpi.deliveries import kept
from kpi.deliveries.rawfiles import RawFolder, kept_beside
from kpi.warehouse.builds import Warehouse, begin, to_disk
from kpi.warehouse.options import Options, Tell
from kpi.warehouse.workplace import working_on

if TYPE_CHECKING:
    import duckdb

    from kpi.compile.graph import Graph
    from kpi.deliveries.retention import Aged

GRAIN = ("figure_id", "service", "report_year", "basis")
UNFINISHED = ".next"
TOLD = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be deleted, each with the latest report year of its feed that is past retention."""

    graph: Graph
    build: str
    facts: dict[str, Any]
    folder: RawFolder
    past: tuple[tuple[int, Aged], ...]


@contextmanager
def tried(warehouse: Warehouse, plan: Plan, options: Options, tell: Tell) -> Iterator[Path]:
    """Make what is to be kept in a folder that is not in effect yet, after trying it on a copy of the published build.

    Raises CheckFailed when figures would change, with what to do; then, and in the end, nothing is left of the trial.
    """
    kept_home = kept_beside(warehouse.raw)
    folder = kept_home / UNFINISHED
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    candidate = begin(warehouse, plan.graph.project.upkeep, warehouse.current())
    try:
        with working_on(warehouse, plan.graph, options, candidate) as con:
            _try(con, warehouse, plan, options, folder, tell)
        for path in (*folder.iterdir(), folder):
            to_disk(path)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(candidate, ignore_errors=True)
        with suppress(OSError):
            kept_home.rmdir()  # when nothing was ever kept


def _try(
    con: duckdb.DuckDBPyConnection, warehouse: Warehouse, plan: Plan, options: Options, folder: Path, tell: Tell
) -> None:
    from kpi.warehouse.working import bring_up

    day = options.as_of
    published = ", ".join(name for name, _ in kept.KEPT_INDICATORS if not name.startswith("kept_"))
    con.execute(f"create temp table as_published as select {published} from marts.indicators")
    lines = [[one.feed, one.file, one.content_hash, one.records, one.rows_loaded, one.rows_rejected,
              one.rows_superseded, one.first_year, one.last_year, plan.build, day] for _, one in plan.past]  # fmt: skip
    typed = ", ".join(f"{name} {kind}" for name, kind in kept.DELETED_DELIVERIES)
    con.execute(f"create temp table to_delete ({typed})")
    con.executemany(f"insert into to_delete values ({', '.join('?' * len(kept.DELETED_DELIVERIES))})", lines)
    typed = ", ".join(f"{name} {kind}" for name, kind in kept.KEPT_INDICATORS)
    con.execute(f"create temp table to_keep ({typed})")
    facts, left, rounds = dict(plan.facts), plan.folder, count(1)
    # That deliveries are gone is what is tried, on the day of the published build: what is due does not change.
    made_on = date.fromisoformat(plan.facts["as_of"])
    options = replace(options, publish_despite_checks="a trial", as_of=made_on)

    def bring_up_without(folder_now: RawFolder) -> None:
        nonlocal facts
        # Content is named by the build that changed it: a second round under the same name would leave stale tables.
        before, facts = facts, {"id": f"trial-{next(rounds)}"}
        bring_up(con, warehouse, plan.graph, options, before, folder_now, facts, lambda line: None)

    # Feeds with the same last year together, the earliest first: what goes with them is of those years alone.
    for last_year, group in groupby(plan.past, key=lambda pair: pair[0]):
        gone = {one.path: one.feed for _, one in group}
        left = replace(left, files=tuple(file for file in left.files if file.path not in gone))
        bring_up_without(left)
        con.execute(f"insert into to_keep select *, ?, ? {_LOST} and report_year <= ?", [plan.build, day, last_year])
        # What is kept stands in for what is gone in figures of later years too, as in a change from the year before.
        left = replace(left, kept=(*plan.folder.kept, _write(con, folder)))
        bring_up_without(left)
        _refuse_changes(con, last_year, sorted(set(gone.values())))
    _refuse_failing(con, plan, facts, day)
    _tell_kept(con, plan.build, tell)


def _write(con: duckdb.DuckDBPyConnection, folder: Path) -> kept.KeptFolder:
    """Write what is to be kept, and the list of what is to be deleted, as a folder that is not in effect yet."""
    for table, source in (("kept_indicators", "to_keep"), ("deleted_deliveries", "to_delete")):
        con.execute(f"copy (from {source} order by all) to {literal(str(folder / kept.file_of(table)))} (header)")
    kept.write_sums(folder)
    return kept.read_folder(folder.parent, folder.name)


def _refuse_changes(con: duckdb.DuckDBPyConnection, last_year: int, feeds: Sequence[str]) -> None:
    """Raise CheckFailed when a figure does not come out as published: one of a later year that needs the deliveries."""
    found = con.execute(_DIFFERENCES).fetchall()
    if not found:
        return
    told = "\n  ".join(_told(found))
    if all(row[2] <= last_year for row in found):
        raise CheckFailed(
            f"These figures would not stand as published, although they are kept:\n  {told}\nNothing was deleted. Does"
            " marts.indicators take in raw.kept_indicators, and put it before what is derived?"
        )
    raise CheckFailed(
        f"Without the deliveries of {last_year} and before, figures would change that must be derived:\n  {told}\n"
        f"Nothing was deleted. Give a longer raw_retention_years to the feed that they need, of {', '.join(feeds)}; or"
        " look whether its raw_retention_by is the column that gives the report year."
    )


def _refuse_failing(con: duckdb.DuckDBPyConnection, plan: Plan, facts: dict[str, Any], day: date) -> None:
    """Raise CheckFailed when the build without the deliveries would not be published."""
    from kpi.warehouse.validation import errors, feed_expectations
    from kpi.yearly.expectations import validate

    failing = [f"{check['name']} ({check['where']})" for check in facts["checks"] if check["status"] == "fail"]
    is_more_expected = not plan.facts.get("synthetic")
    results = errors(validate(con, feed_expectations(plan.graph.feeds), day, is_more_expected=is_more_expected))
    failing += [f"{result.report_year} {result.expectation}: {result.observed}" for result in results]
    if failing:
        told = "Checks would fail without the deliveries, so nothing was deleted:\n  "
        raise CheckFailed(
            told + "\n  ".join(failing[:TOLD]) + "\nSee what they say of the published build: kpi validate"
        )


def _tell_kept(con: duckdb.DuckDBPyConnection, build: str, tell: Tell) -> None:
    counts = con.execute("select report_year, count(*) from to_keep group by all order by all").fetchall()
    told = ", ".join(f"{count} of {year}" for year, count in counts)
    told = told or "none that is not kept already or can still be derived"
    tell(f"Figures that would be kept as build {build} published them: {told}.")


def _told(rows: Sequence[tuple[Any, ...]]) -> list[str]:
    lines = [
        f"{year} {figure} {service} ({basis}): {before} -> {after}"
        for figure, service, year, basis, before, after, _ in rows
    ]
    return lines[:TOLD] + [f"and {len(lines) - TOLD} more"] * (len(lines) > TOLD)


_ON = " and ".join(f"a.{column} is not distinct from b.{column}" for column in GRAIN)
_SAME = " and ".join(
    f"a.{column} is not distinct from b.{column}" for column in ("numerator", "denominator", "value", "event_count")
)
_DIFFERENCES = f"""
    select {", ".join(f"coalesce(b.{column}, a.{column}) as {column}" for column in GRAIN)},
        b.value as before, a.value as after, b.figure_id is null as is_new
    from as_published as b
    full join marts.indicators as a on {_ON}
    where not (a.figure_id is not null and b.figure_id is not null and {_SAME})
    order by report_year, figure_id, service, basis
"""
_LOST = f"from as_published as b where not exists (select 1 from marts.indicators as a where {_ON} and {_SAME})"
UNTOLD = f"select 1 {_LOST.replace('as_published', 'raw.kept_indicators')} limit 1"
LOST_SINCE = f"""
    select b.figure_id, b.service, b.report_year
    from before.marts.indicators as b
    where b.report_year <= (select max(last_year) from now.raw.deleted_deliveries)
        and not exists (select 1 from now.marts.indicators as a where {_ON})
    order by b.report_year, b.figure_id, b.service
    limit {TOLD}
"""
