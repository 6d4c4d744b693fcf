"""Rows of unit tests: written as YAML, as CSV or as a SELECT, in place or in a file of their own."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kpi.base.errors import CompileError, nearest
from kpi.base.names import literal
from kpi.base.yamlfile import Items, Section
from kpi.parse.project import Project, read_text

_FORMATS = ("dict", "csv", "sql")


@dataclass(frozen=True, slots=True)
class Row:
    """One row as written: its values by column name in lower case, and where each one stands."""

    values: Mapping[str, Any]
    file: Path
    line: int
    lines: Mapping[str, int] = field(default_factory=dict)

    def line_of(self, column: str) -> int:
        """Return the line of a value."""
        return self.lines.get(column, self.line)


@dataclass(frozen=True, slots=True)
class Fixture:
    """The rows of an input, or those expected. `sql` is there instead of rows when they were given as a SELECT.

    `node` is the input's id; empty for the expected rows. `rows` is None when a seed stands for itself.
    """

    node: str
    rows: tuple[Row, ...] | None
    sql: str
    file: Path
    line: int

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the rows, in the order in which they first occur."""
        return tuple(dict.fromkeys(column for row in self.rows or () for column in row.values))


def cell(value: Any) -> str:
    """Return a value of a row as SQL, before it is cast to its column's type."""
    match value:
        case None:
            return "null"
        case bool() | int():
            return str(value).lower()
        case float():
            return repr(value) if math.isfinite(value) else literal(str(value))
        case list():
            return f"[{', '.join(cell(item) for item in value)}]"
        case dict():
            return f"{{{', '.join(f'{literal(str(key))}: {cell(item)}' for key, item in value.items())}}}"
        case _:
            return literal(str(value))


def read_fixture(project: Project, entry: Section, node: str, what: str, line: int) -> Fixture:
    """Read the rows of an input, or with `node` empty those expected. Raises CompileError with file and line."""
    entry.allow(("input", "rows", "format", "fixture"), f"an {what} of a unit test")
    form, rows, name = entry.text("format") or "dict", entry.get("rows"), entry.text("fixture")
    if form not in _FORMATS:
        raise CompileError(entry.file, entry.lines["format"], f"format '{form}'.{nearest(form, _FORMATS)}")
    file, first = entry.file, entry.lines.get("rows", line) + 1
    if name:
        if "rows" in entry or form == "dict":
            told = "a fixture is a file with format csv or sql, and rows stand here or in the file."
            raise CompileError(entry.file, entry.lines["fixture"], told)
        file, first = _fixture_file(project, entry, name, form), 1
        rows = read_text(project.root, file)
    if form == "dict":
        if rows is None and node.startswith("seed."):
            return Fixture(node, None, "", entry.file, line)
        if not isinstance(rows, Items):
            raise CompileError(entry.file, entry.lines.get("rows", line), "'rows' must be a list, each item a row.")
        return Fixture(node, tuple(_dict_rows(entry)), "", entry.file, line)
    if not isinstance(rows, str):
        raise CompileError(entry.file, entry.lines.get("rows", line), f"rows of format {form} are a text.")
    if form == "sql":
        return Fixture(node, None, rows.strip().rstrip(";"), file, first)
    return Fixture(node, tuple(_csv_rows(rows, file, first)), "", entry.file, line)


def same_columns(fixture: Fixture) -> Fixture:
    """Refuse rows that do not all name the same columns: what is not named is not compared."""
    for row in fixture.rows or ():
        if set(row.values) != set(fixture.columns):
            names = ", ".join(sorted(set(fixture.columns) - set(row.values)))
            told = f"every expected row needs the same columns; this one is without {names}."
            raise CompileError(row.file, row.line, told)
    return fixture


def _dict_rows(entry: Section) -> Iterator[Row]:
    for item in entry.sections("rows"):
        lines = {str(key).lower(): line for key, line in item.lines.items()}
        yield Row({str(key).lower(): value for key, value in item.items()}, item.file, item.line, lines)


def _csv_rows(text: str, file: Path, first: int) -> Iterator[Row]:
    """Rows of a CSV text whose first line names the columns. An empty cell is null, quoted or not, as dbt has it."""
    reader = csv.reader(io.StringIO(text, newline=""))
    header: list[str] | None = None
    for cells in reader:
        line = first + reader.line_num - 1
        if header is None:
            header = [name.lower() for name in cells]
        elif len(cells) > len(header):
            raise CompileError(file, line, f"the header has {len(header)} columns, this row {len(cells)}.")
        elif cells:
            padded = cells + [""] * (len(header) - len(cells))
            yield Row({name: value or None for name, value in zip(header, padded, strict=True)}, file, line)


def _fixture_file(project: Project, entry: Section, name: str, form: str) -> Path:
    names = {file.stem: file for file in project.fixture_files if file.suffix == f".{form}"}
    if name not in names:
        told = f"there is no fixture '{name}.{form}' in a folder fixtures of the tests.{nearest(name, names)}"
        raise CompileError(entry.file, entry.lines["fixture"], told)
    return names[name]
