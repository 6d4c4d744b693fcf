"""Run the nodes whose fingerprint changed, in order, each with its hooks and wholly or not at all."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import duckdb

from kpi.base.engine import columns_of, drop, empty_schemas, fetch_one, relations
from kpi.base.errors import BuildError
from kpi.base.names import identifier, word
from kpi.compile.graph import AUDIT_SCHEMA, RESERVED_SCHEMA, RESERVED_TABLES, Graph
from kpi.deliveries.personal import of_error
from kpi.models.ephemeral import is_ephemeral
from kpi.models.model import Node
from kpi.models.seeds import schema_statement
from kpi.run.materialize import Present, keeps_table, statements


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
    for place in strangers(con, graph):
        if place not in kept:
            drop(con, place, kinds[place])
    # A schema that nothing is in any more goes too; a hook's macro or sequence keeps its own.
    for schema in empty_schemas(con) - {node.relation.schema for node in graph.built()}:
        with suppress(duckdb.Error):
            con.execute(f"drop schema {identifier(schema)}")
    for schema in sorted({schema_statement(node) for node in nodes if not is_ephemeral(node)}):
        con.execute(schema)


def strangers(con: duckdb.DuckDBPyConnection, graph: Graph) -> list[str]:
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
        there = Present(kind, anew=anew)
        if keeps_table(node, kind, anew):
            sql = node.increment.sql if node.increment else node.sql
            there = Present(kind, columns_of(con, f"from {place}"), columns_of(con, sql), anew)
        for sql in statements(graph.project, node, there):
            con.execute(sql)
        is_view = node.materialized == "view"
        rows = None if is_view else int(str(fetch_one(con, f"select count(*) from {place}")[0]))
        con.commit()
    except duckdb.Error as error:
        _undo(con)
        raise BuildError(f"{node.name} ({node.file})", of_error(error), sql) from None
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
            raise BuildError(f"{setting} {number} (dbt_project.yml)", of_error(error), sql) from None
