"""Texts of a project that become a part of SQL: each is parsed as what it should be before it is put anywhere.

DuckDB's own parser reads them, so that what it takes for the end of a text is what will be taken for it later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import duckdb

from kpi.base.engine import confined

_INSIDE = ("generate_series", "range", "unnest", "repeat", "repeat_row", "json_each", "json_tree")
_READERS = (
    *("read_csv", "read_csv_auto", "sniff_csv", "read_parquet", "parquet_scan", "read_json", "read_json_auto"),
    *("read_json_objects", "read_ndjson", "read_ndjson_auto", "read_ndjson_objects", "read_text", "read_xlsx"),
)


def expression_problem(text: str, tables: bool = True) -> str:
    """Say why a text is not one SQL expression (or several after commas); empty when it is.

    Without `tables` no subquery may stand in it. No file and no function that reads one may, either way.
    """
    # In brackets of two kinds: what closes the one kind and opens it again does not fit the other.
    for before, after in (("[", "]"), ("(", ")")):
        tree = _parsed(f"select {before}\n{text}\n{after} as kpi_probe")
        if isinstance(tree, str):
            return f"is not one SQL expression: {tree}"
        node = tree["node"]
        if not _is_bare(node) or node["from_table"]["type"] != "EMPTY":
            return "is more than one SQL expression"
        if before == "[" and not node["select_list"][0].get("arguments", True):
            return "is empty"
    for inner in _nodes(tree):
        if inner.get("class") == "SUBQUERY" and not tables:
            return "may not have a subquery: it is an expression over the columns"
    return _outside(tree, ())


def type_problem(text: str) -> str:
    """Say why a text is not one SQL type; empty when it may be. Whether there is such a type, binding tells."""
    tree = _parsed(f"select cast(null as\n{text}\n) as kpi_probe")
    if isinstance(tree, str):
        return f"is not a type: {tree}"
    node = tree["node"]
    is_cast = _is_bare(node) and node["select_list"][0]["type"] == "OPERATOR_CAST"
    return "" if is_cast and node["from_table"]["type"] == "EMPTY" else "is more than a type"


def location_problem(text: str) -> str:
    """Say why a text cannot stand for a table that is read from files; empty when it can."""
    tree = _parsed(f"select * from\n{text}\n")
    if isinstance(tree, str):
        return f"is not what SQL reads a table from: {tree}"
    node = tree["node"]
    if node["type"] != "SELECT_NODE" or node["where_clause"] or node["group_expressions"] or node["modifiers"]:
        return "is more than what SQL reads a table from"
    return _outside(tree, _READERS)


def select_problem(sql: str) -> str:
    """Say why a text is not one SELECT that reads no file; empty when it is."""
    tree = _parsed(sql)
    return f"is not one SELECT: {tree}" if isinstance(tree, str) else _outside(tree, ())


def column_problem(definition: str) -> str:
    """Say why a text is not the definition of one column, as `create table` takes it; empty when it is."""
    sql = f"create table kpi_probe (\n{definition}\n)"
    with confined() as con:
        try:
            if len(con.extract_statements(sql)) != 1:
                return "is more than one column"
            con.execute(sql)
            columns = con.execute("select column_name from duckdb_columns() where table_name = 'kpi_probe'").fetchall()
        except duckdb.Error as error:
            return f"is not the definition of a column: {_first_line(error)}"
    return "" if len(columns) == 1 else "is more than one column"


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    return confined({"threads": "1"})


def _parsed(sql: str) -> Any:
    """The tree of one SELECT as DuckDB gives it, or a text saying why it is none."""
    row = _parser().execute("select json_serialize_sql(?)", [sql]).fetchall()[0]
    found = json.loads(row[0])
    if found["error"]:
        told = str(found["error_message"])
        return "a second statement begins in it" if told.startswith("Only SELECT") else told.partition("\n")[0][:300]
    statements = found["statements"]
    return statements[0] if len(statements) == 1 else "a second statement begins in it"


def _is_bare(node: Any) -> bool:
    """Whether a SELECT selects one thing and nothing else: no rows limited, grouped, ordered or left out."""
    if node["type"] != "SELECT_NODE" or len(node["select_list"]) != 1:
        return False
    rest = ("where_clause", "having", "qualify", "sample", "modifiers", "group_expressions")
    return node["select_list"][0]["alias"] == "kpi_probe" and not any(node[part] for part in rest)


def _outside(tree: Any, readers: tuple[str, ...]) -> str:
    """What in a tree reads more than tables; files may be read by these functions, and as tables when there are any."""
    ctes = {entry["key"] for node in _nodes(tree) for entry in node.get("cte_map", {}).get("map", ())}
    for node in _nodes(tree):
        if node.get("type") == "TABLE_FUNCTION":
            name = str(node["function"].get("function_name", "")).lower()
            if name not in _INSIDE and name not in readers:
                return f"may not read {name}()"
        if node.get("type") == "BASE_TABLE" and node["table_name"] not in ctes:
            is_file = any(mark in node["table_name"] for mark in "/\\*.")
            if is_file and not readers:
                return f"may not read the file '{node['table_name']}'"
            if readers and not is_file:
                return f"reads '{node['table_name']}', which is no file"
    return ""


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
