"""`kpi plan`: the steps that a refresh would take and why, from the files and the record of the published build."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kpi.build_record import BuildRecord
from kpi.events import silent
from kpi.ingest import raw_files, release_files
from kpi.ingest.raw_files import RELATIONS, RawFolder
from kpi.jobs.options import Options, engine_of, settings_of
from kpi.jobs.refresh import inputs_of, is_needless, start_of
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import DATABASE, database_path, refuse_unusable

if TYPE_CHECKING:
    from kpi.engine.graph import Graph
    from kpi.engine.plan import Content, Request, Step


FILES_LISTED = 10  # of each feed and kind of change


def plan(root: Path, options: Options) -> tuple[Step, ...]:
    """Return what a refresh with these options would do, in its order; empty when there is nothing to do.

    Takes no lock and writes nothing but what compiling found out. Raises what compiling raises.
    """
    warehouse = Warehouse(root.resolve() / "warehouse")
    folder = raw_files.scan(warehouse.raw, raw_files.Checksums(warehouse.root / raw_files.CHECKSUMS))
    if is_needless(root, warehouse, options, inputs_of(root.resolve(), folder, options)):
        return ()

    from kpi import database
    from kpi.engine.compile import compiled
    from kpi.engine.plan import Step, drop_steps, steps_of
    from kpi.jobs.pipeline import PipelineContext, request_of, unmanaged_relations

    graph = compiled(root, options.variables, options.target, options.invocation).graph
    refuse_unusable(graph)
    engine = settings_of(graph.project, engine_of(graph.project, options))
    start, published = start_of(warehouse, options, folder, engine), warehouse.current_record()
    from_nothing = start.record is None
    # Of a full refresh it is said what is asked for, not that nothing is there.
    before = published if options.full_refresh and not options.is_partial else start.record
    present = dict[str, str]()
    current = start.folder or (warehouse.current() if before else None)
    if before and current and before.nodes is not None:
        with database.reading(database_path(current, stewards=True)) as con:
            present = database.relations(con)
    request = request_of(PipelineContext(warehouse, graph, options, folder, silent), before)
    request = replace(request, is_rebuild=published is not None and from_nothing)
    steps = (
        *(_load_steps(None if from_nothing else before, graph, folder) if graph.feeds else ()),
        *drop_steps(graph, present, unmanaged_relations(graph, request.before), request.before),
        *steps_of(request, present, _source_contents(request)),
        *_write_steps(published, graph),
    )
    # Something did change, or this would have ended above: a comment, how late a feed may be, kpi itself, the month.
    return steps or (Step("write", DATABASE, "a new build: what it notes changes, and no table does"),)


def _load_steps(before: BuildRecord | None, graph: Graph, folder: RawFolder) -> Iterator[Step]:
    """A step for each delivery that is new, changed or gone."""
    from kpi.engine.plan import Step

    feeds = {feed.name for feed in graph.feeds}
    old = {file.path: file.content_hash for file in (before.files if before else None) or ()}
    new = {file.path: file.content_hash for file in folder.files if file.feed in feeds}
    changes: dict[tuple[str, str], list[str]] = {}
    for path in sorted({*old, *new}):
        if old.get(path) != new.get(path):
            why = "new" if path not in old else "gone" if path not in new else "changed"
            changes.setdefault((path.partition("/")[0], why), []).append(path)
    for (feed, why), paths in changes.items():
        yield from (Step("load", path, why, feed) for path in paths[:FILES_LISTED])
        if len(paths) > FILES_LISTED:
            yield Step("load", f"{feed}/", f"and {len(paths) - FILES_LISTED} more {why}", feed)


def _source_contents(request: Request) -> dict[str, Content]:
    """What is known of each loaded table before anything is loaded."""
    from kpi.engine.plan import NEW_CONTENT, Content

    sources = [node for node in request.graph.nodes.values() if node.kind == "source"]
    is_delivered = any(request.record_of(node.id).shape != request.checksums[node.id].shape for node in sources)
    fed = {*RELATIONS, *release_files.RELATIONS, *(f"raw.{feed.name}" for feed in request.graph.feeds)}
    contents = {}
    for node in sources:
        record, checksum = request.record_of(node.id), request.checksums[node.id]
        # What was loaded and rejected of all feeds stands in tables that are no feed's own.
        may_change = (record.shape, record.settings) != (checksum.shape, checksum.settings)
        may_change |= str(node.relation) not in fed and is_delivered
        contents[node.id] = Content(record.version, not may_change) if record.version else NEW_CONTENT
    return contents


def _write_steps(before: BuildRecord | None, graph: Graph) -> Iterator[Step]:
    """A step for the readers' file, when other schemas are left out of it than were."""
    from kpi.engine.plan import Step

    then = before.restricted_schemas if before else frozenset()
    now = frozenset(graph.project.warehouse_settings.stewards_schemas)
    if then != now:
        yield Step("write", DATABASE, f"left out for readers: {', '.join(sorted(now)) or 'nothing any more'}")
