"""Run the nodes whose fingerprint changed, in order, each as one statement."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from kpi.engine import drop, relations
from kpi.errors import BuildError
from kpi.graph import RESERVED_SCHEMA, RESERVED_TABLES, Graph
from kpi.materialize import statement
from kpi.model import Node
from kpi.seeds import schema_statement


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What happened to one node. `rows` is None for a view."""

    id: str
    relation: str
    seconds: float
    rows: int | None


def stale(graph: Graph, now: Mapping[str, str], before: Mapping[str, str], present: Mapping[str, str]) -> list[Node]:
    """Return the seeds and models to rebuild, in building order: fingerprint changed, or not in the database."""
    return [node for node in graph.built() if before.get(node.id) != now[node.id] or str(node.relation) not in present]


def build_nodes(con: duckdb.DuckDBPyConnection, graph: Graph, nodes: list[Node]) -> tuple[NodeResult, ...]:
    """Build the given nodes and drop what no node stands for any more. Raises BuildError naming file and statement."""
    _drop_strangers(con, graph)
    present = relations(con)
    for schema in sorted({schema_statement(node) for node in nodes}):
        con.execute(schema)
    results = []
    for node in nodes:
        place, kind = str(node.relation), "view" if node.materialized == "view" else "table"
        if present.get(place, kind) != kind:
            drop(con, place, present[place])
        started = time.perf_counter()
        sql = statement(graph, node)
        try:
            row = con.execute(sql).fetchone()
        except duckdb.Error as error:
            raise BuildError(f"{node.name} ({node.file})", str(error).strip(), sql) from None
        rows = int(row[0]) if row and kind == "table" else None
        results.append(NodeResult(node.id, place, round(time.perf_counter() - started, 3), rows))
    return tuple(results)


def _drop_strangers(con: duckdb.DuckDBPyConnection, graph: Graph) -> None:
    wanted = {str(node.relation) for node in graph.built()} | set(RESERVED_TABLES)
    for place, kind in sorted(relations(con).items(), key=lambda item: item[1], reverse=True):
        if place not in wanted and not place.startswith(f"{RESERVED_SCHEMA}."):
            drop(con, place, kind)
