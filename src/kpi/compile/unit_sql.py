"""The SQL of a unit test: rows as tables, and a model's SQL that reads them in the place of the tables it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kpi.base.names import identifier
from kpi.models.model import Node
from kpi.models.unit_rows import Row, cell


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


def reading(sql: str, places: Mapping[tuple[str, str], str]) -> str:
    """Return SQL that reads other tables in the `places` (schema and name), under the names they are known by."""
    import sqlglot

    kinds = sqlglot.TokenType
    tokens = sqlglot.Dialect.get_or_raise("duckdb").tokenize(sql)
    pieces, end = [], 0
    for number in range(len(tokens) - 2):
        schema, dot, name = tokens[number : number + 3]
        table = places.get((schema.text, name.text))
        if dot.token_type != kinds.DOT or table is None or (number and tokens[number - 1].token_type == kinds.DOT):
            continue
        after = tokens[number + 3].token_type if number + 3 < len(tokens) else None
        if after == kinds.DOT:
            put = identifier(name.text)  # a column with its table's full name before it
        elif after in (kinds.ALIAS, kinds.VAR, kinds.IDENTIFIER):
            put = table
        else:
            put = f"{table} as {identifier(name.text)}"
        pieces += [sql[end : schema.start], put]
        end = name.end + 1
    return "".join(pieces) + sql[end:]
