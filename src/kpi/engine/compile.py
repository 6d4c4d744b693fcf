"""A project compiled, at once when nothing changed and with one model alone when only its text did."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.cache import WHOLE, LazyTuple, caching, key_of, without_cache
from kpi.environment import is_as_read
from kpi.errors import KpiError
from kpi.files import project_contents, project_files

if TYPE_CHECKING:
    from kpi.engine.binder import Binder
    from kpi.engine.graph import Graph, Node
    from kpi.engine.template import Templates
    from kpi.ingest.contract import Feed
    from kpi.project.project import Project, Resource
    from kpi.settings import Invocation
    from kpi.sql import Columns

CACHE = Path("warehouse/.cache/compiled")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A graph without mistakes, with name and type of every column of each node by its id.

    `files` are hashes of the project's files by path. With `is_closed` no template asks what other files say beyond
    their names, places and columns.
    """

    graph: Graph
    columns: Mapping[str, Columns]
    files: Mapping[str, bytes] = field(default_factory=dict)
    is_closed: bool = False


def check_project(project: Project) -> Graph:
    """Compile the project and bind every node. Raises one error with all that is wrong, each with file and line."""
    from kpi.engine.binder import check_all

    return check_all(project)[0]


def columns_in(graph: Graph) -> dict[str, Columns]:
    """Return name and type of the columns of every node that binds, by node id."""
    return check_columns(graph)[0]


def check_columns(graph: Graph) -> tuple[dict[str, Columns], list[KpiError]]:
    """Bind all nodes. Returns name and type of each one's columns by node id, and what is wrong.

    A node whose parents are wrong is passed over: what is wrong with it may come from them.
    """
    from kpi.engine.binder import bound_columns

    return bound_columns(graph)[:2]


def compiled(
    root: Path,
    variables: Mapping[str, Any] | None = None,
    target: str = "",
    invocation: Invocation | None = None,
) -> Compiled:
    """Compile and bind the project in `root`; `variables` are given for this run, `invocation` is what it was asked.

    What was found out before is taken from the cache, and what is new is kept there. Raises one KpiError with all that
    is wrong, each with file and place, whose `root` is the project's.
    """
    root = root.resolve()

    with caching(root / CACHE) as cache:
        key, files = _key_of(root, variables, target), project_contents(root)
        found = cache.get(key)
        if isinstance(found, Compiled) and is_as_read(found.graph.environment_read):
            if found.files == files:
                return found
            with without_cache():
                grown = with_changed_models(found, files) if not variables else None
            if grown:
                cache.put(key, grown)
                return grown
        made = _compiled(root, variables, target, invocation)
        from kpi.project.jinja import is_fleeting

        project = made.graph.project
        # Files that the digest may not cover: of sources outside, and of doc blocks in a folder that is passed over.
        covered = {path.resolve() for path in project_files(root)} if project.doc_files else set()
        is_covered = all((root / file).resolve() in covered for file in project.doc_files) and not any(
            node.sql for node in made.graph.nodes.values() if node.kind == "source"
        )
        templates = [(root / file).read_text("utf-8", "replace") for file in _templates(made.graph)]
        made = replace(made, files=files, is_closed=not any(re.search(r"\bgraph\b", text) for text in templates))
        if is_covered and not any(map(is_fleeting, templates)):
            cache.put(key, _in_parts(made))
        return made


def _key_of(root: Path, variables: Mapping[str, Any] | None, target: str) -> str:
    return WHOLE + key_of(str(root), sorted((variables or {}).items()), target)


def known(root: Path, variables: Mapping[str, Any] | None = None, target: str = "") -> Compiled | None:
    """Return the project in `root` as it was compiled before; None when it is another now, or something was wrong."""
    root = root.resolve()
    with caching(root / CACHE) as cache:
        found = cache.get(_key_of(root, variables, target))
    is_right = isinstance(found, Compiled) and is_as_read(found.graph.environment_read)
    return found if is_right and found.files == project_contents(root) else None


def read_project(root: Path) -> Project:
    """Return what is written of the project in `root`, right or wrong beyond that. Raises what `load_project` does."""
    from kpi.project.project import load_project

    found = known(root)
    return found.graph.project if found else load_project(root)


def read_feeds(root: Path) -> tuple[Project, tuple[Feed, ...]]:
    """Return the same, and the contracts of its feeds. Raises what `load_project` and `read_feed` do."""
    from kpi.ingest.contract import is_feed, read_feed
    from kpi.project.project import load_project

    if found := known(root):
        return found.graph.project, tuple(found.graph.feeds)
    project = load_project(root)
    return project, tuple(read_feed(source) for source in project.sources if is_feed(source))


def _in_parts(project: Compiled) -> Compiled:
    """The same with its unit tests, which are more than half of it, read only when somebody asks for them."""
    graph: Any = project.graph
    parts = replace(graph.project, unit_tests=LazyTuple.of(graph.project.unit_tests))
    return replace(project, graph=replace(graph, unit_tests=LazyTuple.of(graph.unit_tests), project=parts))


def with_changed_models(before: Compiled, files: Mapping[str, bytes]) -> Compiled | None:
    """Return what was compiled before with the models whose files changed compiled again; None when that is not all.

    It is all when each of them yields the columns it had, reads the tables it read and has the settings it had: then
    nothing else of the project hangs on its text. Whatever is wrong or new is reported by compiling the whole.
    """
    from kpi.engine.binder import Binder, of_the_moment
    from kpi.engine.materializations import seed_folders
    from kpi.engine.template import Templates

    graph = before.graph
    changed = {path for path in {*files, *before.files} if files.get(path) != before.files.get(path)}
    models = {resource.file.as_posix(): resource for resource in graph.project.models}
    resources = (*graph.project.seeds, *graph.project.models, *graph.project.snapshots)
    is_simple = before.is_closed and not graph.environment_read and all(one.id in graph.nodes for one in resources)
    if not (is_simple and changed <= models.keys() & files.keys()):
        return None
    templates = Templates(graph.project)
    kinds = ("source", "seed", "model", "snapshot")
    templates.relations.update({node.id: node.relation for node in graph.nodes.values() if node.kind in kinds})
    nodes = dict(graph.nodes)
    with closing(Binder(graph.nodes, seed_folders(graph.project))) as binder:
        binder.known.update(before.columns)
        for path in sorted(changed):
            try:
                node = _again(binder, graph, models[path], templates)
            except KpiError:
                return None
            if node is None or any(path in note for note in graph.notes) or any(of_the_moment([node])):
                return None
            nodes[node.id] = node
        if binder.notes or templates.notes or templates.environment_read:
            return None
    return replace(before, graph=replace(graph, nodes=nodes), files=files)


def _again(binder: Binder, graph: Graph, resource: Resource, templates: Templates) -> Node | None:
    """A model with the text it has now; None when it is more than its text that changed. Raises CompileError."""
    from kpi.engine.binder import bind, finding_errors
    from kpi.engine.materializations import is_ephemeral
    from kpi.engine.parser import place, resource_node, text_of
    from kpi.project.jinja import is_fleeting

    before, text = graph.nodes[resource.id], text_of(graph.project, resource)
    if is_fleeting(text) or re.search(r"\bgraph\b", text) or before.materialized not in ("table", "view"):
        return None
    if place(graph.project, resource, templates) != before.relation:
        return None
    node = resource_node(graph.project, resource, templates)
    if node is None or any(is_ephemeral(graph.nodes[parent]) for parent in node.depends_on):
        return None
    of_text = {name: getattr(before, name) for name in ("line", "sql", "lines", "shape", "findings")}
    columns, casts = bind(binder, graph, node, {})
    is_right = not finding_errors(node, (*node.findings, *casts)) and columns == binder.known[node.id]
    return node if is_right and replace(node, **of_text) == before else None


def _compiled(root: Path, variables: Mapping[str, Any] | None, target: str, invocation: Invocation | None) -> Compiled:
    from kpi.engine.binder import check_all
    from kpi.project.project import load_project

    try:
        return Compiled(*check_all(load_project(root, variables, target, invocation)))
    except KpiError as error:
        error.root = root
        raise


def _templates(graph: Graph) -> set[Path]:
    """Every file that Jinja may stand in."""
    own = {node.file for node in graph.nodes.values() if node.sql} | {
        resource.file for resource in graph.project.models
    }
    packages = (file for files in graph.project.packages.values() for file in files)
    return {*own, *graph.project.macro_files, *packages, Path("dbt_project.yml")}


INLINE = Path("--inline")


def compile_inline(graph: Graph, text: str) -> str:
    """Return the SQL of a SELECT, checked as a model's is: its tables, columns and types are known.

    Raises CompileError that names the line of the text.
    """
    from kpi.engine.binder import Binder
    from kpi.engine.graph import Node
    from kpi.engine.materializations import with_ctes
    from kpi.engine.parser import read_select
    from kpi.engine.template import Templates
    from kpi.project.relation import Relation

    templates = Templates(graph.project)
    templates.relations.update(
        {node.id: node.relation for node in graph.nodes.values() if node.kind not in ("test", "analysis", "exposure")}
    )
    templates.known_columns = graph.columns
    rendered = templates.render(text, INLINE, ())
    select = read_select(rendered, INLINE, "query", templates.relations)
    node_id = f"model.{graph.project.name}.{INLINE}"
    node = Node(
        id=node_id,
        kind="model",
        name=str(INLINE),
        file=INLINE,
        line=select.line,
        relation=Relation(node_id, "main", "inline_query"),
        materialized="view",
        depends_on=tuple(rendered.depends_on),
        sql=select.sql,
        lines=select.lines,
    )
    nodes = with_ctes({**graph.nodes, node_id: node})
    with closing(Binder(nodes, ())) as binder:
        binder.known.update(graph.columns)
        binder.bind(nodes[node_id])
    return nodes[node_id].sql
