"""Which data tests one scan of a table answers together: those whose SQL is a plain condition, key or reference.

It is read off the compiled SQL, so a project's own tests count as well as dbt's. What is not recognised runs by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kpi.base.names import identifier, relation_name
from kpi.models.model import Node

_NAME = r'(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_]*)'
_TABLE = rf"{_NAME}\.{_NAME}"
_NOT_NULL = re.compile(
    rf"select (?:\*|{_NAME}) from (?P<table>{_TABLE})(?: as judged)? where (?P<column>{_NAME}) is null"
)
_RELATED = re.compile(
    rf"with judged as \(select (?P<column>{_NAME}) as from_field"
    rf" from (?:(?P<table>{_TABLE})|\(select \* from (?P<part>{_TABLE}) where (?P<where>.+?)\n\) as \w+)"
    rf" where (?P=column) is not null\),"
    rf"\s+parents as \(select distinct (?P<key>{_NAME}) as to_field from (?P<parent>{_TABLE})\)"
    rf"\s+select from_field from judged left join parents on from_field = to_field where to_field is null",
    re.DOTALL,
)
# Words that none of what is recognised has: most other tests need not be parsed at all.
_STRANGE = re.compile(
    r"\b(join|with|union|intersect|except|over|limit|offset|order|qualify|sample|exists|any|all|unnest|pivot)\b", re.I
)


@dataclass(frozen=True, slots=True)
class Count:
    """An aggregate over `table` that is zero exactly when a test's own SQL selects no row.

    `is_exact` tells that it also is the number of those rows. `parent` is a SELECT of keys that the expression names
    as `{parent}`; empty when it needs none.
    """

    table: str
    expression: str
    is_exact: bool
    parent: str = ""


def count_of(test: Node) -> Count | None:
    """Return how a test is answered in a scan of its table; None when it has to run by itself."""
    spec = test.test
    if spec is None or (spec.config.get("fail_calc") or "count(*)") != "count(*)":
        return None
    sql = test.sql.strip()
    found = _NOT_NULL.fullmatch(sql)
    if found:
        return Count(found["table"], f"count(*) - count({found['column']})", True)
    found = _RELATED.fullmatch(sql)
    if found:
        where = f"({found['where']}\n) and " if found["where"] else ""
        column, key = found["column"], found["key"]
        expression = f"count(*) filter (where {where}{column} is not null and {column} not in (from {{parent}}))"
        parent = f"select distinct {key} from {found['parent']} where {key} is not null"
        return Count(found["table"] or found["part"], expression, True, parent)
    return None if _STRANGE.search(sql) else _read(sql)


def scan(table: str, counts: Sequence[Count]) -> str:
    """Return the one statement that answers counts of a table, in their order."""
    parents = {
        parent: f"kpi_parent_{n}" for n, parent in enumerate(dict.fromkeys(c.parent for c in counts if c.parent))
    }
    tables = ", ".join(f"{name} as ({parent})" for parent, name in parents.items())
    shown = [c.expression.replace("{parent}", parents[c.parent]) if c.parent else c.expression for c in counts]
    return f"{f'with {tables} ' if tables else ''}select {', '.join(shown)} from {table}"


def by_table(counts: Mapping[str, Count]) -> dict[str, list[str]]:
    """Return the ids of tests that one scan answers, by table."""
    found: dict[str, list[str]] = {}
    for test_id in sorted(counts, key=lambda test_id: (counts[test_id].table, test_id)):
        found.setdefault(counts[test_id].table, []).append(test_id)
    return found


def _read(sql: str) -> Count | None:
    import sqlglot

    dialect = sqlglot.Dialect.get_or_raise("duckdb")
    try:
        tokens = dialect.tokenize(sql)
        tree = dialect.parser().parse(tokens, sql)[0]
    except (sqlglot.errors.SqlglotError, RecursionError):
        return None
    levels = _levels(tree)
    if not levels or not all(_is_plain(level, number == 0) for number, level in enumerate(levels)):
        return None
    names = {levels[-1].args["from_"].this.name.lower()}
    names |= {level.args["from_"].this.alias_or_name.lower() for level in levels}
    return _count(levels, _conditions(sql, tokens, names)) if _are_own(levels, names) else None


def _are_own(levels: Sequence[Any], names: set[str]) -> bool:
    """Whether conditions and keys use columns of the one table only, by that table's name or none."""
    columns = [column for level in levels for column in _columns(level)]
    # DuckDB lets a condition use a name that the SELECT gives.
    given = {item.alias.lower() for item in levels[0].expressions if item.alias}
    return not any(
        column.args.get("db") or (column.table and column.table.lower() not in names) or column.name.lower() in given
        for column in columns
    )


def _count(levels: Sequence[Any], conditions: Iterable[str]) -> Count | None:
    outer, table = levels[0], levels[-1].args["from_"].this
    place = relation_name(table.db, table.name)
    condition = " and ".join(f"({text})" for text in conditions)
    rows = f"count(*){_only(condition)}"
    if not outer.args.get("group"):
        return Count(place, rows, True)
    keys = _keys(outer)
    if keys is None or not outer.args.get("having"):
        return Count(place, rows, False) if keys else None
    if len(keys) == 1 and condition in (f"({key} is not null)" for key in (keys[0], keys[0][1:-1])):
        return Count(place, f"count({keys[0]}) - count(distinct {keys[0]})", False)
    # Nulls are equal in a key, as they are when grouping. Two keys of one hash only cost the test's own query.
    return Count(place, f"{rows} - count(distinct hash({', '.join(keys)})){_only(condition)}", False)


def _only(condition: str) -> str:
    return f" filter (where {condition})" if condition else ""


def _levels(tree: Any) -> list[Any]:
    """The SELECTs from the outermost to that of the table itself; empty when they are not one in another."""
    from sqlglot import exp

    levels = []
    while isinstance(tree, exp.Select) and tree.args.get("from_"):
        levels.append(tree)
        source = tree.args["from_"].this
        given = {name for name, value in source.args.items() if value}
        if isinstance(source, exp.Table):
            plain = isinstance(source.this, exp.Identifier) and source.db and given <= {"this", "db", "alias"}
            return levels if plain and _is_bare(source) else []
        if not isinstance(source, exp.Subquery) or not given <= {"this", "alias"} or not _is_bare(source):
            return []
        tree = source.this
    return []


def _is_bare(source: Any) -> bool:
    """Whether its alias, when it has one, renames no columns."""
    alias = source.args.get("alias")
    return alias is None or not alias.args.get("columns")


def _is_plain(level: Any, is_outer: bool) -> bool:
    """Whether a SELECT yields a row for each row that its condition holds for, or groups plain columns."""
    from sqlglot import exp

    allowed = {"expressions", "from_", "where"} | ({"group", "having"} if is_outer else set())
    if any(value and name not in allowed for name, value in level.args.items()):
        return False
    strange = [exp.Window, exp.Query, exp.UDTF, exp.Explode]
    if not level.args.get("group"):
        strange += [exp.AggFunc, exp.Anonymous]
    for item in level.expressions:
        if isinstance(item, exp.Star):
            if any(value for value in item.args.values()):
                return False
        elif _has(item, *strange) or not (is_outer or isinstance(item, exp.Column)):
            return False
    where = level.args.get("where")
    if level.args.get("having") and not level.args.get("group"):
        return False
    return where is None or not _has(where, exp.Query, exp.AggFunc, exp.Window, exp.Placeholder)


def _has(tree: Any, *kinds: Any) -> bool:
    return next(tree.find_all(*kinds), None) is not None


def _columns(level: Any) -> Iterable[Any]:
    from sqlglot import exp

    where, group = level.args.get("where"), level.args.get("group")
    for part in (where, group):
        if part is not None:
            yield from part.find_all(exp.Column)


def _keys(outer: Any) -> list[str] | None:
    """The columns a SELECT groups by, when it keeps all groups or those of more than one row; else None."""
    from sqlglot import exp

    group, having = outer.args["group"], outer.args.get("having")
    if any(value for name, value in group.args.items() if name != "expressions") or not group.expressions:
        return None
    if having is not None and having.this.sql() != "COUNT(*) > 1":
        return None
    keys = []
    for item in group.expressions:
        by_place = isinstance(item, exp.Literal) and item.is_int
        key = outer.expressions[int(item.name) - 1].unalias() if by_place else item
        if not isinstance(key, exp.Column):
            return None
        keys.append(identifier(key.name))
    return keys


def _conditions(sql: str, tokens: Sequence[Any], names: set[str]) -> Iterable[str]:
    """The texts of all WHEREs, without the tables' names before columns: in one scan they may have another name."""
    import sqlglot

    kinds = sqlglot.TokenType
    depth, depths = 0, []
    for token in tokens:
        depth -= token.token_type == kinds.R_PAREN
        depths.append(depth)
        depth += token.token_type == kinds.L_PAREN
    for start, token in enumerate(tokens):
        if token.token_type != kinds.WHERE:
            continue
        part = []
        for other, level in zip(tokens[start + 1 :], depths[start + 1 :], strict=True):
            if level < depths[start] or (level == depths[start] and other.token_type == kinds.GROUP_BY):
                break
            part.append(other)
        pieces, end = [], part[0].start
        for first, second in pairwise(part):
            if second.token_type == kinds.DOT and first.text.lower() in names and first.start >= end:
                pieces.append(sql[end : first.start])
                end = second.end + 1
        yield "".join(pieces) + sql[end : part[-1].end + 1]
