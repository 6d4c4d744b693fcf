"""Seeds: reference tables kept in git as CSV, loaded with the column types their YAML gives."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

from kpi.base.errors import CompileError
from kpi.base.names import identifier, literal
from kpi.models.model import Node
from kpi.parse.project import Project


def seed_columns(text: str, file: Path, delimiter: str) -> dict[str, str]:
    """Return name and type of a seed's columns, the types as dbt takes them from the values.

    Raises CompileError for a line that is not a row of them.
    """
    values: list[set[str]] = []
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    try:
        for row in rows:
            if not header:
                header = row
                values = [set() for _ in row]
                wrong = [name for name in row if row.count(name) > 1 or not name.strip()]
                if wrong or not row:
                    told = f"'{wrong[0]}' twice" if wrong and wrong[0].strip() else "a column without a name"
                    raise CompileError(file, 1, f"the header has {told}.")
            elif len(row) != len(header):
                told = f"the header has {len(header)} columns, this row {len(row)}."
                raise CompileError(file, rows.line_num, told)
            else:
                for seen, value in zip(values, row, strict=True):
                    seen.add(value)
    except csv.Error as error:
        raise CompileError(file, rows.line_num, f"not CSV: {error}.") from None
    if not header:
        raise CompileError(file, 1, "the seed is empty; its first line must name the columns.")
    return {name: type_of(seen) for name, seen in zip(header, values, strict=True)}


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TYPES = (
    ("date", re.compile(r"\d{4}-\d{1,2}-\d{1,2}")),
    ("timestamp", re.compile(r"\d{4}-\d{1,2}-\d{1,2} \d{1,2}:\d{1,2}:\d{1,2}")),
    ("timestamp", re.compile(r"\d{4}-?\d\d-?\d\dT\d\d(:?\d\d(:?\d\d([.,]\d+)?)?)?(Z|[+-]\d\d(:?\d\d)?)?")),
    ("boolean", re.compile("true|false", re.IGNORECASE)),
)


def type_of(values: Iterable[str]) -> str:
    """Return the type dbt gives a column with these values: integer, double, date, timestamp, boolean or varchar.

    A column of nothing but empty fields is of integers, a time of day or a timestamp without seconds is text.
    """
    given = [value.strip() for value in values if value.strip()]
    if all(_NUMBER.fullmatch(value) for value in given):
        numbers = [Decimal(value) for value in given]
        if any(number != number.to_integral_value() for number in numbers):
            return "double"
        widest = max(map(abs, numbers), default=Decimal(0))
        return "integer" if widest < 2**31 else "bigint" if widest < 2**63 else "double"
    kinds = (kind for kind, pattern in _TYPES if all(pattern.fullmatch(value) for value in given))
    return next(kinds, "varchar")


def seed_select(project: Project, node: Node) -> str:
    """SQL that reads the seed's file.

    Nothing is left to guessing, so that a ragged or misquoted line is an error and not another way to read it.
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


def seed_folders(project: Project) -> list[Path]:
    """Return the folders that hold the seeds' files: what runs may read them."""
    return sorted({(project.root / seed.file).parent for seed in project.seeds})


def schema_statement(node: Node) -> str:
    """The statement that makes sure of the node's schema."""
    return f"create schema if not exists {identifier(node.relation.schema)}"
