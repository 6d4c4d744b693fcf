"""Execute the steps of a plan: build each node that is due, compare what it holds with what it held, and record it.

A step that is conditional is looked at when the run gets there: where no content changed, nothing below is rebuilt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from kpi import database
from kpi.build_record import NodeRecord
from kpi.database import columns_of, drop, duckdb, empty_schemas, fetch_one, relations
from kpi.engine import incremental
from kpi.engine.graph import Graph, Node
from kpi.engine.materializations import ExistingRelation, is_ephemeral, keeps_table, schema_statement, statements
from kpi.engine.plan import VIRTUAL, Request, Step, drop_steps, fingerprint
from kpi.environment import hashed_values
from kpi.errors import BuildError, Place, Problem
from kpi.events import Emit, Event, emit_event, silent
from kpi.ingest.masking import of_error
from kpi.sql import identifier


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What happened to one node. `rows` are those of its table now, None for a view.

    `is_increment` tells that they were added to those that it had.
    """

    id: str
    relation: str
    seconds: float
    rows: int | None
    is_increment: bool = False


class Adapter(Protocol):
    """Where SELECTs are computed. What it returns is for the connection of the build; none of it says which engine.

    `has_subqueries_in_aggregates` tells whether `count(*) filter (where x in (select …))` can be said.
    """

    has_subqueries_in_aggregates: bool

    def landing(self, node: Node, adds: bool) -> Node:
        """Compute a node's SELECT. Returns the node with one that yields those rows here.

        With `adds` it is the one that yields rows to add. Raises BuildError naming the node, or EngineLost.
        """

    def landed(self, node: Node) -> None:
        """Take note that the node's table or view is another now."""

    def use_parquet(self, files: Mapping[str, Sequence[str]]) -> None:
        """Let tables that others read be read from these files, by relation: they hold the same rows."""

    def select(self, node: Node, sql: str) -> str:
        """Compute a SELECT over what a node reads. Returns one that yields its rows here.

        Raises StatementError or duckdb.Error for what cannot be computed, EngineLost when Spark is gone.
        """

    def rows_here(self, node: Node, sql: str) -> str:
        """Compute a SELECT of few rows. Returns one that yields them here and reads no file; raises as `select`."""

    def first_row(self, node: Node, sql: str) -> tuple[Any, ...]:
        """Return the first row of a SELECT over what a node reads; raises as `select`."""


AdapterFor = Callable[[duckdb.DuckDBPyConnection], Adapter]


class DuckAdapter:
    """Everything is computed where it is kept."""

    has_subqueries_in_aggregates = True

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con

    def landing(self, node: Node, adds: bool) -> Node:
        """Return the node as it is."""
        return node

    def landed(self, node: Node) -> None:
        """Nothing is to be noted."""

    def use_parquet(self, files: Mapping[str, Sequence[str]]) -> None:
        """The tables themselves are read."""

    def select(self, node: Node, sql: str) -> str:
        """Return the SELECT as it is."""
        return sql

    def rows_here(self, node: Node, sql: str) -> str:
        """Return the SELECT as it is."""
        return sql

    def first_row(self, node: Node, sql: str) -> tuple[Any, ...]:
        """Return the first row of a SELECT."""
        return fetch_one(self.con, sql)


def prepare(
    con: duckdb.DuckDBPyConnection, graph: Graph, nodes: Iterable[Node], unmanaged: Collection[str] = ()
) -> None:
    """Drop what no node stands for any more, but for the `unmanaged` relations, and create the schemas of the nodes."""
    kinds = relations(con)
    for step in drop_steps(graph, kinds, unmanaged):
        drop(con, step.name, kinds[step.name])
    # A schema that nothing is in any more goes too; a hook's macro or sequence keeps its own.
    for schema in empty_schemas(con) - {node.relation.schema for node in graph.built()}:
        with suppress(duckdb.Error):
            con.execute(f"drop schema {identifier(schema)}")
    for schema in sorted({schema_statement(node) for node in nodes if not is_ephemeral(node)}):
        con.execute(schema)


def build_node(
    con: duckdb.DuckDBPyConnection,
    graph: Graph,
    node: Node,
    present: str | None,
    full_refresh: bool = False,
    adapter: Adapter | None = None,
) -> NodeResult:
    """Build a node with its hooks where `present` (table, view or None) stands now. All of it or nothing happens.

    With `full_refresh` rows are not added to an incremental model's table: it is asked for, or what defines the model
    changed. Its rows are computed by the `adapter`, or here. Raises BuildError naming file and statement.
    """
    place, kind = str(node.relation), present or ""
    started = time.perf_counter()
    sql, adapter = "", adapter or DuckAdapter(con)
    try:
        adds = keeps_table(node, kind, full_refresh)
        landing = adapter.landing(node, adds)
        con.begin()
        there = ExistingRelation(kind, full_refresh=full_refresh)
        if adds:
            sql = landing.increment.sql if landing.increment else landing.sql
            there = ExistingRelation(kind, columns_of(con, f"from {place}"), columns_of(con, sql), full_refresh)
        for sql in statements(graph.project, landing, there):
            con.execute(sql)
        is_view = node.materialized == "view"
        rows = None if is_view else int(str(fetch_one(con, f"select count(*) from {place}")[0]))
        con.commit()
        adapter.landed(node)
    except duckdb.Error as error:
        _undo(con)
        raise BuildError(
            node.name, database.kind_of(error), sql, place=Place(str(node.file)), restricted=of_error(error)
        ) from None
    except BaseException:
        _undo(con)
        raise
    is_increment = adds and node.materialized == "incremental"
    return NodeResult(node.id, place, round(time.perf_counter() - started, 3), rows, is_increment)


def increment_problems(
    con: duckdb.DuckDBPyConnection, graph: Graph, results: Iterable[NodeResult], is_corrected: bool
) -> list[Problem]:
    """Return a warning for each incremental model whose table is not what a full refresh would make of the same rows.

    Rows are counted; where deliveries were corrected or withdrawn they are compared as well. A model that is to keep
    its rows (`full_refresh: false`), and what cannot be computed anew, is passed over.
    """
    problems = []
    for result in results:
        node = graph.nodes[result.id]
        if not result.is_increment or node.config.get("full_refresh") is False:
            continue
        with suppress(duckdb.Error):
            if difference := incremental.difference(con, node, is_corrected):
                message = f"{difference}: what its is_incremental() adds leaves out rows that came late or changed."
                remedy = f"See: kpi refresh --full-refresh --select {node.name}"
                place = Place(str(node.file), node.line)
                problems.append(Problem("model.increment_differs", message, place, remedy, subject=node.name))
    return problems


def _undo(con: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.Error):  # some errors end the transaction themselves
        con.rollback()


def run_hooks(con: duckdb.DuckDBPyConnection, setting: str, hooks: Sequence[str]) -> None:
    """Run the hooks of a whole run, in order. Raises BuildError naming the one that fails."""
    for number, sql in enumerate(hooks, 1):
        try:
            con.execute(sql)
        except duckdb.Error as error:
            kind, place = database.kind_of(error), Place("dbt_project.yml")
            raise BuildError(f"{setting} {number}", kind, sql, place=place, restricted=of_error(error)) from None


@dataclass(frozen=True, slots=True)
class Task:
    """What a run over the nodes works with, beside what is asked of it.

    `build` names the content that comes out new. `begin` is called before the first node is built. `definitions` are
    hashes of what defines each node, `full_refresh` the incremental models whose tables must not be added to,
    `unmanaged` the relations of no node that stay, `adapter` computes; None where the connection does.
    """

    request: Request
    build: str
    keep_going: bool = False
    begin: Callable[[], object] = lambda: None
    definitions: Mapping[str, str] = field(default_factory=dict)
    full_refresh: frozenset[str] = frozenset()
    unmanaged: frozenset[str] = frozenset()
    emit: Emit = silent
    adapter: Adapter | None = None


@dataclass(slots=True)
class RunResult:
    """What came of a run: results in building order, errors, who was skipped because of whom, who was left stale."""

    results: list[NodeResult] = field(default_factory=list)
    failed: dict[str, BuildError] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def cause(self, node: Node) -> str:
        """Return the failed node because of which this one cannot be built or tested; empty when there is none."""
        causes = (self.skipped.get(parent, parent) for parent in node.depends_on if self._is_lost(parent))
        return next(causes, "")

    def _is_lost(self, node_id: str) -> bool:
        return node_id in self.failed or node_id in self.skipped

    def lines(self, graph: Graph) -> list[str]:
        """Return a line for each node that failed or was skipped."""
        return [
            *(f"{error}" for error in self.failed.values()),
            *(
                f"{graph.nodes[node_id].name}: skipped, because {graph.nodes[cause].name} failed."
                for node_id, cause in self.skipped.items()
            ),
        ]


def source_records(
    con: duckdb.DuckDBPyConnection, old: duckdb.DuckDBPyConnection | None, task: Task
) -> dict[str, NodeRecord]:
    """Return the record of every source after loading; `old` sees the raw tables as they were before, if any were.

    A feed whose files and contract are the same keeps its version unseen, any other raw table when its rows are equal.
    """
    records = {}
    feeds = {f"raw.{feed.name}" for feed in task.request.graph.feeds}
    for node in task.request.graph.nodes.values():
        if node.kind == "source" and not node.sql and not node.depends_on:
            before, now = task.request.record_of(node.id), new_record(node, task, {})
            same = str(node.relation) in feeds and before.fingerprint == now.fingerprint
            if before.fingerprint and (same or (old and database.is_same(old, con, str(node.relation)))):
                now = replace(now, version=before.version)
            records[node.id] = now
    return records


def prepare_run(con: duckdb.DuckDBPyConnection, task: Task) -> dict[str, str]:
    """Drop what is gone, create schemas and run the hooks on-run-start. Returns the kinds of all relations."""
    graph = task.request.graph
    prepare(con, graph, graph.built(), task.unmanaged)
    run_hooks(con, "on-run-start", graph.on_run.before)
    return relations(con)


def run_nodes(
    con: duckdb.DuckDBPyConnection, task: Task, steps: Iterable[Step], records: dict[str, NodeRecord]
) -> RunResult:
    """Execute the steps of seeds, models and snapshots. `records` holds those of the sources, and gets theirs.

    At every moment they say what the database holds. A node that fails leaves its table as it was; those below it are
    skipped, and without `keep_going` nothing is built after it. Raises no BuildError: they are in what is returned.
    """
    ran, request = RunResult(), task.request
    nodes = request.graph.built()
    due = {step.id: step for step in steps if step.action in ("build", "leave")}
    for node in nodes:
        # A node that is left stale keeps the record it had, so that the next run still rebuilds it.
        records[node.id] = replace(request.record_of(node.id), status="", message="")
    order = {node.id: number for number, node in enumerate(nodes)}
    present, compared = relations(con), request.compared()
    for node in request.graph.nodes.values():
        if node.id not in order:
            _follow(node, task, records, ran)
            continue
        step, before = due.get(node.id), records[node.id]
        now = new_record(node, task, {parent: records[parent].version for parent in node.depends_on})
        if step and step.action == "build" and (cause := ran.cause(node)):
            ran.skipped[node.id] = cause
            records[node.id] = replace(before, status="skipped")
        elif step is None or not step.is_due(before, now.parents):
            records[node.id] = replace(before, sql=now.sql)
        elif step.action == "leave":
            ran.left.append(node.id)
        elif task.keep_going or not ran.failed:
            if not ran.results:
                task.begin()
            done = order[node.id]
            emit_event(task.emit, Event("building", stage="build", name=node.name, done=done, total=len(nodes)))
            is_compared = request.may_stay_alike(node, present, compared)
            try:
                result, is_same = _build(con, task, node, present, is_compared)
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
    """Record what is not built: a source that a model fills holds what that holds; exposures and analyses."""
    if node.kind == "source" and node.depends_on:
        now = new_record(node, task, {parent: records[parent].version for parent in node.depends_on})
        records[node.id] = replace(now, version=records[node.depends_on[0]].version)
        if cause := ran.cause(node):
            ran.skipped[node.id] = cause
    elif node.kind in ("exposure", "analysis"):
        records[node.id] = new_record(node, task, {})


def new_record(node: Node, task: Task, parents: Mapping[str, str]) -> NodeRecord:
    """Return the record of a node that is built from the given versions of its parents."""
    checksum = task.request.checksums[node.id]
    made = fingerprint(node, checksum, parents)
    return NodeRecord(
        fingerprint=made,
        version=made if node.materialized in VIRTUAL else task.build,
        shape=checksum.shape,
        settings=checksum.settings,
        text=checksum.text,
        definition=task.definitions.get(node.id),
        parents=dict(parents),
        relation=str(node.relation),
        sql=hashed_values(node.sql, task.request.graph.project.root),
    )


def _build(
    con: duckdb.DuckDBPyConnection, task: Task, node: Node, present: Mapping[str, str], is_compared: bool
) -> tuple[NodeResult, bool]:
    """Build one node; tell whether it holds what it held before, where that is compared."""
    graph, place = task.request.graph, str(node.relation)
    if node.materialized == "ephemeral":
        return NodeResult(node.id, place, 0.0, None), False
    for parent in (graph.nodes[parent] for parent in node.depends_on):
        if parent.kind != "source" and parent.materialized != "ephemeral" and str(parent.relation) not in present:
            message = f"it reads {parent.name}, which has not been built yet; select that too, as +{node.name}."
            raise BuildError(node.name, message, place=Place(str(node.file)))
    is_full = node.id in task.full_refresh
    if not is_compared:
        return build_node(con, graph, node, present.get(place), is_full, task.adapter), False
    with database.as_it_was(con, place) as old:
        result = build_node(con, graph, node, present.get(place), is_full, task.adapter)
        return result, database.is_same(old, con, place)
