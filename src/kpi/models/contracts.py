"""Enforced contracts: the columns that YAML promises, in name, type and order, and the constraints DuckDB keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from kpi.base.engine import columns_of
from kpi.base.errors import CompileError
from kpi.base.names import identifier
from kpi.base.sqltext import column_problem, expression_problem, type_problem
from kpi.models.lint import last_column
from kpi.models.model import Node
from kpi.parse.properties import Column

Columns = tuple[tuple[str, str], ...]
CONSTRAINTS = ("check", "not_null", "unique", "primary_key", "foreign_key", "custom")


def is_enforced(node: Node) -> bool:
    """Whether the node has a contract that is enforced."""
    contract = node.config.get("contract")
    return contract is True or (isinstance(contract, Mapping) and bool(contract.get("enforced")))


def promised(con: duckdb.DuckDBPyConnection, node: Node) -> Columns:
    """Return the columns the contract promises, with DuckDB's own names of their types.

    Raises CompileError for a column without a type, or with one that there is not.
    """
    if not node.columns:
        told = "the contract is enforced, but the YAML names no columns. List each with its data_type."
        raise CompileError(node.file, node.line, told)
    given = [(column.line, constraint) for column in node.columns for constraint in column.constraints]
    for line, constraint in [*given, *((node.columns[0].line, constraint) for constraint in node.constraints)]:
        if told := constraint_problem(constraint):
            raise CompileError(node.columns[0].meta.file, line, told)
    found = []
    for column in node.columns:
        if not column.data_type:
            told = f"the contract is enforced, but '{column.name}' has no data_type."
            raise CompileError(column.meta.file, column.line, told)
        if problem := type_problem(column.data_type):
            told = f"'{column.name}': the data_type '{column.data_type[:100]}' {problem}."
            raise CompileError(column.meta.file, column.line, told)
        try:
            kind = columns_of(con, f"select cast(null as {column.data_type}) as c")[0][1]
        except duckdb.Error:
            told = f"'{column.name}': there is no type '{column.data_type}'."
            raise CompileError(column.meta.file, column.line, told) from None
        found.append((column.name, kind))
    return tuple(found)


def check(con: duckdb.DuckDBPyConnection, node: Node, columns: Columns) -> Columns:
    """Return the columns as the contract orders them. Raises CompileError with a table of what differs.

    Names are compared as DuckDB does, whatever their case; types by what DuckDB takes them for.
    """
    contract = promised(con, node)
    seen = {name.lower(): (name, kind) for name, kind in columns}
    rows = []
    places = {column.name: f"{column.meta.file}:{column.line}" for column in node.columns}
    for name, kind in contract:
        given = seen.pop(name.lower(), None)
        if given is None:
            rows.append((name, "", kind, "missing in the model", places[name]))
        elif given[1] != kind:
            rows.append((name, given[1], kind, "another type", places[name]))
    rows += [(name, kind, "", "missing in the contract", "") for name, kind in seen.values()]
    if rows:
        head = ("column", "the model has", "the contract says", "what differs", "in the contract")
        told = "the model does not keep its contract.\n" + _table([head, *sorted(rows)])
        line, column = _place(node, [row[0] for row in sorted(rows)])
        raise CompileError(node.file, line, told, column)
    # A view yields its columns as its SELECT names them; a table has them in the contract's order.
    return columns if node.materialized == "view" else contract


def _place(node: Node, names: Sequence[str]) -> tuple[int, int]:
    """Line and column of the first of these columns in the model's last SELECT; without one, the model's line."""
    found = (last_column(node.sql, name.lower()) for name in names if node.sql)
    places = [place for place in found if place is not None]
    return node.lines.place(places[0]) if places else (node.line, 0)


def table_columns(node: Node) -> str:
    """The columns of a table under contract, with types and constraints, as `create table` takes them."""
    lines = [
        " ".join((_name(column), column.data_type, *(_column_constraint(one) for one in column.constraints)))
        for column in node.columns
    ]
    return ",\n".join(f"    {line}" for line in (*lines, *(_table_constraint(one) for one in node.constraints)))


def column_names(node: Node) -> str:
    """The names of the contract's columns, in its order, as SQL."""
    return ", ".join(_name(column) for column in node.columns)


def constraint_problem(constraint: Mapping[str, Any]) -> str:
    """Say what is wrong with one constraint; empty when nothing is."""
    kind = constraint.get("type")
    if kind not in CONSTRAINTS:
        return f"a constraint is one of {', '.join(CONSTRAINTS)}, not '{kind}'."
    if kind in ("check", "custom") and not constraint.get("expression"):
        return f"the constraint {kind} needs an expression."
    if kind == "foreign_key":
        return "foreign_key is not supported: write a relationships test."
    expression = str(constraint.get("expression") or "")
    if kind == "check" and (problem := expression_problem(expression, tables=False)):
        return f"the expression of the constraint check {problem}."
    if kind != "check" and expression and (problem := column_problem(f"a integer {_column_constraint(constraint)}")):
        return f"the expression of the constraint {kind} {problem}."
    return ""


def _name(column: Column) -> str:
    return identifier(column.name)


def _column_constraint(constraint: Mapping[str, Any]) -> str:
    expression = str(constraint.get("expression") or "")
    match constraint["type"]:
        case "check":
            return f"check ({expression})"
        case "custom":
            return expression
        case kind:
            return f"{str(kind).replace('_', ' ')} {expression}".strip()


def _table_constraint(constraint: Mapping[str, Any]) -> str:
    name = f"constraint {identifier(str(constraint['name']))} " if constraint.get("name") else ""
    expression = str(constraint.get("expression") or "")
    match constraint["type"]:
        case "check":
            return f"{name}check ({expression})"
        case "custom":
            return f"{name}{expression}"
        case kind:
            columns = ", ".join(identifier(str(column)) for column in constraint.get("columns") or ())
            return f"{name}{str(kind).replace('_', ' ')} ({columns})"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
