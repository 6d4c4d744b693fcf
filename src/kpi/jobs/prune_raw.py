"""Delete deliveries past their retention, after a dry run that keeps the figures made of them as published.

Figures of years that are past retention are kept as published when their rows are gone, and also when a rest of them
would tell something else. A figure of a later year must not change at all.

Never part of a refresh. What is left of the deliveries (`warehouse/kept/<build>`) is tried first, in a private copy of
the published build, and then put in place by one rename: from then on they are not read, whatever happens. A refresh
makes and publishes a build without them, in a file of its own; only then are they deleted. Each step can be done again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date
from itertools import count, groupby
from pathlib import Path
from typing import TYPE_CHECKING

from kpi import database
from kpi.build_record import BuildRecord
from kpi.errors import CheckFailed, ConfigError, KpiError, Place, Problem
from kpi.events import Emit, silent
from kpi.files import to_disk
from kpi.ingest import raw_files
from kpi.ingest.raw_files import RawFile, RawFolder, hash_of, kept_beside, scan
from kpi.ingest.retention import past_retention, survey
from kpi.jobs.candidate import open_candidate
from kpi.jobs.options import Options, Outcome
from kpi.jobs.refresh import inputs_of, refresh, was_made_from
from kpi.lazy import duckdb
from kpi.provenance.figure_values import SAME_FIGURE, SAME_VALUES, moved_figures
from kpi.provenance.releases import releases_with
from kpi.settings import ReportTables
from kpi.sql import counted, definition, literal
from kpi.warehouse.builds import Warehouse, begin, record, writing
from kpi.warehouse.lifecycle import rolled_back_from
from kpi.warehouse.permissions import DATABASE, database_folder, database_path, is_whole

if TYPE_CHECKING:
    from kpi.engine.graph import Graph
    from kpi.ingest.retention import ColumnAge


UNFINISHED = ".next"
MOST_LINES = 20  # of a list in a message


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be deleted, each with the latest report year of its feed that is past retention."""

    graph: Graph
    build: str
    record: BuildRecord
    folder: RawFolder
    past: tuple[tuple[int, ColumnAge], ...]


@contextmanager
def tried(warehouse: Warehouse, plan: Plan, options: Options, emit: Emit) -> Iterator[Path]:
    """Make what is to be kept in a folder that is not in effect yet, after trying it on a copy of the published build.

    Raises CheckFailed when figures would change, with what to do; then, and in the end, nothing is left of the trial.
    """
    kept_home = kept_beside(warehouse.raw)
    folder = kept_home / UNFINISHED
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    candidate = begin(warehouse, plan.graph.project.warehouse_settings, warehouse.current())
    try:
        with open_candidate(warehouse, plan.graph, options, candidate) as con:
            _try(con, warehouse, plan, options, folder, emit)
        for path in (*folder.iterdir(), folder):
            to_disk(path)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(candidate, ignore_errors=True)
        with suppress(OSError):
            kept_home.rmdir()  # when nothing was ever kept


def _try(
    con: duckdb.DuckDBPyConnection, warehouse: Warehouse, plan: Plan, options: Options, folder: Path, emit: Emit
) -> None:
    from kpi.jobs.pipeline import PipelineContext, run_pipeline

    day = options.as_of
    published = ", ".join(name for name, _ in raw_files.KEPT_INDICATORS if not name.startswith("kept_"))
    tables = plan.graph.project.report_tables
    con.execute(f"create temp table as_published as select {published} from {tables.indicators}")
    lines = [[one.feed, one.file, one.content_hash, one.records, one.rows_loaded, one.rows_rejected,
              one.rows_superseded, one.first_year, one.last_year, plan.build, day] for _, one in plan.past]  # fmt: skip
    con.execute(f"create temp table to_delete ({definition(raw_files.DELETED_DELIVERIES)})")
    con.executemany(f"insert into to_delete values ({', '.join('?' * len(raw_files.DELETED_DELIVERIES))})", lines)
    con.execute(f"create temp table to_keep ({definition(raw_files.KEPT_INDICATORS)})")
    record, left, rounds = plan.record, plan.folder, count(1)
    # That deliveries are gone is what is tried, on the day of the published build: what is due does not change.
    made_on = date.fromisoformat(plan.record.as_of)
    options = replace(options, publish_despite_checks="a trial", as_of=made_on)

    def bring_up_without(folder_now: RawFolder) -> None:
        nonlocal record
        context = PipelineContext(warehouse, plan.graph, options, folder_now, silent)
        # Content is named by the build that changed it: a second round under the same name would leave stale tables.
        result = run_pipeline(con, context, record, BuildRecord(f"trial-{next(rounds)}"))
        if result.error:
            raise result.error
        record = result.record

    # Feeds with the same last year together, the earliest first: what goes with them is of those years alone.
    for last_year, group in groupby(plan.past, key=lambda pair: pair[0]):
        feeds_by_path = {one.path: one.feed for _, one in group}
        left = replace(left, files=tuple(file for file in left.files if file.path not in feeds_by_path))
        bring_up_without(left)
        lost = _lost("as_published", tables.indicators)
        con.execute(f"insert into to_keep select *, ?, ? {lost} and report_year <= ?", [plan.build, day, last_year])
        # What is kept stands in for what is gone in figures of later years too, as in a change from the year before.
        left = replace(left, kept=(*plan.folder.kept, _write(con, folder)))
        bring_up_without(left)
        _refuse_changes(con, tables, last_year, sorted(set(feeds_by_path.values())))
    _refuse_failing(con, plan, record, day)
    _emit_figures(con, plan.build, emit)


def _write(con: duckdb.DuckDBPyConnection, folder: Path) -> raw_files.KeptFolder:
    """Write what is to be kept, and the list of what is to be deleted, as a folder that is not in effect yet."""
    for table, source in (("kept_indicators", "to_keep"), ("deleted_deliveries", "to_delete")):
        con.execute(f"copy (from {source} order by all) to {literal(str(folder / raw_files.file_of(table)))} (header)")
    raw_files.write_sums(folder)
    return raw_files.read_folder(folder.parent, folder.name)


def _refuse_changes(con: duckdb.DuckDBPyConnection, tables: ReportTables, last_year: int, feeds: Sequence[str]) -> None:
    """Raise CheckFailed when a figure does not come out as published: one of a later year that needs the deliveries."""
    sql = moved_figures("as_published", tables.indicators)
    rows = con.execute(f"{sql} order by report_year, figure_id, service, basis").fetchall()
    if not rows:
        return
    problems = [
        Problem("figure.changed", "would change", restricted=f"{before} -> {after}", subject=f"{year} {name} ({basis})")
        for figure, service, year, basis, before, after in rows
        for name in (f"{figure} {service}",)
    ]
    message = "\n  ".join(_shortened(problems))
    if all(row[2] <= last_year for row in rows):
        raise CheckFailed(
            f"These figures would not stand as published, although they are kept:\n  {message}\nNothing was deleted."
            f" Does {tables.indicators} take in raw.kept_indicators, and put it before what is derived?",
            problems,
        )
    raise CheckFailed(
        f"Without the deliveries of {last_year} and before, figures would change that must be derived:\n  {message}\n"
        f"Nothing was deleted. Give a longer raw_retention_years to the feed that they need, of {', '.join(feeds)}; or"
        " look whether its raw_retention_by is the column that gives the report year.",
        problems,
    )


def _refuse_failing(con: duckdb.DuckDBPyConnection, plan: Plan, record: BuildRecord, day: date) -> None:
    """Raise CheckFailed when the build without the deliveries would not be published."""
    from kpi.jobs.check_build import errors, feed_expectations
    from kpi.validation.expectations import validate
    from kpi.validation.rule import read_expectations

    failing = [
        Problem("test.failed", "fails", Place(check.where), subject=check.name)
        for check in record.checks
        if check.status == "fail"
    ]
    is_more_expected = not plan.record.synthetic
    expectations, feeds = read_expectations(plan.graph.project), feed_expectations(plan.graph.feeds)
    results = errors(validate(con, expectations, feeds, day, is_more_expected=is_more_expected))
    failing += [
        Problem(
            "expectation.failed",
            "does not hold",
            restricted=result.observed,
            subject=f"{result.report_year} {result.expectation}",
        )
        for result in results
    ]
    if failing:
        lines = "\n  ".join(_shortened(failing))
        message = f"Checks would fail without the deliveries, so nothing was deleted:\n  {lines}"
        raise CheckFailed(f"{message}\nSee what they say of the published build: kpi validate", failing)


def _emit_figures(con: duckdb.DuckDBPyConnection, build: str, emit: Emit) -> None:
    counts = con.execute("select report_year, count(*) from to_keep group by all order by all").fetchall()
    message = ", ".join(f"{count} of {year}" for year, count in counts)
    message = message or "none that is not kept already or can still be derived"
    emit(f"Figures that would be kept as build {build} published them: {message}.")


def _shortened(problems: Sequence[Problem]) -> list[str]:
    """The problems as lines, the first of them where they are many."""
    return [
        *map(str, problems[:MOST_LINES]),
        *[f"and {len(problems) - MOST_LINES} more"] * (len(problems) > MOST_LINES),
    ]


def _lost(before: str, indicators: str) -> str:
    """SQL from `from` on: the figures of one table that are not in the other with the same values."""
    same = f"{SAME_FIGURE} and {SAME_VALUES}"
    return f"from {before} as b where not exists (select 1 from {indicators} as a where {same})"


LOST_SINCE = f"""
    select b.figure_id, b.service, b.report_year
    from before.{{then}} as b
    where b.report_year <= (select max(last_year) from now.raw.deleted_deliveries)
        and not exists (select 1 from now.{{now}} as a where {SAME_FIGURE})
    order by b.report_year, b.figure_id, b.service
    limit {MOST_LINES}
"""


def prune_raw(
    root: Path, options: Options, emit: Emit, delete: bool = False, today: date | None = None, is_named: bool = True
) -> Outcome:
    """Say which deliveries are past their retention and what would be kept of them; with `delete` do it.

    Years are counted from `options.as_of`; `is_named` says that somebody chose that day, `today` is the clock's. Raises
    ConfigError when it is not known what is past, CheckFailed when a figure would change that may not, and what
    `refresh` raises.
    """
    root = root.resolve()
    warehouse = Warehouse(root / "warehouse")
    _refuse_odd_day(warehouse, options.as_of, today or date.today(), is_named)
    outcome = _finish(root, warehouse, options, emit, delete)
    with writing(warehouse, options.wait_seconds, emit):
        plan = _plan(root, warehouse, options, emit)
        if plan.past:
            _refuse_released(root, plan, options, emit, delete)
            with tried(warehouse, plan, options, emit) as folder:
                if delete:
                    folder.rename(folder.with_name(plan.build))
                    to_disk(folder.parent)
                    emit(f"What is kept of them is in {folder.with_name(plan.build)}: back it up as you do deliveries.")
        _emit_builds(warehouse, plan, emit)
    if not plan.past:
        return outcome or Outcome(plan.build, published=True, nothing_to_do=True)
    if not delete:
        emit("Nothing was deleted. To delete what is listed: kpi prune-raw --delete")
        return Outcome(plan.build, published=True, nothing_to_do=True)
    return _finish(root, warehouse, options, emit, delete) or Outcome(plan.build, published=True)


def _plan(root: Path, warehouse: Warehouse, options: Options, emit: Emit) -> Plan:
    """Find what is past retention. Raises ConfigError when readers do not see what the deliveries make now."""
    from kpi.engine.compile import compiled

    build = warehouse.published()
    graph = compiled(root, options.variables, options.target, options.invocation).graph
    folder = scan(warehouse.raw)
    places = {str(node.relation) for node in graph.nodes.values()}
    if missing := {graph.project.report_tables.indicators, "raw.kept_indicators", "raw.deleted_deliveries"} - places:
        raise ConfigError(
            f"the project has no {', '.join(sorted(missing))}: its figures could not be kept. Which sources and models"
            " it takes: docs/guides/delete-old-deliveries.md."
        )
    current, record = warehouse.current(), warehouse.current_record()
    if current is None or record is None or record.inputs is None or not is_whole(current, record):
        raise ConfigError(f"build {build}, which readers see, is not what was written. Run first: kpi refresh")
    inputs = replace(inputs_of(root, folder, options), day=record.inputs.day)
    if rolled_back_from(warehouse) or not was_made_from(root, inputs, record):
        raise ConfigError("readers do not see what the deliveries and the project make now. Run first: kpi refresh")
    limits = [feed.limits for feed in graph.feeds]
    with database.reading(database_path(warehouse.folder(), stewards=True)) as con:
        aged = survey(con, limits)
    links = {one.path for one in aged if (warehouse.raw / one.path).is_symlink()}
    past = tuple(pair for pair in past_retention(aged, limits, options.as_of.year) if pair[1].path not in links)
    years = {one.feed: one.retention for one in limits if one.retention.years}
    if not years:
        guide = "docs/guides/delete-old-deliveries.md"
        emit(f"No feed has a retention: raw_retention_years in its contract sets one ({guide}).")
    past_paths = {one.path for _, one in past}
    for name, of_feed in sorted(years.items()):
        last = of_feed.last_year(options.as_of.year)
        emit(f"{name}: raw_retention_years {of_feed.years}, so {last} and before are past retention")
        for one in (one for one in aged if one.feed == name):
            if line := _line(one, one.path in past_paths, one.path in links, last):
                emit(line)
    return Plan(graph, build, record, folder, tuple(sorted(past, key=lambda pair: (pair[0], pair[1].path))))


def _refuse_released(root: Path, plan: Plan, options: Options, emit: Emit, delete: bool) -> None:
    """Tell which releases are made from deliveries that are to go. Raises ConfigError before they are, unless it is
    meant."""
    releases = releases_with(root, ((one.path, one.content_hash) for _, one in plan.past))
    for name, paths in sorted(releases.items()):
        emit(f"  warning: release {name} was made from {len(paths)} of these: it could never be built again.")
    if releases and delete and not options.also_released:
        raise ConfigError(
            f"deliveries of {', '.join(sorted(releases))} would go, which were released. Nothing was deleted. If it is"
            " meant, say so: kpi prune-raw --delete --also-released"
        )


def _line(one: ColumnAge, is_past: bool, is_link: bool, last: int) -> str:
    span = f"{one.first_year}" if one.first_year == one.last_year else f"{one.first_year} to {one.last_year}"
    if is_past:
        return f"  delete  {one.path}: {span}, {counted(one.rows_loaded, 'row')} loaded, {one.rows_rejected} rejected"
    if one.first_year is None or one.undated:
        message = f"  stays   {one.path}: not all of it has a date that tells its age; look yourself"
        return message if one.records else ""
    why = "a link, look yourself at what it leads to" if is_link else "not all of it is past"
    return f"  stays   {one.path}: {span}, {why}" if one.first_year <= last else ""


def _refuse_odd_day(warehouse: Warehouse, as_of: date, today: date, is_named: bool) -> None:
    """Raise ConfigError when the day is none to count years from. Deliveries tell the time too."""

    if as_of > today:
        raise ConfigError(f"{as_of} has not come yet: years of retention are counted from today, or from a day before.")
    published = warehouse.current_record()
    if not (published and published.files):
        return
    with database.reading(database_path(warehouse.folder(), stewards=True)) as con:
        newest = database.fetch_one(con, "select max(latest_date) from raw.deliveries where latest_date <= ?", [as_of])[
            0
        ]
    if not is_named and isinstance(newest, date) and as_of.year > newest.year + 1:
        message = f"the clock says {as_of}, but the newest record of all deliveries is of {newest}: is the clock right?"
        raise ConfigError(f"{message} If it is, say so: --as-of {as_of}")


def _finish(root: Path, warehouse: Warehouse, options: Options, emit: Emit, delete: bool) -> Outcome | None:
    """Delete what is on record as deleted and lies there all the same, once the published build is made without it."""
    folder = scan(warehouse.raw)
    if not folder.deleted:
        return None
    if not delete:
        for file in folder.deleted:
            emit(f"  delete  {file.path}: on record as deleted already, and not read")
        return None
    outcome = refresh(root, replace(options, wait_seconds=max(options.wait_seconds, 60)), emit)
    with writing(warehouse, options.wait_seconds, emit):
        build = _refuse_unsafe(warehouse, folder)
        for path in (warehouse.root, kept_beside(warehouse.raw)):
            to_disk(path)
        for file in folder.deleted:
            _delete(warehouse, file, build, emit)
    emit(f"Deleted {len(folder.deleted)} deliveries. What backups hold of them is yours to delete.")
    return outcome


def _refuse_unsafe(warehouse: Warehouse, folder: RawFolder) -> str:
    """Return the published build. Raises KpiError unless it holds every kept figure and none of the deliveries."""

    build = warehouse.published()
    record = warehouse.current_record()
    deletions = {(file.feed, file.name, file.content_hash) for file in folder.deleted}
    if record is None or record.files is None:  # it may hold rows of any of them
        raise KpiError(f"nothing is noted of the files of build {build}, so none was deleted. Run: kpi refresh")
    tables = record.report_tables
    has_rows = deletions & {(file.feed, file.file, file.content_hash) for file in record.files}
    is_made = record.retained == tuple(one.name for one in folder.kept) and not rolled_back_from(warehouse)
    with database.reading(database_path(warehouse.folder(), stewards=True)) as con:
        unpublished = f"select 1 {_lost('raw.kept_indicators', tables.indicators)} limit 1"
        is_published = is_made and not con.execute(unpublished).fetchall()
    if has_rows or not is_published:
        raise KpiError(
            f"build {build}, which readers see, was not made without the deliveries, so none was deleted."
            " Run: kpi refresh, and then again: kpi prune-raw --delete"
        )
    _refuse_lost(warehouse, tables, folder, build)
    return build


def _refuse_lost(warehouse: Warehouse, tables: ReportTables, folder: RawFolder, build: str) -> None:
    """Raise KpiError when a figure of the years to be deleted has gone since the build that figures were kept from."""

    to_delete = {(file.path, file.content_hash) for file in folder.deleted}
    for one in folder.kept:
        then = database_folder(warehouse.builds / one.name) / DATABASE
        if not then.is_file() or not to_delete & raw_files.deleted(kept_beside(warehouse.raw), [one]):
            continue
        with database.attached({"before": then, "now": database_path(warehouse.folder(), stewards=True)}) as con:
            then_called = warehouse.record(warehouse.builds / one.name).report_tables.indicators
            sql = LOST_SINCE.format(then=then_called, now=tables.indicators)
            lost = [f"{year} {figure} {service}" for figure, service, year in con.execute(sql).fetchall()]
        if lost:
            raise KpiError(
                f"build {one.name} had what build {build}, which readers see, has not: {', '.join(lost)}. So no"
                f" delivery was deleted. See: kpi diff {one.name} {build}. If it is meant, take them away by hand."
            )


def _delete(warehouse: Warehouse, file: RawFile, build: str, emit: Emit) -> None:
    path = warehouse.raw / file.feed / file.name
    if path.is_file() and hash_of(path) == file.content_hash:
        try:
            path.unlink()
            to_disk(path.parent)
        except OSError as error:
            raise KpiError(f"{path} cannot be deleted: {error.strerror}. Mend that, and run this again.") from None
        message = f"{file.path}, sha256 {file.content_hash}; see raw.deleted_deliveries"
        try:
            record(warehouse, build, "delivery deleted", message)
        except OSError as error:  # it is gone all the same, and raw.deleted_deliveries says so
            emit(f"  warning: that {file.path} was deleted is not in the ledger, which cannot be written: {error}")


def _emit_builds(warehouse: Warehouse, plan: Plan, emit: Emit) -> None:
    """Tell which builds hold rows of deliveries that are deleted, or are to be."""
    deletions = {(one.path, one.content_hash) for _, one in plan.past}
    deletions |= raw_files.deleted(kept_beside(warehouse.raw), plan.folder.kept)
    if not deletions:
        return
    holding = [
        build.id
        for build in warehouse.list_builds()
        # What a build that failed in loading holds nobody noted.
        if build.record.files is None or deletions & {(file.path, file.content_hash) for file in build.record.files}
    ]
    if holding:
        days = plan.graph.project.warehouse_settings.keep_published_days
        message = f"after {days} days (keep_published_days)" if days else "when there are enough newer ones"
        emit(f"Builds that hold rows of deleted deliveries, or of those to be deleted: {', '.join(holding)}.")
        emit(f"  They go {message}; set keep_published_days and keep_failed_days to have them go by age.")
        emit("  What backups hold of deliveries and builds is beyond kpi.")
