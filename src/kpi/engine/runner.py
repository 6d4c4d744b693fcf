"""Run nodes in order: keep what is up to date, build the rest, and stop a wave where no content changed.

Every node has a *version* that names the content it holds. A table's is the build that last changed that content, so a
table that is rebuilt to equal rows keeps it; a view's is its own fingerprint, for what it yields follows from its SQL
and its parents' versions. A fingerprint covers what the node itself is and its parents' versions, not their
fingerprints: that is where a wave of rebuilding stops.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb

from kpi import database
from kpi.build_record import NodeRecord
from kpi.database import columns_of, drop, empty_schemas, fetch_one, relations
from kpi.engine.graph import AUDIT_SCHEMA, RESERVED_SCHEMA, RESERVED_TABLES, Graph
from kpi.engine.materializations import ExistingRelation, is_ephemeral, keeps_table, schema_statement, statements
from kpi.engine.node import Node
from kpi.environment import digest, hashed_values, holds_value
from kpi.errors import BuildError, Place
from kpi.events import Emit, Event, emit_event, silent
from kpi.ingest import loader, release_files
from kpi.ingest.contract import TIME_OF_DELIVERY
from kpi.ingest.loader import contract_fingerprint
from kpi.ingest.masking import of_error
from kpi.ingest.raw_files import RELATIONS, RawFolder
from kpi.project.packages import read_text
from kpi.sql import identifier, word

# Said of a node for people and for selecting it, or covered by where it stands or by its shape: rebuilds nothing.
NOT_COUNTED = frozenset(
    (
        *("tags", "meta", "docs", "description", "group", "access", "persist_docs", "enabled", "full_refresh"),
        *("location", "format", "options", "glue_register", "glue_database"),
        *("materialized", "schema", "alias", "column_types", "delimiter", "loaded_at_field", "freshness"),
    )
)
_WRITTEN = ("model", "snapshot", "test")
_OF_A_TEST = ("kind", "column", "arguments", "severity", "where", "limit", "warn_if", "error_if", "store_failures")
VIRTUAL = ("view", "ephemeral")


@dataclass(frozen=True, slots=True)
class NodeChecksum:
    """What a node is in itself: a hash of its SQL or seed, and its settings that count, as text.

    `text` is a hash of its file as written, which rebuilds nothing but tells a changed file from a changed macro.
    """

    shape: str
    settings: Mapping[str, str]
    text: str = ""


def own_parts(graph: Graph, folder: RawFolder) -> dict[str, NodeChecksum]:
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
                _hash(*(f"{kept.name}\0{kept.content_hash}" for kept in folder.kept)), settings_of(node)
            )
        elif node.kind == "source" and str(node.relation) in release_files.RELATIONS:
            found[node.id] = NodeChecksum(_hash(release_files.digest(root)), settings_of(node))
        elif node.kind == "source" and str(node.relation) == f"raw.{loader.TABLE}":
            found[node.id] = NodeChecksum(_hash(*loader.definitions(graph.feeds).values()), settings_of(node))
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

    While it stays, new rows may be added to an incremental model's table; when it changes the table is built anew
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
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What happened to one node. `rows` are those of its table now, None for a view."""

    id: str
    relation: str
    seconds: float
    rows: int | None


def prepare(con: duckdb.DuckDBPyConnection, graph: Graph, nodes: Iterable[Node], kept: Collection[str] = ()) -> None:
    """Drop what no node stands for any more, but for the places `kept`, and make the schemas of the given nodes."""
    kinds = relations(con)
    for place in orphaned_relations(con, graph):
        if place not in kept:
            drop(con, place, kinds[place])
    # A schema that nothing is in any more goes too; a hook's macro or sequence keeps its own.
    for schema in empty_schemas(con) - {node.relation.schema for node in graph.built()}:
        with suppress(duckdb.Error):
            con.execute(f"drop schema {identifier(schema)}")
    for schema in sorted({schema_statement(node) for node in nodes if not is_ephemeral(node)}):
        con.execute(schema)


def orphaned_relations(con: duckdb.DuckDBPyConnection, graph: Graph) -> list[str]:
    """Return what is there and no node stands for, views first; kpi's own tables apart."""
    wanted = {str(node.relation) for node in graph.built()} | set(RESERVED_TABLES)
    wanted |= {f"{AUDIT_SCHEMA}.{word(test.name)}" for test in graph.tests()}
    there = sorted(relations(con).items(), key=lambda item: item[1], reverse=True)
    return [place for place, _ in there if place not in wanted and not place.startswith(f"{RESERVED_SCHEMA}.")]


def build_node(
    con: duckdb.DuckDBPyConnection, graph: Graph, node: Node, present: str | None, anew: bool = False
) -> NodeResult:
    """Build a node with its hooks where `present` (table, view or None) stands now. All of it or nothing happens.

    `anew` tells not to add to an incremental model's table, because a full refresh is asked for or what defines the
    model changed. Raises BuildError naming file and statement.
    """
    place, kind = str(node.relation), present or ""
    started = time.perf_counter()
    sql = ""
    con.begin()
    try:
        there = ExistingRelation(kind, anew=anew)
        if keeps_table(node, kind, anew):
            sql = node.increment.sql if node.increment else node.sql
            there = ExistingRelation(kind, columns_of(con, f"from {place}"), columns_of(con, sql), anew)
        for sql in statements(graph.project, node, there):
            con.execute(sql)
        is_view = node.materialized == "view"
        rows = None if is_view else int(str(fetch_one(con, f"select count(*) from {place}")[0]))
        con.commit()
    except duckdb.Error as error:
        _undo(con)
        raise BuildError(
            node.name, database.kind_of(error), sql, place=Place(str(node.file)), restricted=of_error(error)
        ) from None
    except BaseException:
        _undo(con)
        raise
    return NodeResult(node.id, place, round(time.perf_counter() - started, 3), rows)


def _undo(con: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.Error):  # some errors end the transaction themselves
        con.rollback()


def build_nodes(
    con: duckdb.DuckDBPyConnection,
    graph: Graph,
    nodes: Sequence[Node],
    anew: Collection[str] = (),
    kept: Collection[str] = (),
) -> tuple[NodeResult, ...]:
    """Build the given nodes, whatever changed; `anew` are ids as in `build_node`. Raises BuildError."""
    prepare(con, graph, nodes, kept)
    present = relations(con)
    return tuple(
        build_node(con, graph, node, present.get(str(node.relation)), node.id in anew)
        for node in nodes
        if not is_ephemeral(node)
    )


def run_hooks(con: duckdb.DuckDBPyConnection, setting: str, hooks: Sequence[str]) -> None:
    """Run the hooks of a whole run, in order. Raises BuildError naming the one that fails."""
    for number, sql in enumerate(hooks, 1):
        try:
            con.execute(sql)
        except duckdb.Error as error:
            kind, place = database.kind_of(error), Place("dbt_project.yml")
            raise BuildError(f"{setting} {number}", kind, sql, place=place, restricted=of_error(error)) from None


UNBUILT = NodeRecord()


@dataclass(frozen=True, slots=True)
class Task:
    """What a run over the nodes is asked.

    `own` is what each node is, `known` the record of each in the database as it is, both by id; `chosen` may be built,
    `forced` must be; `build` names the content that comes out new. `begin` is called before the first node is built.
    `definitions` are hashes of what defines each node, `anew` the incremental models whose tables must not be added to,
    `kept` the places of no node that stay. `tell` hears of each node.
    """

    graph: Graph
    own: Mapping[str, NodeChecksum]
    known: Mapping[str, NodeRecord]
    chosen: frozenset[str]
    forced: frozenset[str]
    build: str
    keep_going: bool = False
    begin: Callable[[], object] = lambda: None
    definitions: Mapping[str, str] = field(default_factory=dict)
    anew: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    emit: Emit = silent


@dataclass(slots=True)
class RunResult:
    """What came of a run: results in building order, errors, who was skipped because of whom, who was left stale."""

    results: list[NodeResult] = field(default_factory=list)
    failed: dict[str, BuildError] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def lines(self, graph: Graph) -> list[str]:
        """Return a line for each node that failed or was skipped."""
        message = [f"{error}" for error in self.failed.values()]
        return message + [
            f"{graph.nodes[node_id].name}: skipped, because {graph.nodes[cause].name} failed."
            for node_id, cause in self.skipped.items()
        ]


def source_records(
    con: duckdb.DuckDBPyConnection, old: duckdb.DuckDBPyConnection | None, task: Task
) -> dict[str, NodeRecord]:
    """Return the record of every source after loading; `old` sees the raw tables as they were before, if any were.

    A feed whose files and contract are the same keeps its version unseen, any other raw table when its rows are equal.
    """
    records = {}
    feeds = {f"raw.{feed.name}" for feed in task.graph.feeds}
    for node in task.graph.nodes.values():
        if node.kind == "source" and not node.sql and not node.depends_on:
            before, now = task.known.get(node.id), new_record(node, task, {})
            same = before is not None and str(node.relation) in feeds and before.fingerprint == now.fingerprint
            if before and (same or (old and database.is_same(old, con, str(node.relation)))):
                now = replace(now, version=before.version)
            records[node.id] = now
    return records


def run_nodes(con: duckdb.DuckDBPyConnection, task: Task, records: dict[str, NodeRecord]) -> RunResult:
    """Build what is due in building order. `records` holds those of the sources, and gets those of seeds and models.

    At every moment they say what the database holds. A node that fails leaves its table as it was; those below it are
    skipped, and without `keep_going` nothing is built after it. Raises no BuildError: they are in what is returned.
    """
    ran = RunResult()
    nodes = task.graph.built()
    saving = _unchanged(task)
    for node in nodes:
        # A node that is left stale keeps the record it had, so that the next run still rebuilds it.
        records[node.id] = replace(task.known.get(node.id, UNBUILT), status="", message="")
    built = {node.id for node in nodes}
    prepare(con, task.graph, nodes, task.kept)
    run_hooks(con, "on-run-start", task.graph.on_run.before)
    present = relations(con)
    for node in task.graph.nodes.values():
        if node.id not in built:
            _follow(node, task, records, ran)
            continue
        before = records[node.id]
        now = new_record(node, task, {parent: records[parent].version for parent in node.depends_on})
        if node.id in task.chosen and (cause := _cause(node, ran)):
            ran.skipped[node.id] = cause
            records[node.id] = replace(before, status="skipped")
        elif not is_due(node, task, before, now, present):
            records[node.id] = replace(before, sql=now.sql)
        elif node.id not in task.chosen:
            ran.left.append(node.id)
        elif task.keep_going or not ran.failed:
            if not ran.results:
                task.begin()
            done = nodes.index(node)
            emit_event(task.emit, Event("building", stage="build", name=node.name, done=done, total=len(nodes)))
            try:
                result, is_same = _build(con, task, node, before, present, saving)
            except BuildError as error:
                ran.failed[node.id] = error
                records[node.id] = replace(before, status="error", message=str(error))
                continue
            version = before.version if is_same else now.version
            records[node.id] = replace(
                now, version=version, seconds=result.seconds, built_in=task.build, status="success"
            )
            if node.materialized != "ephemeral":
                present[result.relation] = "view" if node.materialized == "view" else "table"
            ran.results.append(result)
            event = Event("built", stage="build", name=node.name, rows=result.rows, seconds=result.seconds)
            emit_event(task.emit, event)
    return ran


def _follow(node: Node, task: Task, records: dict[str, NodeRecord], ran: RunResult) -> None:
    """Note what is not built: a source that a model fills holds what that holds; exposures and analyses."""
    if node.kind == "source" and node.depends_on:
        now = new_record(node, task, {parent: records[parent].version for parent in node.depends_on})
        records[node.id] = replace(now, version=records[node.depends_on[0]].version)
        if cause := _cause(node, ran):
            ran.skipped[node.id] = cause
    elif node.kind in ("exposure", "analysis"):
        records[node.id] = new_record(node, task, {})


def new_record(node: Node, task: Task, parents: Mapping[str, str]) -> NodeRecord:
    """Return the record of a node that was made anew from the given versions of its parents."""
    own = task.own[node.id]
    made = fingerprint(node, own, parents)
    return NodeRecord(
        fingerprint=made,
        version=made if node.materialized in VIRTUAL else task.build,
        shape=own.shape,
        settings=own.settings,
        text=own.text,
        definition=task.definitions.get(node.id),
        parents=dict(parents),
        relation=str(node.relation),
        sql=hashed_values(node.sql, task.graph.project.root),
    )


def is_due(node: Node, task: Task, before: NodeRecord, now: NodeRecord, present: Mapping[str, str]) -> bool:
    """Tell whether a seed or model must be made anew."""
    is_missing = str(node.relation) not in present and node.materialized != "ephemeral"
    return node.id in task.forced or before.fingerprint != now.fingerprint or is_missing


def _cause(node: Node, ran: RunResult) -> str:
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
    con: duckdb.DuckDBPyConnection,
    task: Task,
    node: Node,
    before: NodeRecord,
    present: Mapping[str, str],
    saving: set[str],
) -> tuple[NodeResult, bool]:
    """Build one node; tell whether it holds what it held before, as far as anything that reads it is saved by that."""
    place = str(node.relation)
    if node.materialized == "ephemeral":
        return NodeResult(node.id, place, 0.0, None), False
    parents = [task.graph.nodes[parent] for parent in node.depends_on]
    for parent in parents:
        if parent.kind != "source" and parent.materialized != "ephemeral" and str(parent.relation) not in present:
            message = f"it reads {parent.name}, which has not been built yet; select that too, as +{node.name}."
            raise BuildError(node.name, message, place=Place(str(node.file)))
    was_there = present.get(place) == "table" and before.version and before.relation == place
    if not was_there or node.materialized in VIRTUAL or node.id not in saving:
        return build_node(con, task.graph, node, present.get(place), node.id in task.anew), False
    with database.as_it_was(con, place) as old:
        result = build_node(con, task.graph, node, present.get(place), node.id in task.anew)
        return result, database.is_same(old, con, place)


def _unchanged(task: Task) -> set[str]:
    """The nodes that some seed, model or test reads which is what it was: it stays when their content does."""
    found: set[str] = set()
    for node in task.graph.nodes.values():
        before, own = task.known.get(node.id, UNBUILT), task.own[node.id]
        if (
            node.kind not in ("exposure", "analysis")
            and node.id not in task.forced
            and before.shape == own.shape
            and before.settings == own.settings
        ):
            found.update(node.depends_on)
    return found
