"""Every column of a project checked on empty tables before anything runs.

A project asks for house rules by `+meta: {house_rules: true}` on its models or a folder of them. One model is let off
one rule, or let use one function or piece of syntax, by `config: {meta: {allow: {<name>: "<reason>"}}}`.

A model that unites others says so by `config: {meta: {reads_every: {models: "<pattern>", listed_in: "<place>"}}}`.

Each model is bound, in building order, against tables that have the columns and types of its parents and no rows. The
engine that will run the SQL checks it, so names, types and functions are all covered (decision 0003).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from kpi.cache import is_remembered, remembered
from kpi.database import columns_of, confined, csv_problem, duckdb, problem_of
from kpi.engine import incremental, materializations
from kpi.engine.graph import Graph, Node, has_house_rules
from kpi.engine.incremental import problems as setting_problems
from kpi.engine.lint import (
    FUNCTIONS,
    IN_MACROS,
    RULES,
    SPARK_RULES,
    WRITTEN,
    Finding,
    moving_word,
    second_column,
    uneven_union,
)
from kpi.engine.materializations import is_enforced, is_ephemeral, seed_cell_error, seed_folders, seed_table
from kpi.engine.parser import findings_of
from kpi.engine.tests import GENERIC, accepted
from kpi.errors import CompileError, KpiError, nearest
from kpi.ingest.contract import is_feed
from kpi.project.external import absolute, outside_files, reached
from kpi.project.packages import read_text
from kpi.project.project import Project, together
from kpi.project.properties import Column, TestSpec
from kpi.settings import NO_TABLE, REPORT_COLUMNS, ReportTables
from kpi.sql import Columns, identifier, literal
from kpi.yaml_loader import Section


class Binder:
    """Binds nodes one after the other, planned many at once by `prepare`.

    `known` are the columns of those it has bound, by node id, and `notes` what is worth a note of them.

    The database and its tables are made when they are first asked for: not at all when every answer is remembered.
    """

    def __init__(self, nodes: Mapping[str, Node], within: Sequence[Path]) -> None:
        self.known: dict[str, Columns] = {}
        self.notes: list[str] = []
        self._within = within
        self._nodes = nodes
        self._made: set[str] = set()
        self._noted: list[Node] = []
        self._plans: dict[str, str] = {}
        self._con: duckdb.DuckDBPyConnection | None = None

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        """The scratch database."""
        if self._con is None:
            self._con = confined({"errors_as_json": "true", "threads": "1"}, self._within)
            for schema in sorted({node.relation.schema for node in self._nodes.values() if node.relation.schema}):
                self._con.execute(f"create schema if not exists {identifier(schema)}")
        return self._con

    def close(self) -> None:
        """Let go of the database."""
        if self._con is not None:
            self._con.close()

    def bind(self, node: Node) -> tuple[Columns, tuple[Finding, ...]]:
        """Return what a model or test yields, and the casts it should write out. Raises CompileError."""
        return remembered(lambda: self._bind(node), *self._key(node))

    def prepare(self, nodes: Iterable[Node]) -> None:
        """Let DuckDB plan in one statement what `bind` will be asked of nodes whose parents are known.

        A statement costs as much as binding a small model. What is remembered is not planned again.
        """
        texts: dict[str, None] = {}
        for node in nodes:
            if not is_remembered(*self._key(node)):
                self.make_parents(node)
                texts[node.sql] = None
        try:
            found = self.con.execute(_PLANS, [[f"{_AROUND}{text}\n)" for text in texts]]).fetchall() if texts else []
        except duckdb.Error:  # one of them has no plan that is a text: then each is planned by itself
            return
        self._plans.update(zip(texts, (row[0] for row in found), strict=True))

    def _key(self, node: Node) -> tuple[object, ...]:
        return "bind", node.sql, self.inputs(node)

    def inputs(self, node: Node) -> list[tuple[str, Columns]]:
        """The tables a node reads, by name and columns."""
        return [(str(self._nodes[one].relation), self.known[one]) for one in self._read_by(node)]

    def plan(self, node: Node) -> str:
        """DuckDB's plan of a node's SELECT as JSON, before it is optimized; empty when it has no text."""
        self.make_parents(node)
        try:
            plan = self.con.execute("select json_serialize_plan(?, optimize := false)", [node.sql]).fetchone()
        except duckdb.Error:
            return ""
        return str(plan[0]) if plan else ""

    def renamed(self, node: Node) -> Columns:
        """The columns of a table of the node's SELECT: DuckDB renames what has the name of one before, to `a_1`."""
        self.make_parents(node)
        self.con.execute(f"create or replace temp view kpi_probe as\n{node.sql}")
        return columns_of(self.con, "from temp.kpi_probe")

    def make_parents(self, node: Node) -> None:
        """Make sure of the tables that the node reads."""
        for one in self._read_by(node):
            self._make(self._maker(self._nodes[one]))

    def _read_by(self, node: Node) -> list[str]:
        """The tables a node reads: what is added to an incremental model may read the model, bound by then."""
        return [*tables_of(self._nodes, node), *([node.id] if node.increment and node.id in self.known else [])]

    def note(self, node: Node, columns: Columns) -> None:
        """Keep a node's columns for those that read it."""
        self.known[node.id] = columns
        if self._maker(node) is node and not is_ephemeral(node) and not is_remembered("table", str(node.relation)):
            self._noted.append(node)

    def make_noted(self) -> Iterator[CompileError]:
        """Make the tables of the nodes noted since the last time; yields an error for each whose name none can have."""
        noted, self._noted = self._noted, []
        try:
            self.con.execute("; ".join(map(self._definition, noted))) if noted else None
            self._made.update(node.id for node in noted)
        except duckdb.Error:  # one by one, to say which
            pass
        for node in noted:
            try:
                remembered(partial(self._make, node), "table", str(node.relation))
            except CompileError as error:
                yield error

    def _bind(self, node: Node) -> tuple[Columns, tuple[Finding, ...]]:
        self.make_parents(node)
        plan = self._plans.pop(node.sql, None) or self._planned(f"{_AROUND}{node.sql}\n)")
        columns, start = columns_in(plan), len(_AROUND)
        if columns is None or "?" in node.sql or "$" in node.sql:  # a plan takes parameters, which a model has none of
            columns = self._described(node)
        if plan.startswith(_WRONG):
            plan, start = self._planned(node.sql), 0
        return columns, tuple(self._casts(node, plan, start))

    def _described(self, node: Node) -> Columns:
        try:
            return columns_of(self.con, node.sql)
        except duckdb.Error as error:
            names = {name for parent in node.depends_on for name, _ in self.known[parent]}
            problem = problem_of(error, "describe " + node.sql, names | set(_ALIAS.findall(node.sql)))
            offset = problem.offset and problem.offset - len("describe ")
            if problem.is_uneven_union:
                raise at(node, *uneven_union(node.sql)) from None
            raise at(node, offset, problem.message) from None

    def _planned(self, sql: str) -> str:
        """The plan of a SELECT as JSON, or what says that it has none."""
        try:
            return str(self.con.execute(_PLANS, [[sql]]).fetchall()[0][0])
        except duckdb.Error:  # a plan that has no text
            return _WRONG

    def _maker(self, node: Node) -> Node:
        """The node that makes a source's table, when another one of the project does; else the node itself."""
        return self._nodes[node.depends_on[0]] if node.kind == "source" and node.depends_on else node

    def _make(self, node: Node) -> bool:
        if node.id in self._made:
            return True
        try:
            self.con.execute(self._definition(node))
        except duckdb.Error:
            message = f"{node.relation} cannot be the name of a table: a part of it is a word of SQL."
            raise CompileError(node.file, node.line, message) from None
        self._made.add(node.id)
        return True

    def _definition(self, node: Node) -> str:
        typed = ", ".join(f"{identifier(name)} {kind}" for name, kind in self.known[node.id])
        return f"create or replace table {node.relation} ({typed})"

    def _casts(self, node: Node, plan: str, start_of_sql: int) -> Iterator[Finding]:
        """Judge the casts in the plan. Raises CompileError for one that DuckDB plans and then does not have."""
        if '"OPERATOR_CAST"' not in plan:
            return
        encoded = node.sql.encode()
        for cast in _casts_in(plan):
            start, length = int(cast["query_location"]) - start_of_sql, int(cast["query_location_length"])
            if not 0 <= start <= len(encoded):
                continue
            text = encoded[start : start + length].decode(errors="ignore")
            offset = len(encoded[:start].decode(errors="ignore"))
            finding = self._finding(node, cast, text, offset)
            if finding:
                yield finding

    def _finding(self, node: Node, cast: dict[str, Any], text: str, offset: int) -> Finding | None:
        given, wanted = cast["arguments"][0]["id"], cast["return_type"]["id"]
        if cast["function_data"]["try_cast"]:
            return None
        is_written = WRITTEN.match(text) is not None
        value = cast["children"][0].get("value") or {}
        families = (_family(given), _family(wanted))
        if families[0] != families[1] and _APART.issuperset(families) and families != ("day", "time"):
            message = (
                f"{given} cannot be cast to {wanted}" if is_written else f"{given} is compared or mixed with {wanted}"
            )
            raise at(node, offset, f"{message}: there is no such cast. Write what is meant.")
        if given == "VARCHAR" and text[:1] == "'" and isinstance(value.get("value"), str):
            self._check_constant(node, str(value["value"]), cast["return_type"], offset)
        elif not is_written and given != wanted and "VARCHAR" in (given, wanted) and given != "NULL":
            message = f"{given} is implicitly cast to {wanted} here. Write the cast."
            return Finding("implicit_cast", offset, message)
        elif is_written and given in ("DOUBLE", "FLOAT") and _is_integer(wanted) and node.lines.is_own(offset):
            message = f"{given} to {wanted} rounds on one engine and cuts on another. Round, or use a macro that does."
            return Finding("integer_cast", offset, message)
        return None

    def _check_constant(self, node: Node, value: str, kind: dict[str, Any], offset: int) -> None:
        if kind.get("type_info") or _family(kind["id"]) not in _APART:
            return
        try:
            self.con.execute(f"select cast({literal(value)} as {kind['id']})")
        except duckdb.Error:
            raise at(node, offset, f"the text '{value}' is no {kind['id']}, with which it is compared.") from None


_ALIAS = re.compile(r"\bas\s+(\w+)", re.IGNORECASE)
# Values of these have no cast to each other.
_APART = {"number", "day", "time", "span"}


# Plans of SELECTs, each in another one, which then says of all columns what their names are and their types.
_PLANS = "select json_serialize_plan(written, optimize := false) from (select unnest(?) as written)"
_AROUND = "select * from (\n"
_WRONG = '{"error":true'
_COLUMNS = '"expressions":['
# Of these a plan says all there is to say by their name.
_PLAIN_TYPES = frozenset(
    [
        *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER"),
        *("UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "VARCHAR", "BLOB", "UUID", "DATE", "TIME", "TIMESTAMP", "INTERVAL"),
    ]
)
_NUMBERED = re.compile(r"(.+)[_:]\d+")


def columns_in(plan: str) -> Columns | None:
    """Return name and type of what `select * from (…)` yields by its plan; None when the plan does not tell.

    It does not for types with more to them, and where DuckDB may have numbered columns of one name.
    """
    start = plan.rfind(_COLUMNS)
    if start < 0 or not plan.startswith('{"error":false,"plans":[{"type":"LOGICAL_PROJECTION"'):
        return None
    found = []
    for one in json.JSONDecoder().raw_decode(plan, start + len(_COLUMNS) - 1)[0]:
        kind = one.get("return_type") or {}
        more, name = kind.get("type_info"), kind.get("id")
        if name == "DECIMAL" and more and not more.get("alias"):
            name = f"DECIMAL({more['width']},{more['scale']})"
        elif more is not None or name not in _PLAIN_TYPES:
            return None
        found.append((one["alias"], name))
    names = {name.lower() for name, _ in found}
    is_numbered = any((match := _NUMBERED.fullmatch(name)) and match[1] in names for name in names)
    return None if is_numbered or len(names) < len(found) else tuple(found)


_CAST = '{"expression_class":"BOUND_FUNCTION","type":"OPERATOR_CAST"'


def _casts_in(plan: str) -> Iterator[dict[str, Any]]:
    """The casts of a plan as JSON: read where they stand, which is much cheaper than reading the whole plan."""
    decoder = json.JSONDecoder()
    start = plan.find(_CAST)
    while start >= 0:
        yield decoder.raw_decode(plan, start)[0]
        start = plan.find(_CAST, start + 1)


def tables_of(nodes: Mapping[str, Node], node: Node) -> list[str]:
    """The ids of the tables that a node's SQL reads: its parents, or those of an ephemeral parent."""
    found: dict[str, None] = {}
    for parent in node.depends_on:
        is_part = is_ephemeral(nodes[parent])
        found.update(dict.fromkeys(tables_of(nodes, nodes[parent]) if is_part else [parent]))
    return list(found)


def at(node: Node, offset: int | None, message: str) -> CompileError:
    """The error at an offset of a node's SQL, or at its line when that is not known or not its file's."""
    if node.test is not None and node.test.kind != "singular":
        return CompileError(node.file, node.line, message)
    line, column = node.lines.place(offset or 0)
    return CompileError(node.file, line, message, column if offset is not None else 0)


def _is_integer(kind: str) -> bool:
    return re.fullmatch(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?", kind) is not None


def _family(kind: str) -> str:
    return next((family for family, pattern in _FAMILIES if re.match(pattern, kind)), kind)


_FAMILIES = (
    ("number", r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$|DECIMAL|FLOAT|DOUBLE|BOOLEAN"),
    ("day", r"DATE|TIMESTAMP"),
    ("time", r"TIME\b"),
    ("span", r"INTERVAL"),
)


def finding_errors(node: Node, findings: Iterable[Finding], *, is_whole: bool = True) -> list[CompileError]:
    """Return what is refused in a model: rules it breaks without a reasoned exception, and exceptions without use.

    Nothing when its project does not ask for house rules. When `findings` are not all there may be (`is_whole` is
    false), no exception counts as without use.
    """
    if not has_house_rules(node.config):
        return []
    meta = node.config["meta"]
    allow = meta.get("allow") or {}
    mistakes = list(_wrong_exceptions(node, allow))
    used = set()
    for finding in findings:
        if isinstance(allow, Mapping) and finding.rule in allow:
            used.add(finding.rule)
            continue
        line, column = finding.place if finding.place[0] else node.lines.place(finding.offset)
        mistakes.append(CompileError(node.file, line, f"{finding.message} [{finding.rule}]", column))
    for name in allow if is_whole and isinstance(allow, Mapping) else ():
        if name not in used and name not in SPARK_RULES:
            message = f"the exception '{name}' is not needed: nothing here breaks it.{_meant(name)}"
            mistakes.append(_at(node, allow, name, message))
    return mistakes


def unread(nodes: Mapping[str, Node]) -> list[CompileError]:
    """Return an error for each model that another one with `meta.reads_every` should read and does not.

    Also for a pattern that no model has: it would watch nothing.
    """
    mistakes = []
    for node in nodes.values():
        meta = node.config.get("meta")
        wanted = meta.get("reads_every") if isinstance(meta, Mapping) and node.kind == "model" else None
        if wanted is None:
            continue
        pattern = wanted.get("models") if isinstance(wanted, Mapping) else None
        if not isinstance(pattern, str) or set(wanted) - {"models", "listed_in"}:
            message = "meta.reads_every has 'models', a pattern of names such as int_*, and may have 'listed_in'."
            mistakes.append(_at(node, wanted, "models", message))
            continue
        found = [one for one in nodes.values() if one.kind == "model" and fnmatchcase(one.name, pattern)]
        if not found:
            mistakes.append(
                _at(node, wanted, "models", f"no model is named {pattern}, which meta.reads_every asks for.")
            )
        place = wanted.get("listed_in")
        for one in found:
            if one is not node and one.id not in node.depends_on:
                message = (
                    f"'{node.name}' reads every model named {pattern} (its meta.reads_every), but not '{one.name}'."
                )
                mistakes.append(CompileError(one.file, one.line, f"{message}{f' Add it to {place}.' if place else ''}"))
    return mistakes


def _meant(name: str) -> str:
    return "" if name in RULES or name in FUNCTIONS else nearest(str(name), {*RULES, *IN_MACROS})


def _wrong_exceptions(node: Node, allow: Any) -> Iterator[CompileError]:
    if not isinstance(allow, Mapping):
        yield CompileError(node.file, node.line, "meta.allow is a mapping of rules or functions to reasons.")
        return
    for name, why in allow.items():
        if not isinstance(why, str) or len(why.split()) < 2:
            yield _at(node, allow, name, f"the exception '{name}' needs a reason, in words.")


def _at(node: Node, allow: Any, name: str, message: str) -> CompileError:
    """At the line of the YAML file where the exception is written, or of the model when it is in its config()."""
    lines = getattr(allow, "lines", None)
    if lines and name in lines:
        return CompileError(allow.file, lines[name], message)
    return CompileError(node.file, node.line, message)


def check_all(project: Project) -> tuple[Graph, dict[str, Columns]]:
    """Compile the project and bind every node. Returns it with the columns of every node by id; raises as above."""
    from kpi.engine.nodes import compile_nodes
    from kpi.engine.unit_tests import check_unit_tests

    graph, mistakes = compile_nodes(project, lambda graph: bound_columns(graph)[0])
    known, wrong, renamed = bound_columns(graph)
    unit_tests, wrong_units = check_unit_tests(graph, known)
    mistakes += [*wrong, *wrong_units, *unread(graph.nodes)]
    if mistakes:
        raise together(mistakes, project.root)
    idle = (f"{one.file}:{one.line}: nothing loads or reads the source '{one.name}'." for one in graph.unread())
    notes = (*graph.notes, *renamed, *_only_documented(graph, known), *of_the_moment(graph.nodes.values()), *idle)
    own = replace(graph.project, report_tables=_report_tables(graph, known))
    return replace(graph, project=own, notes=notes, columns=known, unit_tests=unit_tests), known


def _report_tables(graph: Graph, known: Mapping[str, Columns]) -> ReportTables:
    """What the project calls the tables that the engine knows.

    Where it has no feeds and names none of them, a table of the usual name that lacks a column the engine asks for is
    another, of the project's own: it has none of the engine's then.
    """
    tables = graph.project.report_tables
    if graph.feeds or tables.places:
        return tables
    nodes = {str(node.relation): node.id for node in graph.built()}
    others: dict[str, Any] = {
        key: f"{NO_TABLE}.{key}"
        for key, (required, _) in REPORT_COLUMNS.items()
        if (columns := known.get(nodes.get(getattr(tables, key), "")))
        and not all(any(fnmatchcase(name, wanted) for name, _ in columns) for wanted in required)
    }
    return replace(tables, **others)


def bound_columns(graph: Graph) -> tuple[dict[str, Columns], list[KpiError], list[str]]:
    from kpi.ingest.ledger import OWN

    mistakes: list[KpiError] = []
    raw: dict[str, Columns] = {f"raw.{table}": tuple(columns) for table, columns in OWN.items()}
    raw.update({f"raw.{feed.name}": feed.table_columns for feed in graph.feeds})
    # A feed whose contract is wrong has no columns to bind against; what is wrong is reported already.
    sources = {source.id: source for source in graph.project.sources}
    unread = {node.id for node in graph.unread()}
    outside = [path for location in graph.outside for path in reached(graph.project.root, location)]
    with closing(Binder(graph.nodes, [*seed_folders(graph.project), *outside])) as binder:
        for wave in _waves(graph.nodes.values()):
            nodes = [
                node
                for node in wave
                if node.kind not in ("analysis", "exposure")
                and node.id not in unread
                and all(parent in binder.known for parent in node.depends_on)
            ]
            binder.prepare(node for node in nodes if _is_planned(node))
            for node in nodes:
                if node.kind == "source" and str(node.relation) not in raw and is_feed(sources[node.id]):
                    continue
                mistakes += _check_node(binder, graph, node, raw)
            mistakes += binder.make_noted()
    return binder.known, mistakes, binder.notes


def _waves(nodes: Iterable[Node]) -> Iterator[list[Node]]:
    """Nodes in building order, cut where one reads another of those before it."""
    wave: dict[str, Node] = {}
    for node in nodes:
        if any(parent in wave for parent in node.depends_on):
            yield list(wave.values())
            wave = {}
        wave[node.id] = node
    yield list(wave.values())


def _is_planned(node: Node) -> bool:
    """Whether DuckDB is asked to bind what the node selects."""
    if node.kind == "test":
        return node.test is None or node.test.kind not in GENERIC or bool(node.test.where)
    return node.kind in ("model", "snapshot")


def _check_node(binder: Binder, graph: Graph, node: Node, raw: dict[str, Columns]) -> Iterator[KpiError]:
    """Bind a node, keep its columns for those that read it, and yield what is wrong with it."""
    try:
        if node.kind == "test":
            _check_test(binder, graph, node)
            return
        columns, casts = bind(binder, graph, node, raw)
        binder.note(node, columns)
        yield from _undocumented(node, columns, graph.project.is_strict)
        if node.kind == "model":
            yield from finding_errors(node, (*node.findings, *casts))
        if node.increment:
            grown = replace(node, sql=node.increment.sql, lines=node.increment.lines)
            yield from setting_problems(node, columns, _model_columns(binder, grown)[0])
    except CompileError as error:
        yield _with_comma(graph, node, error)
        yield from finding_errors(node, node.findings, is_whole=False)


def _with_comma(graph: Graph, node: Node, error: CompileError) -> CompileError:
    """A column that is not there may be one that its model swallowed for want of a comma: say so."""
    for parent in (graph.nodes[parent] for parent in node.depends_on):
        for finding in findings_of(parent):
            name = re.match(r"\w+", parent.sql[finding.offset :])
            before = re.search(r"(\w+)\s*$", parent.sql[: finding.offset])
            if finding.rule == "bare_alias" and name and before and f"'{before[1]}'" in error.message:
                line, column = parent.lines.place(finding.offset)
                message = f"{error.message} Or is a comma missing before '{name[0]}' in {parent.file}:{line}:{column}?"
                return CompileError(error.file, error.line, message, error.column)
    return error


def bind(binder: Binder, graph: Graph, node: Node, raw: dict[str, Columns]) -> tuple[Columns, tuple[Finding, ...]]:
    """The columns of a node's table, and the casts a model should write out. A seed is read with all its rows."""
    if node.kind == "seed":
        return remembered(lambda: _seed_columns(binder, graph, node), "seed", node.shape, node.config), ()
    if node.kind == "source" and node.depends_on:
        return binder.known[node.depends_on[0]], ()
    if node.kind in ("model", "snapshot"):
        columns, casts = _model_columns(binder, node)
        if is_enforced(node):
            columns = materializations.check(binder.con, node, columns)
        if node.kind == "snapshot":
            columns = _snapshot(binder, node, columns)
        return columns, casts
    if node.sql:
        return remembered(lambda: _columns_outside(binder, graph, node), "outside", node.sql, node.shape), ()
    if str(node.relation) in raw:
        return raw[str(node.relation)], ()
    if problem := next(one.problem for one in graph.project.sources if one.id == node.id):
        raise CompileError(node.file, node.line, problem)
    message = (
        f"nothing loads the source '{node.name}': it has no config.meta.feed and no config.meta.external_location,"
        f" and no seed or model makes it.{_no_database(graph, node)}"
    )
    raise CompileError(node.file, node.line, message)


def _no_database(graph: Graph, node: Node) -> str:
    """Why a source is not looked for in a DuckDB file, or how it would be."""
    project = graph.project
    source = next(one for one in project.sources if one.id == node.id)
    file, named_by = project.database_file(source)
    if file:
        return f" The DuckDB file {file}, which {named_by} names, is not there."
    if project.profile.problem:
        return f" A DuckDB file that has it cannot be looked for: {project.profile.problem}"
    return " If a DuckDB file has it, name the file: config.meta.database_file."


def _seed_columns(binder: Binder, graph: Graph, node: Node) -> Columns:
    statement = seed_table(graph.project, node)
    try:
        binder.con.execute(statement)
    except duckdb.Error as error:
        raise _seed_error(graph, node, error, statement) from None
    return columns_of(binder.con, f"from {node.relation}")


def _model_columns(binder: Binder, node: Node) -> tuple[Columns, tuple[Finding, ...]]:
    columns, casts = binder.bind(node)
    names = [name.lower() for name, _ in columns]
    names_twice = sorted(name for name in set(names) if names.count(name) > 1)
    if names_twice:
        message = f"the model has two columns named '{names_twice[0]}'."
        if node.materialized in ("table", "view") and not has_house_rules(node.config):
            renamed = binder.renamed(node)
            others = ", ".join(f"'{name}'" for name, _ in renamed if name.lower() not in names)
            binder.notes.append(
                f"{node.file}:{node.line}: {message} DuckDB gives what comes later other names: {others}."
            )
            return renamed, casts
        raise at(node, second_column(node.sql, names_twice[0]), message)
    return columns, casts


def _snapshot(binder: Binder, node: Node, columns: Columns) -> Columns:
    """The columns of a snapshot's table: those of its SELECT, and those that tell its versions apart."""
    for mistake in incremental.column_problems(node, columns):
        raise mistake
    try:
        binder.make_parents(node)
        return columns_of(binder.con, incremental.first_select(node))
    except duckdb.Error as error:
        message = f"the snapshot's settings are no SQL that DuckDB takes: {problem_of(error, '').message}"
        raise CompileError(node.file, node.line, message) from None


def _columns_outside(binder: Binder, graph: Graph, node: Node) -> Columns:
    """The columns of a source that is files outside. Raises CompileError when they cannot be read."""
    location = node.sql.removeprefix("select * from ")
    try:
        return columns_of(binder.con, absolute(graph.project.root, node.sql))
    except duckdb.Error as error:
        if not outside_files(graph.project.root, location):
            message = f"the source '{node.name}': no file matches {location[:300]}."
            raise CompileError(node.file, node.line, message) from None
        problem = problem_of(error, f"describe {node.sql}")
        if problem.is_missing_table:
            file = reached(graph.project.root, location)[0].name
            message = f"the source '{node.name}': {file} has no table {node.relation}. A view there is not read"
            raise CompileError(node.file, node.line, f"{message}: make it a table.") from None
        raise CompileError(node.file, node.line, f"the source '{node.name}': {problem.message}") from None


def _seed_error(graph: Graph, node: Node, error: duckdb.Error, statement: str) -> CompileError:
    problem = problem_of(error, statement)
    if found := csv_problem(error):
        record, column, reason = found
        return seed_cell_error(read_text(graph.project.root, node.file), node, record, column, reason)
    types = node.config.get("column_types")
    if isinstance(types, Section):
        for name in [name for name, kind in types.items() if problem.names(str(kind))]:
            return CompileError(types.file, types.lines[name], f"'{name}': {problem.message}")
    return CompileError(node.file, 1, problem.message)


def _undocumented(node: Node, columns: Columns, is_strict: bool) -> list[CompileError]:
    """Columns of the YAML that are not there and that tests look at; with house rules a name much like another too."""
    names = [name for name, _ in columns]
    mistakes = []
    for column in _missing(node, columns):
        hint = nearest(column.name, names)
        if ("Did you mean" in hint and is_strict) or column.is_tested or node.config.get("contract"):
            message = f"'{node.name}' has no column '{column.name}'.{hint}"
            mistakes.append(CompileError(column.meta.file, column.line, message))
    return mistakes


def _only_documented(graph: Graph, known: Mapping[str, Columns]) -> list[str]:
    """What is worth a note of columns that are described, are not there, and that nothing asks for."""
    return [
        f"{column.meta.file}:{column.line}: '{node.name}' has no column '{column.name}'; its description is not used."
        for node in graph.nodes.values()
        if node.id in known
        for column in _missing(node, known[node.id])
    ]


def of_the_moment(nodes: Iterable[Node]) -> Iterator[str]:
    """Yield what is worth a note of models that would yield something else tomorrow, from the same tables.

    What is made from the same is not built again. Those with house rules are refused for it.
    """
    for node in nodes:
        if node.kind != "model" or has_house_rules(node.config):
            continue
        word, offset = moving_word(node.sql)
        if word:
            line, _ = node.lines.place(offset)
            remedy = "made from changes, or with --full-refresh. Give the day as a variable"
            message = f"{word} is of the time when '{node.name}' is built, and it is built again only when what it is"
            yield f"{node.file}:{line}: {message} {remedy}."


def _missing(node: Node, columns: Columns) -> list[Column]:
    names = {name.lower() for name, _ in columns}
    return [column for column in node.columns if column.name.lower() not in names]


def _check_test(binder: Binder, graph: Graph, test: Node) -> None:
    """Raise CompileError when a test names a column that is not there, or compares what cannot be compared."""
    spec, known = test.test, binder.known
    if spec is None or spec.kind not in GENERIC:
        binder.bind(test)
        return
    tested = test.depends_on[0]
    documented = {column.name for column in graph.nodes[tested].columns}
    if spec.column in documented and spec.column not in dict(known[tested]):
        return  # reported once, of the column itself
    kind = _type_of(test, spec.column, tested, known)
    if spec.kind == "relationships":
        key = spec.arguments["field"]
        key_kind = _type_of(test, key, spec.arguments["to"], known)
        if _comparable(kind) != _comparable(key_kind):
            message = f"'{spec.column}' ({kind}) cannot be compared with '{key}' ({key_kind})."
            raise CompileError(test.file, test.line, message)
    if spec.kind == "accepted_values" and (kind != "VARCHAR" or not spec.arguments.get("quote", True)):
        _check_values(binder, spec, kind)
    if spec.where:
        binder.bind(test)


def _check_values(binder: Binder, spec: TestSpec, kind: str) -> None:
    """Raise CompileError for an accepted value that a column of the type cannot have."""
    for value in accepted(spec):
        if not _is_value(binder, value, kind, bool(spec.arguments.get("quote", True))):
            message = f"'{spec.column}' ({kind}) cannot be compared with {value}."
            raise CompileError(spec.file, spec.line, message)


def _is_value(binder: Binder, value: str, kind: str, is_quoted: bool) -> bool:
    def ask() -> bool:
        try:
            if is_quoted:
                binder.con.execute(f"select cast({value} as {kind})")
                return True
            return _comparable(columns_of(binder.con, f"select {value}")[0][1]) == _comparable(kind)
        except duckdb.Error:
            return False

    return remembered(ask, "value", value, kind, is_quoted)


def _type_of(test: Node, column: str, table: str, known: dict[str, Columns]) -> str:
    kinds = dict(known[table])
    if column not in kinds:
        message = f"'{table.split('.', 2)[2]}' has no column '{column}'.{nearest(column, kinds)}"
        raise CompileError(test.file, test.line, message)
    return kinds[column]


def _comparable(kind: str) -> str:
    """What a type can be compared with: all types of the same family."""
    return next((family for family, pattern in _COMPARABLE if re.match(pattern, kind)), kind)


_COMPARABLE = (
    ("number", r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$|DECIMAL|FLOAT|DOUBLE"),
    ("text", r"VARCHAR|ENUM"),
    ("day", r"DATE|TIMESTAMP"),
)
