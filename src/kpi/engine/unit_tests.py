"""Unit tests of models in dbt's form: which rows a model must yield from which rows of its inputs.

Read from the YAML of `unit_tests`; what is wrong with one is reported with file and line before anything runs.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kpi.engine.graph import Fixture, Graph, Node, Overrides, Row, UnitTest
from kpi.errors import CompileError, KpiError, nearest
from kpi.project.packages import read_text
from kpi.project.project import Project
from kpi.project.properties import tags_of
from kpi.project.relation import Relation
from kpi.sql import Columns, literal
from kpi.yaml_loader import Items, Section

_FORMATS = ("dict", "csv", "sql")


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
            message = "a fixture is a file with format csv or sql, and rows stand here or in the file."
            raise CompileError(entry.file, entry.lines["fixture"], message)
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
            message = f"every expected row needs the same columns; this one is without {names}."
            raise CompileError(row.file, row.line, message)
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
        message = f"there is no fixture '{name}.{form}' in a folder fixtures of the tests.{nearest(name, names)}"
        raise CompileError(entry.file, entry.lines["fixture"], message)
    return names[name]


_INPUT = re.compile(r"""\s*(ref|source)\(\s*(['"])([\w.]+)\2\s*(?:,\s*(['"])(\w+)\4\s*)?\)\s*""")


class _ToldElsewhereError(Exception):
    """An input is there but is no node: it is disabled, or what is wrong with it is reported at its own place."""


def read_unit_tests(project: Project, nodes: Mapping[str, Node]) -> tuple[tuple[UnitTest, ...], list[KpiError]]:
    """Read the unit tests of all models that are enabled. Returns them in name order, and what is wrong with any.

    Columns are checked by `problems_of`.
    """
    found: dict[str, UnitTest] = {}
    mistakes: list[KpiError] = []
    inputs = _inputs(nodes)
    for entry in project.unit_tests:
        try:
            test = _unit_test(project, nodes, inputs, entry)
        except _ToldElsewhereError:
            continue
        except KpiError as error:
            mistakes.append(error)
            continue
        first = found.setdefault(test.id, test) if test else None
        if test and first is not test:
            message = f"the unit test '{test.name}' is also at {first.file}:{first.line}." if first else ""
            mistakes.append(CompileError(test.file, test.line, message))
    return tuple(found[key] for key in sorted(found)), mistakes


def problems_of(test: UnitTest, known: Mapping[str, Columns]) -> list[CompileError]:
    """Tell the columns that a unit test names and its inputs or its model do not have."""
    mistakes = []
    for fixture in (*test.given, test.expect):
        columns = known.get(fixture.node or test.model)
        if columns is None:
            continue  # what is wrong with that node is reported already
        names = {name.lower() for name, _ in columns}
        for column in fixture.columns:
            if column not in names:
                row = next(row for row in fixture.rows or () if column in row.values)
                owner = (fixture.node or test.model).split(".", 2)[2]
                message = f"'{owner}' has no column '{column}'.{nearest(column, names)}"
                mistakes.append(CompileError(row.file, row.line_of(column), message))
    return mistakes


def unit_test_nodes(tests: Iterable[UnitTest]) -> dict[str, Node]:
    """Return a node for every unit test, by id, for selecting and listing them as dbt does."""
    return {
        test.id: Node(
            id=test.id,
            kind="unit_test",
            name=test.name,
            file=test.file,
            line=test.line,
            relation=Relation(test.id, "", test.name),
            materialized="unit",
            tags=tags_of(test.config.get("tags")),
            depends_on=(test.model,),
            description=test.description,
            config=test.config,
        )
        for test in tests
    }


def with_unit_tests(graph: Graph) -> Graph:
    """Return the graph with its unit tests among its nodes, as a selection sees them."""
    return replace(graph, nodes={**graph.nodes, **unit_test_nodes(graph.unit_tests)})


def _unit_test(
    project: Project, nodes: Mapping[str, Node], inputs: Mapping[str, Mapping[str, str]], entry: Section
) -> UnitTest | None:
    entry.allow(("name", "model", "given", "expect", "overrides", "description", "config"), "a unit test")
    name, model = entry.required("name"), entry.required("model")
    config = entry.section("config")
    config.allow(("tags", "enabled", "meta"), "the config of a unit test")
    if not config.get("enabled", True):
        return None
    package = project.package_of(entry.file)
    model_id = f"model.{package}.{project.latest_versions.get((package, model), model)}"
    if model_id not in nodes:
        known = {resource.name for resource in project.models}
        if model in known:
            return None  # it is disabled, or what is wrong with it is reported already
        raise CompileError(entry.file, entry.lines["model"], f"there is no model '{model}'.{nearest(model, known)}")
    if "expect" not in entry:
        raise CompileError(entry.file, entry.line, f"the unit test '{name}' has no 'expect'.")
    given = tuple(_given(project, inputs, model_id, one) for one in entry.sections("given"))
    for number, fixture in enumerate(given):
        if fixture.node in [other.node for other in given[:number]]:
            message = f"the input '{fixture.node.split('.', 2)[2]}' is given twice."
            raise CompileError(fixture.file, fixture.line, message)
    expect = entry.section("expect")
    overrides = _overrides(entry.section("overrides"))
    _refuse_unsaid_increment(project, nodes[model_id], overrides, given, entry)
    if not overrides:
        _refuse_missing_inputs(nodes[model_id], given, entry)
    return UnitTest(
        id=f"unit_test.{package}.{model}.{name}",
        name=name,
        model=model_id,
        given=given,
        expect=same_columns(read_fixture(project, expect, "", "expect", entry.lines["expect"])),
        overrides=overrides,
        description=entry.text("description"),
        config=config,
        file=entry.file,
        line=entry.line,
    )


def _refuse_missing_inputs(model: Node, given: tuple[Fixture, ...], entry: Section) -> None:
    for parent in model.depends_on:
        if parent not in {fixture.node for fixture in given}:
            raise CompileError(entry.file, entry.line, missing_input(entry["name"], model.name, parent))


def _refuse_unsaid_increment(
    project: Project, model: Node, overrides: Overrides, given: tuple[Fixture, ...], entry: Section
) -> None:
    """An incremental model is tested either as when it is built from nothing or as when rows are added: say which."""
    if model.materialized != "incremental" or "is_incremental" not in read_text(project.root, model.file):
        return
    choice = overrides.macros.get("is_incremental")
    if not isinstance(choice, bool):
        message = f"{model.name} asks is_incremental(): say true or false under overrides: macros: is_incremental."
        raise CompileError(entry.file, entry.line, message)
    if choice and model.id not in {fixture.node for fixture in given}:
        message = "with is_incremental true, rows for 'input: this' are needed."
        raise CompileError(entry.file, entry.line, message)


def missing_input(test: str, model: str, parent: str) -> str:
    """Tell that a unit test gives no rows for something that its model reads."""
    kind, _, *names = parent.split(".")
    call = f"{'source' if kind == 'source' else 'ref'}({', '.join(repr(part) for part in names)})"
    rows = "without rows it stands for itself" if kind == "seed" else "with 'rows: []' if it is to be empty"
    return f"the unit test '{test}' gives no input {call}, which {model} reads. Add it under 'given', {rows}."


def _inputs(nodes: Mapping[str, Node]) -> dict[str, dict[str, str]]:
    """What the inputs of unit tests may be: ids by name of all sources under "", of the rest by package."""
    found: dict[str, dict[str, str]] = {}
    for node in nodes.values():
        if node.kind in ("source", "model", "seed", "snapshot"):
            package = "" if node.kind == "source" else node.id.split(".")[1]
            found.setdefault(package, {})[node.name] = node.id
    return found


def _given(project: Project, inputs: Mapping[str, Mapping[str, str]], model_id: str, entry: Section) -> Fixture:
    entry.allow(("input", "rows", "format", "fixture"), "an input of a unit test")
    text = entry.required("input")
    line = entry.lines["input"]
    if text.strip() == "this":
        return read_fixture(project, entry, model_id, "input", line)
    found = _INPUT.fullmatch(text)
    if not found or (found[1] == "source" and not found[5]):
        message = f"an input is ref('…'), source('…', '…') or this, not '{text}'."
        raise CompileError(entry.file, line, message)
    if found[1] == "source":
        known = inputs.get("", {})
        name = f"{found[3]}.{found[5]}"
    else:
        known = inputs.get(found[3] if found[5] else project.package_of(entry.file), {})
        name = found[5] or found[3]
    if name not in known:
        if found[1] == "ref" and name in {one.name for one in (*project.models, *project.seeds, *project.snapshots)}:
            raise _ToldElsewhereError
        raise CompileError(entry.file, line, f"{text}: there is no such {found[1]}.{nearest(name, known)}")
    return read_fixture(project, entry, known[name], "input", line)


def _overrides(entry: Section) -> Overrides:
    entry.allow(("vars", "env_vars", "macros"), "the overrides of a unit test")
    return Overrides(*(dict(entry.section(key)) for key in ("vars", "env_vars", "macros")))
