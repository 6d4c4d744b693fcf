"""The paths from a column of one row of a mart down to raw tables: one SELECT after the other, through models and CTEs.

A path is found in the compiled SQL alone. Where a union, grouping sets or a join offer several ways, constants decide:
of `'a' as figure_id` in one branch and 'b' in the other, only that of the figure is followed. What is left are several
paths, and each of them may bring rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from kpi.errors import KpiError
from kpi.lazy import exp

Fixed = dict[str, object]
"""Columns of a query with the value that they have in the row that is looked for; None is null."""
UNKNOWN = object()
FIGURE_COLUMNS = frozenset(("figure_id", "service", "report_year", "value"))


class Untraceable(KpiError):
    """A figure whose rows cannot be told from the SQL; the text says where, and what to write instead."""

    def __init__(self, model: str, message: str) -> None:
        super().__init__(f"{model}: {message}")
        self.model, self.message = model, message


@dataclass(frozen=True)
class Scope:
    """What the names in one query mean: the model that it is written in, and its CTEs with theirs."""

    model: str
    ctes: Mapping[str, tuple[Any, Scope]]


_NOWHERE = Scope("", {})


@dataclass(frozen=True)
class Relation:
    """What a query selects from: a table of the build by its `schema.name`, or a query written in place or as a CTE."""

    name: str
    query: Any = None
    scope: Scope = _NOWHERE


@dataclass(frozen=True)
class Source:
    """One item of `from`: its alias, what it is, and how it is joined (`side` and `kind` as SQL writes them)."""

    alias: str
    relation: Relation | None
    item: Any
    side: str = ""
    kind: str = ""
    on: Any = None

    @property
    def join(self) -> str:
        """How it is joined, as SQL writes it: left join, cross join."""
        words = [word.lower() for word in (self.side, self.kind) if word]
        return " ".join([*(words or ["inner" if self.on is not None else "cross"]), "join"])


class Catalogue:
    """The models of a build: `models` are their compiled SELECTs by `schema.name`, `feeds` the feed of each raw table.

    `columns` are those of tables in the build. `has_row` tells whether a table of figures has the row that is looked
    for: one that has not needs no path. `models_read` are those whose SELECT was looked at since somebody cleared it,
    by what was worked out for an earlier row too.
    """

    def __init__(
        self,
        models: Mapping[str, str],
        feeds: Mapping[str, str],
        columns: Mapping[str, Sequence[str]],
        has_row: Callable[[str], bool] = lambda table: True,
    ) -> None:
        self.models, self.feeds, self.columns, self.has_row = models, feeds, columns, has_row
        self._parsed: dict[str, tuple[Any, Scope]] = {}
        self._backed: dict[str, bool] = {}
        self.models_read: set[str] = set()
        self._read_for: dict[object, frozenset[str]] = {}
        # The hops of each SELECT, whatever row is looked for; with the SELECT, so that its id stays its own.
        self.hops: dict[tuple[object, ...], tuple[Any, list[Hop]]] = {}

    def query_of(self, relation: Relation) -> tuple[Any, Scope] | None:
        """The SELECT of a relation and what its names mean; None for a table that no model makes."""
        if relation.query is not None:
            return opened(relation.query, relation.scope)
        if relation.name not in self.models:
            return None
        self.models_read.add(relation.name)
        if relation.name not in self._parsed:
            import sqlglot

            tree = sqlglot.parse_one(self.models[relation.name], dialect="duckdb")
            self._parsed[relation.name] = opened(tree, Scope(relation.name, {}))
        return self._parsed[relation.name]

    def columns_of(self, relation: Relation) -> tuple[str, ...]:
        """The columns of a relation in lower case, in their order; none where they are not known."""
        if relation.query is None and relation.name in self.columns:
            return tuple(name.lower() for name in self.columns[relation.name])
        query_and_scope = self.query_of(relation)
        if query_and_scope is None:
            return ()
        query, scope = query_and_scope
        while not hasattr(query, "expressions") or isinstance(query, exp.SetOperation):
            query = query.this
        names: list[str] = []
        for one in query.expressions:
            if is_star(one):
                for source in sources_of(query, scope):
                    if one.args.get("table") is None or one.table.lower() == source.alias:
                        names += self.columns_of(source.relation) if source.relation else ()
            else:
                names.append(one.alias_or_name.lower())
        return tuple(dict.fromkeys(names))

    def is_backed(self, relation: Relation) -> bool:
        """Tell whether rows of deliveries, or figures, stand behind the rows of a relation."""
        key = relation.name if relation.query is None else f"{id(relation.query)}"
        with self.noting_reads(key):
            if key not in self._backed:
                self._backed[key] = False  # a model that reads itself
                self._backed[key] = self._reaches_rows(relation)
        return self._backed[key]

    @contextmanager
    def noting_reads(self, key: object) -> Iterator[None]:
        """Note which models are looked at for what has this key: who gets it again depends on them as well."""
        before, self.models_read = self.models_read, set()
        try:
            yield
        finally:
            self._read_for[key] = self._read_for.get(key, frozenset()) | self.models_read
            self.models_read = before | self._read_for[key]

    def has_figures(self, relation: Relation) -> bool:
        return relation.query is None and set(self.columns_of(relation)) >= FIGURE_COLUMNS

    def _reaches_rows(self, relation: Relation) -> bool:
        if relation.query is None and (relation.name in self.feeds or self.has_figures(relation)):
            return True
        query_and_scope = self.query_of(relation)
        if query_and_scope is None:
            return False
        selects = branches(query_and_scope[0])
        items = [source.relation for select, _ in selects for source in sources_of(select, query_and_scope[1])]
        return any(self.is_backed(one) for one in items if one is not None)


@dataclass
class Hop:
    """One SELECT on a path, seen from above: of a union one branch, of grouping sets one set.

    `driver` is the source whose rows are followed, `siblings` those that paths of their own follow. `keys` are what it
    groups by, None when it does not. `renamed` are the names in this branch of the columns of a union. `fixed` are the
    values that its columns, by their own names, have in the row that is looked for.
    """

    model: str
    name: str
    select: Any
    scope: Scope
    sources: tuple[Source, ...]
    projections: dict[str, Any]
    stars: tuple[str, ...]
    where: list[Any]
    keys: list[Any] | None
    having: Any
    qualify: Any
    renamed: dict[str, str]
    catalogue: Catalogue = field(repr=False)
    driver: str = ""
    siblings: frozenset[str] = frozenset()
    is_one_of_sets: bool = False
    fixed: Fixed = field(default_factory=dict)

    @cached_property
    def driving(self) -> Source:
        """The source whose rows are followed."""
        return next(one for one in self.sources if one.alias == self.driver)

    @cached_property
    def has_window(self) -> bool:
        """Whether it computes anything over several rows without grouping them."""
        return any(one.find(exp.Window) for one in (*self.projections.values(), self.qualify) if one is not None)

    @property
    def driving_relation(self) -> Relation:
        """What the rows that are followed are selected from."""
        relation = self.driving.relation
        if relation is None:
            raise Untraceable(self.model, f"{self.name} reads no table as '{self.driver}'.")
        return relation

    def resolve(self, column: str) -> Any:
        """Return what a column of this SELECT is, in terms of its sources. Raises Untraceable when it has none such."""
        name = self.renamed.get(column, column)
        if name in self.projections:
            return self.projections[name].copy()
        for alias in self.stars:
            source = next(one for one in self.sources if one.alias == alias)
            columns = self.catalogue.columns_of(source.relation) if source.relation else ()
            if name in columns or len(self.stars) == 1:
                return exp.column(name, table=alias)
        raise Untraceable(self.model, f"{self.name} has no column '{column}'.")

    def expand(self, expression: Any) -> Any:
        """Return an expression of this SELECT's own columns in terms of its sources."""

        def inside(node: Any) -> Any:
            if isinstance(node, exp.Column) and not node.find_ancestor(exp.Query):
                value = self.resolve(node.name.lower())
                return value if isinstance(value, exp.Column | exp.Literal | exp.Func) else exp.paren(value, copy=False)
            return node

        return expression.copy().transform(inside)


def paths(catalogue: Catalogue, table: str, columns: Sequence[str], fixed: Fixed) -> list[list[Hop]]:
    """Return the paths, each from the table down, of columns in the row that `fixed` names.

    A path ends above a raw table, or above a table of figures that is of another figure.
    """
    every_path = list(_paths(catalogue, Relation(table), frozenset(columns), dict(fixed), fixed.get("figure_id"), 0))
    for path in every_path:
        for hop in path:
            if any(one.side in ("RIGHT", "FULL") for one in hop.sources):
                raise Untraceable(hop.model, f"{hop.name}: write a left or inner join for a right or full one.")
    return every_path


_DEEPEST = 200


def _paths(
    catalogue: Catalogue, relation: Relation, columns: frozenset[str], fixed: Fixed, figure: object, depth: int
) -> Iterator[list[Hop]]:
    query_and_scope = catalogue.query_of(relation)
    if query_and_scope is None or depth > _DEEPEST:
        return
    query, scope = query_and_scope
    for select, renamed in branches(query):
        inner = {renamed.get(name, name): value for name, value in fixed.items()}
        if inner.get("figure_id", figure) == figure and _is_of_others(catalogue, select, scope):
            continue
        for hop in _hops(catalogue, relation, select, scope, renamed, inner):
            used = _used(hop, columns)
            for source, siblings in _drivers(catalogue, hop, used):
                own = frozenset(one.name.lower() for one in used if one.table.lower() == source.alias)
                below = fixed_below(hop, source.alias, inner)
                there = replace(hop, driver=source.alias, siblings=siblings, fixed=inner)
                driving = there.driving_relation
                is_other = below.get("figure_id", figure) != figure and catalogue.has_figures(driving)
                if is_other or (driving.query is None and driving.name in catalogue.feeds):
                    yield [there]
                    continue
                if catalogue.has_figures(driving) and not catalogue.has_row(driving.name):
                    continue
                for rest in _paths(catalogue, driving, own, below, figure, depth + 1):
                    yield [there, *rest]


def _is_of_others(catalogue: Catalogue, select: Any, scope: Scope) -> bool:
    """Whether a SELECT reads one table of figures alone, which has not the one that is looked for."""
    sources = list(sources_of(select, scope))
    relation = sources[0].relation if len(sources) == 1 else None
    return relation is not None and catalogue.has_figures(relation) and not catalogue.has_row(relation.name)


def _used(hop: Hop, columns: frozenset[str]) -> list[Any]:
    values = [hop.resolve(name) for name in columns if name in hop.projections or hop.renamed.get(name) or hop.stars]
    return [one for each in values for one in each.find_all(exp.Column)]


def _drivers(catalogue: Catalogue, hop: Hop, used: Sequence[Any]) -> list[tuple[Source, frozenset[str]]]:
    """The sources whose rows make the columns that matter: one, but of a row made by a join, each that has a part."""
    backed = [one for one in hop.sources if one.relation is not None and catalogue.is_backed(one.relation)]
    aliases = {column.table.lower() for column in used}
    own = [one for one in backed if one.alias in aliases] or backed
    if not own:
        return []
    if hop.keys is not None or len(own) == 1:
        return [(own[0], frozenset())]
    return [(one, frozenset(other.alias for other in own if other is not one)) for one in own]


def _hops(
    catalogue: Catalogue, relation: Relation, select: Any, scope: Scope, renamed: dict[str, str], fixed: Fixed
) -> Iterator[Hop]:
    """The SELECT as hops that can have the row: one, or one for each of its grouping sets."""
    key = (id(select), relation.name, *sorted(renamed.items()))
    with catalogue.noting_reads(key):
        if key not in catalogue.hops:
            catalogue.hops[key] = select, list(_all_hops(catalogue, relation, select, scope, renamed))
    yield from (hop for hop in catalogue.hops[key][1] if _is_possible(hop, fixed))


def _all_hops(
    catalogue: Catalogue, relation: Relation, select: Any, scope: Scope, renamed: dict[str, str]
) -> Iterator[Hop]:
    query, scope = opened(select, scope)
    if query.args.get("limit") or query.args.get("offset"):
        raise Untraceable(scope.model, "a LIMIT chooses rows by no rule that could be explained. Use row_number().")
    sources = tuple(sources_of(query, scope))
    qualified = _Qualifier(catalogue, sources, query)
    where, having, qualify = (query.args.get(name) for name in ("where", "having", "qualify"))
    base = Hop(
        model=scope.model,
        name=relation.name.rpartition(".")[2],
        select=query,
        scope=scope,
        sources=sources,
        projections={
            one.alias_or_name.lower(): qualified(one.unalias()) for one in query.expressions if not is_star(one)
        },
        stars=tuple(
            source.alias
            for one in query.expressions
            if is_star(one)
            for source in sources
            if not one.args.get("table") or one.table.lower() == source.alias
        ),
        where=[qualified(one) for one in conjuncts(where.this)] if where else [],
        keys=None,
        having=qualified(having.this) if having else None,
        qualify=qualified(qualify.this) if qualify else None,
        renamed=renamed,
        catalogue=catalogue,
    )
    for keys, all_keys in _grouping_sets(query, base.projections, qualified, scope.model):
        hop = replace(base, keys=keys)
        if all_keys is not None:
            hop.is_one_of_sets = True
            _fix_grouping(hop, keys or [], all_keys)
        yield hop


def _is_possible(hop: Hop, fixed: Fixed) -> bool:
    """Whether a row of this SELECT may have the values that are looked for, as far as constants tell."""
    for name, value in fixed.items():
        if name in hop.projections:
            shown = constant(hop.projections[name])
            if shown is not UNKNOWN and not same(shown, value):
                return False
            if (
                value is None
                and hop.is_one_of_sets
                and any(_sql(key) == _sql(hop.projections[name]) for key in hop.keys or ())
            ):
                return False
    tests = [*hop.where, *([hop.having] if hop.having is not None else [])]
    return all(constant(test) not in (False, None) for test in tests) and _known(hop, fixed) is not None


def fixed_below(hop: Hop, alias: str, fixed: Fixed) -> Fixed:
    """Return what is known of the columns of a source of a hop whose own are `fixed`."""
    return {name: value for (table, name), value in (_known(hop, fixed) or {}).items() if table == alias}


def _known(hop: Hop, fixed: Fixed) -> dict[tuple[str, str], object] | None:
    """The values that columns of the sources must have, by what they become and by conditions; None if they cannot."""
    values: dict[tuple[str, str], object] = {}
    for name, value in fixed.items():
        if name in hop.projections or hop.stars:
            column = hop.resolve(name)
            if isinstance(column, exp.Column):
                values[_place(column)] = value
    for test in hop.where:
        equality = _equality(test)
        if equality is not None and not same(values.setdefault(*equality), equality[1]):
            return None
    for test in (*hop.where, *(one for source in hop.sources if source.on for one in conjuncts(source.on))):
        if isinstance(test, exp.EQ) and isinstance(test.left, exp.Column) and isinstance(test.right, exp.Column):
            one, other = _place(test.left), _place(test.right)
            for here, there in ((one, other), (other, one)):
                if values.get(here) is not None:  # nothing equals null: an outer join found no row there
                    values.setdefault(there, values[here])
    return values


def _equality(test: Any) -> tuple[tuple[str, str], object] | None:
    """The column that a condition gives one value, and that value; None when it does not."""
    match test:
        case exp.EQ() if isinstance(test.left, exp.Column) and constant(test.right) is not UNKNOWN:
            return _place(test.left), constant(test.right)
        case exp.Not() if isinstance(test.this, exp.Column):
            return _place(test.this), False
        case exp.Column():
            return _place(test), True
        case exp.Is() if isinstance(test.expression, exp.Null) and isinstance(test.this, exp.Column):
            return _place(test.this), None
    return None


def _place(column: Any) -> tuple[str, str]:
    return column.table.lower(), column.name.lower()


def _grouping_sets(
    query: Any, projections: Mapping[str, Any], qualified: Any, model: str
) -> Iterator[tuple[list[Any] | None, list[Any] | None]]:
    """The keys of each set that a SELECT groups by, None without; and the keys of all where there are several sets."""
    group, distinct = query.args.get("group"), query.args.get("distinct")
    if group is None:
        is_grouped = any(one.find(exp.AggFunc) and not _in_window(one) for one in projections.values())
        if distinct is not None and distinct.args.get("on") is not None:
            raise Untraceable(model, "write row_number() for DISTINCT ON.")
        yield ([] if is_grouped else list(projections.values()) if distinct else None), None
        return

    def key(one: Any) -> Any:
        if isinstance(one, exp.Literal) and not one.is_string:
            return list(projections.values())[int(one.name) - 1].copy()
        projection = projections.get(one.name.lower()) if isinstance(one, exp.Column) and not one.table else None
        return qualified(one) if projection is None or projection.find(exp.AggFunc) else projection.copy()

    if group.args.get("all"):
        yield [one.copy() for one in projections.values() if not one.find(exp.AggFunc)], None
        return
    plain = [one for one in group.expressions if not isinstance(one, exp.GroupingSets | exp.Rollup | exp.Cube)]
    sets = [one for one in group.expressions if isinstance(one, exp.GroupingSets)]
    sets += group.args.get("grouping_sets") or []
    if group.args.get("rollup") or group.args.get("cube") or len(sets) > 1:
        raise Untraceable(model, "write GROUPING SETS for ROLLUP and CUBE, once.")
    if not sets:
        yield [key(one) for one in plain], None
        return
    each = [_members(one) for one in sets[0].expressions]
    all_keys = [key(one) for one in plain] + [key(one) for members in each for one in members]
    for members in each:
        yield [key(one) for one in plain] + [key(one) for one in members], all_keys


def _members(one: Any) -> list[Any]:
    if isinstance(one, exp.Tuple):
        return list(one.expressions)
    return [one.this] if isinstance(one, exp.Paren) else [one]


def _fix_grouping(hop: Hop, keys: Sequence[Any], all_keys: Sequence[Any]) -> None:
    """Make one of several grouping sets an ordinary one: keys of others are null, and grouping() is a number."""
    own, others = {_sql(one) for one in keys}, {_sql(one) for one in all_keys}

    def fixed(node: Any) -> Any:
        if isinstance(node, exp.Grouping):
            return exp.Literal.number(0 if _sql(node.expressions[0]) in own else 1)
        if _sql(node) in others - own and not node.find_ancestor(exp.AggFunc):
            return exp.null()
        return node

    hop.projections = {name: simplified(one.copy().transform(fixed)) for name, one in hop.projections.items()}
    if hop.having is not None:
        hop.having = simplified(hop.having.copy().transform(fixed))


class _Qualifier:
    """Gives every column of an expression the alias of its source."""

    def __init__(self, catalogue: Catalogue, sources: Sequence[Source], query: Any) -> None:
        self.sources, self.catalogue = sources, catalogue
        self._named = {one.alias.lower(): one.this for one in query.expressions if one.alias}

    def __call__(self, expression: Any) -> Any:
        def inside(node: Any) -> Any:
            if not isinstance(node, exp.Column) or node.find_ancestor(exp.Query):
                return node
            if node.table:
                return exp.column(node.name.lower(), table=node.table.lower())
            return self._own(node)

        return expression.copy().transform(inside)

    def _own(self, column: Any) -> Any:
        name = column.name.lower()
        if len(self.sources) == 1:
            return exp.column(name, table=self.sources[0].alias)
        for source in self.sources:
            if source.relation is not None and name in self.catalogue.columns_of(source.relation):
                return exp.column(name, table=source.alias)
        if name in self._named and not self._named[name].find(exp.Window):
            return self(self._named[name])
        return exp.column(name, table=self.sources[0].alias if self.sources else "")


def opened(query: Any, scope: Scope) -> tuple[Any, Scope]:
    """Return a query without brackets and WITH, and the scope in which its names mean what they say."""
    while True:
        with_ = query.args.get("with_")
        if with_ is not None:
            ctes = dict(scope.ctes)
            for cte in with_.expressions:
                ctes[cte.alias.lower()] = (cte.this, Scope(scope.model, dict(ctes)))
            scope = Scope(scope.model, ctes)
            query = query.copy()
            query.set("with_", None)
        if not isinstance(query, exp.Subquery):
            return query, scope
        query = query.this


def branches(query: Any) -> list[tuple[Any, dict[str, str]]]:
    """Return the SELECTs of a union, each with its names for those of the first; else the SELECT alone."""
    if isinstance(query, exp.Subquery):
        return branches(query.this)
    if not isinstance(query, exp.SetOperation):
        return [(query, {})]
    left, right = branches(query.left), branches(query.right)
    if query.args.get("by_name"):
        return left + right
    first = [one.alias_or_name.lower() for one in left[0][0].expressions]
    selects = list(left)
    for select, _ in right:
        names = [one.alias_or_name.lower() for one in select.expressions]
        if any(is_star(one) for one in (*select.expressions, *left[0][0].expressions)):
            names = first = []
        selects.append((select, {a: b for a, b in zip(first, names, strict=False) if a != b}))
    return selects


def is_star(projection: Any) -> bool:
    """Whether a projection is `*` or `x.*`."""
    return isinstance(projection, exp.Star) or (
        isinstance(projection, exp.Column) and isinstance(projection.this, exp.Star)
    )


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
    side, kind = ((join.side or "").upper(), (join.kind or "").upper()) if join is not None else ("", "")
    on = join.args.get("on") if join is not None else None
    if join is not None and join.args.get("using"):
        first = join.parent.args["from_"].this.alias_or_name.lower()
        equal = [
            exp.EQ(this=exp.column(one.name, table=first), expression=exp.column(one.name, table=alias))
            for one in join.args["using"]
        ]
        on = exp.and_(*equal)
    relation: Relation | None = None
    if isinstance(item, exp.Table) and not isinstance(item.this, exp.Func):
        name = ".".join(part.name for part in item.parts).lower()
        relation = Relation(name, *scope.ctes.get(name, ()))
    elif isinstance(item, exp.Subquery):
        relation = Relation(alias, item, scope)
    return Source(alias, relation, item, side, kind, on)


def conjuncts(condition: Any) -> list[Any]:
    """Return the conditions that are joined by AND."""
    if isinstance(condition, exp.Paren):
        return conjuncts(condition.this)
    if isinstance(condition, exp.And):
        return conjuncts(condition.left) + conjuncts(condition.right)
    return [condition]


def simplified(expression: Any) -> Any:
    """Return an expression without the branches of CASE that constants rule out."""

    def inside(node: Any) -> Any:
        if not isinstance(node, exp.Case) or node.this is not None:
            return node
        conditions: list[Any] = []
        for one in node.args["ifs"]:
            value = constant(one.this)
            if value is True and not conditions:
                return one.args["true"]
            if value not in (False, None):
                conditions.append(one)
        if not conditions:
            return node.args.get("default") or exp.null()
        node.set("ifs", conditions)
        return node

    return expression.transform(inside)


def constant(expression: Any) -> object:
    """Return the value of an expression of constants (None is null), UNKNOWN of any other."""
    value: object = UNKNOWN
    match expression:
        case exp.Literal():
            text = expression.name
            value = text if expression.is_string else int(text) if text.isdigit() else float(text)
        case exp.Boolean():
            value = bool(expression.this)
        case exp.Null():
            value = None
        case exp.Paren() | exp.Cast() | exp.Alias():
            value = constant(expression.this)
        case exp.Not():
            inner = constant(expression.this)
            value = inner if inner is None or inner is UNKNOWN else not inner
        case exp.EQ():
            both = constant(expression.left), constant(expression.right)
            value = UNKNOWN if UNKNOWN in both else None if None in both else same(*both)
        case exp.And():
            both = constant(expression.left), constant(expression.right)
            value = False if False in both else UNKNOWN if UNKNOWN in both else None if None in both else True
    return value


def same(one: object, other: object) -> bool:
    """Whether two constants are the same value."""
    if isinstance(one, str) or isinstance(other, str):
        return str(one) == str(other)
    return one == other


def _in_window(expression: Any) -> bool:
    aggregates = [one for one in expression.find_all(exp.AggFunc) if not isinstance(one.parent, exp.Window)]
    return all(one.find_ancestor(exp.Window) for one in aggregates)


def _sql(expression: Any) -> str:
    return str(expression.sql(dialect="duckdb")).lower()
