"""What may leave the house: a file with the tables tagged `public`, and each of them as CSV. Nothing else is in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kpi.base.errors import ConfigError
from kpi.base.names import identifier, literal
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.rights import database

if TYPE_CHECKING:
    import duckdb

    from kpi.compile.graph import Graph
    from kpi.models.model import Node

TAG = "public"
PUBLIC_DATABASE = "kpi-public.duckdb"
PRIVATE_LAYERS = ("raw", "staging", "intermediate")
# A spreadsheet takes a text that begins with one of these for a formula.
_FORMULA = "^[=+\\-@\\t\\r]"


@dataclass(frozen=True, slots=True)
class PublicTable:
    """One table that was written, with its number of rows."""

    table: str
    rows: int


def public_nodes(graph: Graph) -> tuple[Node, ...]:
    """Return the models tagged `public`. Raises ConfigError when there are none, or one is of a layer of rows."""
    nodes = tuple(node for node in graph.built() if node.kind == "model" and TAG in node.tags)
    if not nodes:
        raise ConfigError(f"no model has the tag '{TAG}': give it to those that may leave the house.")
    for node in nodes:
        private = {*PRIVATE_LAYERS, *graph.project.upkeep.stewards_schemas}
        if node.relation.schema.lower() in private or {"staging", "intermediate"}.intersection(node.file.parts):
            told = f"'{node.name}' has the tag '{TAG}', but {node.relation.schema} is not for the public."
            raise ConfigError(f"{node.file}:{node.line}: {told}")
    return nodes


def write_public(
    warehouse: Warehouse, graph: Graph, folder: Path, build: str | None = None, unfinished_years: bool = False
) -> tuple[PublicTable, ...]:
    """Write the public tables of a build, the published one by default, into `folder`, in place of what was there.

    The database is a new file, so no deleted row lies in it. Texts of the CSV that a spreadsheet would take for
    formulas begin with an apostrophe. Rows of years that are not finished (where the column that a model names as
    `meta.unfinished_rows` is true) are only written with `unfinished_years`. Raises ConfigError when the build lacks a
    table, or that column.
    """
    from kpi.base.engine import fetch_one, scratch

    nodes = public_nodes(graph)
    source = database(warehouse.folder(build))
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{PUBLIC_DATABASE}"
    unfinished.unlink(missing_ok=True)
    found = []
    with scratch() as con:
        con.execute(f"attach {literal(str(source))} as build (read_only)")
        con.execute(f"attach {literal(str(unfinished))} as public")
        for node in nodes:
            schema, name = identifier(node.relation.schema), identifier(node.relation.name)
            _refuse_missing(con, node)
            con.execute(f"create schema if not exists public.{schema}")
            rows_of = "" if unfinished_years else _finished_rows(con, node)
            con.execute(f"create table public.{schema}.{name} as from build.{schema}.{name} {rows_of} order by all")
            con.execute(f"comment on table public.{schema}.{name} is {literal(node.description)}")
            rows = fetch_one(con, f"select count(*) from public.{schema}.{name}")[0]
            found.append(PublicTable(str(node.relation), int(str(rows))))
            _write_csv(con, f"public.{schema}.{name}", folder / f"{node.relation.name}.csv")
        con.execute("detach public")
    os.chmod(unfinished, 0o444)
    os.replace(unfinished, folder / PUBLIC_DATABASE)
    return tuple(found)


def _finished_rows(con: duckdb.DuckDBPyConnection, node: Node) -> str:
    """SQL that leaves out rows of years that are not finished, if the model says which they are."""
    meta = node.config.get("meta")
    column = meta.get("unfinished_rows") if isinstance(meta, Mapping) else None
    if column is None:
        return ""
    schema, name = identifier(node.relation.schema), identifier(node.relation.name)
    kinds = con.execute(f"select column_name, column_type from (describe build.{schema}.{name})").fetchall()
    if (column, "BOOLEAN") not in kinds:
        told = f"the table {node.relation} of the build has no boolean column '{column}', its meta.unfinished_rows."
        raise ConfigError(f"{node.file}:{node.line}: {told} Run: kpi refresh")
    return f"where {identifier(column)} is not true"


def guarded(con: duckdb.DuckDBPyConnection, select: str) -> str:
    """SQL of the same rows, in which no text is a formula for a spreadsheet."""
    from kpi.base.engine import columns_of

    columns = []
    for name, kind in columns_of(con, select):
        column = identifier(name)
        is_text = kind == "VARCHAR"
        safe = f"case when regexp_matches({column}, {literal(_FORMULA)}) then '''' || {column} else {column} end"
        columns.append(f"{safe} as {column}" if is_text else column)
    return f"select {', '.join(columns)} from ({select}\n)"


def _write_csv(con: duckdb.DuckDBPyConnection, table: str, file: Path) -> None:
    unfinished = file.with_name(f".{file.name}")
    select = guarded(con, f"select * from {table} order by all")
    con.execute(f"copy ({select} order by all) to {literal(str(unfinished))} (format csv, header, delimiter ',')")
    os.replace(unfinished, file)


def _refuse_missing(con: duckdb.DuckDBPyConnection, node: Node) -> None:
    from kpi.base.engine import fetch_one

    count = fetch_one(
        con,
        "select count(*) from duckdb_tables() where database_name = 'build' and schema_name = ? and table_name = ?",
        [node.relation.schema, node.relation.name],
    )
    if not count[0]:
        raise ConfigError(f"the build has no table {node.relation}; a public model is a table. Run: kpi refresh")
