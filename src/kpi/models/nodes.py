"""The nodes of a project: sources as described, seeds as read, models and snapshots as rendered and parsed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from kpi.base.errors import CompileError, ConfigError, nearest
from kpi.base.yamlfile import Section
from kpi.models import snapshots
from kpi.models.ephemeral import cte_of
from kpi.models.hooks import with_hooks
from kpi.models.model import Hooks, Increment, Node, digest, read_select
from kpi.models.pending import NeedsColumns
from kpi.models.seeds import seed_columns
from kpi.models.template import Relation, Templates
from kpi.parse.outside import content_of
from kpi.parse.project import Project, Resource, merged, read_text
from kpi.parse.properties import MODEL_CONFIGS, SNAPSHOT_CONFIGS, Properties, tags_of

_SETTINGS = {"model": MODEL_CONFIGS, "snapshot": SNAPSHOT_CONFIGS, "analysis": MODEL_CONFIGS}
# What decides where a model stands, and so must be known before anything refers to it.
_SWITCH = re.compile(r"\benabled\b")
_CONFIG = re.compile(r"\{\{-?\s*config\s*\(.*?\)\s*-?\}\}", re.DOTALL)
_PLACING = re.compile(r"""\b(schema|alias|target_schema)['"]?\s*[=:]|\bephemeral\b""")


def source_nodes(project: Project) -> dict[str, Node]:
    """Return a node for every source table, by id. One that is files outside has the SELECT that reads them."""
    nodes = {}
    for source in project.sources:
        about, node_id = source.properties, f"source.{project.name}.{source.source_name}.{source.name}"
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
            config={"meta": source.meta, "loaded_at_field": source.loaded_at_field, "freshness": source.freshness},
        )
    return nodes


def place(project: Project, resource: Resource, templates: Templates) -> Relation:
    """Where a resource stands, by its `schema` and `alias` here, in its file or in YAML, as the macros have it."""
    config = dict(resource.config)
    text = _text(project, resource) if resource.kind != "seed" else ""
    if "config" in text and _PLACING.search(text):
        settings = _SETTINGS[resource.kind]
        facts = _facts(project, resource, config)
        config |= templates.render(text, resource.file, settings, base=config, model=facts, parsing=True).config
    facts = _facts(project, resource, config)
    name = templates.alias_of(config.get("alias"), facts)
    schema = config.get("target_schema") or templates.schema_of(config.get("schema"), {**facts, "alias": name})
    relation = Relation(_id(project, resource), schema, name)
    is_read_as_cte = resource.kind == "model" and config.get("materialized") == "ephemeral"
    return cte_of(relation) if is_read_as_cte else relation


def resource_node(project: Project, resource: Resource, templates: Templates) -> Node | None:
    """Read a seed, or render and parse a model or snapshot. Returns None when it is disabled. Raises CompileError."""
    if not resource.config.get("enabled", True) or _switches_itself_off(project, resource, templates):
        return None
    make = _seed if resource.kind == "seed" else _model
    node = make(project, resource, templates)
    return with_hooks(node, templates) if node else None


def _switches_itself_off(project: Project, resource: Resource, templates: Templates) -> bool:
    """Whether a file says by config() that it is disabled: then nothing else in it counts."""
    text = _text(project, resource) if resource.kind != "seed" else ""
    if "config" not in text or not _SWITCH.search(text):
        return False
    settings, facts = _SETTINGS[resource.kind], _facts(project, resource, resource.config)
    # What stands before the config() may fail while nothing is known yet; then its own calls are asked alone.
    for one in (text, "".join(_CONFIG.findall(text))):
        found = templates.render(one, resource.file, settings, base=resource.config, model=facts, parsing=True).config
        if "enabled" in found:
            return not found["enabled"]
    return False


def early_config(project: Project, resource: Resource, templates: Templates) -> dict[str, Any]:
    """Return the settings of a model as far as they are known before it can be rendered."""
    settings, facts = _SETTINGS[resource.kind], _facts(project, resource, resource.config)
    text = _text(project, resource)
    found = templates.render(text, resource.file, settings, base=resource.config, model=facts, parsing=True)
    return merged([resource.config, found.config])


def analysis_node(project: Project, resource: Resource, templates: Templates) -> Node | None:
    """Render an analysis, which is compiled for people to copy and never run; one that cannot be is only noted."""
    if not resource.config.get("enabled", True) or _switches_itself_off(project, resource, templates):
        return None
    try:
        rendered = templates.render(_text(project, resource), resource.file, MODEL_CONFIGS, base=resource.config)
    except NeedsColumns:
        raise
    except CompileError as error:
        if project.is_strict and "run_query()" not in error.message:
            raise
        templates.notes.append(f"{error} The analysis is not compiled.")
        return None
    node_id = _id(project, resource)
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
        node_id = f"exposure.{project.name}.{exposure.name}"
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
                config={"type": exposure.kind, "owner": exposure.owner},
            )
        )
    return nodes, errors


def _id(project: Project, resource: Resource) -> str:
    return f"{resource.kind}.{project.name}.{resource.name}"


def _text(project: Project, resource: Resource) -> str:
    return read_text(project.root, resource.file) if resource.text is None else resource.text


def _facts(project: Project, resource: Resource, config: Mapping[str, Any]) -> dict[str, Any]:
    """What macros such as generate_schema_name may ask of a node."""
    about = resource.properties
    folders = resource.file.parts[1:-1]
    return {
        "name": resource.name,
        "alias": config.get("alias") or resource.name,
        "resource_type": resource.kind,
        "unique_id": _id(project, resource),
        "package_name": project.name,
        "path": "/".join(resource.file.parts[1:]),
        "original_file_path": resource.file.as_posix(),
        "fqn": [project.name, *folders, resource.name],
        "config": dict(config),
        "tags": list(tags_of(config.get("tags"))),
        "meta": dict(config.get("meta") or {}),
        "description": about.description if about else "",
        "columns": {column.name: {"name": column.name, "data_type": column.data_type} for column in about.columns}
        if about
        else {},
        "version": None,
        "database": "kpi",
        "schema": config.get("schema"),
    }


def _seed(project: Project, resource: Resource, templates: Templates) -> Node:
    delimiter = resource.config.get("delimiter", ",")
    text = read_text(project.root, resource.file)
    header = seed_columns(text, resource.file, delimiter)
    types: Section = resource.config.get("column_types") or Section(resource.file, 1)
    for name in types:
        if name not in header:
            told = f"column_types: '{resource.name}' has no column '{name}'.{nearest(name, header)}"
            raise CompileError(types.file, types.lines[name], told)
    content = f"{text}\0{sorted(types.items())}\0{delimiter}"
    about, node_id = resource.properties, _id(project, resource)
    return Node(
        id=node_id,
        kind="seed",
        name=resource.name,
        file=resource.file,
        line=1,
        relation=templates.relations[node_id],
        materialized="seed",
        tags=tags_of(resource.config["tags"]),
        shape=hashlib.blake2b(content.encode(), digest_size=16).hexdigest(),
        description=about.description if about else "",
        columns=about.columns if about else (),
        column_types=tuple({**header, **types}.items()),
        delimiter=delimiter,
        config=resource.config,
        written=resource.written,
    )


def _model(project: Project, resource: Resource, templates: Templates) -> Node | None:
    node_id = _id(project, resource)
    relation = templates.relations[node_id]
    settings = _SETTINGS[resource.kind]
    facts = _facts(project, resource, resource.config) | {"alias": relation.name, "schema": relation.schema}
    text = _text(project, resource)
    rendered = templates.render(text, resource.file, settings, relation, base=resource.config, model=facts)
    if not rendered.config.get("enabled", True):
        return None
    select = read_select(rendered, resource.file, resource.kind, templates.relations)
    about = resource.properties
    config = merged([resource.config, rendered.config])
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
        materialized="snapshot" if resource.kind == "snapshot" else config.get("materialized", "view"),
        tags=config["tags"],
        depends_on=tuple(depends_on),
        sql=select.sql,
        lines=rendered.lines,
        shape=digest(shape, settings_text(config, about)),
        description=about.description if about else "",
        columns=about.columns if about else (),
        config=config,
        written={**resource.written, **rendered.config},
        findings=select.findings,
        increment=increment,
        constraints=about.constraints if about else (),
    )


def _check_settings(resource: Resource, relation: Relation, config: Mapping[str, Any]) -> None:
    """Raise CompileError for settings that contradict each other, or came too late to be known."""
    if resource.kind == "snapshot":
        for told in snapshots.problems(config):
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
