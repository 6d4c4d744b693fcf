"""The plan of a run: which nodes are due and why, as a list of steps. `kpi plan` prints it, the runner executes it.

Whether a table that is rebuilt holds something new is only known once it is rebuilt. A step below one is therefore
conditional: it names the nodes whose new content makes it due, and the runner looks at them when it gets there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from kpi.build_record import BuildRecord, Ingredients, NodeRecord
from kpi.engine.fingerprint import NodeChecksum, changed_ingredients, fingerprint, ingredients_of
from kpi.engine.graph import AUDIT_SCHEMA, RESERVED_SCHEMA, RESERVED_TABLES, Graph
from kpi.engine.node import Node
from kpi.sql import word

VIRTUAL = ("view", "ephemeral")
UNBUILT = NodeRecord()


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a run does to a relation, a test or a file, `name`, and why; `id` is the node's, or the feed's.

    With `if_changed` it is done only when one of these nodes gets another content than the node was made from.
    """

    action: Literal["load", "drop", "build", "test", "leave", "write"]
    name: str
    why: str
    id: str = ""
    if_changed: tuple[str, ...] = ()

    @property
    def certain(self) -> bool:
        """Whether the step is done whatever comes out of those before it."""
        return not self.if_changed

    def is_due(self, record: NodeRecord, versions: Mapping[str, str]) -> bool:
        """Tell whether the step is due, now that the versions of all nodes before it are known.

        `record` is the node's before the run.
        """
        return self.certain or any(record.parents.get(node_id) != versions[node_id] for node_id in self.if_changed)


@dataclass(frozen=True, slots=True)
class Content:
    """The version of what a node will hold, by what is known beforehand; not `certain` means that it may be another."""

    version: str
    certain: bool = True


NEW_CONTENT = Content("new")  # of a version that no node was ever made from


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a run over the nodes of a graph.

    `checksums` are of each node by id, `before` is the record of the database as it is. Of the nodes the `chosen` may
    be built or tested, the `forced` must be. `is_rebuild` says that the database is empty though a build is published.
    """

    graph: Graph
    checksums: Mapping[str, NodeChecksum]
    before: BuildRecord
    chosen: frozenset[str]
    forced: frozenset[str] = frozenset()
    is_rebuild: bool = False

    def record_of(self, node_id: str) -> NodeRecord:
        """Return the record of a node of the database as it is."""
        return (self.before.nodes or {}).get(node_id, UNBUILT)

    def is_unchanged(self, node_id: str) -> bool:
        """Tell whether a node is in itself what it was, and not forced."""
        record, checksum = self.record_of(node_id), self.checksums[node_id]
        is_same = record.shape == checksum.shape and record.settings == checksum.settings
        return is_same and node_id not in self.forced

    def compared(self) -> frozenset[str]:
        """Return the nodes that a seed, model or test reads that is unchanged: it stays as it is when they do."""
        readers = (node for node in self.graph.nodes.values() if node.kind not in ("exposure", "analysis"))
        return frozenset(parent for node in readers if self.is_unchanged(node.id) for parent in node.depends_on)

    def may_stay_alike(self, node: Node, present: Mapping[str, str], compared: Collection[str]) -> bool:
        """Tell whether a node that is rebuilt is compared with the table it had, and may turn out to hold the same."""
        place, record = str(node.relation), self.record_of(node.id)
        was_there = present.get(place) == "table" and record.version and record.relation == place
        return bool(was_there) and node.materialized not in VIRTUAL and node.id in compared


def steps_of(request: Request, present: Mapping[str, str], sources: Mapping[str, Content]) -> tuple[Step, ...]:
    """Return the steps of a run in its order: seeds, models and snapshots as they are built, then data tests.

    `present` are the kinds of the relations in the database (table or view), `sources` what the loaded tables will
    hold. A node that is due and not chosen has the step `leave`.
    """
    return tuple(_Planner(request, present, sources).steps())


def drop_steps(
    graph: Graph, present: Mapping[str, str], unmanaged: Collection[str], before: BuildRecord | None = None
) -> tuple[Step, ...]:
    """Return a step for each relation that no node stands for any more, views first, but for the `unmanaged` ones."""
    nodes = (before.nodes if before else None) or {}
    ids = {record.relation: node_id for node_id, record in nodes.items() if node_id not in graph.nodes}
    places = [place for place in orphaned_relations(graph, present) if place not in unmanaged]
    return tuple(
        Step("drop", place, "gone: nothing in the project makes it any more", ids.get(place, "")) for place in places
    )


def orphaned_relations(graph: Graph, present: Mapping[str, str]) -> list[str]:
    """Return the relations that no node stands for, views first; kpi's own tables apart."""
    managed = {str(node.relation) for node in graph.built()} | set(RESERVED_TABLES)
    managed |= {f"{AUDIT_SCHEMA}.{word(test.name)}" for test in graph.tests()}
    places = sorted(present, key=lambda place: present[place], reverse=True)
    return [place for place in places if place not in managed and not place.startswith(f"{RESERVED_SCHEMA}.")]


class _Planner:
    """Walks the nodes as a run does, with what is known beforehand of the content of each."""

    def __init__(self, request: Request, present: Mapping[str, str], sources: Mapping[str, Content]) -> None:
        self.request, self.graph, self.present = request, request.graph, present
        self.contents = dict(sources)
        self.compared = request.compared()
        self.status = {check.name: check.status for check in request.before.checks}

    @cached_property
    def ingredients(self) -> Ingredients:
        return ingredients_of(self.graph.project, self.graph.environment_read)

    def steps(self) -> Iterator[Step]:
        built = {node.id for node in self.graph.built()}
        for node in self.graph.nodes.values():
            if node.id in built:
                step = self._build(node)
                self.contents[node.id] = self._content(node, step)
                yield from (step,) if step else ()
            elif node.kind == "source" and node.depends_on:  # a table that another node fills
                self.contents[node.id] = self.contents[node.depends_on[0]]
        for test in self.graph.tests():
            step = self._test(test)
            yield from (step,) if step else ()

    def _build(self, node: Node) -> Step | None:
        reasons, if_changed = self._own_reasons(node), tuple[str, ...]()
        if node.materialized != "ephemeral" and str(node.relation) not in self.present and self._is_known(node):
            reasons.append("missing in the database")
        if not reasons:
            reasons, if_changed = self._parents_reasons(node)
        return self._step("build", node, str(node.relation), reasons, if_changed)

    def _test(self, test: Node) -> Step | None:
        reasons, if_changed = self._own_reasons(test), tuple[str, ...]()
        is_chosen = test.id in self.request.chosen
        # A warning is repeated without the test being run again.
        if not reasons and is_chosen and self.status.get(test.name, "fail") == "fail":
            reasons = ["failed when it last ran"]
        if not reasons:
            reasons, if_changed = self._parents_reasons(test)
        unbuilt = [parent for parent in test.depends_on if not self.contents[parent].version]
        if reasons and unbuilt and is_chosen:
            why = f"{self.graph.nodes[unbuilt[0]].name} has not been built"
            return Step("leave", test.name, why, test.id, if_changed)
        return self._step("test", test, test.name, reasons, if_changed)

    def _step(
        self, action: Literal["build", "test"], node: Node, name: str, reasons: list[str], if_changed: tuple[str, ...]
    ) -> Step | None:
        why = "; ".join(reasons)
        if reasons and node.id not in self.request.chosen:
            return Step("leave", name, f"not selected, though {why}", node.id, if_changed)
        return Step(action, name, why, node.id, if_changed) if reasons else None

    def _content(self, node: Node, step: Step | None) -> Content:
        """What a node will hold after its step."""
        version = self.request.record_of(node.id).version
        if step is None or step.action == "leave":
            return Content(version)
        if not step.certain or self.request.may_stay_alike(node, self.present, self.compared):
            return Content(version, certain=False)
        if node.materialized not in VIRTUAL:
            return NEW_CONTENT
        parents = {parent: self.contents[parent].version for parent in node.depends_on}
        new = fingerprint(node, self.request.checksums[node.id], parents)
        return Content(new, certain=new != version)

    def _is_known(self, node: Node) -> bool:
        return bool(self.request.record_of(node.id).fingerprint) and node.id not in self.request.forced

    def _own_reasons(self, node: Node) -> list[str]:
        """Why a node is due in itself, whatever its parents hold."""
        record, checksum = self.request.record_of(node.id), self.request.checksums[node.id]
        if node.id in self.request.forced:
            return ["--full-refresh"]
        if not record.fingerprint:
            return ["everything is rebuilt" if self.request.is_rebuild else "new"]
        reasons = []
        names = {*record.settings, *checksum.settings}
        changed = sorted(name for name in names if record.settings.get(name) != checksum.settings.get(name))
        # What a model becomes depends on its settings too, so they are the reason when its file is the same.
        if record.shape != checksum.shape and not (changed and record.text == checksum.text):
            reasons.append(self._why_another_shape(node, record, checksum))
        if changed:
            reasons.append(f"its settings changed: {', '.join(changed)}")
        return reasons

    def _why_another_shape(self, node: Node, record: NodeRecord, checksum: NodeChecksum) -> str:
        if node.kind == "seed":
            return "its seed changed"
        if record.text != checksum.text:
            return "its SQL changed"
        before = self.request.before.ingredients
        changed = changed_ingredients(self.ingredients, before, self.graph.project, node.file)
        return changed or "what it is rendered from changed"

    def _parents_reasons(self, node: Node) -> tuple[list[str], tuple[str, ...]]:
        """Why a node is due for its parents' sake, and the parents whose content decides that; none when it is sure."""
        made_from = self.request.record_of(node.id).parents
        sure, perhaps = False, []
        reasons = []
        for parent in node.depends_on:
            name, content = self.graph.nodes[parent].name, self.contents[parent]
            if not content.certain:
                reasons.append(f"because of {name} (may turn out unchanged)")
                perhaps.append(parent)
            elif made_from.get(parent) != content.version:
                is_new = content.version != self.request.record_of(parent).version
                reasons.append(f"because of {name}" + ("" if is_new else ", which changed when this was left out"))
                sure = True
        if made_from.keys() - set(node.depends_on):
            reasons.append("it reads fewer tables")
            sure = True
        return reasons, () if sure else tuple(perhaps)
