"""What DuckDB makes of a SELECT on empty tables: its columns and types, and the casts it would add by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kpi.cache import is_remembered, remembered
from kpi.database import columns_of, confined, duckdb, problem_of
from kpi.engine.lint import Finding, uneven_union
from kpi.engine.materializations import is_ephemeral
from kpi.engine.node import Node
from kpi.errors import CompileError
from kpi.sql import Columns, identifier, literal


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
# How a cast that is written begins: cast(…), ::type, or a literal such as date '2025-01-01'.
WRITTEN = re.compile(r"(try_)?cast\b|::|[a-z]+ *'", re.IGNORECASE)
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
