"""Every column of every model and test, checked before anything runs, by DuckDB itself on empty tables.

Each model is bound, in building order, against tables that have the columns and types of its parents and no rows. The
engine that will run the SQL judges it, so names, types and functions are all covered (decision 0003).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import duckdb

from kpi import contracts, snapshots
from kpi.contracts import is_enforced
from kpi.engine import columns_of, scratch
from kpi.ephemeral import is_ephemeral
from kpi.errors import CompileError, KpiError, nearest
from kpi.feed import is_feed
from kpi.generic_tests import GENERIC, accepted
from kpi.graph import Graph, compile_nodes
from kpi.incremental import problems as setting_problems
from kpi.load import LEDGER, REJECTS
from kpi.model import Node
from kpi.names import identifier
from kpi.problems import problem_of
from kpi.project import Project, together
from kpi.properties import Column, TestSpec
from kpi.seeds import seed_table
from kpi.unit_runs import check_unit_tests

Columns = tuple[tuple[str, str], ...]


def check_project(project: Project) -> Graph:
    """Compile the project and bind every node. Raises one error with all that is wrong, each with file and line."""
    graph, mistakes = compile_nodes(project, columns_in)
    known, wrong = check_columns(graph)
    unit_tests, wrong_units = check_unit_tests(graph, known)
    mistakes += wrong + wrong_units
    if mistakes:
        raise together(mistakes)
    notes = (*graph.notes, *_only_documented(graph, known))
    return replace(graph, notes=notes, columns=known, unit_tests=unit_tests)


def columns_in(graph: Graph) -> dict[str, Columns]:
    """Return name and type of the columns of every node that binds, by node id."""
    return check_columns(graph)[0]


def check_columns(graph: Graph) -> tuple[dict[str, Columns], list[KpiError]]:
    """Bind all nodes. Returns name and type of each one's columns by node id, and what is wrong.

    A node whose parents are wrong is passed over: what is wrong with it may come from them.
    """
    known: dict[str, Columns] = {}
    mistakes: list[KpiError] = []
    raw = {"raw.deliveries": LEDGER, "raw.rejects": REJECTS}
    raw.update({f"raw.{feed.name}": feed.table_columns for feed in graph.feeds})
    # A feed whose contract is wrong has no columns to bind against; what is wrong is told already.
    sources = {f"source.{graph.project.name}.{s.source_name}.{s.name}": s for s in graph.project.sources}
    with scratch({"errors_as_json": "true", "file_search_path": str(graph.project.root)}) as con:
        for schema in sorted({node.relation.schema for node in graph.nodes.values() if node.relation.schema}):
            con.execute(f"create schema if not exists {identifier(schema)}")
        for node in graph.nodes.values():
            if node.kind in ("analysis", "exposure") or not all(parent in known for parent in node.depends_on):
                continue
            if node.kind == "source" and str(node.relation) not in raw and is_feed(sources[node.id]):
                continue
            try:
                if node.kind == "test":
                    _check_test(con, graph, node, known)
                else:
                    known[node.id] = _bind(con, graph, node, raw, known)
                    mistakes += _undocumented(node, known[node.id])
                    mistakes += setting_problems(node, known[node.id], _increment(con, node, known))
            except CompileError as error:
                mistakes.append(error)
    return known, mistakes


def _bind(
    con: duckdb.DuckDBPyConnection, graph: Graph, node: Node, raw: dict[str, Columns], known: dict[str, Columns]
) -> Columns:
    """Make the node's table in the scratch database: a seed's with its rows, all others empty."""
    if node.kind == "seed":
        statement = seed_table(graph.project, node)
        try:
            con.execute(statement)
        except duckdb.Error as error:
            raise _seed_error(node, error, statement) from None
        return columns_of(con, f"from {node.relation}")
    if node.kind == "source" and node.depends_on:
        return known[node.depends_on[0]]
    if node.kind in ("model", "snapshot"):
        columns = _columns(con, node, known)
        if is_enforced(node):
            columns = contracts.check(con, node, columns)
        if is_ephemeral(node):
            return columns
        if node.kind == "snapshot":
            columns = _snapshot(con, node, columns)
    elif node.sql:
        columns = _columns_outside(con, node)
    elif str(node.relation) in raw:
        columns = raw[str(node.relation)]
    else:
        told = (
            f"nothing loads the source '{node.name}': it has no config.meta.feed and no config.meta.external_location,"
            " and no seed or model makes it."
        )
        raise CompileError(node.file, node.line, told)
    typed = ", ".join(f"{identifier(name)} {kind}" for name, kind in columns)
    try:
        con.execute(f"create or replace table {node.relation} ({typed})")
    except duckdb.Error:
        told = f"{node.relation} cannot be the name of a table: a part of it is a word of SQL."
        raise CompileError(node.file, node.line, told) from None
    return columns


def _snapshot(con: duckdb.DuckDBPyConnection, node: Node, columns: Columns) -> Columns:
    """The columns of a snapshot's table: those of its SELECT, and those that tell its versions apart."""
    for mistake in snapshots.column_problems(node, columns):
        raise mistake
    try:
        return columns_of(con, snapshots.first_select(node))
    except duckdb.Error as error:
        told = f"the snapshot's settings are no SQL that DuckDB takes: {problem_of(error, '').message}"
        raise CompileError(node.file, node.line, told) from None


def _increment(con: duckdb.DuckDBPyConnection, node: Node, known: dict[str, Columns]) -> Columns:
    """The columns of what is added to an incremental model; none for any other node."""
    if node.increment is None:
        return ()
    return _columns(con, replace(node, sql=node.increment.sql, lines=node.increment.lines), known)


def _columns(con: duckdb.DuckDBPyConnection, node: Node, known: dict[str, Columns]) -> Columns:
    """The columns a model or test yields. Raises CompileError for whatever DuckDB finds wrong with its SQL."""
    try:
        columns = columns_of(con, node.sql)
    except duckdb.Error as error:
        before = "describe "
        names = {name for parent in node.depends_on for name, _ in known[parent]} | set(_ALIAS.findall(node.sql))
        problem = problem_of(error, before + node.sql, names)
        is_ours = node.test is not None and node.test.kind != "singular"
        line = node.line if is_ours else node.lines.at((problem.offset or 0) - len(before))
        raise CompileError(node.file, line, problem.message) from None
    names_twice = {name for name, _ in columns if [other.lower() for other, _ in columns].count(name.lower()) > 1}
    if node.kind == "model" and names_twice:
        raise CompileError(node.file, node.line, f"the model has two columns named '{min(names_twice)}'.")
    return columns


def _columns_outside(con: duckdb.DuckDBPyConnection, node: Node) -> Columns:
    """The columns of a source that is files outside. Raises CompileError when they cannot be read."""
    try:
        return columns_of(con, node.sql)
    except duckdb.Error as error:
        problem = problem_of(error, f"describe {node.sql}")
        raise CompileError(node.file, node.line, f"the source '{node.name}': {problem.message}") from None


_ALIAS = re.compile(r"\bas\s+(\w+)", re.IGNORECASE)


def _seed_error(node: Node, error: duckdb.Error, statement: str) -> CompileError:
    problem = problem_of(error, statement)
    line = re.search(r"CSV Error on Line: (\d+)", problem.message)
    reason = re.search(
        r'Error when converting column "(.+?)"\. (.+)', str(error).replace("\\n", "\n").replace('\\"', '"')
    )
    if line and reason:
        return CompileError(node.file, int(line[1]), f"{reason[1]}: {reason[2]}.")
    return CompileError(node.file, 1, problem.message)


def _undocumented(node: Node, columns: Columns) -> list[CompileError]:
    """Columns of the YAML that are not there: a name much like another is a slip, and one that tests judge must be."""
    names = [name for name, _ in columns]
    mistakes = []
    for column in _missing(node, columns):
        hint = nearest(column.name, names)
        if "Did you mean" in hint or column.is_tested or node.config.get("contract"):
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


def _check_test(con: duckdb.DuckDBPyConnection, graph: Graph, test: Node, known: dict[str, Columns]) -> None:
    """Raise CompileError when a test names a column that is not there, or compares what cannot be compared."""
    spec = test.test
    if spec is None or spec.kind not in GENERIC:
        _columns(con, test, known)
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
        _check_values(con, spec, kind)
    if spec.where:
        _columns(con, test, known)


def _check_values(con: duckdb.DuckDBPyConnection, spec: TestSpec, kind: str) -> None:
    """Raise CompileError for an accepted value that a column of the type cannot have."""
    for value in accepted(spec):
        try:
            if spec.arguments.get("quote", True):
                con.execute(f"select cast({value} as {kind})")
                continue
            value_kind = columns_of(con, f"select {value}")[0][1]
        except duckdb.Error:
            value_kind = ""
        if _family(value_kind) != _family(kind):
            told = f"'{spec.column}' ({kind}) cannot be compared with {value}."
            raise CompileError(spec.file, spec.line, told)


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
