"""What of the published build stays although it cannot be derived again: snapshots, kept rows, what hooks made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from kpi.base.engine import relations
from kpi.base.errors import BuildError
from kpi.base.names import identifier, literal, relation_name
from kpi.compile.graph import Graph
from kpi.models.incremental import keeps_rows
from kpi.warehouse.options import Tell


def anew(
    graph: Graph, published: Mapping[str, Any], definitions: Mapping[str, str], full_refresh: bool, tell: Tell
) -> frozenset[str]:
    """Return the ids of incremental models whose tables must not be added to.

    A full refresh asks for it, or what defines a model changed since the published build: then its old rows are not
    what the project says now. Told, when it is the latter.
    """
    known: Mapping[str, Any] = published.get("nodes", {})
    models = [node for node in graph.built() if node.materialized == "incremental"]
    if full_refresh:
        return frozenset(node.id for node in models)
    changed = [
        node
        for node in models
        if not keeps_rows(node.config) and known.get(node.id, {}).get("definition") != definitions[node.id]
    ]
    told = sorted(node.name for node in changed if node.id in known)
    if told:
        tell(f"Built from nothing, for what defines them changed: {', '.join(told)}.")
    return frozenset(node.id for node in changed)


def kept(graph: Graph, published: Mapping[str, Any]) -> frozenset[str]:
    """Return the places of no node that stay: what hooks made, and snapshots that the project no longer has."""
    return frozenset(_snapshots(published) - _places(graph) | set(published.get("kept", ())))


def carry_over(
    con: duckdb.DuckDBPyConnection, graph: Graph, published: Mapping[str, Any], database: Path, tell: Tell
) -> None:
    """Copy into a candidate that starts from nothing the tables that cannot be derived again, with their constraints.

    They are the snapshots, what `kept` names, and models with full_refresh: false.
    """
    protected = {str(node.relation) for node in graph.built() if node.config.get("full_refresh") is False}
    wanted = (protected | _snapshots(published) | kept(graph, published)) - relations(con).keys()
    if not wanted or not database.is_file():
        return
    try:
        con.execute(f"attach {literal(str(database))} as published (read_only)")
    except duckdb.Error as error:
        first = str(error).partition("\n")[0]
        told = f"it holds what cannot be derived again ({', '.join(sorted(wanted))}), and cannot be opened ({first})."
        remedy = "kpi rollback, so that an earlier build is what is started from; or bring it back from a backup."
        raise BuildError(f"build {database.parent.name}", f"{told} {remedy}") from None
    try:
        tables = con.execute(
            "select schema_name, table_name, sql from duckdb_tables() where database_name = 'published' order by all"
        ).fetchall()
        found = [table for table in tables if relation_name(table[0], table[1]) in wanted]
        for schema, name, made in found:
            place = f"{identifier(schema)}.{identifier(name)}"
            con.execute(f"create schema if not exists {identifier(schema)}")
            con.execute(made)
            con.execute(f"insert into {place} from published.{place}")
    finally:
        con.execute("detach published")
    if found:
        names = ", ".join(relation_name(schema, name) for schema, name, _ in found)
        tell(f"Carried over from the published build: {names}.")


def _snapshots(published: Mapping[str, Any]) -> set[str]:
    nodes: Mapping[str, Any] = published.get("nodes", {})
    return {facts["relation"] for node_id, facts in nodes.items() if node_id.startswith("snapshot.")}


def _places(graph: Graph) -> set[str]:
    return {str(node.relation) for node in graph.built()}
