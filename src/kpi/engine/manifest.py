"""`manifest.json` as dbt has it (schema v12): every node, source, macro and test of a project, and their order.

What dbt's tools do not ask of us, such as dbt's own macros and the folders it writes compiled files to, is left out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kpi.engine.artifact_forms import (
    DOCS,
    NO_FRESHNESS,
    TESTS_SCHEMA,
    Made,
    column_entry,
    config_of,
    dependencies_of,
    docs,
    entry_of,
    placement_of,
    relation_of,
    sha256,
    written_config,
)
from kpi.engine.graph import Graph, Node
from kpi.engine.parser import raw_code
from kpi.engine.tests import TestName, names_of_tests
from kpi.project.packages import read_text
from kpi.project.project import Project, Resource
from kpi.project.properties import Source, TestSpec, tags_of
from kpi.yaml_loader import Section

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
        **dependencies_of(node),
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


def test_names(graph: Graph) -> dict[str, TestName]:
    """Return dbt's names of every data test, by our id."""
    return names_of_tests(graph.project, graph.nodes)


_JINJA = re.compile(r"{{.*?}}|{%.*?%}", re.DOTALL)
_CALL = re.compile(r"(?:\b(\w+)\.)?\b(\w+)\s*\(")
_DISPATCH = re.compile(r"""\badapter\.dispatch\(\s*['"](\w+)['"]""")
# The settings of a data test in dbt's order.
_TEST_SETTINGS = (
    *("severity", "tags", "enabled", "where", "limit", "fail_calc", "warn_if", "error_if"),
    *("store_failures", "store_failures_as"),
    *("meta", "database", "schema", "alias"),
)
_UNUSED = ("metrics", "groups", "selectors", "disabled", "group_map", "saved_queries", "semantic_models")


def write_manifest(graph: Graph, names: Mapping[str, TestName], made: Made) -> dict[str, Any]:
    """Return the manifest of a compiled project, as `json` writes it; `names` are dbt's of its data tests."""
    project = graph.project
    packages = {project.name: project.macro_files, **project.packages}
    macros = _by_id(
        entry
        for package, files in packages.items()
        for file in files
        for entry in macro_entries(project, package, file)
    )
    for macro in macros.values():
        called = _calls(macro["package_name"], macro["macro_sql"], macros)
        macro["depends_on"] = {"macros": [name for name in called if name != macro["unique_id"]]}
    nodes = _by_id(_nodes(graph, names, macros))
    sources = _by_id(source_entry(source.package, source) for source in project.sources)
    unit_tests = _by_id(
        unit_test_entry(project.package_of(written.file), written, nodes[tested])
        for written, tested in _unit_tests(graph)
    )
    exposures = _by_id(exposure_entry(node.fqn[0], node) for node in graph.nodes.values() if node.kind == "exposure")
    for entries in (nodes, sources, macros, unit_tests, exposures):
        for entry in entries.values():
            entry["created_at"] = made.at.timestamp()
    parents: dict[str, list[str]] = {name: [] for name in sources}
    parents |= {
        name: sorted(entry["depends_on"].get("nodes", ())) for name, entry in (nodes | unit_tests | exposures).items()
    }
    children: dict[str, list[str]] = {name: [] for name in parents}
    for name in sorted(parents):
        for parent in parents[name]:
            children.setdefault(parent, []).append(name)
    return {
        "metadata": manifest_metadata(project.name, made),
        "nodes": nodes,
        "sources": sources,
        "macros": macros,
        "docs": docs(project.name, project.docs),
        "exposures": exposures,
        "parent_map": parents,
        "child_map": children,
        "unit_tests": unit_tests,
        "functions": {},
        **{part: {} for part in _UNUSED},
    }


def manifest_metadata(project: str, made: Made) -> dict[str, Any]:
    """Return what a manifest says of itself; the rest of it follows from the project and `created_at` alone."""
    return made.metadata("manifest/v12") | {
        "project_name": project,
        "project_id": hashlib.md5(project.encode(), usedforsecurity=False).hexdigest(),
        "user_id": None,
        "send_anonymous_usage_stats": False,
        "adapter_type": "duckdb",
        "quoting": {"database": True, "schema": True, "identifier": True, "column": None},
        "run_started_at": made.metadata("")["invocation_started_at"],
    }


def _nodes(graph: Graph, names: Mapping[str, TestName], macros: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    project = graph.project
    resources = {one.id: one for one in project.resources}
    keys = _primary_keys(graph, names)
    for node in graph.nodes.values():
        if node.kind == "test" and node.test:
            yield _test(graph, node, node.test, names[node.id], macros)
        elif node.kind == "seed":
            yield _seed(graph, node, resources[node.id])
        elif node.kind in ("model", "snapshot", "analysis"):
            yield _model(graph, node, resources[node.id], keys.get(node.id, []), macros)


def _primary_keys(graph: Graph, names: Mapping[str, TestName]) -> dict[str, list[str]]:
    """What dbt guesses: the columns tested to be unique, alone or together; of them those never missing, if any are."""
    unique: dict[str, set[str]] = {}
    there: dict[str, set[str]] = {}
    for test in graph.tests():
        name = names[test.id]
        alone, together = (name.arguments.get(key) for key in ("column_name", "combination_of_columns"))
        columns: list[str] = [alone] if alone else list(together or ())
        match name.kind.rpartition(".")[2]:
            case "unique" | "unique_combination_of_columns":
                unique.setdefault(test.relation.node, set()).update(columns)
            case "not_null":
                there.setdefault(test.relation.node, set()).update(columns)
    return {node: sorted(found & there.get(node, set()) or found) for node, found in unique.items()}


def _seed(graph: Graph, node: Node, resource: Resource) -> dict[str, Any]:
    return _resource(graph, node, resource) | {"raw_code": "", "root_path": None, "depends_on": {"macros": []}}


def _model(graph: Graph, node: Node, resource: Resource, key: list[str], macros: Mapping[str, Any]) -> dict[str, Any]:
    raw = raw_code(graph.project, resource)
    entry = _resource(graph, node, resource) | _compiled(node, raw, _calls(resource.package, raw, macros))
    entry["contract"] = {**entry["config"]["contract"], "checksum": None}
    if node.kind == "snapshot":
        entry["fqn"] = [*node.fqn[:-1], node.file.stem, node.name]
    if node.kind != "model":
        return entry
    about = resource.properties
    return entry | {
        "access": entry["config"].get("access", "protected"),
        "constraints": [],
        "version": _version(about.version) if about else None,
        "latest_version": _latest(graph, resource),
        "deprecation_date": None,
        "primary_key": key,
        "time_spine": None,
    }


def _resource(graph: Graph, node: Node, resource: Resource) -> dict[str, Any]:
    """What the entries of seeds and models share."""
    about, given = resource.properties, written_config(node.config)
    config = config_of(node.kind, given)
    name = about.model if about and about.version else node.name
    return entry_of(resource.package, node.kind, node.id, name, _below(node, 1)) | {
        **placement_of(node),
        "path": _below(node, 0).as_posix(),
        "fqn": list(node.fqn),
        "checksum": {"name": "sha256", "checksum": sha256(read_text(graph.project.root, node.file).strip())},
        "config": config,
        "tags": list(node.tags),
        "description": node.description,
        "columns": {column.name: column_entry(column) for column in node.columns},
        "meta": config["meta"],
        "docs": config["docs"],
        "patch_path": f"{resource.package}://{about.file.as_posix()}" if about else None,
        "unrendered_config": given | {name: node.written[name] for name in ("meta", "tags") if name in node.written},
    }


def _test(graph: Graph, node: Node, spec: TestSpec, name: TestName, macros: Mapping[str, Any]) -> dict[str, Any]:
    project = node.id.split(".")[1]
    given = {key: spec.config[key] for key in _TEST_SETTINGS if spec.config.get(key) not in (None, (), [])}
    given |= {"alias": name.alias} if name.alias != name.name and "alias" not in given else {}
    if name.arguments:
        package, _, kind = name.kind.rpartition(".")
        settings = ",".join(f"{key}={_quoted(value)}" for key, value in given.items())
        raw = f"{{{{ {package and f'{package}.'}test_{kind}(**_dbt_generic_test_kwargs) }}}}" + (
            settings and f"{{{{ config({settings}) }}}}"
        )
        known = [f"macro.{of}.test_{kind}" for of in (package or project, "dbt")]
        called = [known[0] if known[0] in macros else known[1]]
        checksum = {"name": "none", "checksum": ""}
    else:
        raw = read_text(graph.project.root, node.file).strip()
        called = _calls(project, raw, macros)
        checksum = {"name": "sha256", "checksum": sha256(raw)}
    entry = entry_of(project, "test", name.id, name.name, _below(node, 1)) | {
        "schema": TESTS_SCHEMA,
        "alias": name.alias,
        "path": f"{name.alias}.sql" if name.arguments else node.file.name,
        "fqn": [project, *(node.file.parts[node.depth : -1] if name.arguments else ()), name.name],
        "checksum": checksum,
        "config": config_of("test", given),
        "tags": list(node.tags),
        "description": spec.description,
        "meta": spec.config.get("meta") or {},
        "docs": DOCS,
        "patch_path": None,
        "unrendered_config": given,
        "relation_name": None,
        **_compiled(node, raw, called),
    }
    if not name.arguments:
        return entry
    tested, _, *parts = node.relation.node.split(".")
    return entry | {
        "column_name": name.column or None,
        "file_key_name": f"{tested}s.{parts[0]}",
        "attached_node": None if tested == "source" else node.relation.node,
        "test_metadata": {"name": kind, "kwargs": name.arguments, "namespace": package or None},
    }


def _quoted(value: Any) -> str:
    return '"' + value.replace('"', '\\"') + '"' if isinstance(value, str) else str(value)


def _compiled(node: Node, raw: str, macros: list[str]) -> dict[str, Any]:
    """What entries of all that is compiled have."""
    return {
        "language": "sql",
        "raw_code": raw,
        **dependencies_of(node, macros),
        "metrics": [],
        "functions": [],
        "compiled_path": None,
        "compiled": True,
        "compiled_code": node.sql,
        "extra_ctes_injected": True,
        "extra_ctes": [],
        "contract": {"enforced": False, "alias_types": True, "checksum": None},
    }


def _calls(project: str, text: str, macros: Mapping[str, Any]) -> list[str]:
    """The macros of the project and its packages that the Jinja in a text calls, in the order of their first call."""
    found = (call for jinja in _JINJA.findall(text) for call in _CALL.findall(jinja))
    ids = dict.fromkeys(f"macro.{package or project}.{name}" for package, name in found)
    variants = (f"{kind}__{name}" for name in _DISPATCH.findall(text) for kind in ("duckdb", "default"))
    ids |= dict.fromkeys(f"macro.{project}.{name}" for name in variants)
    return [name for name in ids if name in macros]


def _unit_tests(graph: Graph) -> Iterable[tuple[Section, str]]:
    """The unit tests with the id of the model that each tests; those of models that are disabled are left out."""
    for written in graph.project.unit_tests:
        package, model = graph.project.package_of(written.file), str(written.get("model"))
        tested = f"model.{package}.{graph.project.latest_versions.get((package, model), model)}"
        if tested in graph.nodes:
            yield written, tested


def _below(node: Node, more: int) -> Path:
    """The path of a node's file in its package: below the folder of its kind, or with `more` parts of it."""
    return Path(*node.file.parts[max(node.depth - more, 0) :])


def _version(text: str) -> int | float | str | None:
    """A version as dbt has it: a number where it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None


def _latest(graph: Graph, resource: Resource) -> int | float | str | None:
    about = resource.properties
    latest = graph.project.latest_versions.get((resource.package, about.model), "") if about and about.version else ""
    return _version(latest.rpartition(".v")[2]) if latest else None


def _by_id(entries: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry["unique_id"]: entry for entry in entries}
