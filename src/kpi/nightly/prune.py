"""Deleting deliveries that may not be kept any longer, with the figures made of them kept as they were published.

Never part of a refresh. What is left of the deliveries (`warehouse/kept/<build>`) is tried first, in a private copy of
the published build, and then put in place by one rename: from then on they are not read, whatever happens. A refresh
makes and publishes a build without them, in a file of its own; only then are they deleted. Each step can be done again.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from kpi.base.errors import ConfigError, KpiError
from kpi.base.names import literal
from kpi.deliveries import kept, retention
from kpi.deliveries.rawfiles import RawFile, RawFolder, hash_of, kept_beside, scan
from kpi.nightly.refresh import inputs_of, refresh, was_made_from
from kpi.nightly.trial import LOST_SINCE, UNTOLD, Plan, tried
from kpi.warehouse.builds import Warehouse, to_disk
from kpi.warehouse.keeping import rolled_back_from
from kpi.warehouse.ledger import record, writing
from kpi.warehouse.options import Options, Outcome, Tell
from kpi.warehouse.rights import DATABASE, database, is_whole, whole

if TYPE_CHECKING:
    from kpi.deliveries.retention import Aged


def prune_raw(
    root: Path, options: Options, tell: Tell, delete: bool = False, today: date | None = None, is_named: bool = True
) -> Outcome:
    """Say which deliveries are past their retention and what would be kept of them; with `delete` do it.

    Years are counted from `options.as_of`; `is_named` says that somebody chose that day, `today` is the clock's. Raises
    ConfigError when it cannot be told what is past, CheckFailed when a figure would change that may not, and what
    `refresh` raises.
    """
    root = root.resolve()
    warehouse = Warehouse(root / "warehouse")
    _refuse_odd_day(warehouse, options.as_of, today or date.today(), is_named)
    outcome = _finish(root, warehouse, options, tell, delete)
    with writing(warehouse, options.wait_seconds, tell):
        plan = _plan(root, warehouse, options, tell)
        if plan.past:
            with tried(warehouse, plan, options, tell) as folder:
                if delete:
                    folder.rename(folder.with_name(plan.build))
                    to_disk(folder.parent)
                    tell(f"What is kept of them is in {folder.with_name(plan.build)}: back it up as you do deliveries.")
        _tell_builds(warehouse, plan, tell)
    if not plan.past:
        return outcome or Outcome(plan.build, published=True, nothing_to_do=True)
    if not delete:
        tell("Nothing was deleted. To delete what is listed: kpi prune-raw --delete")
        return Outcome(plan.build, published=True, nothing_to_do=True)
    return _finish(root, warehouse, options, tell, delete) or Outcome(plan.build, published=True)


def _plan(root: Path, warehouse: Warehouse, options: Options, tell: Tell) -> Plan:
    """Find what is past retention. Raises ConfigError when readers do not see what the deliveries make now."""
    from kpi.base import engine
    from kpi.compile.compiling import compiled

    build = warehouse.published()
    graph, facts, folder = (
        compiled(root, options.variables, options.target, options.invocation).graph,
        warehouse.facts_of(),
        scan(warehouse.raw),
    )
    places = {str(node.relation) for node in graph.nodes.values()}
    if missing := {"marts.indicators", "raw.kept_indicators", "raw.deleted_deliveries"} - places:
        raise ConfigError(
            f"the project has no {', '.join(sorted(missing))}: its figures could not be kept. docs/deliveries.md says"
            " which sources and models it takes."
        )
    inputs = replace(inputs_of(root, folder, options), day=facts["inputs"].get("day", ""))
    current = warehouse.current()
    if current is None or not is_whole(current, facts):
        raise ConfigError(f"build {build}, which readers see, is not what was written. Run first: kpi refresh")
    if rolled_back_from(warehouse) or not was_made_from(root, inputs, facts):
        raise ConfigError("readers do not see what the deliveries and the project make now. Run first: kpi refresh")
    limits = [feed.limits for feed in graph.feeds]
    with engine.reading(database(warehouse.folder(), stewards=True)) as con:
        aged = retention.survey(con, limits)
    links = {one.path for one in aged if (warehouse.raw / one.path).is_symlink()}
    past = tuple(pair for pair in retention.past(aged, limits, options.as_of.year) if pair[1].path not in links)
    years = {one.feed: one.retention for one in limits if one.retention.years}
    if not years:
        tell("No feed has a retention: raw_retention_years in its contract sets one (docs/deliveries.md).")
    gone = {one.path for _, one in past}
    for name, of_feed in sorted(years.items()):
        last = of_feed.last_year(options.as_of.year)
        tell(f"{name}: raw_retention_years {of_feed.years}, so {last} and before are past retention")
        for one in (one for one in aged if one.feed == name):
            if line := _line(one, one.path in gone, one.path in links, last):
                tell(line)
    return Plan(graph, build, facts, folder, tuple(sorted(past, key=lambda pair: (pair[0], pair[1].path))))


def _line(one: Aged, is_past: bool, is_link: bool, last: int) -> str:
    span = f"{one.first_year}" if one.first_year == one.last_year else f"{one.first_year} to {one.last_year}"
    if is_past:
        return f"  delete  {one.path}: {span}, {one.rows_loaded} rows loaded, {one.rows_rejected} rejected"
    if one.first_year is None or one.undated:
        told = f"  stays   {one.path}: not all of it has a date that tells its age; look yourself"
        return told if one.records else ""
    why = "a link, look yourself at what it leads to" if is_link else "not all of it is past"
    return f"  stays   {one.path}: {span}, {why}" if one.first_year <= last else ""


def _refuse_odd_day(warehouse: Warehouse, as_of: date, today: date, is_named: bool) -> None:
    """Raise ConfigError when the day is none to count years from. Deliveries tell the time too."""
    from kpi.base import engine

    if as_of > today:
        raise ConfigError(f"{as_of} has not come yet: years of retention are counted from today, or from a day before.")
    if not warehouse.facts_of().get("files"):
        return
    with engine.reading(database(warehouse.folder(), stewards=True)) as con:
        newest = engine.fetch_one(con, "select max(latest_date) from raw.deliveries where latest_date <= ?", [as_of])[0]
    if not is_named and isinstance(newest, date) and as_of.year > newest.year + 1:
        told = f"the clock says {as_of}, but the newest record of all deliveries is of {newest}: is the clock right?"
        raise ConfigError(f"{told} If it is, say so: --as-of {as_of}")


def _finish(root: Path, warehouse: Warehouse, options: Options, tell: Tell, delete: bool) -> Outcome | None:
    """Delete what is on record as deleted and lies there all the same, once the published build is made without it."""
    folder = scan(warehouse.raw)
    if not folder.deleted:
        return None
    if not delete:
        for file in folder.deleted:
            tell(f"  delete  {file.path}: on record as deleted already, and not read")
        return None
    outcome = refresh(root, replace(options, wait_seconds=max(options.wait_seconds, 60)), tell)
    with writing(warehouse, options.wait_seconds, tell):
        build = _refuse_unsafe(warehouse, folder)
        for path in (warehouse.root, kept_beside(warehouse.raw)):
            to_disk(path)
        for file in folder.deleted:
            _delete(warehouse, file, build)
    tell(f"Deleted {len(folder.deleted)} deliveries. What backups hold of them is yours to delete.")
    return outcome


def _refuse_unsafe(warehouse: Warehouse, folder: RawFolder) -> str:
    """Return the published build. Raises KpiError unless it holds every kept figure and none of the deliveries."""
    from kpi.base import engine

    build = warehouse.published()
    facts = warehouse.facts_of()
    gone = {(file.feed, file.name, file.content_hash) for file in folder.deleted}
    has_rows = gone & {(file["feed"], file["file"], file["content_hash"]) for file in facts["files"]}
    is_made = facts.get("retained") == [one.name for one in folder.kept] and not rolled_back_from(warehouse)
    with engine.reading(database(warehouse.folder(), stewards=True)) as con:
        is_told = is_made and not con.execute(UNTOLD).fetchall()
    if has_rows or not is_told:
        raise KpiError(
            f"build {build}, which readers see, was not made without the deliveries, so none was deleted."
            " Run: kpi refresh, and then again: kpi prune-raw --delete"
        )
    _refuse_lost(warehouse, folder, build)
    return build


def _refuse_lost(warehouse: Warehouse, folder: RawFolder, build: str) -> None:
    """Raise KpiError when a figure of the years to be deleted has gone since the build that figures were kept from."""
    from kpi.base import engine

    to_delete = {(file.path, file.content_hash) for file in folder.deleted}
    for one in folder.kept:
        then = whole(warehouse.builds / one.name) / DATABASE
        if not then.is_file() or not to_delete & kept.deleted(kept_beside(warehouse.raw), [one]):
            continue
        with engine.scratch() as con:
            for name, file in (("before", then), ("now", database(warehouse.folder(), stewards=True))):
                con.execute(f"attach {literal(str(file.resolve()))} as {name} (read_only)")
            lost = [f"{year} {figure} {service}" for figure, service, year in con.execute(LOST_SINCE).fetchall()]
        if lost:
            raise KpiError(
                f"build {one.name} told what build {build}, which readers see, does not: {', '.join(lost)}. So no"
                f" delivery was deleted. See: kpi diff {one.name} {build}. If it is meant, take them away by hand."
            )


def _delete(warehouse: Warehouse, file: RawFile, build: str) -> None:
    path = warehouse.raw / file.feed / file.name
    if path.is_file() and hash_of(path) == file.content_hash:
        try:
            path.unlink()
            to_disk(path.parent)
        except OSError as error:
            raise KpiError(f"{path} cannot be deleted: {error.strerror}. Mend that, and run this again.") from None
        told = f"{file.path}, sha256 {file.content_hash}; see marts.deleted_deliveries"
        record(warehouse, build, "delivery deleted", told)


def _tell_builds(warehouse: Warehouse, plan: Plan, tell: Tell) -> None:
    """Tell which builds hold rows of deliveries that are deleted, or are to be."""
    gone = {(one.path, one.content_hash) for _, one in plan.past}
    gone |= kept.deleted(kept_beside(warehouse.raw), plan.folder.kept)
    if not gone:
        return
    holding = [
        facts["id"]
        for facts in warehouse.list_builds()
        # What a build that failed in loading holds nobody noted.
        if "files" not in facts or gone & {(f"{f['feed']}/{f['file']}", f["content_hash"]) for f in facts["files"]}
    ]
    if holding:
        days = plan.graph.project.upkeep.keep_published_days
        told = f"after {days} days (keep_published_days)" if days else "when there are enough newer ones"
        tell(f"Builds that hold rows of deleted deliveries, or of those to be deleted: {', '.join(holding)}.")
        tell(f"  They go {told}; set keep_published_days and keep_failed_days to have them go by age.")
        tell("  What backups hold of deliveries and builds is beyond kpi.")
