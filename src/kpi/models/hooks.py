"""Hooks: SQL that runs before and after a node, or a whole run, inside the candidate and nowhere else.

A hook may select, create, alter, drop, insert, update, delete, merge and comment. It reaches no file and no network,
changes no setting and steers no transaction: a node and its hooks are done together or not at all.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.base.errors import CompileError, KpiError
from kpi.models.model import Hooks, Node, digest
from kpi.models.template import Relation, Templates
from kpi.parse.project import Project

if TYPE_CHECKING:
    import duckdb

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
                if sql:
                    check_hook(sql, file, 1, setting)
                    rendered[setting].append(sql)
            except CompileError as error:
                message = error.message.removeprefix(f"{setting}: ")
                mistakes.append(CompileError(file, 0, f"{setting}: {message}"))
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
                one = templates.render(hook.sql, node.file, (), node.relation, is_incremental=incremental)
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
    import duckdb

    con, outside = _grammar()
    try:
        kinds = [(str(one.type).rpartition(".")[2], one.query) for one in con.extract_statements(sql)]
    except duckdb.Error as error:
        told = str(error).partition("\n")[0].removeprefix("Parser Error: ")
        raise CompileError(file, line, f"{what}: not SQL: {told}.") from None
    except ValueError:  # a kind of statement that has no name in Python
        kinds = [("", sql)]
    for kind, statement in kinds:
        if kind not in _ALLOWED or re.match(r"(?i)\s*(create\b.*?\bsecret|summarize)\b", statement):
            told = "a hook works inside the candidate only: no files, no network, no settings, no transactions."
            raise CompileError(file, line, f"{what}: {_first_words(statement)} is refused; {told}")
    refused = _reached(sql, outside)
    if refused:
        told = "a hook works with what is in the candidate, and leaves the deliveries as they were loaded."
        raise CompileError(file, line, f"{what}: {refused} is refused; {told}")


@cache
def _grammar() -> tuple[duckdb.DuckDBPyConnection, frozenset[str]]:
    """A connection that takes statements apart, and the table functions that reach outside of the database."""
    from kpi.base.engine import confined

    con = confined()
    rows = con.execute("select distinct function_name from duckdb_functions() where function_type = 'table'").fetchall()
    names = {str(row[0]) for row in rows if not str(row[0]).startswith(_INSIDE_PREFIXES)}
    return con, frozenset(names - set(_INSIDE))


def _reached(sql: str, outside: frozenset[str]) -> str:
    """What in the text reads a file or writes to the deliveries; empty when nothing does."""
    import sqlglot
    from sqlglot import exp

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
