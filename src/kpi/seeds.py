"""Seeds: reference tables kept in git as CSV, loaded with the column types their YAML gives."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from kpi.errors import CompileError
from kpi.model import Node
from kpi.names import identifier, literal
from kpi.project import Project


def seed_header(text: str, file: Path, delimiter: str) -> list[str]:
    """Return the names of a seed's columns. Raises CompileError for a line that is not a row of them."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    try:
        for row in rows:
            if not header:
                header = row
                wrong = [name for name in row if row.count(name) > 1 or not name.strip()]
                if wrong or not row:
                    told = f"'{wrong[0]}' twice" if wrong and wrong[0].strip() else "a column without a name"
                    raise CompileError(file, 1, f"the header has {told}.")
            elif len(row) != len(header):
                told = f"the header has {len(header)} columns, this row {len(row)}."
                raise CompileError(file, rows.line_num, told)
    except csv.Error as error:
        raise CompileError(file, rows.line_num, f"not CSV: {error}.") from None
    if not header:
        raise CompileError(file, 1, "the seed is empty; its first line must name the columns.")
    return header


def seed_select(project: Project, node: Node) -> str:
    """SQL that reads the seed's file. Columns without a type in YAML get the one DuckDB sees in all their values.

    Nothing else is left to guessing, so that a ragged or misquoted line is an error and not another way to read it.
    """
    types = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in node.column_types)
    options = {
        "header": "true",
        "skip": "0",
        "delim": literal(node.delimiter),
        "quote": "'\"'",
        "escape": "'\"'",
        "comment": "''",
        "null_padding": "false",
        "ignore_errors": "false",
        "strict_mode": "true",
        "sample_size": "-1",
        **({"types": f"{{{types}}}"} if types else {}),
    }
    given = ", ".join(f"{name} = {value}" for name, value in options.items())
    return f"select * from read_csv({literal(str(project.root / node.file))}, {given})"


def seed_table(project: Project, node: Node) -> str:
    """The statement that builds the seed's table."""
    return f"create or replace table {node.relation} as {seed_select(project, node)}"


def schema_statement(node: Node) -> str:
    """The statement that makes sure of the node's schema."""
    return f"create schema if not exists {identifier(node.relation.schema)}"
