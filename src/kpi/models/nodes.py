"""The nodes of a project: sources as described, seeds as read, models and snapshots as rendered and parsed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kpi.base.errors import CompileError, ConfigError, nearest
from kpi.base.relation import DATABASE
from kpi.base.yamlfile import Section
from kpi.models import snapshots
from kpi.models.early import SETTINGS, facts_of, switches_itself_off, text_of
from kpi.models.ephemeral import cte_of
from kpi.models.external import as_built, external_problem
from kpi.models.hooks import with_hooks
from kpi.models.model import Hooks, Increment, Node, digest, read_select
from kpi.models.pending import NeedsColumns
from kpi.models.seeds import seed_columns
from kpi.models.template import Relation, Templates
from kpi.parse.outside import content_of, in_database
from kpi.parse.project import Project, Resource, merged, read_text
from kpi.parse.properties import MODEL_CONFIGS, Properties, tags_of

# What decides where a model stands, and so must be known before anything refers to it.
_PLACING = re.compile(r"""\b(schema|alias|target_schema)['"]?\s*[=:]|\bephemeral\b""")


def source_nodes(project: Project) -> dict[str, Node]:
    """Return a node for every source table, by id. One that is files outside has the SELECT that reads them."""
    nodes = {}
    for source in project.sources:
        about, node_id = source.properties, source.id
        nodes[node_id] = Node(
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
    return nodes


def from_databases(project: Project, nodes: Mapping[str, Node], delivered: Collection[str]) -> dict[str, Node]:
    """Return the sources that nothing of the project loads and that a DuckDB file has, with what reads them."""
    found = {}
    for source in project.sources:
        node = nodes[source.id]
        file, _ = project.database_file(source)
        is_loaded = "feed" in source.meta or str(node.relation) in delivered
        if node.sql or node.depends_on or is_loaded or not file or not (project.root / file).is_file():
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
        config |= templates.render(text, resource.file, settings, base=config, model=facts, parsing=True).config
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
        rendered = templates.render(text_of(project, resource), resource.file, MODEL_CONFIGS, base=resource.config)
    except NeedsColumns:
        raise
    except CompileError as error:
        if project.is_strict and "run_query()" not in error.message:
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
            told = f"column_types: '{resource.name}' has no column '{name}'.{nearest(name, header)}"
            raise CompileError(types.file, types.lines[name], told)
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
    rendered = templates.render(text, resource.file, settings, relation, base=resource.config, model=facts)
    if not {"enabled": True, **rendered.config, **resource.above}["enabled"]:
        return None
    select = read_select(rendered, resource.file, resource.kind, templates.relations)
    about = resource.properties
    config = merged([resource.config, rendered.config, resource.above])
    _check_settings(resource, relation, config)
    increment, depends_on, shape = None, dict(rendered.depends_on), select.shape
    if config.get("materialized") == "incremental":
        again = templates.render(
            text, resource.file, settings, relation, base=resource.config, model=facts, is_incremental=True
        )
        added = read_select(again, resource.file, resource.kind, templates.relations)
        increment = Increment(added.sql, again.lines, Hooks())
        depends_on |= again.depends_on
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
        lines=rendered.lines,
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


def _check_settings(resource: Resource, relation: Relation, config: Mapping[str, Any]) -> None:
    """Raise CompileError for settings that contradict each other, came too late, or name another database."""
    for name in ("database", "target_database"):
        if config.get(name) and str(config[name]).lower() != DATABASE:
            told = f"{name}='{config[name]}': there is one database here, '{DATABASE}'. Leave it out, or set a schema."
            raise CompileError(resource.file, resource.line, told)
    if resource.kind == "snapshot":
        for told in snapshots.problems(config):
            raise CompileError(resource.file, resource.line, told)
    elif told := external_problem(config):
        raise CompileError(resource.file, resource.line, told)
    elif (config.get("materialized") == "ephemeral") != (not relation.schema):
        told = "materialized='ephemeral' must be known before anything else: set it in the first config(), or in YAML."
        raise CompileError(resource.file, resource.line, told)


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
