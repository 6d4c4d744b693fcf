"""Seeds: reference tables kept in git as CSV, loaded with the column types their YAML gives."""

from __future__ import annotations

from kpi.model import Node
from kpi.names import identifier, literal
from kpi.project import Project


def seed_select(project: Project, node: Node) -> str:
    """SQL that reads the seed's file. Columns without a type in YAML get the one DuckDB sees in them."""
    types = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in node.column_types)
    given = f", types = {{{types}}}" if types else ""
    path = literal(str(project.root / node.file))
    return f"select * from read_csv({path}, header = true, delim = {literal(node.text)}, quote = '\"'{given})"


def seed_table(project: Project, node: Node) -> str:
    """The statement that builds the seed's table."""
    return f"create or replace table {node.relation} as {seed_select(project, node)}"


def schema_statement(node: Node) -> str:
    """The statement that makes sure of the node's schema."""
    return f"create schema if not exists {identifier(node.relation.schema)}"
