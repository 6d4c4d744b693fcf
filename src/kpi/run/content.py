"""Whether a table holds the same as before: name and type of every column, and the rows, whatever their order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from kpi.base.engine import CATALOG, columns_of, fetch_one


@contextmanager
def as_it_was(con: duckdb.DuckDBPyConnection, relation: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a connection that goes on seeing the database as it is now, whatever is made of it meanwhile.

    It costs nothing but a transaction: what it saw is read only when someone asks. `relation` is any that is there. The
    database cannot be checkpointed meanwhile.
    """
    old = con.cursor()
    try:
        old.execute("begin transaction read only")
        _count(old, relation)  # a transaction sees an attached database as of its first look at it
        yield old
    finally:
        old.close()


def is_same(old: duckdb.DuckDBPyConnection, new: duckdb.DuckDBPyConnection, relation: str) -> bool:
    """Tell whether two connections see the same rows, and columns of the same names, types and order, in a relation.

    The rows are hashed only when their number is the same. False when it is not there in both.
    """
    try:
        if _columns(old, relation) != _columns(new, relation) or _count(old, relation) != _count(new, relation):
            return False
        rows = f"select sum(hash(held)::hugeint) from {CATALOG}.{relation} as held"
        return fetch_one(old, rows) == fetch_one(new, rows)
    except duckdb.CatalogException:
        return False


def _columns(con: duckdb.DuckDBPyConnection, relation: str) -> tuple[tuple[str, str], ...]:
    return columns_of(con, f"from {CATALOG}.{relation}")


def _count(con: duckdb.DuckDBPyConnection, relation: str) -> tuple[object, ...]:
    return fetch_one(con, f"select count(*) from {CATALOG}.{relation}")
