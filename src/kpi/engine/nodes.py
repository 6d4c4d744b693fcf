"""All nodes of a project: its files rendered and parsed, in an order in which each comes after what it depends on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from kpi.engine.artifact_forms import set_known_graph
from kpi.engine.graph import AUDIT_SCHEMA, RESERVED_SCHEMA, RESERVED_TABLES, ColumnsOf, Graph, Node, line_of
from kpi.engine.materializations import (
    external_notes,
    run_hooks_of,
    with_ctes,
)
from kpi.engine.parser import (
    analysis_node,
    exposure_nodes,
    from_databases,
    place,
    resource_node,
    source_node,
    source_nodes,
)
from kpi.engine.template import NeedsColumns, NeedsGraph, Templates
from kpi.engine.tests import test_nodes
from kpi.errors import CompileError, ConfigError, KpiError, nearest
from kpi.ingest import calendar
from kpi.ingest.contract import Feed, is_feed, read_feed
from kpi.ingest.ledger import OWN
from kpi.ingest.retention import followed
from kpi.project.project import Project, Resource, together
from kpi.project.relation import Relation


def _with_files(project: Project, templates: Templates) -> Project:
    """The project with the sources that its models read outright."""
    return replace(project, sources=(*project.sources, *templates.outside.values()))


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
    project: it is reported with the reason. `relations` are all there are, by node id.
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
    built = dict(nodes)
    notes = [f"{one} The package's is not built." for one in theirs]
    while True:
        lost = {node.id: parent for node in built.values() for parent in node.depends_on if parent in gone}
        if not lost:
            return built, own, notes
        for node_id, parent in lost.items():
            node, reason = built.pop(node_id), gone[parent]
            gone[node_id] = reason
            what = relations[parent].name if parent in relations else parent
            if project.package_of(node.file) == project.name and node.kind != "exposure":
                message = f"'{what}' of a package is not built: {getattr(reason, 'message', reason)}"
                own.append(CompileError(node.file, line_of(node, relations[parent]), message))
            else:
                notes.append(
                    f"{node.file}:{node.line}: '{node.name}' is not built, for it reads '{what}', which is not."
                )


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
        set_known_graph(project, templates, nodes)
        tests, wrong = test_nodes(project, templates, nodes)
    if columns_of and any(isinstance(error, NeedsColumns) for error in wrong):
        _set_known_columns(project, templates, nodes, columns_of)
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
        if name not in templates.variables_read:
            hint = nearest(name, {*project.variables, *templates.variables_read} - {name})
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
    if any((source.schema, source.identifier) == (RESERVED_SCHEMA, calendar.FEED_MONTHS) for source in project.sources):
        mistakes += calendar.check_report_years(feeds)
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
                nodes.update((source.id, source_node(project, source)) for source in read)
                nodes[node.id] = node
            elif resource.kind != "analysis":
                disabled[resource.id] = templates.relations[resource.id]
        needs_graph = [resource for resource, error in waiting.values() if isinstance(error, NeedsGraph)]
        if len(waiting) == len(todo) and needs_graph and templates.known_graph is None:
            set_known_graph(project, templates, nodes, needs_graph)
        elif len(waiting) == len(todo) or columns_of is None:
            break
        todo = [resource for resource, _ in waiting.values()]
        if todo and columns_of:
            _set_known_columns(project, templates, nodes, columns_of)
    mistakes += [error for _, error in waiting.values()]
    return disabled


def _set_known_columns(project: Project, templates: Templates, nodes: dict[str, Node], columns_of: ColumnsOf) -> None:
    """Let templates know the columns of the nodes that are compiled by now."""
    ready = dict(nodes)
    while True:
        complete = {key: node for key, node in ready.items() if all(parent in ready for parent in node.depends_on)}
        if len(complete) == len(ready):
            break
        ready = complete
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
