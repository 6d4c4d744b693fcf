"""The nodes of a project that are built: sources as described, seeds as read, models as rendered and parsed."""

from __future__ import annotations

import hashlib

from kpi.errors import CompileError, nearest
from kpi.model import Node, read_select
from kpi.project import Project, Resource, merged, read_text
from kpi.properties import MODEL_CONFIGS, tags_of
from kpi.seeds import seed_header
from kpi.template import Relation, Templates
from kpi.yamlfile import Section


def source_nodes(project: Project) -> dict[str, Node]:
    """Return a node for every source table, by id."""
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
            materialized="source",
            tags=source.tags,
            description=about.description,
            columns=about.columns,
        )
    return nodes


def resource_node(project: Project, resource: Resource, templates: Templates) -> Node | None:
    """Read a seed, or render and parse a model. Returns None when it is disabled. Raises CompileError."""
    if not resource.config.get("enabled", True):
        return None
    make = _seed if resource.kind == "seed" else _model
    return make(project, resource, templates)


def _seed(project: Project, resource: Resource, templates: Templates) -> Node:
    delimiter = resource.config.get("delimiter", ",")
    text = read_text(project.root, resource.file)
    header = seed_header(text, resource.file, delimiter)
    types: Section = resource.config.get("column_types") or Section(resource.file, 1)
    for name in types:
        if name not in header:
            told = f"column_types: '{resource.name}' has no column '{name}'.{nearest(name, header)}"
            raise CompileError(types.file, types.lines[name], told)
    content = f"{text}\0{sorted(types.items())}\0{delimiter}"
    about, node_id = resource.properties, f"{resource.kind}.{project.name}.{resource.name}"
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
        column_types=tuple(types.items()),
        delimiter=delimiter,
        config=resource.config,
    )


def _model(project: Project, resource: Resource, templates: Templates) -> Node | None:
    node_id = f"{resource.kind}.{project.name}.{resource.name}"
    relation = templates.relations[node_id]
    settings = tuple(name for name in MODEL_CONFIGS if name != "schema")
    rendered = templates.render(read_text(project.root, resource.file), resource.file, settings, relation)
    if not rendered.config.get("enabled", True):
        return None
    select = read_select(rendered, resource.file, "model", templates.relations)
    about = resource.properties
    config = merged([resource.config, rendered.config])
    return Node(
        id=node_id,
        kind="model",
        name=resource.name,
        file=resource.file,
        line=select.line,
        relation=relation,
        materialized=config.get("materialized", "view"),
        tags=config["tags"],
        depends_on=tuple(rendered.depends_on),
        sql=select.sql,
        lines=rendered.lines,
        shape=select.shape,
        description=about.description if about else "",
        columns=about.columns if about else (),
        config=config,
        findings=select.findings,
    )
