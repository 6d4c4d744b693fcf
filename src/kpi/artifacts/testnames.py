"""The names and ids dbt gives data tests, so that its tools find a test of ours under the id they know."""

from __future__ import annotations

from kpi.compile.graph import Graph
from kpi.models.test_name import TestName, names_of_tests

__all__ = ["TestName", "test_names"]


def test_names(graph: Graph) -> dict[str, TestName]:
    """Return dbt's names of every data test, by our id."""
    return names_of_tests(graph.project, graph.nodes)
