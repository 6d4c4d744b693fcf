"""What may leave the house: a file with the tables tagged `public`, and each of them as CSV. Nothing else is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kpi.base.errors import ConfigError, KpiError
from kpi.base.names import identifier, literal
from kpi.deliveries.personal import hidden
from kpi.read.public_writer import PUBLIC_DATABASE
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.rights import database

if TYPE_CHECKING:
    import duckdb

    from kpi.compile.graph import Graph
    from kpi.models.model import Node

__all__ = ["PUBLIC_DATABASE", "PublicTable", "public_nodes", "write_public"]

TAG = "public"
PRIVATE_LAYERS = ("raw", "staging", "intermediate")


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
    """Write the public tables of a build, the published one by default, into `folder`, in place of what it held.

    A process of its own writes the files, which has read nothing else. The database is one that DuckDB 1.0 opens; of
    each table there is a CSV, and one as Finnish spreadsheets read it (`.fi.csv`), in which no text is a formula. Rows
    of years that are not finished (where the column that a model names as `meta.unfinished_rows` is true) are only
    written with `unfinished_years`. Raises ConfigError when the build lacks a table, or that column, when a text came
    from a delivery and stands in no closed list, and when a file that is not kpi's would be overwritten.
    """
    from kpi.base.compile_cache import caching
    from kpi.base.engine import scratch
    from kpi.compile.bind import check_all
    from kpi.compile.compiling import CACHE
    from kpi.read.public_check import refuse_identity_codes, refuse_open_text
    from kpi.read.public_folder import replaced

    nodes = public_nodes(graph)
    source = database(warehouse.folder(build))
    columns = graph.columns or check_all(graph.project)[1]
    with caching(graph.project.root / CACHE), scratch() as con:
        con.execute(f"attach {literal(str(source))} as build (read_only)")
        for node in nodes:
            _refuse_missing(con, node)
        refuse_open_text(con, graph, columns, nodes)
        tables = [
            {
                "schema": node.relation.schema,
                "name": node.relation.name,
                "comment": node.description,
                "rows": "" if unfinished_years else _finished_rows(con, node),
            }
            for node in nodes
        ]
    with replaced(folder) as staged:
        rows = _written(source, staged, tables)
        refuse_identity_codes(staged)
    return tuple(PublicTable(str(node.relation), count) for node, count in zip(nodes, rows, strict=True))


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


def _written(source: Path, folder: Path, tables: Sequence[Mapping[str, str]]) -> list[int]:
    """Have the files written by a fresh process. Returns the rows of each table."""
    import json
    import subprocess
    import sys

    order = json.dumps({"database": str(source.resolve()), "folder": str(folder), "tables": list(tables)})
    command = [sys.executable, "-m", "kpi.read.public_writer"]
    done = subprocess.run(command, input=order, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise KpiError(f"the public files were not written: {hidden(lines[-1])}")
    return [int(count) for count in json.loads(done.stdout)]


def _refuse_missing(con: duckdb.DuckDBPyConnection, node: Node) -> None:
    from kpi.base.engine import fetch_one

    count = fetch_one(
        con,
        "select count(*) from duckdb_tables() where database_name = 'build' and schema_name = ? and table_name = ?",
        [node.relation.schema, node.relation.name],
    )
    if not count[0]:
        raise ConfigError(f"the build has no table {node.relation}; a public model is a table. Run: kpi refresh")
