"""One compiled SELECT: that it is one, that it names its tables by ref or source, and what it is apart from layout."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kpi.errors import CompileError, nearest
from kpi.project import Column, TestSpec
from kpi.template import Relation

NodeKind = Literal["model", "seed", "source", "test"]
_TABLE_FUNCTIONS = ("generate_series", "range", "unnest")


@dataclass(frozen=True, slots=True)
class Node:
    """One thing of the project that is built or checked. `shape` is a hash of what it is, layout and comments apart.

    `text` is the file as written, `sql` the compiled SELECT (empty for seeds and sources). A test has no relation of
    its own; `relation` then is the one it judges, when it judges one.
    """

    id: str
    kind: NodeKind
    name: str
    file: Path
    line: int
    relation: Relation
    materialized: str
    tags: tuple[str, ...]
    depends_on: tuple[str, ...]
    text: str
    sql: str
    shape: str
    description: str = ""
    columns: tuple[Column, ...] = ()
    column_types: tuple[tuple[str, str], ...] = ()
    test: TestSpec | None = None


def shape_of(sql: str, text: str, file: Path, allowed: Iterable[Relation]) -> str:
    """Check one compiled SELECT and return the hash of its canonical tree.

    `text` is the source as written, used to find lines. Raises CompileError when it is not exactly one SELECT, or
    names a table that is neither in `allowed` nor a CTE of its own.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.optimizer.scope import traverse_scope

    try:
        statements = [tree for tree in sqlglot.parse(sql, read="duckdb") if tree is not None]
    except sqlglot.errors.ParseError as error:
        facts = error.errors[0] if error.errors else {}
        word = str(facts.get("highlight") or "")
        line = line_of(text, word, int(facts.get("line") or 1))
        raise CompileError(file, line, f"not SQL: {facts.get('description') or error}{_near(word)}") from None
    except sqlglot.errors.SqlglotError as error:
        raise CompileError(file, 1, f"not SQL: {error}") from None
    if len(statements) != 1:
        raise CompileError(file, 1, f"a model is one SELECT, here are {len(statements)} statements.")
    tree = statements[0]
    if not isinstance(tree, exp.Query):
        raise CompileError(file, 1, f"a model is one SELECT, here is {tree.key.upper()}.")
    known = {str(relation).replace('"', "") for relation in allowed}
    for scope in traverse_scope(tree):
        for source in scope.sources.values():
            if isinstance(source, exp.Table):
                _check_table(source, known, text, file)
    return hashlib.blake2b(tree.sql(dialect="duckdb", comments=False).encode(), digest_size=16).hexdigest()


def line_of(text: str, word: str, about: int) -> int:
    """Return the line of `text` that holds `word` and lies nearest to line `about`; `about` itself when none does."""
    lines = text.splitlines()
    pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)") if word else None
    found = [number for number, line in enumerate(lines, start=1) if pattern and pattern.search(line)]
    return min(found, key=lambda number: abs(number - about), default=max(1, min(about, len(lines))))


def _check_table(table: object, known: set[str], text: str, file: Path) -> None:
    from sqlglot import exp

    if not isinstance(table, exp.Table):
        return
    if isinstance(table.this, exp.Func):
        name = table.this.name if isinstance(table.this, exp.Anonymous) else table.this.sql_name()
        if name.lower() not in _TABLE_FUNCTIONS:
            told = f"a model reads ref() and source() only, not {name.lower()}()."
            raise CompileError(file, line_of(text, name.lower(), 1), told)
        return
    name = ".".join(part.name for part in table.parts)
    if name not in known:
        line = line_of(text, name, 1)
        hint = nearest(table.name, {one.rpartition(".")[2] for one in known})
        raise CompileError(file, line, f"the table '{name}' is named outright; write ref() or source().{hint}")


def _near(word: str) -> str:
    return f" (near '{word}')" if word else ""
