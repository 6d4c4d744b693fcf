"""The whole project compiled: every node, in an order in which each comes after what it depends on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from kpi.engine import incremental
from kpi.engine.artifact_forms import TESTS_SCHEMA, column_entry, config_of, entry_of, relation_of, written_config
from kpi.engine.materializations import (
    as_built,
    cte_of,
    external_notes,
    external_problem,
    run_hooks_of,
    seed_columns,
    with_ctes,
    with_hooks,
)
from kpi.engine.node import Hooks, Increment, NamedOutrightError, Node, Select, digest, line_of, read_select
from kpi.engine.template import NeedsColumns, NeedsGraph, RenderInput, Templates
from kpi.engine.tests import TestName, names_of_tests, test_nodes
from kpi.engine.unit_tests import UnitTest, unit_test_nodes
from kpi.errors import CompileError, ConfigError, KpiError, nearest
from kpi.ingest import loader
from kpi.ingest.contract import Feed, followed, is_feed, read_feed
from kpi.ingest.loader import OWN
from kpi.project.external import content_of, files_read, in_database, location_problem
from kpi.project.jinja import DATABASE, Relation, Rendered
from kpi.project.macros import RUN_QUERY
from kpi.project.packages import read_text
from kpi.project.project import Project, together
from kpi.project.properties import MODEL_CONFIGS, SNAPSHOT_CONFIGS, Properties, Source, TestSpec, tags_of
from kpi.project.resources import Resource, merged
from kpi.sql import Columns, relation_name
from kpi.yaml_loader import Section

SETTINGS = {"model": MODEL_CONFIGS, "snapshot": SNAPSHOT_CONFIGS, "analysis": MODEL_CONFIGS}
_SWITCH = re.compile(r"\benabled\b")
_CONFIG = re.compile(r"\{\{-?\s*config\s*\(.*?\)\s*-?\}\}", re.DOTALL)


def text_of(project: Project, resource: Resource) -> str:
    """Return the template of a model, snapshot or analysis."""
    return read_text(project.root, resource.file) if resource.text is None else resource.text


def facts_of(project: Project, resource: Resource, config: Mapping[str, Any]) -> dict[str, Any]:
    """What macros such as generate_schema_name may ask of a node."""
    about = resource.properties
    below = resource.file.parts[resource.depth :]
    version = about.version if about else ""
    name = about.model if about and version else resource.name
    return {
        "name": name,
        "alias": config.get("alias") or (f"{name}_v{version}" if version else name),
        "resource_type": resource.kind,
        "unique_id": resource.id,
        "package_name": resource.package,
        "path": "/".join(below),
        "original_file_path": "/".join(resource.file.parts[resource.depth - 1 :]),
        "fqn": [resource.package, *below[:-1], name, *([f"v{version}"] if version else [])],
        "config": dict(config),
        "tags": list(tags_of(config.get("tags"))),
        "meta": dict(config.get("meta") or {}),
        "description": about.description if about else "",
        "columns": {column.name: {"name": column.name, "data_type": column.data_type} for column in about.columns}
        if about
        else {},
        "version": version or None,
        "database": "kpi",
        "schema": config.get("schema"),
    }


def switches_itself_off(project: Project, resource: Resource, templates: Templates) -> bool:
    """Whether a file says by config() that it is disabled: then nothing else in it counts."""
    text = text_of(project, resource) if resource.kind != "seed" else ""
    if "config" not in text or not _SWITCH.search(text):
        return False
    settings, facts = SETTINGS[resource.kind], facts_of(project, resource, resource.config)
    # What stands before the config() may fail while nothing is known yet; then its own calls are asked alone.
    for one in (text, "".join(_CONFIG.findall(text))):
        found = templates.render(
            one, resource.file, settings, RenderInput(base=resource.config, model=facts, parsing=True)
        ).config
        if "enabled" in found:
            return not found["enabled"]
    return False


def early_config(project: Project, resource: Resource, templates: Templates) -> dict[str, Any]:
    """Return the settings of a model as far as they are known before it can be rendered."""
    settings, facts = SETTINGS[resource.kind], facts_of(project, resource, resource.config)
    text = text_of(project, resource)
    found = templates.render(
        text, resource.file, settings, RenderInput(base=resource.config, model=facts, parsing=True)
    )
    return merged([resource.config, found.config])


# What decides where a model stands, and so must be known before anything refers to it.
_PLACING = re.compile(r"""\b(schema|alias|target_schema)['"]?\s*[=:]|\bephemeral\b""")


def source_nodes(project: Project) -> dict[str, Node]:
    """Return a node for every source table, by id. One that is files outside has the SELECT that reads them."""
    return {source.id: _source_node(project, source) for source in project.sources}


def _source_node(project: Project, source: Source) -> Node:
    about, node_id = source.properties, source.id
    return Node(
        id=node_id,
        kind="source",
        name=f"{source.source_name}.{source.name}",
        file=about.file,
        line=about.line,
        relation=Relation(node_id, source.schema, source.identifier),
        materialized="table" if source.location else "source",
        tags=source.tags,
        sql=f"select * from {source.location}" if source.location else "",
        shape=content_of(project.root, source.location) if source.location else "",
        description=about.description,
        columns=about.columns,
        depth=len(project.folders.get(source.package, Path()).parts) + 1,
        config={"meta": source.meta, "loaded_at_field": source.loaded_at_field, "freshness": source.freshness},
    )


def _with_sources(project: Project, resource: Resource, templates: Templates, rendered: Rendered) -> Rendered:
    """Let a model that reads files outright read them as a source, which is noted among the templates' `outside`.

    The build then holds what was in the files, and who reads it needs none of them. Raises CompileError for files that
    may not be read. In a project with house rules they are left as they are, which is refused.
    """
    if project.is_strict or not (reads := files_read(rendered.sql)):
        return rendered
    sql, depends_on = rendered.sql, dict(rendered.depends_on)
    for read in reversed(reads):
        line, column = rendered.lines.place(read.start)
        if "://" in read.location and "file://" not in read.location:
            message = f"{read.location[:200]}: kpi reaches for no network. Fetch the file."
            raise CompileError(resource.file, line, message, column)
        if problem := location_problem(project.root, project.warehouse_settings.source_folders, read.location):
            raise CompileError(resource.file, line, f"{read.location[:200]}: {problem}", column)
        properties = Properties(read.table, "", (), (), {}, resource.file, line)
        source = Source(
            *(FILES, read.table, FILES, read.table, (), properties, Section(resource.file, line)),
            location=read.location,
            package=resource.package,
        )
        source = templates.outside.setdefault(source.id, source)
        message = f"{read.location[:200]} is read once, as the table {FILES}.{read.table} of the build."
        templates.notes.append(f"{resource.file}:{line}: {message}")
        depends_on[source.id] = Relation(source.id, FILES, read.table)
        sql = sql[: read.start] + str(depends_on[source.id]) + sql[read.end :]
    spans = [(one.start, one.end, len(relation_name(FILES, one.table))) for one in reads]
    return replace(rendered, sql=sql, lines=rendered.lines.replaced(spans), depends_on=depends_on)


def _select(
    project: Project, resource: Resource, templates: Templates, rendered: Rendered
) -> tuple[Select, dict[str, Relation]]:
    """Return what a model's SQL is, and the nodes that it reads.

    A table of the project that it names outright is read as by ref(), with a note; with house rules that is a mistake.
    """
    rendered = _with_sources(project, resource, templates, rendered)
    while True:
        try:
            select = read_select(rendered, resource.file, resource.kind, templates.relations)
        except NamedOutrightError as error:
            start, end = error.span
            if project.is_strict or not end:
                raise
            relation = error.relation
            templates.notes.append(f"{error} It is read as that.")
            rendered = replace(
                rendered,
                sql=rendered.sql[:start] + str(relation) + rendered.sql[end:],
                lines=rendered.lines.replaced([(start, end, len(str(relation)))]),
                depends_on={**rendered.depends_on, relation.node: relation},
            )
        else:
            return select, rendered.depends_on


def _with_files(project: Project, templates: Templates) -> Project:
    """The project with the sources that its models read outright."""
    return replace(project, sources=(*project.sources, *templates.outside.values()))


def from_databases(project: Project, nodes: Mapping[str, Node], delivered: Collection[str]) -> dict[str, Node]:
    """Return the sources that nothing of the project loads and that a DuckDB file has, with what reads them."""
    found = {}
    for source in project.sources:
        node = nodes[source.id]
        file, _ = project.database_file(source)
        is_loaded = "feed" in source.meta or str(node.relation) in delivered
        if (
            node.sql
            or node.depends_on
            or is_loaded
            or source.problem
            or not file
            or not (project.root / file).is_file()
        ):
            continue
        location = in_database(file, source.schema, source.identifier)
        shape = content_of(project.root, location)
        found[node.id] = replace(node, materialized="table", sql=f"select * from {location}", shape=shape)
    return found


def place(project: Project, resource: Resource, templates: Templates) -> Relation:
    """Where a resource stands, by its `schema` and `alias` here, in its file or in YAML, as the macros have it."""
    config = dict(resource.config)
    text = text_of(project, resource) if resource.kind != "seed" else ""
    if "config" in text and _PLACING.search(text):
        settings = SETTINGS[resource.kind]
        facts = facts_of(project, resource, config)
        config |= templates.render(
            text, resource.file, settings, RenderInput(base=config, model=facts, parsing=True)
        ).config
    config |= resource.above
    facts = facts_of(project, resource, config)
    name = templates.alias_of(config.get("alias"), facts)
    schema = config.get("target_schema") or templates.schema_of(config.get("schema"), {**facts, "alias": name})
    relation = Relation(resource.id, schema, name)
    is_read_as_cte = resource.kind == "model" and config.get("materialized") == "ephemeral"
    return cte_of(relation) if is_read_as_cte else relation


def resource_node(project: Project, resource: Resource, templates: Templates) -> Node | None:
    """Read a seed, or render and parse a model or snapshot. Returns None when it is disabled. Raises CompileError."""
    is_on = {"enabled": True, **resource.config, **resource.above}["enabled"]
    if not is_on or switches_itself_off(project, resource, templates):
        return None
    make = _seed if resource.kind == "seed" else _model
    node = make(project, resource, templates)
    return with_hooks(node, templates) if node else None


def analysis_node(project: Project, resource: Resource, templates: Templates) -> Node | None:
    """Render an analysis, which is compiled for people to copy and never run; one that cannot be is only noted."""
    if not resource.config.get("enabled", True) or switches_itself_off(project, resource, templates):
        return None
    try:
        rendered = templates.render(
            text_of(project, resource), resource.file, MODEL_CONFIGS, RenderInput(base=resource.config)
        )
    except NeedsColumns:
        raise
    except CompileError as error:
        if project.is_strict and error.code != RUN_QUERY:
            raise
        templates.notes.append(f"{error} The analysis is not compiled.")
        return None
    node_id = resource.id
    return Node(
        id=node_id,
        kind="analysis",
        name=resource.name,
        file=resource.file,
        line=1,
        relation=Relation(node_id, "", resource.name),
        materialized="analysis",
        tags=tags_of(resource.config["tags"]),
        depends_on=tuple(rendered.depends_on),
        sql=rendered.sql,
        lines=rendered.lines,
        config=resource.config,
        written=resource.written,
    )


def exposure_nodes(project: Project, templates: Templates) -> tuple[list[Node], list[CompileError]]:
    """Return a node for every exposure, and what is wrong with any."""
    nodes, errors = [], []
    for exposure in project.exposures:
        depends_on: dict[str, Relation] = {}
        try:
            for call in exposure.depends_on:
                if not isinstance(templates.value(call, exposure.file, depends_on), Relation):
                    raise ConfigError(f"depends_on takes ref('…') and source('…', '…'), not '{call}'.")
        except ConfigError as error:
            errors.append(CompileError(exposure.file, exposure.line, str(error)))
            continue
        except CompileError as error:
            errors.append(CompileError(exposure.file, exposure.line, error.message))
            continue
        node_id = f"exposure.{exposure.package}.{exposure.name}"
        nodes.append(
            Node(
                id=node_id,
                kind="exposure",
                name=exposure.name,
                file=exposure.file,
                line=exposure.line,
                relation=Relation(node_id, "", exposure.name),
                materialized="exposure",
                tags=exposure.tags,
                depends_on=tuple(depends_on),
                description=exposure.description,
                depth=len(project.folders.get(exposure.package, Path()).parts) + 1,
                config={"type": exposure.kind, "owner": exposure.owner},
            )
        )
    return nodes, errors


def _seed(project: Project, resource: Resource, templates: Templates) -> Node:
    delimiter = {**resource.config, **resource.above}.get("delimiter", ",")
    text = read_text(project.root, resource.file)
    header = seed_columns(text, resource.file, delimiter)
    config = merged([resource.config, resource.above])
    types: Section = config.get("column_types") or Section(resource.file, 1)
    for name in types:
        if name not in header:
            message = f"column_types: '{resource.name}' has no column '{name}'.{nearest(name, header)}"
            raise CompileError(types.file, types.lines[name], message)
    content = f"{text}\0{sorted(types.items())}\0{delimiter}"
    about, node_id = resource.properties, resource.id
    return Node(
        id=node_id,
        kind="seed",
        name=resource.name,
        file=resource.file,
        line=1,
        relation=templates.relations[node_id],
        materialized="seed",
        tags=tags_of(config["tags"]),
        shape=hashlib.blake2b(content.encode(), digest_size=16).hexdigest(),
        description=about.description if about else "",
        columns=about.columns if about else (),
        column_types=tuple({**header, **types}.items()),
        delimiter=delimiter,
        config=config,
        written={**resource.written, **resource.above},
        depth=resource.depth,
    )


def _model(project: Project, resource: Resource, templates: Templates) -> Node | None:
    node_id = resource.id
    relation = templates.relations[node_id]
    settings = SETTINGS[resource.kind]
    facts = facts_of(project, resource, resource.config) | {"alias": relation.name, "schema": relation.schema}
    text = text_of(project, resource)
    rendered = templates.render(
        text, resource.file, settings, RenderInput(this=relation, base=resource.config, model=facts)
    )
    if not {"enabled": True, **rendered.config, **resource.above}["enabled"]:
        return None
    select, depends_on = _select(project, resource, templates, rendered)
    about = resource.properties
    config = merged([resource.config, rendered.config, resource.above])
    database = templates.database_of(config.get("target_database") or config.get("database"), facts)
    _check_settings(resource, relation, config, database)
    increment, shape = None, select.shape
    if config.get("materialized") == "incremental":
        again = templates.render(
            text,
            resource.file,
            settings,
            RenderInput(this=relation, base=resource.config, model=facts, is_incremental=True),
        )
        added, more = _select(project, resource, templates, again)
        increment = Increment(added.sql, added.lines, Hooks())
        depends_on = {**depends_on, **more}
        shape = digest(shape, added.shape)
    return Node(
        id=node_id,
        kind="snapshot" if resource.kind == "snapshot" else "model",
        name=resource.name,
        file=resource.file,
        line=select.line,
        relation=relation,
        materialized="snapshot" if resource.kind == "snapshot" else as_built(config.get("materialized", "view")),
        tags=config["tags"],
        depends_on=tuple(depends_on),
        sql=select.sql,
        lines=select.lines,
        shape=digest(shape, settings_text(config, about)),
        description=about.description if about else "",
        columns=about.columns if about else (),
        config=config,
        written={**resource.written, **rendered.config, **resource.above},
        depth=resource.depth,
        findings=select.findings,
        increment=increment,
        constraints=about.constraints if about else (),
    )


def _check_settings(resource: Resource, relation: Relation, config: Mapping[str, Any], database: str) -> None:
    """Raise CompileError for settings that contradict each other, came too late, or name another database."""
    if database.lower() != DATABASE:
        found = (f"{name}='{config[name]}'" for name in ("target_database", "database") if config.get(name))
        what = next(found, f"generate_database_name() gives '{database}'")
        message = f"{what}: there is one database here, '{DATABASE}'. Leave it out, or set a schema."
        raise CompileError(resource.file, resource.line, message)
    if resource.kind == "snapshot":
        for message in incremental.snapshot_problems(config):
            raise CompileError(resource.file, resource.line, message)
    elif message := external_problem(config):
        raise CompileError(resource.file, resource.line, message)
    elif (config.get("materialized") == "ephemeral") != (not relation.schema):
        message = (
            "materialized='ephemeral' must be known before anything else: set it in the first config(), or in YAML."
        )
        raise CompileError(resource.file, resource.line, message)


# What of a model's settings changes the table it becomes, apart from its SQL and its place.
_SHAPING = (
    *("contract", "incremental_strategy", "unique_key", "partition_by", "on_schema_change", "incremental_predicates"),
    *("merge_update_columns", "merge_exclude_columns", "strategy", "updated_at", "check_cols", "hard_deletes"),
    *("invalidate_hard_deletes", "dbt_valid_to_current", "snapshot_meta_column_names"),
)


def settings_text(config: Mapping[str, Any], about: Properties | None) -> str:
    """The settings that count in a fingerprint, in an order of their own; empty when there are none."""
    found = [f"{name}={config[name]!r}" for name in _SHAPING if config.get(name) is not None]
    if about and config.get("contract"):
        found += [f"{column.name} {column.data_type} {column.constraints!r}" for column in about.columns]
        found += [repr(constraint) for constraint in about.constraints]
    return "\n".join(found)


_KINDS = ("model", "seed", "snapshot", "analysis")
_NONE = ("metrics", "groups", "saved_queries", "semantic_models", "functions")


def tell_graph(
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
    """Return nodes, sources and exposures by dbt's id. What a model is made from that waits for this is not told."""
    texts = {one.id: one for one in _resources(project)}
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
    about = resource.properties
    return Node(
        id=relation.node,
        kind="snapshot" if resource.kind == "snapshot" else "model",
        name=resource.name,
        file=resource.file,
        line=resource.line,
        relation=relation,
        materialized=str(config.get("materialized", "view")),
        tags=tuple(config.get("tags", ())),
        description=about.description if about else "",
        columns=about.columns if about else (),
        config=config,
    )


def _test_placeholder(project: Project, file: Path) -> Node:
    """Return a node for a singular test that waits for the graph."""
    name = file.stem
    node_id = f"test.{project.name}.{name}"
    spec = TestSpec("singular", "", {}, "error", "", file, 1)
    relation = Relation(node_id, "", name)
    return Node(node_id, "test", name, file, 1, relation, "test", test=spec)


def _resources(project: Project) -> tuple[Resource, ...]:
    return (*project.seeds, *project.models, *project.snapshots, *project.analyses)


def _node(project: Project, node: Node, resources: Mapping[str, Resource]) -> dict[str, Any]:
    resource, place = resources[node.id], node.relation
    is_placed = place.schema != "" and node.kind != "analysis"
    entry = _entry(project, node, node.kind, node.id)
    return entry | {
        "schema": place.schema or node.config.get("schema") or "main",
        "alias": place.name if is_placed else node.config.get("alias") or node.name,
        "relation_name": relation_of(place.schema, place.name) if is_placed else None,
        "config": config_of(node.kind, written_config(node.config)),
        "raw_code": "" if node.kind == "seed" else _text(project, node, resource),
    }


def _text(project: Project, node: Node, resource: Resource) -> str:
    return read_text(project.root, node.file).strip() if resource.text is None else resource.text


def _test(project: Project, node: Node, name: TestName) -> dict[str, Any]:
    judged = node.relation.node
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
        "attached_node": None if judged.startswith("source.") else judged,
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
    parents = [parent.split(".") for parent in node.depends_on]
    return entry_of(project.name, kind, unique_id, node.name, node.file) | {
        "path": "/".join(node.file.parts[1:]),
        "fqn": list(node.fqn),
        "tags": list(node.tags),
        "description": node.description,
        "columns": {column.name: column_entry(column) for column in node.columns},
        "meta": dict(node.config.get("meta") or {}),
        "depends_on": {"macros": [], "nodes": list(node.depends_on)},
        "refs": [{"name": parent[2], "package": None, "version": None} for parent in parents if parent[0] != "source"],
        "sources": [parent[2:] for parent in parents if parent[0] == "source"],
        "config": dict(node.config),
        "language": "sql",
    }


def unwatched(project: Project) -> Iterable[str]:
    """A line for each source whose freshness nobody looks at."""
    for source in project.sources:
        if source.freshness and not is_feed(source):
            about = source.properties
            message = "its freshness is not looked at: kpi looks at that of feeds (config.meta.feed)."
            yield f"{about.file}:{about.line}: the source '{source.source_name}.{source.name}': {message}"


def without_unbuilt(
    project: Project, nodes: Mapping[str, Node], mistakes: Iterable[KpiError], relations: Mapping[str, Relation]
) -> tuple[dict[str, Node], list[KpiError], list[str]]:
    """Return the nodes that are built, what is wrong with the project's own files, and notes of what is left out.

    A node of a package goes with those it reads. One of the project that reads what is left out is a mistake of the
    project: it is told with the reason. `relations` are all there are, by node id.
    """
    mistakes = list(mistakes)
    theirs = [
        one for one in mistakes if isinstance(one, CompileError) and project.package_of(Path(one.file)) != project.name
    ]
    if not theirs:
        return dict(nodes), mistakes, []
    own: list[KpiError] = [one for one in mistakes if one not in theirs]
    files = {Path(one.file): one for one in theirs}
    resources = (*project.models, *project.snapshots, *project.seeds)
    gone: dict[str, KpiError] = {
        one.id: files[one.file] for one in resources if one.file in files and one.id not in nodes
    }
    kept = dict(nodes)
    notes = [f"{one} The package's is not built." for one in theirs]
    while True:
        lost = {node.id: parent for node in kept.values() for parent in node.depends_on if parent in gone}
        if not lost:
            return kept, own, notes
        for node_id, parent in lost.items():
            node, reason = kept.pop(node_id), gone[parent]
            gone[node_id] = reason
            what = relations[parent].name if parent in relations else parent
            if project.package_of(node.file) == project.name and node.kind != "exposure":
                message = f"'{what}' of a package is not built: {getattr(reason, 'message', reason)}"
                own.append(CompileError(node.file, line_of(node, relations[parent]), message))
            else:
                notes.append(
                    f"{node.file}:{node.line}: '{node.name}' is not built, for it reads '{what}', which is not."
                )


# Tables that no model or seed may be: deliveries, and what kpi writes beside the models.
RESERVED_SCHEMA = "raw"
# Where the files stand as tables that models read outright.
FILES = "files"
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
    return replace(graph, nodes={**graph.nodes, **unit_test_nodes(graph.unit_tests)})


def compile_project(project: Project, columns_of: ColumnsOf | None = None) -> Graph:
    """Render and parse every model and test. Raises one error with all that is wrong, each with file and line."""
    graph, mistakes = compile_nodes(project, columns_of)
    if mistakes:
        raise together(mistakes, project.root)
    return graph


def compile_nodes(project: Project, columns_of: ColumnsOf | None = None) -> tuple[Graph, list[KpiError]]:
    """Render and parse every model and test. Returns the nodes that are right, and everything that is wrong.

    `columns_of` is asked when a template wants the columns of another node; without it that is a mistake. Nodes that
    depend on each other in a circle have no order; then there are none.
    """
    mistakes: list[KpiError] = []
    templates = Templates(project)
    nodes = source_nodes(project)
    templates.relations.update({node.id: node.relation for node in nodes.values()})
    resources = project.seeds + project.models + project.snapshots
    for resource in resources:
        try:
            relation = place(project, resource, templates)
        except CompileError as error:
            mistakes.append(error)
            relation = Relation(resource.id, "main", resource.name)
        templates.relations[relation.node] = relation
    if mistakes:
        return Graph(project, {}, ()), mistakes
    nodes |= _filled(nodes, templates.relations)
    delivered = {f"{RESERVED_SCHEMA}.{table}" for table in OWN} if _has_feeds(project) else set()
    nodes |= from_databases(project, nodes, delivered)
    disabled = _compile(project, resources, templates, nodes, mistakes, columns_of)
    # A source that would be filled by what is disabled is one that nothing fills.
    empty = {node.id: replace(node, depends_on=()) for node in nodes.values() if _is_filled_by(node, disabled)}
    nodes |= empty | (from_databases(project, nodes | empty, delivered) if empty else {})
    certain: list[KpiError] = [*_misplaced(nodes.values(), _has_feeds(project))]
    tests, wrong = test_nodes(project, templates, nodes)
    if any(isinstance(error, NeedsGraph) for error in wrong):
        tell_graph(project, templates, nodes)
        tests, wrong = test_nodes(project, templates, nodes)
    if columns_of and any(isinstance(error, NeedsColumns) for error in wrong):
        _tell_columns(project, templates, nodes, columns_of)
        tests, wrong = test_nodes(project, templates, nodes)
    mistakes += wrong
    nodes.update({test.id: test for test in tests})
    exposures, wrong = exposure_nodes(project, templates)
    mistakes += wrong
    nodes.update({exposure.id: exposure for exposure in exposures})
    certain += _disabled(project, templates, disabled, nodes)
    feeds, wrong_feeds = _feeds(project)
    mistakes += wrong_feeds
    for name in project.undeclared:
        if name not in templates.asked:
            hint = nearest(name, {*project.variables, *templates.asked} - {name})
            mistakes.append(ConfigError(f"--vars: nothing here asks for the variable '{name}'.{hint}"))
    on_run, wrong_hooks = run_hooks_of(project, templates)
    nodes, mistakes, left_out = without_unbuilt(project, nodes, [*mistakes, *wrong_hooks], templates.relations)
    mistakes += certain
    try:
        nodes = _ordered(nodes)
    except CompileError as error:
        mistakes.append(error)
        nodes = {}
    nodes = with_ctes(nodes)
    message = dict.fromkeys([*templates.notes, *unwatched(project)])
    notes = (*left_out, *project.notes, *message, *templates.macros.without_effect(), *external_notes(nodes.values()))
    project = _with_files(project, templates)
    return Graph(project, nodes, feeds, templates.environment_read, notes=notes, on_run=on_run), mistakes


def _has_feeds(project: Project) -> bool:
    return any(is_feed(source) for source in project.sources)


def _feeds(project: Project) -> tuple[tuple[Feed, ...], list[ConfigError]]:
    """The feeds of the project's sources, and what is wrong with any."""
    feeds: list[Feed] = []
    mistakes = []
    for source in project.sources:
        try:
            feeds += [read_feed(source)] if is_feed(source) else []
        except ConfigError as error:
            mistakes.append(error)
    limits = {feed.name: feed.limits for feed in feeds}
    for one in (one for one in limits.values() if one.retention.of):
        try:
            followed(one, limits)
        except ConfigError as error:
            mistakes.append(error)
    # Only who reads the counts needs to say what they are counted by.
    if any((source.schema, source.identifier) == (RESERVED_SCHEMA, loader.TABLE) for source in project.sources):
        mistakes += loader.check_report_years(feeds)
    return tuple(feeds), mistakes


def _compile(
    project: Project,
    resources: Iterable[Resource],
    templates: Templates,
    nodes: dict[str, Node],
    mistakes: list[KpiError],
    columns_of: ColumnsOf | None,
) -> dict[str, Relation]:
    """Add the nodes of resources; those that ask for columns of others come after them. Returns what is disabled."""
    disabled: dict[str, Relation] = {}
    todo = [*resources, *project.analyses]
    waiting: dict[str, tuple[Resource, NeedsColumns]] = {}
    while todo:
        waiting = {}
        for resource in todo:
            make = analysis_node if resource.kind == "analysis" else resource_node
            try:
                node = make(project, resource, templates)
            except NeedsColumns as error:
                waiting[resource.id] = (resource, error)
                continue
            except CompileError as error:
                mistakes.append(error)
                continue
            if node:
                read = (templates.outside[one] for one in node.depends_on if one in templates.outside)
                nodes.update((source.id, _source_node(project, source)) for source in read)
                nodes[node.id] = node
            elif resource.kind != "analysis":
                disabled[resource.id] = templates.relations[resource.id]
        needs_graph = [resource for resource, error in waiting.values() if isinstance(error, NeedsGraph)]
        if len(waiting) == len(todo) and needs_graph and templates.known_graph is None:
            tell_graph(project, templates, nodes, needs_graph)
        elif len(waiting) == len(todo) or columns_of is None:
            break
        todo = [resource for resource, _ in waiting.values()]
        if todo and columns_of:
            _tell_columns(project, templates, nodes, columns_of)
    mistakes += [error for _, error in waiting.values()]
    return disabled


def _tell_columns(project: Project, templates: Templates, nodes: dict[str, Node], columns_of: ColumnsOf) -> None:
    """Let templates know the columns of the nodes that are compiled by now."""
    ready = dict(nodes)
    while True:
        kept = {key: node for key, node in ready.items() if all(parent in ready for parent in node.depends_on)}
        if len(kept) == len(ready):
            break
        ready = kept
    try:
        project = _with_files(project, templates)
        templates.known_columns = columns_of(Graph(project, with_ctes(_ordered(ready)), _feeds(project)[0]))
    except CompileError:
        templates.known_columns = {}


def _filled(nodes: Mapping[str, Node], relations: Mapping[str, Relation]) -> dict[str, Node]:
    """Sources that are tables which a seed, model or snapshot fills: they come after it."""
    places = {str(one).lower(): node_id for node_id, one in relations.items() if not node_id.startswith("source.")}
    return {
        node.id: replace(node, depends_on=(places[str(node.relation).lower()],))
        for node in nodes.values()
        if str(node.relation).lower() in places and not node.sql
    }


def _is_filled_by(node: Node, others: Collection[str]) -> bool:
    return node.kind == "source" and any(parent in others for parent in node.depends_on)


def _misplaced(nodes: Iterable[Node], has_feeds: bool) -> list[CompileError]:
    """Two nodes in one place, or one where kpi keeps its own tables."""
    seen: dict[str, Node] = {}
    mistakes = []
    for node in nodes:
        place = str(node.relation).lower()
        if (node.kind == "source" and node.depends_on) or node.kind == "analysis":
            continue
        first = seen.setdefault(place, node)
        is_reserved = place in RESERVED_TABLES or node.relation.schema == AUDIT_SCHEMA
        is_reserved |= has_feeds and node.relation.schema == RESERVED_SCHEMA
        if first is not node:
            message = f"{node.relation} is where {first.name} ({first.file}) is too."
            mistakes.append(CompileError(node.file, node.line, message))
        elif is_reserved and (node.kind != "source" or node.sql):
            mistakes.append(CompileError(node.file, node.line, f"{place} is kept for kpi's own tables."))
    return mistakes


def _disabled(
    project: Project, templates: Templates, disabled: Mapping[str, Relation], nodes: dict[str, Node]
) -> list[CompileError]:
    """References to models and seeds that are switched off. Tests with one are left out of `nodes`, with a note."""
    mistakes = []
    for node in list(nodes.values()):
        for parent in [parent for parent in node.depends_on if parent in disabled]:
            message = f"ref('{disabled[parent].name}'): it is disabled (enabled: false)."
            error = CompileError(node.file, line_of(node, disabled[parent]), message)
            if node.kind != "test" or project.is_strict:
                mistakes.append(error)
            elif nodes.pop(node.id, None):
                templates.notes.append(f"{error} The test is not run.")
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
        message = f"these models depend on each other in a circle: {chain}."
        first, second = nodes[circle[0]], nodes[circle[1]]
        raise CompileError(first.file, line_of(first, second.relation), message) from None
