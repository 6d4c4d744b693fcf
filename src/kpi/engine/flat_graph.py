"""The variable `graph` of templates: all nodes as dbt has them, known before what asks for it is rendered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kpi.engine.artifact_forms import (
    TESTS_SCHEMA,
    column_entry,
    config_of,
    dependencies_of,
    entry_of,
    placement_of,
    relation_of,
    written_config,
)
from kpi.engine.graph import Node
from kpi.engine.parser import documented, early_config, exposure_nodes, raw_code
from kpi.engine.template import Templates
from kpi.engine.tests import TestName, names_of_tests, test_nodes
from kpi.project.project import Project, Resource
from kpi.project.properties import TestSpec
from kpi.project.relation import Relation

_KINDS = ("model", "seed", "snapshot", "analysis")
_NONE = ("metrics", "groups", "saved_queries", "semantic_models", "functions")


def set_known_graph(
    project: Project, templates: Templates, nodes: Mapping[str, Node], waiting: Iterable[Resource] = ()
) -> None:
    """Let templates know all nodes: those that are compiled, those `waiting` for this, and the tests there will be."""
    early = {
        one.id: _placeholder(one, templates.relations[one.id], early_config(project, one, templates)) for one in waiting
    }
    tests, errors = test_nodes(project, templates, {**nodes, **early})
    files = {str(file): file for file in project.test_files}
    tests += [_test_placeholder(project, files[error.file]) for error in errors if error.file in files]
    more = {one.id: one for one in (*tests, *exposure_nodes(project, templates)[0])}
    templates.known_graph = flat_graph(project, {**nodes, **early, **more})


def flat_graph(project: Project, nodes: Mapping[str, Node]) -> dict[str, Any]:
    """Return nodes, sources and exposures by dbt's id. What a model is made from that waits for this is left out."""
    texts = {one.id: one for one in project.resources}
    names = names_of_tests(project, nodes)
    entries = [_node(project, node, texts) for node in nodes.values() if node.kind in _KINDS]
    entries += [_test(project, node, names[node.id]) for node in nodes.values() if node.kind == "test"]
    sources = [_source(project, node) for node in nodes.values() if node.kind == "source"]
    exposures = [_entry(project, node, "exposure", node.id) for node in nodes.values() if node.kind == "exposure"]
    for one in exposures:
        one |= {
            "type": nodes[one["unique_id"]].config.get("type"),
            "owner": nodes[one["unique_id"]].config.get("owner"),
        }
    return {
        "nodes": {one["unique_id"]: one for one in sorted(entries, key=lambda one: str(one["unique_id"]))},
        "sources": {one["unique_id"]: one for one in sources},
        "exposures": {one["unique_id"]: one for one in exposures},
        **{part: {} for part in _NONE},
    }


def _placeholder(resource: Resource, relation: Relation, config: Mapping[str, Any]) -> Node:
    """Return a node for a model that waits for the graph: all that is known of it before it is rendered."""
    return Node(
        id=relation.node,
        kind="snapshot" if resource.kind == "snapshot" else "model",
        name=resource.name,
        file=resource.file,
        line=resource.line,
        relation=relation,
        materialized=str(config.get("materialized", "view")),
        tags=tuple(config.get("tags", ())),
        **documented(resource),
        config=config,
    )


def _test_placeholder(project: Project, file: Path) -> Node:
    """Return a node for a singular test that waits for the graph."""
    name = file.stem
    node_id = f"test.{project.name}.{name}"
    spec = TestSpec("singular", "", {}, "error", "", file, 1)
    relation = Relation(node_id, "", name)
    return Node(node_id, "test", name, file, 1, relation, "test", test=spec)


def _node(project: Project, node: Node, resources: Mapping[str, Resource]) -> dict[str, Any]:
    return _entry(project, node, node.kind, node.id) | {
        **placement_of(node),
        "config": config_of(node.kind, written_config(node.config)),
        "raw_code": "" if node.kind == "seed" else raw_code(project, resources[node.id]),
    }


def _test(project: Project, node: Node, name: TestName) -> dict[str, Any]:
    tested = node.relation.node
    entry = _entry(project, node, "test", name.id) | {
        "name": name.name,
        "alias": name.alias,
        "schema": TESTS_SCHEMA,
        "relation_name": None,
        "config": config_of("test", dict(node.config)),
    }
    if not name.arguments:
        return entry
    return entry | {
        "column_name": name.column or None,
        "attached_node": None if tested.startswith("source.") else tested,
        "test_metadata": {"name": name.kind.rpartition(".")[2], "kwargs": name.arguments, "namespace": None},
    }


def _source(project: Project, node: Node) -> dict[str, Any]:
    source, _, name = node.name.partition(".")
    place = node.relation
    return _entry(project, node, "source", node.id) | {
        "name": name,
        "source_name": source,
        "schema": place.schema,
        "identifier": place.name,
        "relation_name": relation_of(place.schema, place.name),
        "fqn": [project.name, *node.file.parts[1:-1], source, name],
        "meta": dict(node.config.get("meta") or {}),
        "loaded_at_field": node.config.get("loaded_at_field") or None,
        "config": {"enabled": True},
    }


def _entry(project: Project, node: Node, kind: str, unique_id: str) -> dict[str, Any]:
    return entry_of(project.name, kind, unique_id, node.name, node.file) | {
        "path": "/".join(node.file.parts[1:]),
        "fqn": list(node.fqn),
        "tags": list(node.tags),
        "description": node.description,
        "columns": {column.name: column_entry(column) for column in node.columns},
        "meta": dict(node.config.get("meta") or {}),
        **dependencies_of(node),
        "config": dict(node.config),
        "language": "sql",
    }
