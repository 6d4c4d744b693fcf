"""Nodes built whatever changed, for tests of what statements make of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import duckdb

from kpi.database import relations
from kpi.engine.graph import Graph, Node
from kpi.engine.materializations import is_ephemeral
from kpi.engine.runner import NodeResult, build_node, prepare


def build_nodes(
    con: duckdb.DuckDBPyConnection,
    graph: Graph,
    nodes: Sequence[Node],
    full_refresh: Collection[str] = (),
    unmanaged: Collection[str] = (),
) -> tuple[NodeResult, ...]:
    """Build the given nodes, whatever changed; `full_refresh` are ids as in `build_node`. Raises BuildError."""
    prepare(con, graph, nodes, unmanaged)
    present = relations(con)
    return tuple(
        build_node(con, graph, node, present.get(str(node.relation)), node.id in full_refresh)
        for node in nodes
        if not is_ephemeral(node)
    )
