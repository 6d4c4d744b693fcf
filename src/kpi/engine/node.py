"""One compiled SELECT: that it is one, that it names its tables by ref or source, and what it is apart from layout."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kpi.cache import remembered
from kpi.engine.lint import Finding, broken_rules, every, place_of
from kpi.engine.plain_select import plain_shape
from kpi.errors import CompileError, nearest
from kpi.lazy import duckdb, exp
from kpi.project.relation import Lines, Relation, Rendered

if TYPE_CHECKING:
    from kpi.project.properties import Column, TestSpec

NodeKind = Literal["model", "seed", "snapshot", "source", "test", "analysis", "exposure", "unit_test"]
_A_FILE = " Describe the file as a source (config.meta.external_location) and read that."
_AROUND = "select * from (\n"
_TABLE_FUNCTIONS = ("generate_series", "range", "unnest")


@dataclass(frozen=True, slots=True)
class Hooks:
    """The rendered texts that run before and after a node, or a whole run, in order."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Increment:
    """What an incremental model is when its rows are added to the table that is there: is_incremental() is true."""

    sql: str
    lines: Lines
    hooks: Hooks


@dataclass(frozen=True, slots=True)
class Node:
    """One thing of the project that is built or checked. `shape` is a hash of what it is, layout and comments apart.

    `sql` is the compiled SELECT (empty for seeds and sources), `lines` where in the file it comes from. A test has no
    relation of its own; `relation` then is the one it tests, when it tests one. `config` are its merged settings,
    `written` those of the last place that gives each. `depth` is how many parts of the file's path lie
    before the folders that dbt selects it by.
    """

    id: str
    kind: NodeKind
    name: str
    file: Path
    line: int
    relation: Relation
    materialized: str
    tags: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    sql: str = ""
    lines: Lines = Lines()  # noqa: RUF009  a frozen value
    shape: str = ""
    description: str = ""
    columns: tuple[Column, ...] = ()
    column_types: tuple[tuple[str, str], ...] = ()
    delimiter: str = ","
    test: TestSpec | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    written: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    increment: Increment | None = None
    hooks: Hooks = Hooks()
    constraints: tuple[Mapping[str, Any], ...] = ()
    depth: int = 1

    @property
    def fqn(self) -> tuple[str, ...]:
        """The names dbt selects it by: its project, the folders below the model folder, and its own name."""
        name = (*self.name.rsplit(".", 1),) if self.is_version else (self.name,)
        return (self.id.split(".")[1], *self.file.parts[self.depth : -1], *name)

    @property
    def is_version(self) -> bool:
        """Whether it is a version of a model: its name is `model.v2`."""
        return self.kind == "model" and "." in self.name


def digest(*parts: str) -> str:
    """Return a hash of texts."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def line_of(node: Node, parent: Relation) -> int:
    """Return the line of a node's file where it names one of the tables it reads."""
    if node.test and node.test.kind != "singular":
        return node.line
    found = re.search(rf"(?<![\w.]){re.escape(str(parent))}(?!\w)", node.sql)
    return node.lines.at(found.start() if found else 0)


class NamedOutrightError(CompileError):
    """A model names a table of the project without ref() or source(): the `relation`, and the `span` of its SQL."""

    def __init__(self, file: Path, line: int, column: int, message: str, relation: Relation) -> None:
        super().__init__(file, line, message, column)
        self.relation = relation
        self.span = (0, 0)


@dataclass(frozen=True, slots=True)
class Select:
    """One SELECT, without the semicolon it may end in, and the line of the file it begins in.

    `shape` is a hash of its words, layout and comments apart; `findings` are the house rules it breaks, `lines` where
    in the file the SQL comes from.
    """

    sql: str
    shape: str
    line: int
    findings: tuple[Finding, ...] = ()
    lines: Lines = Lines()  # noqa: RUF009  a frozen value


def has_house_rules(config: Mapping[str, Any]) -> bool:
    """Tell whether settings ask for house rules: `meta: {house_rules: true}`."""
    meta = config.get("meta")
    return isinstance(meta, Mapping) and meta.get("house_rules") is True


def findings_of(node: Node) -> tuple[Finding, ...]:
    """Return what a node's SELECT breaks of the house rules, whether it asks for them or not."""
    if node.kind != "model" or has_house_rules(node.config):
        return node.findings
    import sqlglot

    try:
        return broken_rules(sqlglot.parse_one(node.sql, dialect="duckdb"), node.sql, node.lines)
    except (sqlglot.errors.SqlglotError, RecursionError):
        return ()


def read_select(
    rendered: Rendered, file: Path, what: str, relations: Mapping[str, Relation], is_judged: bool = False
) -> Select:
    """Check a compiled `what` (model or test), and with `is_judged` by the house rules.

    Raises CompileError when it is not exactly one SELECT, or names a table that it did not get from ref or source and
    that is no CTE of its own. `relations` are all there are, for telling what was meant.
    """
    parents = [str(relation) for relation in rendered.depends_on.values()]

    def make() -> Select:
        found = _read_select(rendered, file, what, relations, is_judged)
        is_same = found.sql == rendered.sql and found.lines == rendered.lines
        return replace(found, sql="", lines=Lines()) if is_same else found

    select = remembered(
        make,
        "select", what, is_judged, rendered.sql, rendered.lines, sorted(parents), str(rendered.this),
        rendered.is_incremental,
    )  # fmt: skip
    return select if select.sql else replace(select, sql=rendered.sql, lines=rendered.lines)


def _read_select(
    rendered: Rendered, file: Path, what: str, relations: Mapping[str, Relation], is_judged: bool
) -> Select:
    tables = {relation.parts for relation in rendered.depends_on.values()}
    if rendered.this and rendered.is_incremental:
        tables.add(rendered.this.parts)
    if plain := plain_shape(rendered.sql, tables, rendered.lines, is_judged):
        return Select(rendered.sql, plain[0], rendered.lines.at(plain[1]), (), rendered.lines)
    return parse_select(rendered, file, what, relations, is_judged)


def parse_select(
    rendered: Rendered, file: Path, what: str, relations: Mapping[str, Relation], is_judged: bool
) -> Select:
    """The same of any SELECT, by sqlglot."""
    import logging

    import sqlglot

    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    dialect = sqlglot.Dialect.get_or_raise("duckdb")
    sql, lines = rendered.sql, rendered.lines
    semicolon = sqlglot.TokenType.SEMICOLON
    try:
        tokens = dialect.tokenize(sql)
        while tokens and tokens[-1].token_type == semicolon:
            sql = sql[: tokens.pop().start].rstrip()
        for token, after in pairwise(tokens):
            if token.token_type == semicolon:
                message = f"a {what} is one SELECT, here a second one begins."
                raise _at(rendered, file, after.start, message)
        if not tokens:
            raise CompileError(file, 1, f"a {what} is one SELECT, here is none.")
        tree = dialect.parser().parse(tokens, sql)[0]
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        raise _not_sql(rendered, file, error) from None
    line = lines.at(tokens[0].start)
    if isinstance(tree, sqlglot.exp.Values | sqlglot.exp.Summarize | sqlglot.exp.Pivot):
        # DuckDB selects by these too: in brackets they stand after `from`, as any SELECT does.
        start = tokens[0].start
        lines = lines.replaced([(start, start, len(_AROUND))])
        sql = f"{sql[:start]}{_AROUND}{sql[start:]}\n)"
        return parse_select(replace(rendered, sql=sql, lines=lines), file, what, relations, is_judged)
    if not isinstance(tree, sqlglot.exp.Query):
        word = tokens[0].text if tree is None or isinstance(tree, sqlglot.exp.Command) else tree.key
        raise _at(rendered, file, tokens[0].start, f"a {what} is one SELECT, here is {word.upper()}.")
    _check_tree(tree, rendered, file, what, relations)
    findings = broken_rules(tree, sql, lines) if is_judged else ()
    return Select(sql, _shape(tokens, sql), line, findings, lines)


def _shape(tokens: Any, sql: str) -> str:
    """Hash the words of the SQL. Two words without a blank between, such as the parts of x'00', stay one."""
    words = []
    end = 0
    for token in tokens:
        glued = token.start == end and end and (sql[end - 1].isalnum() and (sql[end].isalnum() or sql[end] == "'"))
        end = token.end + 1
        words.append(("" if glued else "\n") + sql[token.start : end])
    return hashlib.blake2b("".join(words).encode(), digest_size=16).hexdigest()


def _not_sql(rendered: Rendered, file: Path, error: Any) -> CompileError:
    """Tell a mistake in the SQL from SQL that only sqlglot does not read: DuckDB knows."""
    from kpi.database import confined, problem_of

    with confined({"errors_as_json": "true"}) as con:
        try:
            con.extract_statements(rendered.sql)
        except duckdb.Error as raised:
            problem = problem_of(raised, rendered.sql)
            return _at(rendered, file, problem.offset or 0, f"not SQL: {problem.message}")
    details = error.errors[0] if getattr(error, "errors", None) else {}
    before = rendered.sql.split("\n")[: int(details.get("line") or 1)]
    offset = sum(len(line) + 1 for line in before[:-1]) + int(details.get("col") or 1) - 1
    near = f" near {details['highlight']}" if details.get("highlight") else ""
    message = f"DuckDB reads this SQL but sqlglot, which kpi needs to, does not{near}. Write it in another way."
    return _at(rendered, file, offset, message)


@cache
def _is_checked(kind: type) -> bool:
    """Whether parts of this kind are looked at by the next: few are, and asking five questions of each takes time."""
    return issubclass(kind, (exp.DML, exp.DDL, exp.Pivot, exp.Table, exp.Lateral, exp.CTE))


def _check_tree(tree: Any, rendered: Rendered, file: Path, what: str, relations: Mapping[str, Relation]) -> None:
    for node in every(tree):
        kind: Any = type(node)
        if not _is_checked(kind):
            continue
        if isinstance(node, exp.DML | exp.DDL) and not isinstance(node, exp.Query):
            message = f"a {what} only selects, {node.key.upper()} is not allowed."
            raise _at(rendered, file, place_of(node), message)
        if isinstance(node, exp.Pivot) and not node.args.get("unpivot") and _is_open(node):
            message = (
                "PIVOT takes its columns from the data, so what they are is not known. Name them: ON x IN ('a', 'b')."
            )
            raise _at(rendered, file, place_of(node), message)
        if isinstance(node, exp.Table | exp.Lateral):
            _check_table(node, rendered, file, what, relations)
        elif isinstance(node, exp.CTE) and node.alias.lower() in _in_sight(node.parent):
            message = f"the CTE '{node.alias}' hides another of that name. Rename one of them."
            raise _at(rendered, file, place_of(node.args["alias"]), message)


def _is_open(pivot: Any) -> bool:
    """Whether a pivot does not say which values become columns."""
    on = pivot.args.get("fields") or pivot.expressions
    return not all(isinstance(part, exp.In) for part in on)


def _check_table(table: Any, rendered: Rendered, file: Path, what: str, relations: Mapping[str, Relation]) -> None:
    if isinstance(table.this, exp.Func):
        name = (table.this.name if isinstance(table.this, exp.Anonymous) else table.this.sql_name()).lower()
        if name not in _TABLE_FUNCTIONS:
            message = (
                f"a {what} reads ref() and source() only, not {name}().{_A_FILE if name.startswith('read_') else ''}"
            )
            raise _at(rendered, file, place_of(table), message)
        return
    if isinstance(table, exp.Lateral):
        return
    parts = tuple(part.name for part in table.parts)
    if parts in {relation.parts for relation in rendered.depends_on.values()}:
        return
    if len(parts) == 1 and parts[0].lower() in _in_sight(table):
        return
    name, place = ".".join(parts), place_of(table)
    if rendered.this and parts == rendered.this.parts:
        if rendered.is_incremental:
            return
        raise _at(rendered, file, place, "a model cannot read itself.")
    if len(parts) == 1 and not parts[0].isidentifier():
        message = f"a {what} reads ref() and source() only, not the file '{name}'.{_A_FILE}"
        raise _at(rendered, file, place, message)
    same = [one for one in relations.values() if one.schema and _is_named(one, parts)]
    if same:
        first, last = table.parts[0].meta, table.parts[-1].meta
        message = f"the table '{name}' is named outright; write {_call(same[0].node)}."
        error = NamedOutrightError(file, *rendered.lines.place(place), message, same[0])
        error.span = (int(first["start"]), int(last["end"]) + 1) if "start" in first and "end" in last else (0, 0)
        raise error
    calls = {relation.name: _call(node) for node, relation in relations.items()}
    close = nearest(parts[-1], calls)
    meant = calls.get(close.removeprefix(" Did you mean '").removesuffix("'?"), "")
    message = f"the table '{name}' is named outright; write {meant or 'ref() or source()'}."
    raise _at(rendered, file, place, message)


def _is_named(relation: Relation, parts: tuple[str, ...]) -> bool:
    """Whether a name of one or two parts is a relation's: without a schema it is one of `main`."""
    wanted = parts if len(parts) > 1 else ("main", *parts)
    return tuple(part.lower() for part in relation.parts) == tuple(part.lower() for part in wanted)


def _call(node: str) -> str:
    kind, _, *names = node.split(".")
    if kind != "source" and len(names) > 1:
        return f"{{{{ ref({names[0]!r}, v={names[1].removeprefix('v')}) }}}}"
    return f"{{{{ {'source' if kind == 'source' else 'ref'}({', '.join(repr(name) for name in names)}) }}}}"


def _in_sight(place: Any) -> Iterator[str]:
    """The names of the CTEs that a part of the tree may read: those before it, and those of the queries around it."""
    came, node = place, place.parent
    while node is not None:
        own = node.args.get("with_")
        if isinstance(node, exp.With):
            for cte in node.expressions:
                if cte is not came or node.recursive:
                    yield cte.alias.lower()
                if cte is came:
                    break
        elif own is not None and own is not came:
            yield from (cte.alias.lower() for cte in own.expressions)
        came, node = node, node.parent


def _at(rendered: Rendered, file: Path, offset: int, message: str) -> CompileError:
    """The error at the place of the file that an offset of the compiled SQL comes from."""
    line, column = rendered.lines.place(offset)
    return CompileError(file, line, message, column)
