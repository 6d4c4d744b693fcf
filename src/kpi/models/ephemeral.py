"""Ephemeral models: no table of their own; whatever reads one gets its SELECT as a CTE."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import replace

from kpi.base.lines import Lines
from kpi.base.relation import Relation
from kpi.models.model import Node

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
    judged by its own text; each ephemeral model's own text is judged where it stands.
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
    kept = [one for one in pieces if one[0] < place]
    moved = [(start + length, line, column) for start, line, column in pieces if start > place]
    starts, numbers, columns = zip(*kept, *between, *moved, strict=True)
    return Lines(starts, numbers, columns)
