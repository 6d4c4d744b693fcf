"""The whole project compiled: every node, in an order in which each comes after what it depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from kpi.errors import CompileError, ConfigError, KpiError, nearest
from kpi.feed import Feed, is_feed, read_feed
from kpi.generic_tests import test_nodes
from kpi.model import Node, line_of
from kpi.nodes import resource_node, source_nodes
from kpi.project import Project, together
from kpi.properties import is_plain
from kpi.template import Relation, Templates

# Tables that no model or seed may be: deliveries, and what kpi writes beside the models.
RESERVED_SCHEMA = "raw"
RESERVED_TABLES = ("marts.expectation_results",)


@dataclass(frozen=True, slots=True)
class Graph:
    """All nodes by id, parents before children, and the feeds the sources describe."""

    project: Project
    nodes: Mapping[str, Node]
    feeds: tuple[Feed, ...]

    def built(self) -> tuple[Node, ...]:
        """Seeds and models in building order."""
        return tuple(node for node in self.nodes.values() if node.kind in ("seed", "model"))

    def tests(self) -> tuple[Node, ...]:
        """Data tests in name order."""
        return tuple(sorted((node for node in self.nodes.values() if node.kind == "test"), key=lambda test: test.name))


def compile_project(project: Project) -> Graph:
    """Render and parse every model and test. Raises one error with all that is wrong, each with file and line."""
    graph, mistakes = compile_nodes(project)
    if mistakes:
        raise together(mistakes, project.root)
    return graph


def compile_nodes(project: Project) -> tuple[Graph, list[KpiError]]:
    """Render and parse every model and test. Returns the nodes that are right, and everything that is wrong.

    Nodes that depend on each other in a circle have no order; then there are none.
    """
    mistakes: list[KpiError] = []
    templates = Templates(project)
    nodes = source_nodes(project)
    templates.relations.update({node.id: node.relation for node in nodes.values()})
    for resource in project.seeds + project.models:
        schema = templates.schema_of(resource.config.get("schema"))
        relation = Relation(f"{resource.kind}.{project.name}.{resource.name}", schema, resource.name)
        if not is_plain(relation.schema):
            told = f"the schema '{relation.schema}' must be lower-case letters, digits and _."
            mistakes.append(CompileError(resource.file, 1, told))
        templates.relations[relation.node] = relation
    disabled: dict[str, Relation] = {}
    for resource in project.seeds + project.models:
        try:
            node = resource_node(project, resource, templates)
        except CompileError as error:
            mistakes.append(error)
            continue
        if node:
            nodes[node.id] = node
        else:
            node_id = f"{resource.kind}.{project.name}.{resource.name}"
            disabled[node_id] = templates.relations[node_id]
    mistakes += _misplaced(nodes.values())
    tests, wrong = test_nodes(project, templates, nodes)
    mistakes += wrong
    nodes.update({test.id: test for test in tests})
    mistakes += _disabled(disabled, nodes)
    feeds: list[Feed] = []
    for source in project.sources:
        try:
            feeds += [read_feed(source)] if is_feed(source) else []
        except ConfigError as error:
            mistakes.append(error)
    for name in project.undeclared:
        if name not in templates.asked:
            hint = nearest(name, {*project.variables, *templates.asked} - {name})
            mistakes.append(ConfigError(f"--vars: nothing here asks for the variable '{name}'.{hint}"))
    try:
        nodes = _ordered(nodes)
    except CompileError as error:
        mistakes.append(error)
        nodes = {}
    return Graph(project, nodes, tuple(feeds)), mistakes


def _misplaced(nodes: Iterable[Node]) -> list[CompileError]:
    """Two nodes in one place, or one where kpi keeps its own tables."""
    seen: dict[str, Node] = {}
    mistakes = []
    for node in nodes:
        place = str(node.relation)
        first = seen.setdefault(place, node)
        if first is not node:
            mistakes.append(CompileError(node.file, node.line, f"{place} is where {first.name} ({first.file}) is too."))
        elif node.kind != "source" and (node.relation.schema == RESERVED_SCHEMA or place in RESERVED_TABLES):
            mistakes.append(CompileError(node.file, node.line, f"{place} is kept for kpi's own tables."))
    return mistakes


def _disabled(disabled: Mapping[str, Relation], nodes: Mapping[str, Node]) -> list[CompileError]:
    """References to models and seeds that are switched off."""
    mistakes = []
    for node in nodes.values():
        for parent in node.depends_on:
            if parent in disabled:
                told = f"ref('{disabled[parent].name}'): it is disabled (enabled: false)."
                mistakes.append(CompileError(node.file, line_of(node, disabled[parent]), told))
    return mistakes


def _ordered(nodes: Mapping[str, Node]) -> dict[str, Node]:
    sorter = TopologicalSorter(
        {name: [parent for parent in sorted(nodes[name].depends_on) if parent in nodes] for name in sorted(nodes)}
    )
    try:
        return {node_id: nodes[node_id] for node_id in sorter.static_order()}
    except CycleError as error:
        # Each of these is read by the next one, and the last is the first.
        circle = error.args[1][:0:-1]
        start = circle.index(min(circle))
        circle = [*circle[start:], *circle[:start], circle[start]]
        chain = " -> ".join(nodes[node_id].name for node_id in circle)
        told = f"these models depend on each other in a circle: {chain}."
        first, second = nodes[circle[0]], nodes[circle[1]]
        raise CompileError(first.file, line_of(first, second.relation), told) from None
