"""Running the queries of `sql/*.sql` over a warehouse in which some of their tables may not have been built."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import duckdb

SQL = Path(__file__).parent / "sql"


def import_ctes(con: duckdb.DuckDBPyConnection, inputs: Mapping[str, Mapping[str, str]]) -> str:
    """Return a CTE `schema_table` for each table, with the columns and types given; null or empty if not built."""
    built: dict[str, set[str]] = {}
    for table, column in con.execute(
        "select table_schema || '.' || table_name, column_name from information_schema.columns"
        " where table_catalog = current_database()"
    ).fetchall():
        built.setdefault(table, set()).add(column)
    ctes = []
    for table, columns in inputs.items():
        there = built.get(table, set())
        select = ", ".join(
            f"cast({name if name in there else 'null'} as {type_}) as {name}" for name, type_ in columns.items()
        )
        ctes.append(f"{table.replace('.', '_')} as (select {select} {f'from {table}' if there else 'where false'})")
    return ",\n".join(ctes)


def run(
    con: duckdb.DuckDBPyConnection,
    imports: str,
    names: tuple[str, ...],
    values: Mapping[str, object],
    fragments: Mapping[str, str] = MappingProxyType({}),
) -> duckdb.DuckDBPyConnection:
    """Run the last of the named queries after the import CTEs and the CTEs of those before it.

    Each query is given those of the values that it names; `{name}` in it stands for the SQL fragment of that name.
    Every file but the last holds nothing but CTEs.
    """
    sql = f"with {imports}"
    for name in names:
        text = _without_head((SQL / f"{name}.sql").read_text(encoding="utf-8"))
        for key, fragment in fragments.items():
            text = text.replace(f"{{{key}}}", fragment)
        sql += f",\n{text.removeprefix('with ')}" if text.startswith("with ") else f"\n{text}"
    return con.execute(sql, {key: value for key, value in values.items() if f"${key}" in sql})


def _without_head(text: str) -> str:
    """Return a query without the comment lines at its head."""
    lines = text.splitlines()
    return "\n".join(lines[next(place for place, line in enumerate(lines) if line and line[:2] != "--") :])
