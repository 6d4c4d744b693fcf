"""The statements that make a node's table or view, by its materialization."""

from __future__ import annotations

from kpi.graph import Graph
from kpi.model import Node
from kpi.seeds import seed_table


def statement(graph: Graph, node: Node) -> str:
    """The one statement that builds a node."""
    if node.kind == "seed":
        return seed_table(graph.project, node)
    return f"create or replace {node.materialized} {node.relation} as\n{node.sql}"
