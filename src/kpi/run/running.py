"""Run over the nodes in order: keep what is up to date, build the rest, stop the wave where nothing came out new."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb

from kpi.base.engine import relations
from kpi.base.environment import hashed_values
from kpi.base.errors import BuildError
from kpi.base.events import Event, Tell, note, silent
from kpi.compile.graph import Graph
from kpi.models.model import Node
from kpi.run import content
from kpi.run.build import NodeResult, build_node, prepare, run_hooks
from kpi.run.fingerprint import VIRTUAL, Own, fingerprint

Facts = dict[str, Any]
NEW: Facts = dict.fromkeys(("fingerprint", "version", "shape", "text", "relation", "sql"), "")
NEW |= {"settings": {}, "parents": {}, "seconds": None, "built_in": None}
_OF_A_RUN = ("status", "message")


@dataclass(frozen=True, slots=True)
class Task:
    """What a run over the nodes is asked.

    `own` is what each node is, `known` the facts of each in the database as it is, both by id; `chosen` may be built,
    `forced` must be; `build` names the content that comes out new. `begin` is called before the first node is built.
    `definitions` are hashes of what defines each node, `anew` the incremental models whose tables must not be added to,
    `kept` the places of no node that stay. `tell` hears of each node.
    """

    graph: Graph
    own: Mapping[str, Own]
    known: Mapping[str, Facts]
    chosen: frozenset[str]
    forced: frozenset[str]
    build: str
    keep_going: bool = False
    begin: Callable[[], object] = lambda: None
    definitions: Mapping[str, str] = field(default_factory=dict)
    anew: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    tell: Tell = silent


@dataclass(slots=True)
class Ran:
    """What came of a run: results in building order, errors, who was skipped because of whom, who was left stale."""

    results: list[NodeResult] = field(default_factory=list)
    failed: dict[str, BuildError] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def lines(self, graph: Graph) -> list[str]:
        """Return a line for each node that failed or was skipped."""
        told = [f"{error}" for error in self.failed.values()]
        return told + [
            f"{graph.nodes[node_id].name}: skipped, because {graph.nodes[cause].name} failed."
            for node_id, cause in self.skipped.items()
        ]


def known_nodes(build: Mapping[str, Any]) -> dict[str, Facts]:
    """Return the facts of the nodes of a build, of those only that are told as they are now: an older kpi told less."""
    return {node: facts for node, facts in build.get("nodes", {}).items() if facts.keys() >= NEW.keys()}


def facts_of_sources(
    con: duckdb.DuckDBPyConnection, old: duckdb.DuckDBPyConnection | None, task: Task
) -> dict[str, Facts]:
    """Return the facts of every source after loading; `old` sees the raw tables as they were before, if any were.

    A feed whose files and contract are the same keeps its version unseen, any other raw table when its rows are equal.
    """
    facts = {}
    feeds = {f"raw.{feed.name}" for feed in task.graph.feeds}
    for node in task.graph.nodes.values():
        if node.kind == "source" and not node.sql and not node.depends_on:
            before, now = task.known.get(node.id, {}), facts_now(node, task, {})
            same = str(node.relation) in feeds and before.get("fingerprint") == now["fingerprint"]
            if same or (before and old and content.is_same(old, con, str(node.relation))):
                now["version"] = before["version"]
            facts[node.id] = now
    return facts


def run_nodes(con: duckdb.DuckDBPyConnection, task: Task, facts: dict[str, Facts]) -> Ran:
    """Build what is due in building order. `facts` holds those of the sources, and gets those of all seeds and models.

    At every moment they say what the database holds. A node that fails leaves its table as it was; those below it are
    skipped, and without `keep_going` nothing is built after it. Raises no BuildError: they are in what is returned.
    """
    ran = Ran()
    nodes = task.graph.built()
    saving = _unchanged(task)
    for node in nodes:
        # A node that is left stale keeps the facts it had, so that the next run still rebuilds it.
        facts[node.id] = {name: value for name, value in task.known.get(node.id, NEW).items() if name not in _OF_A_RUN}
    built = {node.id for node in nodes}
    prepare(con, task.graph, nodes, task.kept)
    run_hooks(con, "on-run-start", task.graph.on_run.before)
    present = relations(con)
    for node in task.graph.nodes.values():
        if node.id not in built:
            _follow(node, task, facts, ran)
            continue
        before = facts[node.id]
        now = facts_now(node, task, {parent: facts[parent]["version"] for parent in node.depends_on})
        if node.id in task.chosen and (cause := _cause(node, ran)):
            ran.skipped[node.id] = cause
            before["status"] = "skipped"
        elif not is_due(node, task, before, now, present):
            before["sql"] = hashed_values(node.sql, task.graph.project.root)
        elif node.id not in task.chosen:
            ran.left.append(node.id)
        elif task.keep_going or not ran.failed:
            if not ran.results:
                task.begin()
            done = nodes.index(node)
            note(task.tell, Event("building", stage="build", name=node.name, done=done, total=len(nodes)))
            try:
                result, is_same = _build(con, task, node, before, present, saving)
            except BuildError as error:
                ran.failed[node.id] = error
                before |= {"status": "error", "message": str(error)}
                continue
            if is_same:
                now["version"] = before["version"]
            facts[node.id] = now | {"seconds": result.seconds, "built_in": task.build, "status": "success"}
            if node.materialized != "ephemeral":
                present[result.relation] = "view" if node.materialized == "view" else "table"
            ran.results.append(result)
            event = Event("built", stage="build", name=node.name, rows=result.rows, seconds=result.seconds)
            note(task.tell, event)
    return ran


def _follow(node: Node, task: Task, facts: dict[str, Facts], ran: Ran) -> None:
    """Note what is not built: a source that a model fills holds what that holds; exposures and analyses."""
    if node.kind == "source" and node.depends_on:
        facts[node.id] = facts_now(node, task, {parent: facts[parent]["version"] for parent in node.depends_on})
        facts[node.id]["version"] = facts[node.depends_on[0]]["version"]
        if cause := _cause(node, ran):
            ran.skipped[node.id] = cause
    elif node.kind in ("exposure", "analysis"):
        facts[node.id] = facts_now(node, task, {})


def facts_now(node: Node, task: Task, parents: Mapping[str, str]) -> Facts:
    """Return the facts of a node that was made anew from the given versions of its parents."""
    own = task.own[node.id]
    made = fingerprint(node, own, parents)
    return {
        "fingerprint": made,
        "version": made if node.materialized in VIRTUAL else task.build,
        "shape": own.shape,
        "settings": own.settings,
        "text": own.text,
        "definition": task.definitions.get(node.id),
        "parents": dict(parents),
        "relation": str(node.relation),
        "sql": hashed_values(node.sql, task.graph.project.root),
        "seconds": None,
        "built_in": None,
    }


def is_due(node: Node, task: Task, before: Facts, now: Facts, present: Mapping[str, str]) -> bool:
    """Tell whether a seed or model must be made anew."""
    is_missing = str(node.relation) not in present and node.materialized != "ephemeral"
    return node.id in task.forced or before["fingerprint"] != now["fingerprint"] or is_missing


def _cause(node: Node, ran: Ran) -> str:
    """The failed node because of which this one cannot be built; empty when there is none."""
    return next(
        (
            ran.skipped.get(parent, parent)
            for parent in node.depends_on
            if parent in ran.failed or parent in ran.skipped
        ),
        "",
    )


def _build(
    con: duckdb.DuckDBPyConnection, task: Task, node: Node, before: Facts, present: Mapping[str, str], saving: set[str]
) -> tuple[NodeResult, bool]:
    """Build one node; tell whether it holds what it held before, as far as anything that reads it is saved by that."""
    place = str(node.relation)
    if node.materialized == "ephemeral":
        return NodeResult(node.id, place, 0.0, None), False
    parents = [task.graph.nodes[parent] for parent in node.depends_on]
    for parent in parents:
        if parent.kind != "source" and parent.materialized != "ephemeral" and str(parent.relation) not in present:
            told = f"it reads {parent.name}, which has not been built yet; select that too, as +{node.name}."
            raise BuildError(f"{node.name} ({node.file})", told)
    was_there = present.get(place) == "table" and before["version"] and before["relation"] == place
    if not was_there or node.materialized in VIRTUAL or node.id not in saving:
        return build_node(con, task.graph, node, present.get(place), node.id in task.anew), False
    with content.as_it_was(con, place) as old:
        result = build_node(con, task.graph, node, present.get(place), node.id in task.anew)
        return result, content.is_same(old, con, place)


def _unchanged(task: Task) -> set[str]:
    """The nodes that some seed, model or test reads which is what it was: it stays when their content does."""
    found: set[str] = set()
    for node in task.graph.nodes.values():
        before, own = task.known.get(node.id, NEW), task.own[node.id]
        if (
            node.kind not in ("exposure", "analysis")
            and node.id not in task.forced
            and before["shape"] == own.shape
            and before["settings"] == own.settings
        ):
            found.update(node.depends_on)
    return found
