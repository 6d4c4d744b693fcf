"""Unit tests of models, in dbt's form: which rows a model must yield from which rows of its inputs.

Read from the YAML of `unit_tests`; what is wrong with one is told with file and line before anything runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kpi.base.errors import CompileError, KpiError, nearest
from kpi.base.relation import Relation
from kpi.base.yamlfile import Section
from kpi.models.model import Node
from kpi.models.unit_rows import Fixture, read_fixture, same_columns
from kpi.parse.project import Project, read_text
from kpi.parse.properties import tags_of

Columns = tuple[tuple[str, str], ...]
_INPUT = re.compile(r"""\s*(ref|source)\(\s*(['"])([\w.]+)\2\s*(?:,\s*(['"])(\w+)\4\s*)?\)\s*""")


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a unit test puts in the place of variables, of the environment's variables and of macros."""

    variables: Mapping[str, Any]
    env_vars: Mapping[str, Any]
    macros: Mapping[str, Any]

    def __bool__(self) -> bool:
        return bool(self.variables or self.env_vars or self.macros)


@dataclass(frozen=True, slots=True)
class UnitTest:
    """One unit test of the model with the id `model`."""

    id: str
    name: str
    model: str
    given: tuple[Fixture, ...]
    expect: Fixture
    overrides: Overrides
    description: str
    config: Mapping[str, Any]
    file: Path
    line: int

    __test__ = False


class _ToldElsewhereError(Exception):
    """An input is there but is no node: it is disabled, or what is wrong with it is told at its own place."""


def read_unit_tests(project: Project, nodes: Mapping[str, Node]) -> tuple[tuple[UnitTest, ...], list[KpiError]]:
    """Read the unit tests of all models that are enabled. Returns them in name order, and what is wrong with any.

    Columns are judged by `problems_of`.
    """
    found: dict[str, UnitTest] = {}
    mistakes: list[KpiError] = []
    for entry in project.unit_tests:
        try:
            test = _unit_test(project, nodes, entry)
        except _ToldElsewhereError:
            continue
        except KpiError as error:
            mistakes.append(error)
            continue
        first = found.setdefault(test.id, test) if test else None
        if test and first is not test:
            told = f"the unit test '{test.name}' is also at {first.file}:{first.line}." if first else ""
            mistakes.append(CompileError(test.file, test.line, told))
    return tuple(found[key] for key in sorted(found)), mistakes


def problems_of(test: UnitTest, known: Mapping[str, Columns]) -> list[CompileError]:
    """Tell the columns that a unit test names and its inputs or its model do not have."""
    mistakes = []
    for fixture in (*test.given, test.expect):
        columns = known.get(fixture.node or test.model)
        if columns is None:
            continue  # what is wrong with that node is told already
        names = {name.lower() for name, _ in columns}
        for column in fixture.columns:
            if column not in names:
                row = next(row for row in fixture.rows or () if column in row.values)
                owner = (fixture.node or test.model).split(".", 2)[2]
                told = f"'{owner}' has no column '{column}'.{nearest(column, names)}"
                mistakes.append(CompileError(row.file, row.line_of(column), told))
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


def _unit_test(project: Project, nodes: Mapping[str, Node], entry: Section) -> UnitTest | None:
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
            return None  # it is disabled, or what is wrong with it is told already
        raise CompileError(entry.file, entry.lines["model"], f"there is no model '{model}'.{nearest(model, known)}")
    if "expect" not in entry:
        raise CompileError(entry.file, entry.line, f"the unit test '{name}' has no 'expect'.")
    given = tuple(_given(project, nodes, model_id, one) for one in entry.sections("given"))
    for number, fixture in enumerate(given):
        if fixture.node in [other.node for other in given[:number]]:
            told = f"the input '{fixture.node.split('.', 2)[2]}' is given twice."
            raise CompileError(fixture.file, fixture.line, told)
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
    """An incremental model is tested either as when it is built anew or as when rows are added: say which."""
    if model.materialized != "incremental" or "is_incremental" not in read_text(project.root, model.file):
        return
    choice = overrides.macros.get("is_incremental")
    if not isinstance(choice, bool):
        told = f"{model.name} asks is_incremental(): say true or false under overrides: macros: is_incremental."
        raise CompileError(entry.file, entry.line, told)
    if choice and model.id not in {fixture.node for fixture in given}:
        told = "with is_incremental true, rows for 'input: this' are needed."
        raise CompileError(entry.file, entry.line, told)


def missing_input(test: str, model: str, parent: str) -> str:
    """Tell that a unit test gives no rows for something that its model reads."""
    kind, _, *names = parent.split(".")
    call = f"{'source' if kind == 'source' else 'ref'}({', '.join(repr(part) for part in names)})"
    rows = "without rows it stands for itself" if kind == "seed" else "with 'rows: []' if it is to be empty"
    return f"the unit test '{test}' gives no input {call}, which {model} reads. Add it under 'given', {rows}."


def _given(project: Project, nodes: Mapping[str, Node], model_id: str, entry: Section) -> Fixture:
    entry.allow(("input", "rows", "format", "fixture"), "an input of a unit test")
    text = entry.required("input")
    line = entry.lines["input"]
    if text.strip() == "this":
        return read_fixture(project, entry, model_id, "input", line)
    found = _INPUT.fullmatch(text)
    if not found or (found[1] == "source" and not found[5]):
        told = f"an input is ref('…'), source('…', '…') or this, not '{text}'."
        raise CompileError(entry.file, line, told)
    if found[1] == "source":
        known = {node.name: node.id for node in nodes.values() if node.kind == "source"}
        name = f"{found[3]}.{found[5]}"
    else:
        package = found[3] if found[5] else project.package_of(entry.file)
        known = {
            node.name: node.id
            for node in nodes.values()
            if node.kind in ("model", "seed", "snapshot") and node.id.split(".")[1] == package
        }
        name = found[5] or found[3]
    if name not in known:
        if found[1] == "ref" and name in {one.name for one in (*project.models, *project.seeds, *project.snapshots)}:
            raise _ToldElsewhereError
        raise CompileError(entry.file, line, f"{text}: there is no such {found[1]}.{nearest(name, known)}")
    return read_fixture(project, entry, known[name], "input", line)


def _overrides(entry: Section) -> Overrides:
    entry.allow(("vars", "env_vars", "macros"), "the overrides of a unit test")
    return Overrides(*(dict(entry.section(key)) for key in ("vars", "env_vars", "macros")))
