"""The entries of a manifest that need no compiled SQL: source tables, macros and unit tests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kpi.base.yamlfile import Section
from kpi.models.dbtforms import DOCS, NO_FRESHNESS, column_entry, entry_of, relation_of, sha256
from kpi.models.model import Node
from kpi.parse.project import Project, read_text
from kpi.parse.properties import Source, tags_of

_MACRO = re.compile(
    r"{%-?\s*(?P<block>macro|test|data_test)\s+(?P<name>\w+)\s*\(.*?{%-?\s*end(?P=block)\s*-?%}", re.DOTALL
)


def source_entry(project: str, source: Source) -> dict[str, Any]:
    """The entry of a source table."""
    about, meta, tags = source.properties, dict(source.meta), list(source.tags)
    name = f"source.{project}.{source.source_name}.{source.name}"
    config = {
        "enabled": True,
        "event_time": None,
        "freshness": NO_FRESHNESS,
        "loaded_at_field": None,
        "loaded_at_query": None,
        "meta": meta,
        "tags": tags,
        "static_analysis": None,
    }
    unquoted = dict.fromkeys(("database", "schema", "identifier", "column"))
    entry = entry_of(project, "source", name, source.name, about.file) | {
        "schema": source.schema,
        "path": about.file.as_posix(),
        "fqn": [project, *about.file.parts[1:-1], source.source_name, source.name],
        "source_name": source.source_name,
        "source_description": "",
        "loader": "",
        "identifier": source.identifier,
        "quoting": unquoted,
        "loaded_at_field": None,
        "loaded_at_query": None,
        "freshness": NO_FRESHNESS,
        "external": None,
        "description": about.description,
        "columns": {column.name: column_entry(column) for column in about.columns},
        "meta": meta,
        "source_meta": {},
        "tags": tags,
        "config": config,
        "patch_path": None,
        "unrendered_config": {"meta": meta, "loaded_at_field": None, "loaded_at_query": None, "tags": tags},
        "relation_name": relation_of(source.schema, source.identifier),
        "unrendered_database": None,
        "unrendered_schema": source.schema,
    }
    return {name: value for name, value in entry.items() if name not in ("group", "build_path")}


def unit_test_entry(project: str, written: Section, tested: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of a unit test; `tested` is that of its model."""
    model, name, file = tested["name"], written.required("name"), written.file
    config = {"enabled": True, "meta": {}, "static_analysis": None, **written.section("config")}
    config["tags"] = list(tags_of(config.get("tags")))
    overrides: dict[str, Any] = {"macros": {}, "vars": {}, "env_vars": {}} | written.section("overrides")
    return {
        "model": model,
        "given": [{"input": given.text("input"), **_rows(given)} for given in written.sections("given")],
        "expect": _rows(written.section("expect")),
        "name": name,
        "resource_type": "unit_test",
        "package_name": project,
        "path": "/".join(file.parts[1:]),
        "original_file_path": file.as_posix(),
        "unique_id": f"unit_test.{project}.{model}.{name}",
        "fqn": [project, *file.parts[1:-1], model, name],
        "description": written.text("description"),
        "overrides": overrides if "overrides" in written else None,
        "depends_on": {"macros": [], "nodes": [tested["unique_id"]]},
        "config": config,
        "checksum": sha256(repr(written)),
        "schema": tested["schema"],
        "versions": None,
        "version": None,
    }


def _rows(given: Section) -> dict[str, Any]:
    return {"rows": given.get("rows"), "format": given.get("format", "dict"), "fixture": given.get("fixture")}


def exposure_entry(project: str, node: Node) -> dict[str, Any]:
    """The entry of something outside that reads the project's tables."""
    parents = [parent.split(".") for parent in node.depends_on]
    entry = entry_of(project, "exposure", node.id, node.name, node.file) | {
        "type": node.config["type"],
        "owner": {"name": None, "email": None, **node.config["owner"]},
        "path": "/".join(node.file.parts[1:]),
        "fqn": list(node.fqn),
        "description": node.description,
        "label": None,
        "maturity": None,
        "tags": list(node.tags),
        "config": {"enabled": True, "tags": list(node.tags), "meta": {}},
        "unrendered_config": {},
        "url": None,
        "depends_on": {"macros": [], "nodes": list(node.depends_on)},
        "refs": [{"name": one[2], "package": None, "version": None} for one in parents if one[0] != "source"],
        "sources": [one[2:] for one in parents if one[0] == "source"],
        "metrics": [],
    }
    unused = ("database", "columns", "group", "build_path", "doc_blocks")
    return {name: value for name, value in entry.items() if name not in unused}


def macro_entries(project: Project, package: str, file: Path) -> Iterable[dict[str, Any]]:
    """The entries of the macros and generic tests in a file; which macros each calls is left to fill in."""
    for found in _MACRO.finditer(read_text(project.root, file)):
        name = found["name"] if found["block"] == "macro" else f"test_{found['name']}"
        yield {
            "name": name,
            "resource_type": "macro",
            "package_name": package,
            "path": file.as_posix(),
            "original_file_path": file.as_posix(),
            "unique_id": f"macro.{package}.{name}",
            "macro_sql": found[0],
            "description": "",
            "meta": {},
            "docs": DOCS,
            "config": {"meta": {}, "docs": DOCS},
            "patch_path": None,
            "arguments": [],
            "supported_languages": None,
        }
