"""Every column of every model and test, checked before anything runs, by DuckDB itself on empty tables.

Each model is bound, in building order, against tables that have the columns and types of its parents and no rows. The
engine that will run the SQL judges it, so names, types and functions are all covered (decision 0003).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace

import duckdb

from kpi.base.compile_cache import remembered
from kpi.base.engine import columns_of
from kpi.base.errors import CompileError, KpiError, nearest
from kpi.base.yamlfile import Section
from kpi.compile.binding import Binder, Columns, at
from kpi.compile.graph import Graph, compile_nodes
from kpi.compile.house_rules import judged, unread
from kpi.compile.unit_runs import check_unit_tests
from kpi.deliveries.feed import is_feed
from kpi.deliveries.load import OWN
from kpi.models import contracts, snapshots
from kpi.models.contracts import is_enforced
from kpi.models.generic_tests import GENERIC, accepted
from kpi.models.incremental import problems as setting_problems
from kpi.models.lint import Finding, second_column
from kpi.models.model import Node
from kpi.models.problems import problem_of
from kpi.models.seeds import seed_folders, seed_table
from kpi.parse.outside import absolute, reached
from kpi.parse.project import Project, together
from kpi.parse.properties import Column, TestSpec


def check_project(project: Project) -> Graph:
    """Compile the project and bind every node. Raises one error with all that is wrong, each with file and line."""
    return check_all(project)[0]


def check_all(project: Project) -> tuple[Graph, dict[str, Columns]]:
    """Compile the project and bind every node. Returns it with the columns of every node by id; raises as above."""
    graph, mistakes = compile_nodes(project, columns_in)
    known, wrong = check_columns(graph)
    unit_tests, wrong_units = check_unit_tests(graph, known)
    mistakes += [*wrong, *wrong_units, *unread(graph.nodes)]
    if mistakes:
        raise together(mistakes, project.root)
    idle = (f"{one.file}:{one.line}: nothing loads or reads the source '{one.name}'." for one in graph.unread())
    notes = (*graph.notes, *_only_documented(graph, known), *idle)
    return replace(graph, notes=notes, columns=known, unit_tests=unit_tests), known


def columns_in(graph: Graph) -> dict[str, Columns]:
    """Return name and type of the columns of every node that binds, by node id."""
    return check_columns(graph)[0]


def check_columns(graph: Graph) -> tuple[dict[str, Columns], list[KpiError]]:
    """Bind all nodes. Returns name and type of each one's columns by node id, and what is wrong.

    A node whose parents are wrong is passed over: what is wrong with it may come from them.
    """
    mistakes: list[KpiError] = []
    raw: dict[str, Columns] = {f"raw.{table}": tuple(columns) for table, columns in OWN.items()}
    raw.update({f"raw.{feed.name}": feed.table_columns for feed in graph.feeds})
    # A feed whose contract is wrong has no columns to bind against; what is wrong is told already.
    sources = {source.id: source for source in graph.project.sources}
    unread = {node.id for node in graph.unread()}
    outside = [path for location in graph.outside for path in reached(graph.project.root, location)]
    with closing(Binder(graph.nodes, [*seed_folders(graph.project), *outside])) as binder:
        for node in graph.nodes.values():
            if (
                node.kind in ("analysis", "exposure")
                or node.id in unread
                or not all(p in binder.known for p in node.depends_on)
            ):
                continue
            if node.kind == "source" and str(node.relation) not in raw and is_feed(sources[node.id]):
                continue
            try:
                if node.kind == "test":
                    _check_test(binder, graph, node)
                else:
                    columns, casts = _bind(binder, graph, node, raw)
                    binder.note(node, columns)
                    mistakes += _undocumented(node, columns, graph.project.is_strict)
                    if node.kind == "model":
                        mistakes += judged(node, (*node.findings, *casts))
                    if node.increment:
                        grown = replace(node, sql=node.increment.sql, lines=node.increment.lines)
                        mistakes += setting_problems(node, columns, _model_columns(binder, grown)[0])
            except CompileError as error:
                mistakes += [_with_comma(graph, node, error), *judged(node, node.findings, is_whole=False)]
    return binder.known, mistakes


def _with_comma(graph: Graph, node: Node, error: CompileError) -> CompileError:
    """A column that is not there may be one that its model swallowed for want of a comma: say so."""
    for parent in (graph.nodes[parent] for parent in node.depends_on):
        for finding in parent.findings:
            name = re.match(r"\w+", parent.sql[finding.offset :])
            before = re.search(r"(\w+)\s*$", parent.sql[: finding.offset])
            if finding.rule == "bare_alias" and name and before and f"'{before[1]}'" in error.message:
                line, column = parent.lines.place(finding.offset)
                told = f"{error.message} Or is a comma missing before '{name[0]}' in {parent.file}:{line}:{column}?"
                return CompileError(error.file, error.line, told, error.column)
    return error


def _bind(binder: Binder, graph: Graph, node: Node, raw: dict[str, Columns]) -> tuple[Columns, tuple[Finding, ...]]:
    """The columns of a node's table, and the casts a model should write out. A seed is read with all its rows."""
    if node.kind == "seed":
        return remembered(lambda: _seed_columns(binder, graph, node), "seed", node.shape, node.config), ()
    if node.kind == "source" and node.depends_on:
        return binder.known[node.depends_on[0]], ()
    if node.kind in ("model", "snapshot"):
        columns, casts = _model_columns(binder, node)
        if is_enforced(node):
            columns = contracts.check(binder.con, node, columns)
        if node.kind == "snapshot":
            columns = _snapshot(binder, node, columns)
        return columns, casts
    if node.sql:
        return remembered(lambda: _columns_outside(binder, graph, node), "outside", node.sql, node.shape), ()
    if str(node.relation) in raw:
        return raw[str(node.relation)], ()
    told = (
        f"nothing loads the source '{node.name}': it has no config.meta.feed and no config.meta.external_location,"
        f" and no seed or model makes it.{_no_database(graph, node)}"
    )
    raise CompileError(node.file, node.line, told)


def _no_database(graph: Graph, node: Node) -> str:
    """Why a source is not looked for in a DuckDB file, or how it would be."""
    project = graph.project
    source = next(one for one in project.sources if one.id == node.id)
    file, named_by = project.database_file(source)
    if file:
        return f" The DuckDB file {file}, which {named_by} names, is not there."
    if project.profile.problem:
        return f" A DuckDB file that has it cannot be looked for: {project.profile.problem}"
    return " If a DuckDB file has it, name the file: config.meta.database_file."


def _seed_columns(binder: Binder, graph: Graph, node: Node) -> Columns:
    statement = seed_table(graph.project, node)
    try:
        binder.con.execute(statement)
    except duckdb.Error as error:
        raise _seed_error(node, error, statement) from None
    return columns_of(binder.con, f"from {node.relation}")


def _model_columns(binder: Binder, node: Node) -> tuple[Columns, tuple[Finding, ...]]:
    columns, casts = binder.bind(node)
    names = [name.lower() for name, _ in columns]
    names_twice = sorted(name for name in set(names) if names.count(name) > 1)
    if names_twice:
        told = f"the model has two columns named '{names_twice[0]}'."
        raise at(node, second_column(node.sql, names_twice[0]), told)
    return columns, casts


def _snapshot(binder: Binder, node: Node, columns: Columns) -> Columns:
    """The columns of a snapshot's table: those of its SELECT, and those that tell its versions apart."""
    for mistake in snapshots.column_problems(node, columns):
        raise mistake
    try:
        binder.make_parents(node)
        return columns_of(binder.con, snapshots.first_select(node))
    except duckdb.Error as error:
        told = f"the snapshot's settings are no SQL that DuckDB takes: {problem_of(error, '').message}"
        raise CompileError(node.file, node.line, told) from None


def _columns_outside(binder: Binder, graph: Graph, node: Node) -> Columns:
    """The columns of a source that is files outside. Raises CompileError when they cannot be read."""
    try:
        return columns_of(binder.con, absolute(graph.project.root, node.sql))
    except duckdb.Error as error:
        problem = problem_of(error, f"describe {node.sql}")
        if "does not have any tables matching" in problem.message:
            file = reached(graph.project.root, node.sql.removeprefix("select * from "))[0].name
            told = f"the source '{node.name}': {file} has no table {node.relation}. A view there is not read"
            raise CompileError(node.file, node.line, f"{told}: make it a table.") from None
        raise CompileError(node.file, node.line, f"the source '{node.name}': {problem.message}") from None


def _seed_error(node: Node, error: duckdb.Error, statement: str) -> CompileError:
    problem = problem_of(error, statement)
    line = re.search(r"CSV Error on Line: (\d+)", problem.message)
    reason = re.search(
        r'Error when converting column "(.+?)"\. (.+)', str(error).replace("\\n", "\n").replace('\\"', '"')
    )
    if line and reason:
        return CompileError(node.file, int(line[1]), f"{reason[1]}: {reason[2]}.")
    types = node.config.get("column_types")
    if isinstance(types, Section):
        for name in [name for name, kind in types.items() if f"'{kind}'" in problem.message]:
            return CompileError(types.file, types.lines[name], f"'{name}': {problem.message}")
    return CompileError(node.file, 1, problem.message)


def _undocumented(node: Node, columns: Columns, is_strict: bool) -> list[CompileError]:
    """Columns of the YAML that are not there and that tests judge; with house rules a name much like another too."""
    names = [name for name, _ in columns]
    mistakes = []
    for column in _missing(node, columns):
        hint = nearest(column.name, names)
        if ("Did you mean" in hint and is_strict) or column.is_tested or node.config.get("contract"):
            told = f"'{node.name}' has no column '{column.name}'.{hint}"
            mistakes.append(CompileError(column.meta.file, column.line, told))
    return mistakes


def _only_documented(graph: Graph, known: Mapping[str, Columns]) -> list[str]:
    """What is to be told of columns that are described, are not there, and that nothing asks for."""
    return [
        f"{column.meta.file}:{column.line}: '{node.name}' has no column '{column.name}'; its description is not used."
        for node in graph.nodes.values()
        if node.id in known
        for column in _missing(node, known[node.id])
    ]


def _missing(node: Node, columns: Columns) -> list[Column]:
    names = {name.lower() for name, _ in columns}
    return [column for column in node.columns if column.name.lower() not in names]


def _check_test(binder: Binder, graph: Graph, test: Node) -> None:
    """Raise CompileError when a test names a column that is not there, or compares what cannot be compared."""
    spec, known = test.test, binder.known
    if spec is None or spec.kind not in GENERIC:
        binder.bind(test)
        return
    judged = test.depends_on[0]
    documented = {column.name for column in graph.nodes[judged].columns}
    if spec.column in documented and spec.column not in dict(known[judged]):
        return  # told once, of the column itself
    kind = _type_of(test, spec.column, judged, known)
    if spec.kind == "relationships":
        key = spec.arguments["field"]
        key_kind = _type_of(test, key, spec.arguments["to"], known)
        if _family(kind) != _family(key_kind):
            told = f"'{spec.column}' ({kind}) cannot be compared with '{key}' ({key_kind})."
            raise CompileError(test.file, test.line, told)
    if spec.kind == "accepted_values" and (kind != "VARCHAR" or not spec.arguments.get("quote", True)):
        _check_values(binder, spec, kind)
    if spec.where:
        binder.bind(test)


def _check_values(binder: Binder, spec: TestSpec, kind: str) -> None:
    """Raise CompileError for an accepted value that a column of the type cannot have."""
    for value in accepted(spec):
        if not _is_value(binder, value, kind, bool(spec.arguments.get("quote", True))):
            told = f"'{spec.column}' ({kind}) cannot be compared with {value}."
            raise CompileError(spec.file, spec.line, told)


def _is_value(binder: Binder, value: str, kind: str, is_quoted: bool) -> bool:
    def ask() -> bool:
        try:
            if is_quoted:
                binder.con.execute(f"select cast({value} as {kind})")
                return True
            return _family(columns_of(binder.con, f"select {value}")[0][1]) == _family(kind)
        except duckdb.Error:
            return False

    return remembered(ask, "value", value, kind, is_quoted)


def _type_of(test: Node, column: str, table: str, known: dict[str, Columns]) -> str:
    kinds = dict(known[table])
    if column not in kinds:
        told = f"'{table.split('.', 2)[2]}' has no column '{column}'.{nearest(column, kinds)}"
        raise CompileError(test.file, test.line, told)
    return kinds[column]


def _family(kind: str) -> str:
    """What a type can be compared with: all types of the same family."""
    return next((family for family, pattern in _FAMILIES if re.match(pattern, kind)), kind)


_FAMILIES = (
    ("number", r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$|DECIMAL|FLOAT|DOUBLE"),
    ("text", r"VARCHAR|ENUM"),
    ("day", r"DATE|TIMESTAMP"),
)
