"""The forms of dbt's artifacts: how they begin, what dbt takes settings to be, and the small parts of entries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kpi.database import CATALOG
from kpi.engine.graph import Node
from kpi.project.properties import Column
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
