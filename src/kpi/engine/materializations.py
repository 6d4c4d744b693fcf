"""Seeds, ephemeral models, contracts, hooks, and the statements that make a node's table or view.

A hook may select, create, alter, drop, insert, update, delete, merge and comment. It reaches no file and no network,
changes no setting and steers no transaction: a node and its hooks are done together or not at all.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from kpi.database import column_problem, columns_of, expression_problem, syntax_error, type_problem
from kpi.engine.graph import Hooks, Node, digest
from kpi.engine.incremental import adds_to, increment_statements, snapshot_statements
from kpi.engine.lint import last_column
from kpi.engine.template import RenderInput, Templates
from kpi.errors import CompileError, KpiError
from kpi.lazy import duckdb, exp
from kpi.presentation import unseen_letter, without_unseen
from kpi.project.external import absolute
from kpi.project.packages import read_text
from kpi.project.project import Project
from kpi.project.properties import Column
from kpi.project.relation import Lines, Relation
from kpi.sql import Columns, identifier, literal


def as_built(materialized: str) -> str:
    """Return what a model is built as that is materialized in some way."""
    return "table" if materialized == "external" else materialized


def external_notes(nodes: Iterable[Node]) -> Iterator[str]:
    """A line for each model whose file is not written."""
    for node in nodes:
        if node.kind == "model" and node.config.get("materialized") == "external":
            yield f"{node.file}:{node.line}: materialized='external': built as a table, and no file is written."


def external_problem(config: Mapping[str, Any]) -> str:
    """Say what is wrong with the settings of such a model; empty when nothing is, and for all other models."""
    form = _format_of(config) if config.get("materialized") == "external" else ""
    if form in ("", "parquet"):
        return ""
    message = f"materialized='external' with {form}: reading that back may change types."
    return f"{message} Use parquet, or a table and `kpi query --csv`."


def _format_of(config: Mapping[str, Any]) -> str:
    """The form of the file that dbt-duckdb would write for a model: as it says, or by the file's ending."""
    ending = str(config.get("location") or "").rpartition("/")[2].rpartition(".")[2]
    return str(config.get("format") or (ending if "." in str(config.get("location") or "") else "")).lower()


def seed_columns(
    text: str, file: Path, delimiter: str, types: Mapping[str, object]
) -> tuple[dict[str, str], list[CompileError]]:
    """Return name and type of a seed's columns, the types as dbt takes them from the values; and what is in doubt.

    `types` are those that its YAML declares. Raises CompileError for a line that is not a row of them.
    """
    values: list[dict[str, int]] = []  # of each column, with the line where each value stands first
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    doubts: list[CompileError] = []
    end = 0
    try:
        for row in rows:
            start, end = end + 1, rows.line_num
            if not header:
                header = row
                values = [{} for _ in row]
                _refuse_header(header, file)
            elif not row:
                # A line without anything: no row, or in a table of one column a row of nothing.
                values[0].update({"": start} if len(header) == 1 else {})
            elif len(row) != len(header):
                message = f"the header has {len(header)} columns, this row {len(row)}."
                raise CompileError(file, rows.line_num, message)
            else:
                if end > start and any("\n" in cell and cell.count(delimiter) >= len(header) - 1 for cell in row):
                    message = "a cell holds line ends and as many separators as a row has: rows between two quotes?"
                    doubts.append(CompileError(file, start, message))
                for seen, value in zip(values, row, strict=True):
                    seen.setdefault(value, start)
    except csv.Error as error:
        raise CompileError(file, rows.line_num, f"not CSV: {error}.") from None
    if not header:
        raise CompileError(file, 1, "the seed is empty; its first line must name the columns.")
    for name, seen in zip(header, values, strict=True):
        doubts += _misspelt_identifiers(file, name, seen)
        doubts += _rounded(file, name, seen, str(types.get(name, "")))
    return {name: type_of(set(seen)) for name, seen in zip(header, values, strict=True)}, doubts


def _refuse_header(header: list[str], file: Path) -> None:
    names = [name.lower() for name in header]  # DuckDB has no two columns that differ in their case alone
    wrong = [name for name in header if names.count(name.lower()) > 1 or not name.strip()]
    if wrong or not header:
        message = f"'{wrong[0]}' twice" if wrong and wrong[0].strip() else "a column without a name"
        raise CompileError(file, 1, f"the header has {message}.")
    for place, name in enumerate(header, start=1):
        if letter := unseen_letter(name):
            raise CompileError(file, 1, f"the name of column {place} holds a letter that cannot be seen, {letter}.")


_IDENTIFIER = re.compile(r"[\w./:-]+")


def _misspelt_identifiers(file: Path, name: str, values: Mapping[str, int]) -> Iterator[CompileError]:
    """What cannot be seen in a column of identifiers, each of which would be another one: no join finds it."""
    given = {value for value in values if value.strip()}
    odd = {value for value in given if value != value.strip() or unseen_letter(value)}
    if not odd or not all(_IDENTIFIER.fullmatch(without_unseen(value)) for value in given):
        return
    for value in sorted(odd):
        letter = unseen_letter(value)
        what = f"holds a letter that cannot be seen, {letter}" if letter else "begins or ends with a blank"
        yield CompileError(file, values[value], f"'{without_unseen(value)}' of column '{name}' {what}.")


_EXACT = re.compile(
    r"(?:tiny|small|big|huge)?int(?:eger)?|(?:decimal|numeric) *\( *[0-9]+ *(?:, *(?P<scale>[0-9]+) *)?\)"
)


def _rounded(file: Path, name: str, values: Mapping[str, int], kind: str) -> Iterator[CompileError]:
    """Numbers of a column that its declared type has no room for behind the point: DuckDB rounds them, as in dbt."""
    exact = _EXACT.fullmatch(kind.lower().strip())
    if not exact:
        return
    for value in sorted(values):
        if _NUMBER.fullmatch(value.strip()) and _decimals(Decimal(value.strip())) > int(exact["scale"] or 0):
            yield CompileError(file, values[value], f"'{value}' of column '{name}' is no {kind}: it would be rounded.")


def _decimals(number: Decimal) -> int:
    """How many decimals a number has, zeros at its end aside."""
    digits = "".join(map(str, number.as_tuple().digits))
    return -int(number.as_tuple().exponent) - (len(digits) - len(digits.rstrip("0"))) if number else 0


def seed_cell_error(text: str, node: Node, record: int, column: str, reason: str) -> CompileError:
    """Say what is wrong with a cell of a seed. `record` counts the header and blank lines, `reason` is DuckDB's."""
    kind = re.fullmatch("Could not convert string .* to '(.+)'", reason, re.DOTALL)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=node.delimiter, quotechar=quote_of(text, node.delimiter))
    header: list[str] = []
    for number, row in enumerate(rows, start=1):
        header = header or row
        if number < record:
            continue
        cell = dict(zip(header, row, strict=False)).get(column)
        if kind is None or cell is None:
            break
        where = f"column '{column}' of the seed '{node.name}'"
        if cell.strip():
            return CompileError(node.file, rows.line_num, f"{where}: {cell!r} is no {kind[1]}.")
        remedy = "leave the cell empty, or name another type of the column under column_types"
        return CompileError(
            node.file, rows.line_num, f"{where} holds blanks, {cell!r}, which is no {kind[1]}: {remedy}."
        )
    return CompileError(node.file, record, f"{column}: {reason}.")


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


PREFIX = "__dbt__cte__"


def is_ephemeral(node: Node) -> bool:
    """Whether the node is built into those that read it, and not by itself."""
    return node.kind == "model" and node.materialized == "ephemeral"


def cte_of(relation: Relation) -> Relation:
    """Return the name by which a model is read that is a CTE of its readers."""
    return Relation(relation.node, "", PREFIX + relation.node.split(".", 2)[2].replace(".", "_"))


def with_ctes(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """Put into every node the ephemeral models it reads, nested ones too, each once and before those that read it.

    `nodes` are in building order. This comes after the SQL was rendered and checked, so that what a node may read is
    checked by its own text; each ephemeral model's own text is checked where it stands.
    """
    own = {node.id: node.sql for node in nodes.values() if is_ephemeral(node)}
    return {node_id: _filled(node, nodes, own) if own else node for node_id, node in nodes.items()}


def _filled(node: Node, nodes: Mapping[str, Node], own: Mapping[str, str]) -> Node:
    read = list(dict.fromkeys(_read_by(node, nodes, own)))
    if not read or not node.sql:
        return node
    # No line break after the bracket: the text may end in a comment, so the bracket has a line of its own.
    ctes = ", ".join(f"{cte_of(nodes[one].relation)} as (\n{own[one]}\n)" for one in read)
    sql, lines = _put_in(ctes, node.sql, node.lines)
    increment = node.increment
    if increment:
        both = _put_in(ctes, increment.sql, increment.lines)
        increment = replace(increment, sql=both[0], lines=both[1])
    return replace(node, sql=sql, lines=lines, increment=increment)


def _read_by(node: Node, nodes: Mapping[str, Node], own: Mapping[str, str]) -> Iterator[str]:
    for parent in node.depends_on:
        if parent in own:
            yield from _read_by(nodes[parent], nodes, own)
            yield parent


def _put_in(ctes: str, sql: str, lines: Lines) -> tuple[str, Lines]:
    """Put CTEs before those that a SELECT has. What is put in counts as of the line the SELECT begins in."""
    import sqlglot

    kinds = sqlglot.TokenType
    tokens = sqlglot.Dialect.get_or_raise("duckdb").tokenize(sql)
    if tokens[0].token_type == kinds.WITH:
        place = tokens[1 if tokens[1].token_type == kinds.RECURSIVE else 0].end + 1
        text = f" {ctes},"
    else:
        place, text = tokens[0].start, f"with {ctes}\n"
    return sql[:place] + text + sql[place:], _moved(lines, place, len(text), tokens[0].start)


def _moved(lines: Lines, place: int, length: int, as_of: int) -> Lines:
    """Where each character comes from when so many more stand at a place, which count as of another one."""
    pieces = list(zip(lines.starts, lines.lines, lines.columns, strict=True))
    piece = max(0, bisect_right(lines.starts, place) - 1)
    here, after = lines.place(as_of), lines.place(place)
    is_own = lines.columns[piece] > 0
    between = [
        (place, here[0], -here[1]),
        (place + length, after[0], after[1] if is_own else -after[1]),
    ]
    before = [one for one in pieces if one[0] < place]
    moved = [(start + length, line, column) for start, line, column in pieces if start > place]
    starts, numbers, columns = zip(*before, *between, *moved, strict=True)
    return Lines(starts, numbers, columns)


CONSTRAINTS = ("check", "not_null", "unique", "primary_key", "foreign_key", "custom")


def is_enforced(node: Node) -> bool:
    """Whether the node has a contract that is enforced."""
    contract = node.config.get("contract")
    return contract is True or (isinstance(contract, Mapping) and bool(contract.get("enforced")))


def promised(con: duckdb.DuckDBPyConnection, node: Node) -> Columns:
    """Return the columns the contract promises, with DuckDB's own names of their types.

    Raises CompileError for a column without a type, or with one that there is not.
    """
    if not node.columns:
        message = "the contract is enforced, but the YAML names no columns. List each with its data_type."
        raise CompileError(node.file, node.line, message)
    given = [(column.line, constraint) for column in node.columns for constraint in column.constraints]
    for line, constraint in [*given, *((node.columns[0].line, constraint) for constraint in node.constraints)]:
        if message := constraint_problem(constraint):
            raise CompileError(node.columns[0].meta.file, line, message)
    found = []
    for column in node.columns:
        if not column.data_type:
            message = f"the contract is enforced, but '{column.name}' has no data_type."
            raise CompileError(column.meta.file, column.line, message)
        if problem := type_problem(column.data_type):
            message = f"'{column.name}': the data_type '{column.data_type[:100]}' {problem}."
            raise CompileError(column.meta.file, column.line, message)
        try:
            kind = columns_of(con, f"select cast(null as {column.data_type}) as c")[0][1]
        except duckdb.Error:
            message = f"'{column.name}': there is no type '{column.data_type}'."
            raise CompileError(column.meta.file, column.line, message) from None
        found.append((column.name, kind))
    return tuple(found)


def check(con: duckdb.DuckDBPyConnection, node: Node, columns: Columns) -> Columns:
    """Return the columns as the contract orders them. Raises CompileError with a table of what differs.

    Names are compared as DuckDB does, whatever their case; types by what DuckDB takes them for.
    """
    contract = promised(con, node)
    seen = {name.lower(): (name, kind) for name, kind in columns}
    rows = []
    places = {column.name: f"{column.meta.file}:{column.line}" for column in node.columns}
    for name, kind in contract:
        given = seen.pop(name.lower(), None)
        if given is None:
            rows.append((name, "", kind, "missing in the model", places[name]))
        elif given[1] != kind:
            rows.append((name, given[1], kind, "another type", places[name]))
    rows += [(name, kind, "", "missing in the contract", "") for name, kind in seen.values()]
    if rows:
        head = ("column", "the model has", "the contract says", "what differs", "in the contract")
        message = "the model does not keep its contract.\n" + _table([head, *sorted(rows)])
        line, column = _place(node, [row[0] for row in sorted(rows)])
        raise CompileError(node.file, line, message, column)
    # A view yields its columns as its SELECT names them; a table has them in the contract's order.
    return columns if node.materialized == "view" else contract


def _place(node: Node, names: Sequence[str]) -> tuple[int, int]:
    """Line and column of the first of these columns in the model's last SELECT; without one, the model's line."""
    found = (last_column(node.sql, name.lower()) for name in names if node.sql)
    places = [place for place in found if place is not None]
    return node.lines.place(places[0]) if places else (node.line, 0)


def table_columns(node: Node) -> str:
    """The columns of a table under contract, with types and constraints, as `create table` takes them."""
    lines = [
        " ".join((_name(column), column.data_type, *(_column_constraint(one) for one in column.constraints)))
        for column in node.columns
    ]
    return ",\n".join(f"    {line}" for line in (*lines, *(_table_constraint(one) for one in node.constraints)))


def column_names(node: Node) -> str:
    """The names of the contract's columns, in its order, as SQL."""
    return ", ".join(_name(column) for column in node.columns)


def constraint_problem(constraint: Mapping[str, Any]) -> str:
    """Say what is wrong with one constraint; empty when nothing is."""
    kind = constraint.get("type")
    if kind not in CONSTRAINTS:
        return f"a constraint is one of {', '.join(CONSTRAINTS)}, not '{kind}'."
    if kind in ("check", "custom") and not constraint.get("expression"):
        return f"the constraint {kind} needs an expression."
    if kind == "foreign_key":
        return "foreign_key is not supported: write a relationships test."
    expression = str(constraint.get("expression") or "")
    if kind == "check" and (problem := expression_problem(expression, tables=False)):
        return f"the expression of the constraint check {problem}."
    if kind != "check" and expression and (problem := column_problem(f"a integer {_column_constraint(constraint)}")):
        return f"the expression of the constraint {kind} {problem}."
    return ""


def _name(column: Column) -> str:
    return identifier(column.name)


def _column_constraint(constraint: Mapping[str, Any]) -> str:
    expression = str(constraint.get("expression") or "")
    match constraint["type"]:
        case "check":
            return f"check ({expression})"
        case "custom":
            return expression
        case kind:
            return f"{str(kind).replace('_', ' ')} {expression}".strip()


def _table_constraint(constraint: Mapping[str, Any]) -> str:
    name = f"constraint {identifier(str(constraint['name']))} " if constraint.get("name") else ""
    expression = str(constraint.get("expression") or "")
    match constraint["type"]:
        case "check":
            return f"{name}check ({expression})"
        case "custom":
            return f"{name}{expression}"
        case kind:
            columns = ", ".join(identifier(str(column)) for column in constraint.get("columns") or ())
            return f"{name}{str(kind).replace('_', ' ')} ({columns})"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


# Of DuckDB's statement types; all that is not here is refused.
_ALLOWED = ("ALTER", "CREATE", "DELETE", "DROP", "EXPLAIN", "INSERT", "MERGE_INTO", "SELECT", "UPDATE")
# Table functions of DuckDB that reach nothing outside the database.
_INSIDE = ("generate_series", "range", "unnest", "repeat", "summary", "json_each", "json_tree", "glob_match")
_INSIDE_PREFIXES = ("duckdb_", "pragma_")
# What DuckDB would take for a file when it stands where a table may.
_FILE = re.compile(r"[/\\*]|\.\w{2,8}$")


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook as written. One that is not `inside` runs outermost, as where dbt has none of its transaction."""

    sql: str
    inside: bool = True


def hooks_of(value: Any) -> tuple[Hook, ...]:
    """Read the setting pre_hook or post_hook: a text, a mapping with sql and transaction, or a list of both.

    A text may be such a mapping as JSON, which is what dbt's before_begin() and after_commit() give. Raises ValueError
    saying what a hook is.
    """
    found = []
    for item in value if isinstance(value, list | tuple) else [value] if value else []:
        given = _mapping_in(item) if isinstance(item, str) else item
        if isinstance(given, str):
            found.append(Hook(given))
        elif isinstance(given, Mapping) and isinstance(given.get("sql"), str) and set(given) <= _KEYS:
            found.append(Hook(given["sql"], bool(given.get("transaction", True))))
        else:
            raise ValueError(f"a hook is a text, or a mapping of sql and transaction, not {item!r}")
    return tuple(found)


_KEYS = {"sql", "transaction", "index"}


def in_order(hooks: tuple[Hook, ...], before: bool) -> tuple[Hook, ...]:
    """The hooks in the order they run in: outside of dbt's transaction first before a node, and last after it."""
    return tuple(sorted(hooks, key=lambda hook: hook.inside if before else not hook.inside))


def with_hooks(node: Node, templates: Templates) -> Node:
    """Render a node's hooks; they count in its shape. Raises CompileError for what a hook may not do."""
    if not (node.config.get("pre_hook") or node.config.get("post_hook")):
        return node
    hooks, parents = _hooks(node, templates, incremental=False)
    increment = node.increment
    if increment:
        more, added = _hooks(node, templates, incremental=True)
        increment, parents = replace(increment, hooks=more), parents | added
    # A hook may read what is built before its own node, and the node itself.
    depends_on = (*node.depends_on, *(parent for parent in parents if parent not in (*node.depends_on, node.id)))
    texts = (*hooks.before, "", *hooks.after, *(increment.hooks.before + increment.hooks.after if increment else ()))
    return replace(node, hooks=hooks, increment=increment, depends_on=depends_on, shape=digest(node.shape, *texts))


def run_hooks_of(project: Project, templates: Templates) -> tuple[Hooks, list[KpiError]]:
    """Render the hooks of a whole run. Returns them and what is wrong with any."""
    mistakes = list[KpiError]()
    rendered: dict[str, list[str]] = {"on-run-start": [], "on-run-end": []}
    for setting, texts in (("on-run-start", project.on_run_start), ("on-run-end", project.on_run_end)):
        for file, text in texts:
            try:
                sql = templates.render(text, file, ()).sql
            except CompileError as error:
                mistakes.append(CompileError(file, 0, f"{setting}: {error.message}"))
                continue
            try:
                if sql:
                    check_hook(sql, file, 1, setting)
                    rendered[setting].append(sql)
            except CompileError as error:
                mistakes.append(CompileError(file, 0, error.message))
    return Hooks(tuple(rendered["on-run-start"]), tuple(rendered["on-run-end"])), mistakes


def _hooks(node: Node, templates: Templates, incremental: bool) -> tuple[Hooks, dict[str, Relation]]:
    rendered: dict[str, tuple[str, ...]] = {}
    parents: dict[str, Relation] = {}
    for setting in ("pre_hook", "post_hook"):
        texts = []
        try:
            hooks = in_order(hooks_of(node.config.get(setting)), before=setting == "pre_hook")
        except ValueError as error:
            raise CompileError(node.file, node.line, f"{setting}: {error}.") from None
        for hook in hooks:
            try:
                one = templates.render(
                    hook.sql, node.file, (), RenderInput(this=node.relation, is_incremental=incremental)
                )
            except CompileError as error:
                raise CompileError(node.file, node.line, f"{setting}: {error.message}") from None
            if one.sql:
                check_hook(one.sql, node.file, node.line, setting)
                texts.append(one.sql)
            parents |= one.depends_on
        rendered[setting] = tuple(texts)
    return Hooks(rendered["pre_hook"], rendered["post_hook"]), parents


def check_hook(sql: str, file: Path, line: int, what: str) -> None:
    """Raise CompileError when the text is not SQL, or does what a hook may not do."""
    con, outside = _grammar()
    try:
        kinds = [(str(one.type).rpartition(".")[2], one.query) for one in con.extract_statements(sql)]
    except duckdb.Error as error:
        raise CompileError(file, line, f"{what}: not SQL: {syntax_error(error)}.") from None
    except ValueError:  # a kind of statement that has no name in Python
        kinds = [("", sql)]
    for kind, statement in kinds:
        if kind not in _ALLOWED or re.match(r"(?i)\s*(create\b.*?\bsecret|summarize)\b", statement):
            message = "a hook works inside the candidate only: no files, no network, no settings, no transactions."
            raise CompileError(file, line, f"{what}: {_first_words(statement)} is refused; {message}")
    refused = _reached(sql, outside)
    if refused:
        message = "a hook works with what is in the candidate, and leaves the deliveries as they were loaded."
        raise CompileError(file, line, f"{what}: {refused} is refused; {message}")


@cache
def _grammar() -> tuple[duckdb.DuckDBPyConnection, frozenset[str]]:
    """A connection that takes statements apart, and the table functions that reach outside of the database."""
    from kpi.database import confined

    con = confined()
    rows = con.execute("select distinct function_name from duckdb_functions() where function_type = 'table'").fetchall()
    names = {str(row[0]) for row in rows if not str(row[0]).startswith(_INSIDE_PREFIXES)}
    return con, frozenset(names - set(_INSIDE))


def _reached(sql: str, outside: frozenset[str]) -> str:
    """What in the text reads a file or writes to the deliveries; empty when nothing does."""
    import sqlglot

    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    kinds = sqlglot.TokenType
    tokens = sqlglot.Dialect.get_or_raise("duckdb").tokenize(sql)
    for token, after in pairwise(tokens):
        if after.token_type == kinds.L_PAREN and token.text.lower() in outside:
            return f"{token.text.lower()}()"
    try:
        trees = [tree for tree in sqlglot.parse(sql, dialect="duckdb") if tree is not None]
    except sqlglot.errors.SqlglotError:
        trees = [exp.Command()]
    files = [token.text for token in tokens if token.token_type in (kinds.STRING, kinds.IDENTIFIER)]
    # Where the tree does not tell tables from other texts, every text that looks like a file is taken for one.
    suspected = [text for text in files if _FILE.search(text)] if any(isinstance(t, exp.Command) for t in trees) else []
    for tree in trees:
        tables = list(tree.find_all(exp.Table))
        suspected += [part.name for table in tables for part in table.parts if _FILE.search(part.name)]
        writes = not isinstance(tree, exp.Query | exp.Command) and tables[:1]
        if writes and tables[0].db.lower() == "raw":
            return f"to write to raw.{tables[0].name}"
    return f"the file '{suspected[0]}'" if suspected else ""


def _first_words(sql: str) -> str:
    words = re.sub(r"--[^\n]*|/\*.*?\*/", " ", sql, flags=re.DOTALL).split()
    return " ".join(words[:2]).upper().rstrip(";")


def _mapping_in(text: str) -> Any:
    import json

    try:
        value = json.loads(text) if text.lstrip().startswith("{") else text
    except ValueError:
        return text
    return value if isinstance(value, dict) else text


@dataclass(frozen=True, slots=True)
class ExistingRelation:
    """What is there before a node is built.

    `kind` is 'table', 'view' or empty, `columns` those of its table, `new` those its SELECT yields now; both are known
    only where rows are added to a table. With `full_refresh` they are not, where they could be.
    """

    kind: str = ""
    columns: Columns = ()
    new: Columns = ()
    full_refresh: bool = False


NOTHING = ExistingRelation()


def keeps_table(node: Node, kind: str, full_refresh: bool) -> bool:
    """Whether the node's table stays and its rows are added to, given what is there and whether that is asked away."""
    return kind == "table" and (node.kind == "snapshot" or adds_to(node, True, full_refresh))


def statements(project: Project, node: Node, present: ExistingRelation = NOTHING) -> tuple[str, ...]:
    """Return the statements that build a node, hooks included, to be run in order and all or none.

    Raises BuildError when what is there does not fit what is to come and the project says that this is an error.
    """
    adds = keeps_table(node, present.kind, present.full_refresh)
    if is_ephemeral(node):
        return ()
    hooks = node.increment.hooks if adds and node.increment else node.hooks
    dropped = () if adds or present.kind in ("", _kind(node)) else (f"drop {present.kind} {node.relation} cascade",)
    return (*hooks.before, *dropped, *_own(project, node, present, adds), *hooks.after)


def _kind(node: Node) -> str:
    return "view" if node.materialized == "view" else "table"


def _own(project: Project, node: Node, present: ExistingRelation, adds: bool) -> tuple[str, ...]:
    if node.kind == "seed":
        return (seed_table(project, node),)
    if node.kind == "snapshot":
        return snapshot_statements(node, present.columns if adds else None, present.new)
    if adds and node.increment:
        return increment_statements(node, node.increment.sql, present.columns, present.new)
    if is_enforced(node) and node.materialized != "view":
        columns = column_names(node)
        return (
            f"create or replace table {node.relation} (\n{table_columns(node)}\n)",
            f"insert into {node.relation} ({columns})\nselect {columns} from (\n{node.sql}\n) as yielded",
        )
    sql = absolute(project.root, node.sql) if node.kind == "source" else node.sql
    return (f"create or replace {_kind(node)} {node.relation} as\n{sql}",)
