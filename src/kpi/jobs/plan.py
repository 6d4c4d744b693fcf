"""What a refresh would do and why, worked out from the files and the published build's facts: nothing runs.

Whether a rebuilt table holds something new is only known once it is rebuilt, so what lies below one is told as perhaps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kpi.build_record import BuildRecord, Ingredients, NodeRecord
from kpi.engine.graph import Graph
from kpi.engine.node import Node
from kpi.engine.runner import UNBUILT, VIRTUAL, NodeChecksum, own_parts
from kpi.events import silent
from kpi.ingest import release_files
from kpi.ingest.raw_files import RELATIONS, RawFolder, scan
from kpi.jobs.options import Options
from kpi.warehouse.builds import Warehouse, changed_ingredients, ingredients_of
from kpi.warehouse.permissions import DATABASE, database_path, refuse_unusable

FILES_TOLD = 10  # of each feed and kind of change


@dataclass(frozen=True, slots=True)
class Step:
    """One thing a refresh would do. `action` is load, build, test, drop, write, leave; not `certain` means perhaps."""

    action: str
    name: str
    why: str
    certain: bool = True
    id: str = ""


def plan(root: Path, options: Options) -> tuple[Step, ...]:
    """Return what a refresh with these options would do, in its order; empty when there is nothing to do.

    Takes no lock and writes nothing but what compiling found out. Raises what compiling raises.
    """
    from kpi import database
    from kpi.engine.compile import compiled
    from kpi.jobs.pipeline import PipelineContext, selection_of
    from kpi.jobs.refresh import inputs_of, is_needless, settings_of, start_of

    warehouse = Warehouse(root.resolve() / "warehouse")
    folder = scan(warehouse.raw)
    if is_needless(root, warehouse, options, inputs_of(root.resolve(), folder, options)):
        return ()
    graph = compiled(root, options.variables, options.target, options.invocation).graph
    refuse_unusable(graph)
    start, published = start_of(warehouse, options, folder, settings_of(graph.project)), warehouse.current_record()
    from_nothing = start.record is None
    # Of a full refresh it is said what is asked for, not that nothing is there.
    before = published if options.full_refresh and not options.is_partial else start.record
    present = dict[str, str]()
    current = start.folder or (warehouse.current() if before else None)
    if before and current and before.nodes is not None:
        with database.reading(database_path(current, stewards=True)) as con:
            present = database.relations(con)
    own = own_parts(graph, folder)
    chosen = selection_of(PipelineContext(warehouse, graph, options, folder, silent), own)
    forced = chosen if options.full_refresh else frozenset[str]()
    files = [] if not graph.feeds else list(_files(None if from_nothing else before, graph, folder))
    planner = _Planner(graph, own, before, present, _Asked(chosen, forced, published is not None and from_nothing))
    steps = (*files, *planner.steps(), *_parts(published, graph))
    # Something did change, or this would have ended above: a comment, how late a feed may be, kpi itself, the month.
    return steps or (Step("write", DATABASE, "a new build: what it notes changes, and no table does"),)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The ids of the nodes that may be built and of those that must, and whether all starts from nothing."""

    chosen: frozenset[str]
    forced: frozenset[str]
    is_anew: bool


def _parts(before: BuildRecord | None, graph: Graph) -> Iterator[Step]:
    """A step for the readers' file, when other schemas are left out of it than were."""
    then = before.restricted_schemas if before else frozenset()
    now = frozenset(graph.project.warehouse_settings.stewards_schemas)
    if then != now:
        yield Step("write", DATABASE, f"left out for readers: {', '.join(sorted(now)) or 'nothing any more'}")


def _files(before: BuildRecord | None, graph: Graph, folder: RawFolder) -> Iterator[Step]:
    """A step for each delivery that is new, changed or gone."""
    feeds = {feed.name for feed in graph.feeds}
    old = {file.path: file.content_hash for file in (before.files if before else None) or ()}
    new = {file.path: file.content_hash for file in folder.files if file.feed in feeds}
    message: dict[tuple[str, str], list[str]] = {}
    for path in sorted({*old, *new}):
        if old.get(path) != new.get(path):
            why = "new" if path not in old else "gone" if path not in new else "changed"
            message.setdefault((path.partition("/")[0], why), []).append(path)
    for (feed, why), paths in message.items():
        yield from (Step("load", path, why, id=feed) for path in paths[:FILES_TOLD])
        if len(paths) > FILES_TOLD:
            yield Step("load", f"{feed}/", f"and {len(paths) - FILES_TOLD} more {why}", id=feed)


class _Planner:
    """Walks the nodes as a run does, without running: `sure` will hold something else, `perhaps` may."""

    def __init__(
        self,
        graph: Graph,
        own: Mapping[str, NodeChecksum],
        before: BuildRecord | None,
        present: Mapping[str, str],
        asked: _Asked,
    ) -> None:
        self.graph, self.own, self.present = graph, own, present
        self.chosen, self.forced, self.is_anew = asked.chosen, asked.forced, asked.is_anew
        self.known: Mapping[str, NodeRecord] = (before.nodes if before else None) or {}
        self.failed = {check.name for check in (before.checks if before else ()) if check.status == "fail"}
        self.then = before.ingredients if before else Ingredients()
        self.now = ingredients_of(graph.project, graph.environment_read)
        self.sure: set[str] = set()
        self.perhaps: set[str] = set()

    def steps(self) -> Iterator[Step]:
        """All steps but loading, in the order of a run."""
        gone = {node: record.relation for node, record in self.known.items() if node not in self.graph.nodes}
        for node_id, relation in sorted(gone.items()):
            if relation in self.present and not node_id.startswith("source."):
                yield Step("drop", relation, "gone: nothing in the project makes it any more", id=node_id)
        for node in self.graph.nodes.values():
            if node.kind == "source" and not node.sql:
                self._source(node)
            elif node.kind not in ("test", "exposure", "analysis"):
                yield from self._step(node, "build", self.own_reasons(node))
        for test in self.graph.tests():
            reasons = self.own_reasons(test)
            if not reasons and test.name in self.failed:
                reasons = ["failed when it last ran"]
            yield from self._step(test, "test", reasons)

    def _source(self, node: Node) -> None:
        before, own = self.known.get(node.id), self.own[node.id]
        if node.depends_on:  # a table that something here fills: what holds of that holds of it
            self.sure |= {node.id} if self.sure.intersection(node.depends_on) else set()
            self.perhaps |= {node.id} if self.perhaps.intersection(node.depends_on) else set()
            return
        feeds = {f"raw.{feed.name}" for feed in self.graph.feeds}
        fed = str(node.relation) in feeds | RELATIONS | release_files.RELATIONS
        if before is None or not before.version:
            self.sure.add(node.id)
        elif before.shape != own.shape or before.settings != own.settings:
            self.perhaps.add(node.id)
        elif not fed and any(self.known.get(n.id, UNBUILT).shape != self.own[n.id].shape for n in self._feeds()):
            self.perhaps.add(node.id)  # what was loaded and rejected of all feeds

    def _feeds(self) -> Iterator[Node]:
        return (node for node in self.graph.nodes.values() if node.kind == "source")

    def _step(self, node: Node, action: str, reasons: list[str]) -> Iterator[Step]:
        """The step for one node, if there is one; notes whether what it holds will be, or may be, another."""
        certain = bool(reasons)
        if not reasons:
            reasons, certain = self._because(node)
        if not reasons:
            return
        if node.id not in self.chosen:
            yield Step("leave", _name(node), f"not selected, though {'; '.join(reasons)}", certain, node.id)
            return
        yield Step(action, _name(node), "; ".join(reasons), certain, node.id)
        was_there = self.present.get(str(node.relation)) == "table" and self.known.get(node.id, UNBUILT).version
        virtual = node.materialized in VIRTUAL
        (self.sure if certain and (virtual or not was_there) else self.perhaps).add(node.id)

    def own_reasons(self, node: Node) -> list[str]:
        """Why a node must be made anew in itself, whatever its parents hold."""
        before, own = self.known.get(node.id, UNBUILT), self.own[node.id]
        if node.id in self.forced:
            return ["--full-refresh"]
        if not before.fingerprint:
            return ["everything is built anew" if self.is_anew else "new"]
        reasons = []
        names = {*before.settings, *own.settings}
        changed = sorted(name for name in names if before.settings.get(name) != own.settings.get(name))
        # What a model becomes depends on its settings too, so these are told alone when its file is the same.
        if before.shape != own.shape and not (changed and before.text == own.text):
            reasons.append(self._why_other(node, before, own))
        if changed:
            reasons.append(f"its settings changed: {', '.join(changed)}")
        is_stored = node.kind != "test" and node.materialized != "ephemeral"
        if is_stored and str(node.relation) not in self.present:
            reasons.append("missing in the database")
        return reasons

    def _why_other(self, node: Node, before: NodeRecord, own: NodeChecksum) -> str:
        if node.kind == "seed":
            return "its seed changed"
        if before.text != own.text:
            return "its SQL changed"
        changed = changed_ingredients(self.now, self.then, self.graph.project, node.file)
        return changed or "what it is rendered from changed"

    def _because(self, node: Node) -> tuple[list[str], bool]:
        """Why a node is made anew for its parents' sake, and whether that is certain."""
        known = self.known.get(node.id, UNBUILT).parents
        reasons, certain = [], False
        for parent in node.depends_on:
            name = self.graph.nodes[parent].name
            if parent in self.sure:
                reasons.append(f"because of {name}")
                certain = True
            elif parent in self.perhaps:
                reasons.append(f"because of {name} (may turn out unchanged)")
            elif known.get(parent) != self.known.get(parent, UNBUILT).version:
                reasons.append(f"because of {name}, which changed when this was left out")
                certain = True
        return reasons, certain


def _name(node: Node) -> str:
    return node.name if node.kind == "test" else str(node.relation)
