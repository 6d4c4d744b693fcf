"""What the names in the expressions of one SELECT stand for: columns of what it reads, or what it computes by them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kpi.lazy import exp
from kpi.provenance.normal_form import is_star
from kpi.provenance.query import OUTER, Scope, Source, Untraceable, is_element, scope_inside, sources_of

ColumnsOf = Callable[[Source], Sequence[str]]


class Qualifier:
    """Gives every column of an expression the alias of its source.

    A name is a column where a source has one, else what SELECT computes by it; in HAVING (`aliases_first`) the other
    way round. What is written `a.b` of a struct `a` is told from a column of a source. Columns in nested queries that
    are of this one are marked as OUTER.
    """

    def __init__(self, columns_of: ColumnsOf, sources: Sequence[Source], query: Any, scope: Scope) -> None:
        self.sources, self.columns_of, self.scope = sources, columns_of, scope
        self._named = {one.alias.lower(): one.this for one in query.expressions if one.alias}
        self._aliases = {one.alias for one in sources}
        self._open: list[str] = []

    def __call__(self, expression: Any, aliases_first: bool = False) -> Any:
        holder = exp.Paren(this=expression.copy())
        for column in list(holder.find_all(exp.Column)):
            if isinstance(column.this, exp.Star) or is_element(column):
                continue
            is_nested = column.find_ancestor(exp.Query) is not None
            if is_nested and not self._is_outer(column):
                continue
            value = self._resolved(column, aliases_first and not column.find_ancestor(exp.AggFunc))
            if is_nested:
                for one in value.find_all(exp.Column):
                    one.meta[OUTER] = True
            column.replace(value)
        return holder.this.pop()

    def _resolved(self, column: Any, aliases_first: bool) -> Any:
        parts = [part.name.lower() for part in column.parts]
        if len(parts) == 1:
            return self._own(parts[0], aliases_first)
        if parts[0] in self._aliases:
            return _dotted(exp.column(parts[1], table=parts[0]), column.parts[2:])
        if len(parts) > 2 and parts[1] in self._aliases:
            return _dotted(exp.column(parts[2], table=parts[1]), column.parts[3:])
        if any(parts[0] in self.columns_of(source) for source in self.sources) or parts[0] in self._named:
            return _dotted(self._own(parts[0], aliases_first), column.parts[1:])
        return exp.column(parts[-1], table=parts[-2])

    def _own(self, name: str, aliases_first: bool) -> Any:
        if aliases_first and name in self._named:
            return self._alias(name)
        for source in sorted(self.sources, key=lambda one: one.is_test):
            if name in self.columns_of(source):
                return exp.column(name, table=source.alias)
        if name in self._named and name not in self._open:
            return self._alias(name)
        unknown = [one.alias for one in self.sources if not self.columns_of(one)]
        return exp.column(name, table=(unknown or [one.alias for one in self.sources] or [""])[0])

    def _alias(self, name: str) -> Any:
        """What SELECT computes by a name, in terms of its sources."""
        if name in self._open:
            return exp.column(name)
        self._open.append(name)
        value = self(self._named[name])
        self._open.pop()
        return value if isinstance(value, exp.Column | exp.Literal | exp.Func) else exp.paren(value, copy=False)

    def _is_outer(self, column: Any) -> bool:
        """Whether a column in a nested query is of this one: no query in between has it."""
        table, name = column.parts[0].name.lower() if column.table else "", column.name.lower()
        select = column.find_ancestor(exp.Select)
        while select is not None:
            scope = self.scope
            for one in reversed([*_ancestors(select), select]):
                scope = scope_inside(one, scope)
            for source in sources_of(select, scope):
                columns = self.columns_of(source)
                if source.alias == table if table else (name in columns or not columns):
                    return False
            select = select.find_ancestor(exp.Select)
        if table:
            return table in self._aliases
        return any(name in self.columns_of(source) for source in self.sources)


def _ancestors(node: Any) -> Iterator[Any]:
    while (node := node.find_ancestor(exp.Query)) is not None:
        yield node


def _dotted(value: Any, fields: Sequence[Any]) -> Any:
    for one in fields:
        value = exp.Dot(this=value, expression=one.copy())
    return value


def starred(projection: Any, sources: Sequence[Source], columns_of: ColumnsOf, model: str) -> list[tuple[str, Any]]:
    """Return the columns that `*` with EXCLUDE, REPLACE or RENAME, or COLUMNS(…), stands for, each with its name."""
    chosen = projection.find(exp.Columns)
    if chosen is None:
        return list(_of_star(projection, sources, columns_of))
    if isinstance(chosen.this, exp.Star):
        columns = list(_of_star(chosen.this, sources, columns_of))
    elif isinstance(chosen.this, exp.Literal) and chosen.this.is_string:
        pattern = re.compile(chosen.this.name)
        columns = [one for one in _of_star(exp.Star(), sources, columns_of) if pattern.search(one[0])]
    else:
        message = "COLUMNS() chooses columns by more than a pattern. Write its columns out."
        raise Untraceable(model, message, "columns")
    every = []
    for name, column in columns:
        own = exp.Paren(this=projection.unalias().copy())
        for node in list(own.find_all(exp.Columns)):
            node.replace(column.copy())
        every.append((projection.alias.lower() or name, own.this.pop()))
    return every


def _of_star(star: Any, sources: Sequence[Source], columns_of: ColumnsOf) -> Iterator[tuple[str, Any]]:
    table = star.table.lower() if isinstance(star, exp.Column) else ""
    node = star.this if isinstance(star, exp.Column) else star
    excluded = {one.name.lower() for one in node.args.get("except_") or ()}
    renamed = {one.this.name.lower(): one.alias.lower() for one in node.args.get("rename") or ()}
    replaced = {one.alias.lower(): one.this for one in node.args.get("replace") or ()}
    for source in sources:
        if source.is_test or (table and table != source.alias):
            continue
        merged = () if table else source.using or ()
        for name in columns_of(source):
            if name not in excluded and name not in merged:
                value = replaced[name].copy() if name in replaced else exp.column(name, table=source.alias)
                yield renamed.get(name, name), value


def is_plain_star(projection: Any) -> bool:
    """Whether a projection is `*` or `x.*` and nothing else."""
    if not is_star(projection):
        return False
    node = projection.this if isinstance(projection, exp.Column) else projection
    return not any(node.args.get(name) for name in ("except_", "rename", "replace"))


def is_expanded(projection: Any) -> bool:
    """Whether a projection stands for columns by other names or values than those of its sources."""
    return (is_star(projection) and not is_plain_star(projection)) or projection.find(exp.Columns) is not None
