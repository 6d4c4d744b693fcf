"""Every column of every model and test, checked before anything runs, by DuckDB itself on empty tables.

Each model is bound, in building order, against tables that have the columns and types of its parents and no rows. The
engine that will run the SQL judges it, so names, types and functions are all covered (decision 0003).
"""

from __future__ import annotations

import duckdb

from kpi.engine import SqlProblem, columns_of, problem_in, scratch
from kpi.errors import CompileError, CompileErrors, nearest
from kpi.generic_tests import counted
from kpi.graph import Graph
from kpi.load import LEDGER, REJECTS
from kpi.model import Node, line_of
from kpi.names import identifier
from kpi.seeds import seed_select

Columns = tuple[tuple[str, str], ...]


def check_columns(graph: Graph) -> dict[str, Columns]:
    """Bind all nodes and return name and type of each one's columns by node id.

    Raises CompileErrors naming file, line and nearest name for every column, type or function that does not fit. A
    model whose parents are wrong, or whose sources do not tell their types, is left for the build to judge.
    """
    con = scratch({"errors_as_json": "true"})
    known: dict[str, Columns] = {}
    errors: list[CompileError] = []
    for schema in sorted({node.relation.schema for node in graph.nodes.values() if node.relation.schema}):
        con.execute(f"create schema if not exists {identifier(schema)}")
    for node in graph.nodes.values():
        if not all(parent in known for parent in node.depends_on):
            continue
        if node.kind == "source":
            columns = _source_columns(graph, node)
        elif node.kind == "seed":
            columns = columns_of(con, seed_select(graph.project, node))
        elif node.test and node.test.column and not node.test.where and counted(node):
            errors += _missing_column(node, node.test.column, known[node.depends_on[0]])
            continue
        else:
            problem = problem_in(con, node.sql)
            if problem:
                errors.append(_error(graph, node, problem, known))
                continue
            columns = columns_of(con, node.sql) if node.kind == "model" else ()
        if node.kind != "test" and columns:
            _create(con, node, columns)
            known[node.id] = columns
            errors += _undocumented(node, columns)
    if errors:
        raise CompileErrors(errors)
    return known


def _create(con: duckdb.DuckDBPyConnection, node: Node, columns: Columns) -> None:
    typed = ", ".join(f"{identifier(name)} {kind}" for name, kind in columns)
    con.execute(f"create table {node.relation} ({typed})")


def _source_columns(graph: Graph, node: Node) -> Columns:
    known = {"raw.deliveries": LEDGER, "raw.rejects": REJECTS}
    known.update({f"raw.{feed.name}": feed.table_columns for feed in graph.feeds})
    if node.name in known:
        return known[node.name]
    documented = tuple((column.name, column.data_type) for column in node.columns)
    return documented if all(kind for _, kind in documented) else ()


def _undocumented(node: Node, columns: Columns) -> list[CompileError]:
    names = {name for name, _ in columns}
    return [
        CompileError(
            node_file, column.line, f"'{node.name}' has no column '{column.name}'.{nearest(column.name, names)}"
        )
        for column in node.columns
        if column.name not in names
        for node_file in (_properties_file(node),)
    ]


def _missing_column(test: Node, column: str, columns: Columns) -> list[CompileError]:
    names = {name for name, _ in columns}
    if column in names:
        return []
    return [CompileError(test.file, test.line, f"'{test.relation}' has no column '{column}'.{nearest(column, names)}")]


def _properties_file(node: Node) -> str:
    return str(node.columns[0].meta.file) if node.columns else str(node.file)


def _error(graph: Graph, node: Node, problem: SqlProblem, known: dict[str, Columns]) -> CompileError:
    names = {name for parent in node.depends_on for name, _ in known.get(parent, ())}
    word = problem.name or _word_at(node.sql, problem.offset)
    hint = "" if "Did you mean" in problem.message else nearest(word, problem.candidates or names)
    about = node.sql[: problem.offset or 0].count("\n") + 1
    # Text before the SELECT (config, comments) was stripped from the compiled SQL.
    lead = len(node.text) - len(node.text.lstrip())
    line = line_of(node.text, word, about + node.text[:lead].count("\n")) if node.text else node.line
    message = problem.message.rstrip("!. ")
    return CompileError(node.file, line, f"{message}.{hint}" if word in message else f"{message}: '{word}'.{hint}")


def _word_at(sql: str, offset: int | None) -> str:
    if offset is None:
        return ""
    end = offset
    while end < len(sql) and (sql[end].isalnum() or sql[end] in "_."):
        end += 1
    return sql[offset:end].rpartition(".")[2]
