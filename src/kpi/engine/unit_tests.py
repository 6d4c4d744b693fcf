"""Unit tests of models in dbt's form: which rows a model must yield from which rows of its inputs.

Read from the YAML of `unit_tests`; what is wrong with one is reported with file and line before anything runs.
They run as one query each in a scratch database; of one that fails the difference of rows is shown.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from kpi.cache import remembered
from kpi.database import columns_of, confined, duckdb, kind_of, parser, problem_of, select_problem
from kpi.engine.adapter import reading
from kpi.engine.graph import Fixture, Graph, Node, Overrides, Row, UnitTest
from kpi.engine.materializations import schema_statement, seed_folders, seed_table
from kpi.engine.runner import Adapter, DuckAdapter
from kpi.engine.template import RenderInput, Templates, overridden
from kpi.errors import (
    BuildError,
    BuildErrors,
    CheckFailed,
    CompileError,
    KpiError,
    Place,
    Problem,
    StatementError,
    nearest,
)
from kpi.project.packages import read_text
from kpi.project.project import Project
from kpi.project.properties import MODEL_CONFIGS, tags_of
from kpi.project.relation import Relation
from kpi.sql import Columns, identifier, literal
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


def with_tables(tables: Sequence[tuple[str, str]]) -> str:
    """Rows that stand for tables, by name, as the CTEs before a SELECT; nothing when there are none."""
    return "with " + ",\n".join(f"{name} as (\n{sql}\n)" for name, sql in tables) + "\n" if tables else ""


def table_of(node: Node) -> str:
    """The name under which the rows that stand for a node are read."""
    if not node.relation.schema:
        return identifier(node.relation.name)  # an ephemeral model is read as a CTE of that name
    return identifier(f"given {node.relation.schema}.{node.relation.name}")


def values(rows: Sequence[Row], columns: Sequence[str], kinds: Mapping[str, str]) -> str:
    """Rows as a table in SQL, each value cast to the type of its column."""
    if not columns:
        # A row without any column still is a row.
        return f"range({len(rows)}) as given"
    names = ", ".join(identifier(name) for name in columns)
    if not rows:
        nulls = ", ".join(f"cast(null as {kinds[name.lower()]})" for name in columns)
        return f"(select {nulls} where false) as given({names})"
    tuples = ",\n".join(
        "(" + ", ".join(f"cast({cell(row.values.get(name))} as {kinds[name]})" for name in columns) + ")"
        for row in rows
    )
    return f"(values {tuples}) as given({names})"


SHOWN = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is expected `count` times more often than it is there; less often when the count is negative."""

    count: int
    cells: tuple[str | None, ...]


def shown(columns: Sequence[str], differences: Sequence[Difference]) -> str:
    """Return a table of the rows that differ, columns aligned.

    `-` is a row expected and not there, `+` one there and not expected, `~` one with cells that differ: what was
    expected and what is there instead.
    """
    missing = [row.cells for row in differences for _ in range(row.count)]
    extra = [row.cells for row in differences for _ in range(-row.count)]
    lines = [("", *columns)]
    for ours, theirs in _alike(missing, extra):
        missing.remove(ours)
        extra.remove(theirs)
        cells = zip(ours, theirs, strict=True)
        lines.append(("~", *(_text(a) if a == b else f"{_text(a)} -> {_text(b)}" for a, b in cells)))
    lines += [("-", *map(_text, row)) for row in missing] + [("+", *map(_text, row)) for row in extra]
    more = len(lines) - 1 - SHOWN
    lines = lines[: SHOWN + 1]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    message = ["    " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    if more > 0:
        message.append(f"    and {more} more rows that differ")
    return "\n".join([*message, "    (- expected but not there, + there but not expected, ~ expected -> found)"])


def _alike(
    missing: Sequence[tuple[str | None, ...]], extra: Sequence[tuple[str | None, ...]]
) -> list[tuple[tuple[str | None, ...], tuple[str | None, ...]]]:
    """Pairs of a missing and an extra row of which more cells agree than differ, the most alike first."""
    scored = sorted(
        (
            (-sum(a == b for a, b in zip(ours, theirs, strict=True)), i, j)
            for i, ours in enumerate(missing[:SHOWN])
            for j, theirs in enumerate(extra[:SHOWN])
        ),
    )
    used: set[tuple[str, int]] = set()
    pairs = []
    for score, i, j in scored:
        if -score * 2 >= len(missing[i]) and score and not used & {("-", i), ("+", j)}:
            used |= {("-", i), ("+", j)}
            pairs.append((missing[i], extra[j]))
    return pairs


def _text(value: str | None) -> str:
    if value is None:
        return "null"
    return value.replace("\n", "\\n") if value else "''"


@dataclass(frozen=True, slots=True)
class UnitResult:
    """What came of one unit test. It passed when there are no `differences` from the rows that it expects.

    `error` is there instead when it could not run.
    """

    test: UnitTest
    columns: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    error: KpiError | None = None

    @property
    def passed(self) -> bool:
        """Whether the model yields exactly the expected rows."""
        return not self.differences and self.error is None

    @property
    def status(self) -> str:
        """What dbt calls the result: pass, fail, or error when the test could not run."""
        return "error" if self.error else "pass" if self.passed else "fail"

    @property
    def message(self) -> str:
        """The test with its file and line, and what differs."""
        place = f"{self.test.name} ({self.test.file}:{self.test.line})"
        if self.error:
            return str(self.error)
        if self.passed:
            return place
        about = f"{place}: {self.test.model.split('.', 2)[2]} yields other rows"
        return f"{about}\n{shown(self.columns, self.differences)}"


def check_unit_tests(graph: Graph, known: Mapping[str, Columns]) -> tuple[tuple[UnitTest, ...], list[KpiError]]:
    """Read all unit tests and check the columns they name and their values by the types in `known`.

    Returns the tests, and what is wrong with any of them.
    """
    tests, mistakes = read_unit_tests(graph.project, graph.nodes)
    for test in tests:
        mistakes += problems_of(test, known)
    mistakes += _wrong_values(tests, known)
    return tests, mistakes


def run_unit_tests(
    graph: Graph, tests: Iterable[UnitTest], adapter_for: Callable[[duckdb.DuckDBPyConnection], Adapter] = DuckAdapter
) -> tuple[UnitResult, ...]:
    """Run unit tests of a checked graph, each whatever came of the others; no warehouse is touched.

    What the models yield is computed by the adapter for the scratch database.
    """
    # A seed without rows is as it is.
    with confined({"errors_as_json": "true", "threads": "1"}, seed_folders(graph.project)) as con:
        runner = _Runner(con, graph, adapter_for(con))
        return tuple(runner.result(test) for test in tests)


def unit_tests_of(graph: Graph, models: Iterable[str], chosen: Container[str] = ()) -> list[UnitTest]:
    """Return the unit tests of models with the given ids; of one that is `chosen` those that are chosen, too.

    Those of the ephemeral models that they read come along: these are built into them.
    """
    due = set(models)
    for node in reversed(tuple(graph.nodes.values())):
        if node.id in due:
            due.update(parent for parent in node.depends_on if not graph.nodes[parent].relation.schema)
    return [one for one in graph.unit_tests if one.model in due and (one.id in chosen or one.model not in chosen)]


def refuse_failing(results: Sequence[UnitResult]) -> None:
    """Raise CheckFailed with all unit tests that did not pass; BuildErrors when those only cannot run."""
    wrong = [result for result in results if not result.passed]
    message = [result.message for result in wrong]
    if any(result.status == "fail" for result in wrong):
        lines = "\n".join(message)
        failed = [
            Problem(
                "unit_test.failed",
                result.message,
                Place(str(result.test.file), result.test.line),
                subject=result.test.id,
            )
            for result in wrong
        ]
        raise CheckFailed(f"{len(wrong)} of {len(results)} unit tests failed; nothing was built.\n{lines}", failed)
    errors = [
        result.error
        if isinstance(result.error, BuildError)
        else BuildError(result.test.name, str(result.error), place=Place(str(result.test.file), result.test.line))
        for result in wrong
    ]
    if errors:
        raise BuildErrors(errors, message)


class _Runner:
    """One scratch database and what is compiled once for many tests."""

    def __init__(self, con: duckdb.DuckDBPyConnection, graph: Graph, adapter: Adapter) -> None:
        self.con, self.graph, self.adapter = con, graph, adapter
        self._templates: Templates | None = None
        self._seeds: set[str] = set()
        self._read: dict[str, str] = {}

    def result(self, test: UnitTest) -> UnitResult:
        """Run one test. One that cannot run has an error for its result."""
        try:
            return self.run(test)
        except (BuildError, CompileError) as error:
            return UnitResult(test, error=error)

    def run(self, test: UnitTest) -> UnitResult:
        """Run one test. Raises BuildError or CompileError naming it when it cannot run."""
        sql = self._model_sql(test)
        tables = [self._given(test, fixture) for fixture in test.given]
        model = self._computed(test, f"{with_tables(tables)}select * from (\n{sql}\n) as yielded")
        known: Columns = self.graph.columns[test.model]
        if test.overrides or any(fixture.sql for fixture in test.given):
            # What is put in may be of another type than what stands there otherwise.
            known = self._asked(test, f"describe select * from {model}", describe=True)
        columns = test.expect.columns or tuple(name for name, _ in known)
        kinds = {name.lower(): kind for name, kind in known}
        names = ", ".join(identifier(name) for name in columns)
        expected = self._expected(test, columns, kinds)
        texts = "".join(f", cast({identifier(name)} as varchar)" for name in columns)
        query = (
            f"select kpi_count{texts} from (\n"
            f"select sum(kpi_count) as kpi_count, {names} from (\n"
            f"select 1 as kpi_count, {names} from {expected}\n"
            f"union all select -1, {names} from {model}\n"
            ") group by all having sum(kpi_count) <> 0) order by all"
        )
        rows = self._asked(test, query)
        return UnitResult(test, columns, tuple(Difference(int(row[0]), tuple(row[1:])) for row in rows))

    def _computed(self, test: UnitTest, sql: str) -> str:
        """The rows that a model yields, as a table in SQL."""
        seeds = tuple(fixture.node for fixture in test.given if fixture.rows is None and not fixture.sql)
        try:
            rows = self.adapter.rows_here(replace(self.graph.nodes[test.model], depends_on=seeds), sql)
        except (duckdb.Error, StatementError) as error:
            kind = error.kind if isinstance(error, StatementError) else kind_of(error)
            place = Place(str(test.file), test.line)
            raise BuildError(test.name, kind, sql, place=place, restricted=str(error)) from None
        return f"(\n{rows}\n) as tested"

    def _asked(self, test: UnitTest, query: str, describe: bool = False) -> Any:
        try:
            if describe:
                return columns_of(self.con, query.removeprefix("describe "))
            # What a test puts into macros and rows may be any text.
            if problem := select_problem(query):
                place = Place(str(test.file), test.line)
                raise BuildError(test.name, f"what it runs {problem}.", query, place=place)
            return self.con.execute(query).fetchall()
        except duckdb.Error as error:
            message = problem_of(error, query).message
            place = Place(str(test.file), test.line)
            raise BuildError(test.name, kind_of(error), query, place=place, restricted=message) from None

    def _model_sql(self, test: UnitTest) -> str:
        """The model's SQL, reading the test's rows where it reads tables."""
        node = self.graph.nodes[test.model]
        if node.id not in self._read and not test.overrides:
            # An ephemeral parent was put into the SQL; rows stand for it only where it still is read by its name.
            is_filled = any(not self.graph.nodes[parent].relation.schema for parent in node.depends_on)
            sql = (
                self._rendered(test, node) if is_filled else self._reading_given(node.sql, (*node.depends_on, node.id))
            )
            self._read[node.id] = sql
        return self._rendered(test, node) if test.overrides else self._read[node.id]

    def _rendered(self, test: UnitTest, node: Node) -> str:
        """The model's SQL rendered again, with what the test puts in the place of macros and variables."""
        templates = self._all_templates()
        changed = test.overrides
        with overridden(templates, changed.variables, changed.env_vars, changed.macros):
            text = read_text(self.graph.project.root, node.file)
            about = {"name": node.name, "resource_type": "model", "config": dict(node.config)}
            rendered = templates.render(
                text, node.file, MODEL_CONFIGS, RenderInput(this=node.relation, base=node.config, model=about)
            )
        for parent in rendered.depends_on:
            if parent not in {fixture.node for fixture in test.given}:
                raise CompileError(test.file, test.line, missing_input(test.name, node.name, parent))
        return self._reading_given(rendered.sql.rstrip().rstrip(";"), (*rendered.depends_on, node.id))

    def _all_templates(self) -> Templates:
        if self._templates is None:
            self._templates = Templates(self.graph.project)
            self._templates.known_columns = self.graph.columns
            nodes = (node for node in self.graph.nodes.values() if node.kind != "test")
            self._templates.relations.update({node.id: node.relation for node in nodes})
        return self._templates

    def _reading_given(self, sql: str, parents: Iterable[str]) -> str:
        places = {
            (node.relation.schema, node.relation.name): table_of(node)
            for node in (self.graph.nodes[parent] for parent in parents)
        }
        return reading(sql, places)

    def _given(self, test: UnitTest, fixture: Fixture) -> tuple[str, str]:
        """Name and SELECT of the rows that stand for an input."""
        node = self.graph.nodes[fixture.node]
        known = self.graph.columns[node.id]
        if fixture.sql:
            return table_of(node), self._sql_of(test, fixture)
        if fixture.rows is None:
            if node.id not in self._seeds:
                self._seeds.add(node.id)
                self.con.execute(schema_statement(node))
                self.con.execute(seed_table(self.graph.project, node))
            return table_of(node), f"select * from {node.relation}"
        kinds = {name.lower(): kind for name, kind in known}
        own = {name: identifier(name) for name in fixture.columns}
        columns = ", ".join(
            f"{own[name.lower()]} as {identifier(name)}"
            if name.lower() in own
            else f"cast(null as {kind}) as {identifier(name)}"
            for name, kind in known
        )
        return table_of(node), f"select {columns} from {values(fixture.rows, fixture.columns, kinds)}"

    def _sql_of(self, test: UnitTest, fixture: Fixture) -> str:
        """The SELECT that gives the rows, with the Jinja in it rendered. Raises CompileError when it is no SELECT."""
        sql, changed = fixture.sql, test.overrides
        if "{" in sql:
            templates = self._all_templates()
            with overridden(templates, changed.variables, changed.env_vars, changed.macros):
                sql = templates.render(sql, fixture.file, ()).sql
        if problem := select_problem(sql):
            message = f"rows are given by one SELECT, and this at {fixture.file}:{fixture.line} {problem}."
            raise BuildError(f"{test.name} ({test.file}:{test.line})", message, sql)
        return sql

    def _expected(self, test: UnitTest, columns: Sequence[str], kinds: Mapping[str, str]) -> str:
        if test.expect.sql:
            return f"(\n{self._sql_of(test, test.expect)}\n) as expected"
        return values(test.expect.rows or (), columns, {name.lower(): kind for name, kind in kinds.items()})


def _wrong_values(tests: Iterable[UnitTest], known: Mapping[str, Columns]) -> list[CompileError]:
    """Tell the values that their columns' types cannot have: one query for all values of one type."""
    places: dict[tuple[str, type], dict[str, list[tuple[Row, str]]]] = {}
    for test in tests:
        for fixture in (*test.given, test.expect):
            kinds = {name.lower(): kind for name, kind in known.get(fixture.node or test.model, ())}
            if not fixture.node and test.overrides:
                continue  # what is put in may be of another type
            for row in fixture.rows or ():
                for column, value in row.values.items():
                    if value is not None and column in kinds:
                        group = places.setdefault((kinds[column], type(value)), {})
                        group.setdefault(cell(value), []).append((row, column))
    mistakes = []
    for (kind, _), group in places.items():
        if kind == "VARCHAR":
            continue  # anything can be a text
        values = list(group)
        for number in remembered(partial(_not_castable, values, kind), "castable", values, kind):
            for row, column in group[values[number]]:
                message = f"'{column}' is {kind}, which {values[number]} is not."
                mistakes.append(CompileError(row.file, row.line_of(column), message))
    return mistakes


def _not_castable(values: Sequence[str], kind: str) -> list[int]:
    con = parser()
    pairs = f"select unnest([{', '.join(values)}]) as written, unnest(range({len(values)})) as number"
    try:
        rows = con.execute(f"select number from ({pairs}) where try_cast(written as {kind}) is null").fetchall()
    except duckdb.Error:
        # Lists whose items differ in type, or a cast there is none of: one by one.
        return [number for number, value in enumerate(values) if not _is_castable(con, value, kind)]
    return [int(row[0]) for row in rows]


def _is_castable(con: duckdb.DuckDBPyConnection, value: str, kind: str) -> bool:
    try:
        con.execute(f"select cast({value} as {kind})")
    except duckdb.Error:
        return False
    return True
