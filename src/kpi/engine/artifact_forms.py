"""The forms of dbt's artifacts: how they begin, what dbt takes settings to be, and the small parts of entries.

The variable `graph` of templates is of them too: all nodes as dbt has them, known before what asks for it is rendered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kpi.database import CATALOG
from kpi.engine.graph import Node
from kpi.engine.parser import documented, early_config, exposure_nodes, raw_code
from kpi.engine.template import Templates
from kpi.engine.tests import TestName, names_of_tests, test_nodes
from kpi.project.project import Project, Resource
from kpi.project.properties import Column, TestSpec
from kpi.project.relation import Relation
from kpi.sql import identifier

# The version of dbt whose forms these are; its tools look at it to know which fields there may be.
DBT_VERSION = "1.11.16"
TESTS_SCHEMA = "dbt_test__audit"
_OVERVIEW = """\
### {name}

The models, tables and tests of this project, as they were when it was built last. `kpi lineage` tells what a figure
is made from, `kpi builds` which builds there are.
"""
DOCS = {"show": True, "node_color": None}
_OF_ALL: Mapping[str, Any] = {
    "enabled": True,
    "alias": None,
    "schema": None,
    "database": None,
    "tags": [],
    "meta": {},
    "group": None,
    "static_analysis": None,
}
_OF_NODES: Mapping[str, Any] = {
    **_OF_ALL,
    "materialized": "view",
    "incremental_strategy": None,
    "batch_size": None,
    "lookback": 1,
    "begin": None,
    "persist_docs": {},
    "post-hook": [],
    "pre-hook": [],
    "quoting": {},
    "column_types": {},
    "full_refresh": None,
    "unique_key": None,
    "on_schema_change": "ignore",
    "on_configuration_change": "apply",
    "grants": {},
    "packages": [],
    "docs": DOCS,
    "contract": {"enforced": False, "alias_types": True},
    "event_time": None,
    "concurrent_batches": None,
}
# What dbt takes a setting to be when nobody says.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "model": {**_OF_NODES, "access": "protected", "freshness": None},
    "seed": {**_OF_NODES, "materialized": "seed", "delimiter": ",", "quote_columns": None},
    "snapshot": {
        **_OF_NODES,
        "materialized": "snapshot",
        "strategy": None,
        "target_schema": None,
        "target_database": None,
        "updated_at": None,
        "check_cols": None,
        "snapshot_meta_column_names": dict.fromkeys(
            ("dbt_valid_to", "dbt_valid_from", "dbt_scd_id", "dbt_updated_at", "dbt_is_deleted")
        ),
        "dbt_valid_to_current": None,
    },
    "analysis": _OF_NODES,
    "test": {
        **_OF_ALL,
        "schema": TESTS_SCHEMA,
        "materialized": "test",
        "severity": "ERROR",
        "store_failures": None,
        "store_failures_as": None,
        "where": None,
        "limit": None,
        "fail_calc": "count(*)",
        "warn_if": "!= 0",
        "error_if": "!= 0",
    },
}
NO_FRESHNESS = {
    "warn_after": {"count": None, "period": None},
    "error_after": {"count": None, "period": None},
    "filter": None,
}


@dataclass(frozen=True, slots=True)
class Made:
    """When an artifact was made and in which run, the same in all artifacts of the run."""

    at: datetime
    run: str

    def metadata(self, schema: str) -> dict[str, Any]:
        """What every artifact begins with; `schema` is such as manifest/v12."""
        at = f"{self.at:%Y-%m-%dT%H:%M:%S.%fZ}"
        return {
            "dbt_schema_version": f"https://schemas.getdbt.com/dbt/{schema}.json",
            "dbt_version": DBT_VERSION,
            "generated_at": at,
            "invocation_id": self.run,
            "invocation_started_at": at,
            "env": {},
        }


def written_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A node's settings as they are written, by dbt's names."""
    written = {name: value for name, value in config.items() if name != "tags" or value}
    for name in ("pre_hook", "post_hook"):
        if hooks := written.pop(name, None):
            alone = not isinstance(hooks, str) and len(hooks) == 1
            written[name.replace("_", "-")] = hooks[0] if alone else hooks
    return written


def config_of(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a node as dbt tells them: its defaults, with what was set."""
    config = dict(_DEFAULTS[kind])
    for name, value in given.items():
        if name in ("pre-hook", "post-hook"):
            hooks = [value] if isinstance(value, str) else value
            config[name] = [{"sql": sql, "transaction": True, "index": None} for sql in hooks]
        elif isinstance(config.get(name), dict) and isinstance(value, dict) and name in ("docs", "contract"):
            config[name] = {**config[name], **value}
        else:
            config[name] = list(value) if isinstance(value, tuple) else value
    return config


def entry_of(project: str, kind: str, unique_id: str, name: str, file: Path) -> dict[str, Any]:
    """What the entries of nodes and sources share; the rest is put beside it or in place of it."""
    return {
        "database": CATALOG,
        "name": name,
        "resource_type": kind,
        "package_name": project,
        "original_file_path": file.as_posix(),
        "unique_id": unique_id,
        "description": "",
        "columns": {},
        "meta": {},
        "group": None,
        "build_path": None,
        "doc_blocks": [],
    }


def dependencies_of(node: Node, macros: Sequence[str] = ()) -> dict[str, Any]:
    """What a node reads, and the macros it calls."""
    parents = [parent.split(".") for parent in node.depends_on]
    return {
        "depends_on": {"macros": list(macros), "nodes": list(node.depends_on)},
        "refs": [{"name": one[2], "package": None, "version": None} for one in parents if one[0] != "source"],
        "sources": [one[2:] for one in parents if one[0] == "source"],
    }


def placement_of(node: Node) -> dict[str, Any]:
    """Where a node's relation is; where it would be, for what has none in the database."""
    place = node.relation
    is_placed = place.schema != "" and node.kind != "analysis"
    return {
        "schema": place.schema or node.config.get("schema") or "main",
        "alias": place.name if is_placed else node.config.get("alias") or node.name,
        "relation_name": relation_of(place.schema, place.name) if is_placed else None,
    }


def column_entry(column: Column) -> dict[str, Any]:
    """A documented column."""
    return {
        "name": column.name,
        "description": column.description,
        "meta": dict(column.meta),
        "data_type": column.data_type or None,
        "constraints": [],
        "quote": None,
        "config": {"meta": dict(column.meta), "tags": []},
        "tags": [],
        "granularity": None,
        "doc_blocks": [],
    }


def docs(project: str, blocks: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The project's doc blocks, and the text the docs page begins with when none of them is."""
    texts = {"__overview__": _OVERVIEW.format(name=project), **blocks}
    return {
        f"doc.{project}.{name}": {
            "name": name,
            "resource_type": "doc",
            "package_name": project,
            "path": "",
            "original_file_path": "",
            "unique_id": f"doc.{project}.{name}",
            "block_contents": text,
        }
        for name, text in texts.items()
    }


def relation_of(schema: str, name: str) -> str:
    """The full name of a relation, each part quoted."""
    return ".".join(identifier(part) for part in (CATALOG, schema, name))


def sha256(text: str) -> str:
    """The checksum of a file's text, which dbt takes without the blanks at its ends."""
    return hashlib.sha256(text.encode()).hexdigest()


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
