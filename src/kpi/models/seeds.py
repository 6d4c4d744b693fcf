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
from kpi.parse.project import Project, read_text


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
            elif not row:
                # A line without anything: no row, or in a table of one column a row of nothing.
                values[0].update([""] if len(header) == 1 else [])
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


_DIGITS = r"\d+(_\d+)*"
_NUMBER = re.compile(rf"[+-]?({_DIGITS}\.?({_DIGITS})?|\.{_DIGITS})([eE][+-]?\d+)?")
# Numbers of a column that has fractions too.
_NOT_FINITE = re.compile(r"[+-]?(inf|nan)", re.IGNORECASE)
_INTEGERS = (("integer", 31), ("bigint", 63))
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
    finite = [value for value in given if not _NOT_FINITE.fullmatch(value)]
    if all(_NUMBER.fullmatch(value) for value in finite):
        numbers = [Decimal(value) for value in finite]
        if any(number != number.to_integral_value() for number in numbers):
            return "double"
        least, most = min(numbers, default=Decimal(0)), max(numbers, default=Decimal(0))
        kind = next((kind for kind, bits in _INTEGERS if -(2**bits) <= least and most < 2**bits), "double")
        return kind if len(finite) == len(given) or kind == "double" else "varchar"  # no integer is infinite
    kinds = (kind for kind, pattern in _TYPES if all(pattern.fullmatch(value) for value in given))
    return next(kinds, "varchar")


def quote_of(text: str, delimiter: str) -> str:
    """Return what a seed's cells are quoted by, as DuckDB guesses it for dbt.

    A double quote; or a single one, where there is no double quote and every cell that begins with one ends with one.
    """
    if '"' in text or "'" not in text:
        return '"'
    cells = {cell for line in text.splitlines() for cell in line.split(delimiter) if cell[:1] == "'"}
    return "'" if cells and all(len(cell) > 1 and cell[-1] == "'" for cell in cells) else '"'


def seed_select(project: Project, node: Node) -> str:
    """SQL that reads the seed's file.

    Nothing is left to guessing, so that a ragged or misquoted line is an error and not another way to read it.
    """
    quote = quote_of(read_text(project.root, node.file), node.delimiter)
    types = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in node.column_types)
    options = {
        "header": "true",
        "skip": "0",
        "delim": literal(node.delimiter),
        "quote": literal(quote),
        "escape": literal(quote),
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
