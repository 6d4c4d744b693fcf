"""The plan of a run: which nodes are due and why, as a list of steps. `kpi plan` prints it, the runner executes it.

Every node has a *version* that names the content it holds. A table's is the build that last changed that content, so a
table that is rebuilt to equal rows keeps it; a view's is its own fingerprint, for what it yields follows from its SQL
and its parents' versions. A fingerprint covers what the node itself is and its parents' versions, not their
fingerprints: that is where a wave of rebuilding stops.

Whether a table that is rebuilt holds something new is only known once it is rebuilt. A step below one is therefore
conditional: it names the nodes whose new content makes it due, and the runner looks at them when it gets there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from kpi.build_record import BuildRecord, Ingredients, NodeRecord
from kpi.engine.graph import AUDIT_SCHEMA, RESERVED_SCHEMA, RESERVED_TABLES, Graph, Node
from kpi.environment import digest, environment_of, hashed_values, holds_value
from kpi.files import checksum
from kpi.ingest import calendar, release_files
from kpi.ingest.contract import TIME_OF_DELIVERY
from kpi.ingest.ledger import contract_fingerprint
from kpi.ingest.raw_files import RELATIONS, RawFolder
from kpi.project.packages import read_text
from kpi.project.project import Project
from kpi.sql import word

# Said of a node for people and for selecting it, or covered by where it stands or by its shape: rebuilds nothing.
NOT_COUNTED = frozenset(
    (
        *("tags", "meta", "docs", "description", "group", "access", "persist_docs", "enabled", "full_refresh"),
        *("location", "format", "options", "glue_register", "glue_database"),
        *("materialized", "schema", "alias", "column_types", "delimiter", "loaded_at_field", "freshness"),
    )
)
_WRITTEN = ("model", "snapshot", "test")
_MACRO = re.compile(r"\{%-?\s*(macro|test|data_test)\s+(\w+).*?\{%-?\s*end\1\s*[+-]?%\}", re.DOTALL)
_OF_A_TEST = ("kind", "column", "arguments", "severity", "where", "limit", "warn_if", "error_if", "store_failures")


@dataclass(frozen=True, slots=True)
class NodeChecksum:
    """What a node is in itself: a hash of its SQL or seed, and its settings that count, as text.

    `text` is a hash of its file as written, which rebuilds nothing but tells a changed file from a changed macro.
    """

    shape: str
    settings: Mapping[str, str]
    text: str = ""


def checksums_of(graph: Graph, folder: RawFolder) -> dict[str, NodeChecksum]:
    """Return what each node is in itself, by id. A feed's shape is its files' content, its contract a setting."""
    texts = {
        file: _text_of(graph, file) for file in {node.file for node in graph.nodes.values() if node.kind in _WRITTEN}
    }
    root = graph.project.root
    found = {
        node.id: NodeChecksum(_shape(node, root), _without_values(settings_of(node), root), texts.get(node.file, ""))
        for node in graph.nodes.values()
    }
    feeds = {f"raw.{feed.name}": feed for feed in graph.feeds}
    for node in graph.nodes.values():
        feed = feeds.get(str(node.relation))
        if node.kind == "source" and feed:
            is_timed = feed.newer_by == TIME_OF_DELIVERY
            files = [
                f"{file.name}\0{file.content_hash}" + (f"\0{file.modified}" if is_timed else "")
                for file in folder.files
                if file.feed == feed.name
            ]
            settings = {**found[node.id].settings, "contract": contract_fingerprint(feed)}
            found[node.id] = NodeChecksum(_hash(*files), settings)
        elif node.kind == "source" and str(node.relation) in RELATIONS:
            found[node.id] = NodeChecksum(
                _hash(*(f"{one.name}\0{one.content_hash}" for one in folder.kept)), settings_of(node)
            )
        elif node.kind == "source" and str(node.relation) in release_files.RELATIONS:
            found[node.id] = NodeChecksum(_hash(release_files.digest(graph.project.root)), settings_of(node))
        elif node.kind == "source" and str(node.relation) == f"raw.{calendar.FEED_MONTHS}":
            found[node.id] = NodeChecksum(_hash(*calendar.definitions(graph.feeds).values()), settings_of(node))
    return found


def settings_of(node: Node) -> dict[str, str]:
    """Return the settings that decide what a node becomes, each as text in which the order of keys does not count."""
    found: dict[str, Any] = {"relation": str(node.relation), "materialized": node.materialized}
    found |= {name: value for name, value in node.config.items() if name not in NOT_COUNTED}
    contract = node.config.get("contract")
    if isinstance(contract, Mapping) and contract.get("enforced"):
        found["contract"] = [contract, [[column.name, column.data_type] for column in node.columns]]
    if node.hooks.before or node.hooks.after:
        found["hooks"] = [node.hooks.before, node.hooks.after]  # as rendered, with the macros they use
    if node.test:
        found |= {name: getattr(node.test, name) for name in _OF_A_TEST}
    return {name: _text(value) for name, value in sorted(found.items())}


def fingerprint(node: Node, own: NodeChecksum, parents: Mapping[str, str]) -> str:
    """Return the fingerprint of a node made from the given versions of its parents."""
    made_from = sorted(f"{parent}={version}" for parent, version in parents.items())
    return _hash(node.kind, own.shape, _text(own.settings), *made_from)


def definitions(graph: Graph) -> dict[str, str]:
    """Return a hash of what defines each node by id: as its fingerprint, but for the rows that are delivered or seeded.

    While it stays, new rows may be added to an incremental model's table; when it changes the table is rebuilt
    (decision 0006).
    """
    found: dict[str, str] = {}
    for node in graph.nodes.values():
        parents = sorted(found[parent] for parent in node.depends_on if parent in found)
        # Of files outside it is where they are and not what is in them.
        shape = _shape(node, graph.project.root)
        shape = {"seed": _hash(*map(str, node.column_types)), "source": node.sql}.get(node.kind, shape)
        found[node.id] = _hash(node.kind, str(node.relation), node.materialized, shape, *parents)
    return found


def _shape(node: Node, root: Path) -> str:
    """The shape of a node; where the environment gave a part of its SQL, one that cannot be found by trying values."""
    return node.shape if not holds_value(node.sql.encode()) else digest(node.shape, root)


def _without_values(settings: Mapping[str, str], root: Path) -> dict[str, str]:
    return {name: hashed_values(text, root) for name, text in settings.items()}


def _text_of(graph: Graph, file: Path) -> str:
    return _hash(read_text(graph.project.root, file))


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _hash(*parts: str) -> str:
    return checksum("\n".join(parts))


def changed_ingredients(now: Ingredients, then: Ingredients, project: Project, file: Path) -> str:
    """Say which macro or variable that a file uses, or asks the environment for, changed; empty when none did."""
    texts = _macros(project)
    words = _words(_all_used(read_text(project.root, file), texts))
    changed = [
        f"the {what} {name} changed"
        for what, current, before in (
            ("macro", now.macros, then.macros),
            ("variable", now.variables, then.variables),
            ("environment variable", now.environment, then.environment),
        )
        for name in sorted({*current, *before})
        if current.get(name) != before.get(name) and name in words
    ]
    return "; ".join(changed)


def ingredients_of(project: Project, read: Iterable[str] = ()) -> Ingredients:
    """Return what files are rendered with now; `read` are the names of variables of the environment."""
    return Ingredients(
        macros={name: _hash(text) for name, text in _macros(project).items()},
        variables={name: _hash(hashed_values(repr(value), project.root)) for name, value in project.variables.items()},
        environment=environment_of(read, project.root),
    )


def _macros(project: Project) -> dict[str, str]:
    return {
        found[2]: found[0] for file in project.macro_files for found in _MACRO.finditer(read_text(project.root, file))
    }


def _all_used(text: str, macros: Mapping[str, str]) -> str:
    """The text with the texts of all macros that it names, and that those name."""
    used: set[str] = set()
    while found := (_words(text) & set(macros)) - used:
        used |= found
        text += "\n".join(macros[name] for name in sorted(found))
    return text


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


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
