"""Files of a project to nodes: models, snapshots and analyses rendered and read, seeds, sources and exposures."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kpi.engine import incremental
from kpi.engine.materializations import (
    as_built,
    cte_of,
    external_problem,
    seed_columns,
    with_hooks,
)
from kpi.engine.node import (
    Hooks,
    Increment,
    NamedOutrightError,
    Node,
    Select,
    digest,
    has_house_rules,
    read_select,
)
from kpi.engine.template import NeedsColumns, RenderInput, Templates
from kpi.errors import CompileError, ConfigError, nearest
from kpi.project.external import content_of, files_read, in_database, location_problem
from kpi.project.macros import RUN_QUERY
from kpi.project.packages import read_text
from kpi.project.project import Project
from kpi.project.properties import MODEL_CONFIGS, SNAPSHOT_CONFIGS, Properties, Source, tags_of
from kpi.project.relation import DATABASE, Relation, Rendered
from kpi.project.resources import Resource, merged
from kpi.sql import relation_name
from kpi.yaml_loader import Section

# Where the files stand as tables that models read outright.
FILES = "files"
SETTINGS = {"model": MODEL_CONFIGS, "snapshot": SNAPSHOT_CONFIGS, "analysis": MODEL_CONFIGS}
_SWITCH = re.compile(r"\benabled\b")
_CONFIG = re.compile(r"\{\{-?\s*config\s*\(.*?\)\s*-?\}\}", re.DOTALL)


def text_of(project: Project, resource: Resource) -> str:
    """Return the template of a model, snapshot or analysis."""
    return read_text(project.root, resource.file) if resource.text is None else resource.text


def raw_code(project: Project, resource: Resource) -> str:
    """Return the template as dbt's artifacts have it: a whole file without the blanks at its ends."""
    return text_of(project, resource).strip() if resource.text is None else resource.text


def attributes_of(project: Project, resource: Resource, config: Mapping[str, Any]) -> dict[str, Any]:
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


def _early_config(resource: Resource, templates: Templates, text: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a text sets by config() while nothing is known yet but `about`, what YAML says of the resource."""
    render_input = RenderInput(base=about["config"], model=about, parsing=True)
    return templates.render(text, resource.file, SETTINGS[resource.kind], render_input).config


def is_disabled_by_itself(project: Project, resource: Resource, templates: Templates) -> bool:
    """Tell whether a file says by config() that it is disabled: then nothing else in it counts."""
    text = text_of(project, resource) if resource.kind != "seed" else ""
    if "config" not in text or not _SWITCH.search(text):
        return False
    # What stands before the config() may fail while nothing is known yet; then its own calls are rendered alone.
    for one in (text, "".join(_CONFIG.findall(text))):
        found = _early_config(resource, templates, one, attributes_of(project, resource, resource.config))
        if "enabled" in found:
            return not found["enabled"]
    return False


def early_config(project: Project, resource: Resource, templates: Templates) -> dict[str, Any]:
    """Return the settings of a model as far as they are known before it can be rendered."""
    about = attributes_of(project, resource, resource.config)
    return merged([resource.config, _early_config(resource, templates, text_of(project, resource), about)])


# What decides where a model stands, and so must be known before anything refers to it.
_PLACING = re.compile(r"""\b(schema|alias|target_schema)['"]?\s*[=:]|\bephemeral\b""")


def source_nodes(project: Project) -> dict[str, Node]:
    """Return a node for every source table, by id. One that is files outside has the SELECT that reads them."""
    return {source.id: source_node(project, source) for source in project.sources}


def source_node(project: Project, source: Source) -> Node:
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
    project: Project, resource: Resource, templates: Templates, rendered: Rendered, is_judged: bool
) -> tuple[Select, dict[str, Relation]]:
    """Return what a model's SQL is, and the nodes that it reads.

    A table of the project that it names outright is read as by ref(), with a note; with house rules that is a mistake.
    """
    rendered = _with_sources(project, resource, templates, rendered)
    while True:
        try:
            select = read_select(rendered, resource.file, resource.kind, templates.relations, is_judged)
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
        config |= _early_config(resource, templates, text, attributes_of(project, resource, config))
    config |= resource.above
    about = attributes_of(project, resource, config)
    name = templates.alias_of(config.get("alias"), about)
    schema = config.get("target_schema") or templates.schema_of(config.get("schema"), {**about, "alias": name})
    relation = Relation(resource.id, schema, name)
    is_read_as_cte = resource.kind == "model" and config.get("materialized") == "ephemeral"
    return cte_of(relation) if is_read_as_cte else relation


def resource_node(project: Project, resource: Resource, templates: Templates) -> Node | None:
    """Read a seed, or render and parse a model or snapshot. Returns None when it is disabled. Raises CompileError."""
    is_on = {"enabled": True, **resource.config, **resource.above}["enabled"]
    if not is_on or is_disabled_by_itself(project, resource, templates):
        return None
    make = _seed if resource.kind == "seed" else _model
    node = make(project, resource, templates)
    return with_hooks(node, templates) if node else None


def analysis_node(project: Project, resource: Resource, templates: Templates) -> Node | None:
    """Render an analysis, which is compiled for people to copy and never run; one that cannot be is only noted."""
    if not resource.config.get("enabled", True) or is_disabled_by_itself(project, resource, templates):
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


def documented(resource: Resource) -> dict[str, Any]:
    """Return what YAML says of a resource, as fields of its node."""
    about = resource.properties
    return {"description": about.description, "columns": about.columns} if about else {}


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
    return Node(
        id=resource.id,
        kind="seed",
        name=resource.name,
        file=resource.file,
        line=1,
        relation=templates.relations[resource.id],
        materialized="seed",
        tags=tags_of(config["tags"]),
        shape=hashlib.blake2b(content.encode(), digest_size=16).hexdigest(),
        **documented(resource),
        column_types=tuple({**header, **types}.items()),
        delimiter=delimiter,
        config=config,
        written={**resource.written, **resource.above},
        depth=resource.depth,
    )


def _model(project: Project, resource: Resource, templates: Templates) -> Node | None:
    relation, settings = templates.relations[resource.id], SETTINGS[resource.kind]
    attributes = attributes_of(project, resource, resource.config)
    attributes |= {"alias": relation.name, "schema": relation.schema}
    text = text_of(project, resource)
    render_input = RenderInput(this=relation, base=resource.config, model=attributes)
    rendered = templates.render(text, resource.file, settings, render_input)
    if not {"enabled": True, **rendered.config, **resource.above}["enabled"]:
        return None
    about = resource.properties
    config = merged([resource.config, rendered.config, resource.above])
    is_judged = resource.kind == "model" and has_house_rules(config)
    select, depends_on = _select(project, resource, templates, rendered, is_judged)
    database = templates.database_of(config.get("target_database") or config.get("database"), attributes)
    _check_settings(resource, relation, config, database)
    increment, shape = None, select.shape
    if config.get("materialized") == "incremental":
        again = templates.render(text, resource.file, settings, replace(render_input, is_incremental=True))
        added, more = _select(project, resource, templates, again, is_judged=False)
        increment = Increment(added.sql, added.lines, Hooks())
        depends_on = {**depends_on, **more}
        shape = digest(shape, added.shape)
    return Node(
        id=resource.id,
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
        **documented(resource),
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
