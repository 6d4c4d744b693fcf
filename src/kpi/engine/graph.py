"""The whole project compiled: every node, in an order in which each comes after what it depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kpi.engine.node import Hooks, Node
from kpi.sql import Columns

if TYPE_CHECKING:
    from kpi.engine.unit_tests import UnitTest
    from kpi.ingest.contract import Feed
    from kpi.project.project import Project

# Tables that no model or seed may be: deliveries, and what kpi writes beside the models.
RESERVED_SCHEMA = "raw"
RESERVED_TABLES = ("marts.expectation_results", "marts.revision_causes", "marts.runs")
# Where failing rows of data tests are kept, a table a test.
AUDIT_SCHEMA = "dbt_test__audit"


@dataclass(frozen=True, slots=True)
class Graph:
    """All nodes by id, parents before children, and the feeds the sources describe.

    `on_run` are the hooks of a whole run, `environment_read` the environment variables that templates and YAML read,
    with the values they had, `notes` what has no effect or is not built here.
    """

    project: Project
    nodes: Mapping[str, Node]
    feeds: tuple[Feed, ...]
    environment_read: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unit_tests: tuple[UnitTest, ...] = ()
    columns: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    on_run: Hooks = Hooks()  # noqa: RUF009  a frozen value

    def built(self) -> tuple[Node, ...]:
        """Seeds, models, snapshots and sources that are files outside, in building order.

        Of these, ephemeral models have no table of their own.
        """
        return tuple(
            node
            for node in self.nodes.values()
            if node.kind in ("seed", "model", "snapshot") or (node.kind == "source" and node.sql)
        )

    def unread(self) -> tuple[Node, ...]:
        """The sources that nothing loads and nothing reads. Where there are feeds each source is to be loaded."""
        read = {parent for node in self.nodes.values() for parent in node.depends_on}
        return tuple(
            node
            for node in self.nodes.values()
            if node.kind == "source" and not (node.sql or node.depends_on or self.feeds or node.id in read)
        )

    @property
    def outside(self) -> dict[str, str]:
        """The locations of sources that are files outside, each with a hash of their content."""
        found = [node for node in self.nodes.values() if node.kind == "source" and node.sql]
        return {node.sql.removeprefix("select * from "): node.shape for node in found}

    def tests(self) -> tuple[Node, ...]:
        """Data tests in name order."""
        return tuple(sorted((node for node in self.nodes.values() if node.kind == "test"), key=lambda test: test.name))


# Tells name and type of the columns of the nodes of a graph, by node id.
ColumnsOf = Callable[[Graph], Mapping[str, Columns]]


def with_unit_tests(graph: Graph) -> Graph:
    """Return the graph with its unit tests among its nodes, as a selection sees them."""
    from kpi.engine.unit_tests import unit_test_nodes

    return replace(graph, nodes={**graph.nodes, **unit_test_nodes(graph.unit_tests)})
