"""The whole project compiled: every node, in an order in which each comes after what it depends on; and selection."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from kpi.errors import CompileError, CompileErrors, ConfigError, nearest
from kpi.feed import Feed, is_feed, read_feed
from kpi.generic_tests import test_nodes
from kpi.model import Node, shape_of
from kpi.project import Project, Resource
from kpi.template import Relation, Templates, check_materialized


@dataclass(frozen=True, slots=True)
class Graph:
    """All nodes by id, parents before children, and the feeds the sources describe."""

    project: Project
    nodes: Mapping[str, Node]
    feeds: tuple[Feed, ...]

    def built(self) -> tuple[Node, ...]:
        """Seeds and models in building order."""
        return tuple(node for node in self.nodes.values() if node.kind in ("seed", "model"))

    def tests(self) -> tuple[Node, ...]:
        """Data tests in name order."""
        return tuple(node for node in self.nodes.values() if node.kind == "test")


def compile_project(project: Project) -> Graph:
    """Render and parse every model and test. Raises CompileErrors with all that is wrong, each with file and line."""
    templates = Templates(project)
    nodes: dict[str, Node] = {}
    for source in project.sources:
        relation = Relation(
            f"source.{project.name}.{source.source_name}.{source.name}", source.schema, source.identifier
        )
        templates.relations[relation.node] = relation
        about = source.properties
        nodes[relation.node] = Node(
            id=relation.node,
            kind="source",
            name=f"{source.source_name}.{source.name}",
            file=about.file,
            line=about.line,
            relation=relation,
            materialized="source",
            tags=(),
            depends_on=(),
            text="",
            sql="",
            shape="",
            description=about.description,
            columns=about.columns,
        )
    for kind, resources in (("seed", project.seeds), ("model", project.models)):
        for resource in resources:
            node_id = f"{kind}.{project.name}.{resource.name}"
            schema = templates.schema_of(resource.config.get("schema"))
            templates.relations[node_id] = Relation(node_id, schema, resource.name)
    errors: list[CompileError] = []
    for resource in project.seeds:
        nodes[f"seed.{project.name}.{resource.name}"] = _seed(project, resource, templates)
    for resource in project.models:
        try:
            node = _model(project, resource, templates)
            nodes[node.id] = node
        except CompileError as error:
            errors.append(error)
    errors += _same_place(nodes.values())
    if not errors:
        tests, errors = test_nodes(project, templates, nodes)
        nodes.update({test.id: test for test in tests})
    if errors:
        raise CompileErrors(errors)
    feeds = tuple(read_feed(source) for source in project.sources if is_feed(source))
    return Graph(project, _ordered(nodes), feeds)


def select(graph: Graph, wanted: Iterable[str], excluded: Iterable[str] = ()) -> frozenset[str]:
    """Return the ids that dbt's selection syntax means: `name`, `path:`, `tag:`, `source:`, `resource_type:`, `+x+`.

    Words are a union, commas an intersection, `*` and `?` wildcards. No words select all. Raises ConfigError for a
    word that selects nothing.
    """
    words = [word for text in wanted for word in text.split()]
    chosen = set(graph.nodes) if not words else set().union(*(_word(graph, word) for word in words))
    for text in excluded:
        for word in text.split():
            chosen -= _word(graph, word)
    return frozenset(chosen)


def _word(graph: Graph, word: str) -> set[str]:
    parts = [_one(graph, part) for part in word.split(",")]
    return set.intersection(*parts)


def _one(graph: Graph, part: str) -> set[str]:
    name = part.strip("+")
    method, _, value = name.rpartition(":")
    chosen = {node.id for node in graph.nodes.values() if _matches(node, method, value)}
    if not chosen:
        known = {node.name for node in graph.nodes.values()}
        raise ConfigError(f"'{part}' selects nothing.{nearest(value, known)}")
    found = set(chosen)
    if part.startswith("+"):
        found |= _reach(chosen, {node.id: node.depends_on for node in graph.nodes.values()})
    if part.endswith("+"):
        found |= _reach(chosen, _children(graph.nodes.values()))
    # A test comes along with what it tests, as in dbt.
    found |= {test.id for test in graph.tests() if set(test.depends_on) and set(test.depends_on) <= found}
    return found


def _matches(node: Node, method: str, value: str) -> bool:
    match method:
        case "":
            return fnmatchcase(node.name, value) or fnmatchcase(node.id, value)
        case "path":
            return fnmatchcase(node.file.as_posix(), value) or Path(value) in (node.file, *node.file.parents)
        case "tag":
            return any(fnmatchcase(tag, value) for tag in node.tags)
        case "source":
            return node.kind == "source" and (fnmatchcase(node.name, value) or fnmatchcase(node.name, f"{value}.*"))
        case "resource_type":
            return node.kind == value
        case _:
            known = ("path", "tag", "source", "resource_type")
            raise ConfigError(f"'{method}:' is not a supported way to select.{nearest(method, known)}")


def _reach(start: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    front = list(start)
    while front:
        for neighbour in edges.get(front.pop(), ()):
            if neighbour not in found:
                found.add(neighbour)
                front.append(neighbour)
    return found


def _children(nodes: Iterable[Node]) -> dict[str, list[str]]:
    children: dict[str, list[str]] = {}
    for node in nodes:
        for parent in node.depends_on:
            children.setdefault(parent, []).append(node.id)
    return children


def _seed(project: Project, resource: Resource, templates: Templates) -> Node:
    content = resource.path.read_bytes()
    types = resource.config.get("column_types") or {}
    delimiter = str(resource.config.get("delimiter", ","))
    about, node_id = resource.properties, f"seed.{project.name}.{resource.name}"
    shape = hashlib.blake2b(content + repr((sorted(types.items()), delimiter)).encode(), digest_size=16).hexdigest()
    return Node(
        id=node_id,
        kind="seed",
        name=resource.name,
        file=resource.file,
        line=1,
        relation=templates.relations[node_id],
        materialized="seed",
        tags=_tags(resource),
        depends_on=(),
        text=delimiter,
        sql="",
        shape=shape,
        description=about.description if about else "",
        columns=about.columns if about else (),
        column_types=tuple((str(name), str(kind)) for name, kind in types.items()),
    )


def _model(project: Project, resource: Resource, templates: Templates) -> Node:
    text = resource.path.read_text(encoding="utf-8")
    node_id = f"model.{project.name}.{resource.name}"
    rendered = templates.render(text, resource.file, templates.relations[node_id])
    settings = {**resource.config, **rendered.config}
    if "schema" in rendered.config:
        schema = templates.schema_of(settings["schema"])
        if schema != templates.relations[node_id].schema:
            told = "config(schema=...) inside a model is not supported; set +schema in dbt_project.yml or in YAML."
            raise CompileError(resource.file, 1, told)
    about = resource.properties
    return Node(
        id=node_id,
        kind="model",
        name=resource.name,
        file=resource.file,
        line=1,
        relation=templates.relations[node_id],
        materialized=check_materialized(settings.get("materialized", "view"), resource.file),
        tags=_tags(resource),
        depends_on=tuple(rendered.depends_on),
        text=text,
        sql=rendered.sql.strip(),
        shape=shape_of(rendered.sql, text, resource.file, rendered.depends_on.values()),
        description=about.description if about else "",
        columns=about.columns if about else (),
    )


def _tags(resource: Resource) -> tuple[str, ...]:
    tags = resource.config.get("tags") or ()
    return (tags,) if isinstance(tags, str) else tuple(str(tag) for tag in tags)


def _same_place(nodes: Iterable[Node]) -> list[CompileError]:
    seen: dict[str, Node] = {}
    errors = []
    for node in nodes:
        place = str(node.relation)
        if place in seen:
            errors.append(CompileError(node.file, node.line, f"{place} is also where {seen[place].file} is built."))
        seen[place] = node
    return errors


def _ordered(nodes: Mapping[str, Node]) -> dict[str, Node]:
    sorter = TopologicalSorter({node_id: sorted(nodes[node_id].depends_on) for node_id in sorted(nodes)})
    try:
        return {node_id: nodes[node_id] for node_id in sorter.static_order()}
    except CycleError as error:
        cycle = [nodes[node_id] for node_id in error.args[1]]
        chain = " -> ".join(node.name for node in reversed(cycle))
        raise CompileError(cycle[0].file, 1, f"these models depend on each other in a circle: {chain}") from None
