"""What stands in one query: its CTEs, the SELECTs of its unions, and what each of them reads and how."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kpi.errors import KpiError
from kpi.lazy import exp
from kpi.provenance.normal_form import is_query, is_star

OUTER = "outer"
"""The mark of a column in a nested query that is of the query around it."""
TEXT = "text"
"""The mark of an expression with how it was written before it was taken apart."""


class Untraceable(KpiError):
    """A figure whose rows cannot be told from the SQL; the text says where, and what to write instead.

    `word` is the word of SQL that stands in the way, by which its line is found; empty where there is none.
    """

    def __init__(self, model: str, message: str, word: str = "") -> None:
        super().__init__(f"{model}: {message}")
        self.model, self.message, self.word = model, message, word


INSTEAD: Mapping[str, str] = {
    "limit": "a LIMIT chooses rows by no rule that could be explained. Use row_number().",
    "sample": "a SAMPLE draws its rows. Take all, or choose them by a condition.",
    "pivot": "a PIVOT is not followed. Write an aggregate with FILTER, or with CASE, for each of its columns.",
    "unpivot": "an UNPIVOT is not followed. Write a SELECT for each of its columns, with UNION ALL.",
    "union": "a UNION takes equal rows of its SELECTs as one. Write UNION ALL, or one SELECT with OR.",
    "except": "EXCEPT is not followed. Write WHERE NOT EXISTS (…).",
    "intersect": "INTERSECT is not followed. Write WHERE EXISTS (…).",
    "recursive": "a recursive CTE makes its rows from one another. Count other rows, and join it to them.",
    "positional": "a POSITIONAL join pairs rows by their place. Join them by a column.",
    "right": "write a left or inner join for a right or full one.",
    "lateral": "the rows of a LATERAL subquery are counted. Join its table itself, by a condition.",
    "asof": "the rows that an ASOF join looks up are counted. Begin FROM with them.",
    "unnest": "it unnests what was put together of groups. Read the rows before they are grouped.",
    "branches": "what stands in several SELECTs of a UNION is not counted row by row. Write one SELECT with OR.",
    "form": "its SQL has a form that is not followed. Write it in several CTEs, each with one step, and simpler SQL.",
    "query": "a subquery among the columns counts rows. Put it into FROM.",
    "brackets": "the rows are joined in brackets. Write the joins without brackets.",
}
"""What is said of SQL that is not followed, by the word that stands for it."""


@dataclass(frozen=True, eq=False)
class Scope:
    """What the names in one query mean: the model that it is written in, and its CTEs with theirs."""

    model: str
    ctes: Mapping[str, tuple[Any, Scope]]


_NOWHERE = Scope("", {})


@dataclass(frozen=True, eq=False)
class Relation:
    """What a query selects from: a table of the build by its `schema.name`, or a query written in place or as a CTE."""

    name: str
    query: Any = None
    scope: Scope = _NOWHERE


@dataclass(frozen=True)
class Source:
    """One item of `from`: its alias, what it is, and how it is joined (`side`, `kind` and `method` as SQL writes them).

    A `lateral` one is computed from the rows of those before it. `problem` is the word in INSTEAD for which its own
    rows cannot be followed. `using` are columns that it is joined by under one name; None stands for all of them.
    """

    alias: str
    relation: Relation | None
    item: Any
    side: str = ""
    kind: str = ""
    on: Any = None
    method: str = ""
    is_lateral: bool = False
    problem: str = ""
    using: tuple[str, ...] | None = ()

    @property
    def join(self) -> str:
        """How it is joined, as SQL writes it: left join, cross join."""
        words = [word.lower() for word in (self.method, self.side, self.kind) if word]
        return " ".join([*(words or ["inner" if self.on is not None else "cross"]), "join"])

    @property
    def is_test(self) -> bool:
        """Whether it only says which rows of the others are there: SEMI and ANTI."""
        return self.kind in ("SEMI", "ANTI")


@dataclass(frozen=True)
class Branch:
    """One SELECT of a query: `renamed` are its names for those of the first, `problem` is a word of INSTEAD.

    Of a query with `is_distinct` equal rows are there once.
    """

    select: Any
    renamed: Mapping[str, str]
    problem: str = ""
    is_distinct: bool = False


def opened(query: Any, scope: Scope) -> tuple[Any, Scope]:
    """Return a query without brackets and WITH, and the scope in which its names mean what they say."""
    while True:
        if query.args.get("with_") is not None:
            scope = scope_inside(query, scope)
            query = query.copy()
            query.set("with_", None)
        if not isinstance(query, exp.Subquery) or _problem(query):
            return query, scope
        query = query.this


def scope_inside(query: Any, scope: Scope) -> Scope:
    """Return the scope in which the names of a query mean what they say: that around it, with its own CTEs."""
    with_ = query.args.get("with_")
    if with_ is None:
        return scope
    ctes = dict(scope.ctes)
    for cte in with_.expressions:
        name = cte.alias.lower()
        own = dict(ctes)
        if with_.args.get("recursive") and any(not one.db and one.name.lower() == name for one in _tables(cte.this)):
            ctes[name] = own[name] = (cte.this, _Recursive(scope.model, own))
            continue
        ctes[name] = (cte.this, Scope(scope.model, own))
    return Scope(scope.model, ctes)


class _Recursive(Scope):
    """The scope of a CTE that reads itself."""


def is_recursive(relation: Relation) -> bool:
    """Whether a relation is a CTE that reads itself."""
    return isinstance(relation.scope, _Recursive) and relation.name in relation.scope.ctes and (
        relation.scope.ctes[relation.name][0] is relation.query
    )  # fmt: skip


def _tables(query: Any) -> list[Any]:
    return list(query.find_all(exp.Table))


def _problem(query: Any) -> str:
    """The word of what keeps the rows of a query, or of an item of FROM, from being followed."""
    if isinstance(query, exp.Pivot):
        return "unpivot" if query.args.get("unpivot") else "pivot"
    if query.args.get("limit") or query.args.get("offset") or query.args.get("fetch"):
        return "limit"
    if query.args.get("sample"):
        return "sample"
    pivots = query.args.get("pivots")
    return _problem(pivots[0]) if pivots else ""


def branches(query: Any) -> list[Branch]:
    """Return the SELECTs of a union, each with its names for those of the first; else the SELECT alone."""
    problem = _problem(query)
    if isinstance(query, exp.Subquery):
        return [_with(one, problem) for one in branches(query.this)]
    if not isinstance(query, exp.SetOperation):
        return [Branch(query, {}, problem)]
    left, right = branches(query.left), branches(query.right)
    is_distinct = bool(query.args.get("distinct")) and isinstance(query, exp.Union)
    if not isinstance(query, exp.Union):
        problem = problem or ("except" if isinstance(query, exp.Except) else "intersect")
    if not query.args.get("by_name"):
        first = _output_names(left[0].select)
        right = [_renamed(one, first) for one in right]
    return [_with(one, problem, is_distinct) for one in left + right]


def _with(branch: Branch, problem: str, is_distinct: bool = False) -> Branch:
    if not problem and not is_distinct:
        return branch
    return Branch(branch.select, branch.renamed, branch.problem or problem, branch.is_distinct or is_distinct)


def _output_names(select: Any) -> list[str]:
    """The names of the columns of a SELECT by their place; none where a star stands among them."""
    projections = getattr(select, "expressions", [])
    return [] if any(is_star(one) for one in projections) else [one.alias_or_name.lower() for one in projections]


def _renamed(branch: Branch, first: list[str]) -> Branch:
    own = _output_names(branch.select) if first else []
    renamed = {a: b for a, b in zip(first, own, strict=False) if a != b}
    return Branch(branch.select, renamed, branch.problem, branch.is_distinct)


def sources_of(select: Any, scope: Scope) -> Iterator[Source]:
    """Yield what a SELECT reads, in the order of FROM."""
    from_ = select.args.get("from_")
    if from_ is None:
        return
    yield _source(from_.this, scope)
    for nested in from_.this.args.get("joins") or ():
        yield _source(nested.this, scope, nested)
    for join in select.args.get("joins") or ():
        yield _source(join.this, scope, join)


def _source(item: Any, scope: Scope, join: Any = None) -> Source:
    alias = item.alias_or_name.lower()
    side, kind, method, on = "", "", "", None
    using: tuple[str, ...] | None = ()
    if join is not None:
        side, kind, method = ((getattr(join, name) or "").upper() for name in ("side", "kind", "method"))
        on = join.args.get("on")
        using = tuple(one.name.lower() for one in join.args.get("using") or ())
        if method == "NATURAL":
            method, using = "", None
    relation: Relation | None = None
    problem = "positional" if method == "POSITIONAL" else _problem(item)
    if isinstance(item, exp.Table) and not isinstance(item.this, exp.Func):
        name = ".".join(part.name for part in item.parts).lower()
        relation = Relation(name, *(() if item.db else scope.ctes.get(name, ())))
    elif isinstance(item, exp.Subquery) and is_query(item):
        relation = Relation(alias, item, scope)
    is_lateral = isinstance(item, exp.Lateral | exp.Unnest)
    return Source(alias, relation, item, side, kind, on, method, is_lateral, problem, using)


def own_columns(item: Any) -> tuple[str, ...]:
    """The columns of an item of FROM that is no relation, as far as it names them."""
    alias = item.args.get("alias")
    named = [one.name.lower() for one in (alias.args.get("columns") if alias is not None else None) or ()]
    if not named and isinstance(item, exp.Lateral) and isinstance(item.this, exp.Subquery):
        query = item.this.unnest()
        while isinstance(query, exp.SetOperation):
            query = query.left.unnest()
        return tuple(_output_names(query))
    if not named and not isinstance(item, exp.Subquery | exp.Values):
        named = [item.alias_or_name.lower(), "unnest", "range", "generate_series"]
    return tuple(named)


def is_element(column: Any) -> bool:
    """Whether a name is that of an element, in a lambda or a list comprehension."""
    name = column.parts[0].name.lower()
    node = column.find_ancestor(exp.Lambda, exp.Comprehension)
    while node is not None:
        own = [node.expression] if isinstance(node, exp.Comprehension) else node.expressions
        if any(one.name.lower() == name for one in own):
            return True
        node = node.find_ancestor(exp.Lambda, exp.Comprehension)
    return False


def columns_in(expression: Any) -> Iterator[Any]:
    """Yield the columns of an expression that are of its own query, those in queries inside it included."""
    for column in expression.find_all(exp.Column):
        is_own = column.meta.get(OUTER) or not column.find_ancestor(exp.Query)
        if is_own and (column.table or not is_element(column)):
            yield column


def with_columns(expression: Any, rule: Callable[[Any], Any]) -> Any:
    """Return a copy of an expression with each column of its own query replaced by what a rule makes of it."""
    holder = exp.Paren(this=expression.copy())
    for column in list(columns_in(holder)):
        value = rule(column)
        if value is not column:
            if column.meta.get(OUTER):
                for one in value.find_all(exp.Column):
                    one.meta[OUTER] = True
            column.replace(value)
    return holder.this.pop()


def conjuncts(condition: Any) -> list[Any]:
    """Return the conditions that are joined by AND."""
    if isinstance(condition, exp.Paren):
        return conjuncts(condition.this)
    if isinstance(condition, exp.And):
        return conjuncts(condition.left) + conjuncts(condition.right)
    return [condition]


def plain_text(expression: Any) -> str:
    """Return SQL of an expression with columns by their names alone, on one line; of one taken apart, as it was."""
    if TEXT in expression.meta:
        return str(expression.meta[TEXT])
    copy = expression.copy()
    if isinstance(copy, exp.Not) and isinstance(copy.this, exp.Is) and isinstance(copy.this.expression, exp.Null):
        return f"{plain_text(copy.this.this)} IS NOT NULL"
    for column in list(copy.find_all(exp.Column)):
        if not column.find_ancestor(exp.Query):
            column.set("table", None)
    return str(copy.sql(dialect="duckdb"))


def literal_of(value: object) -> str:
    """Return a value as SQL."""
    return str(exp.convert(value).sql(dialect="duckdb"))


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
