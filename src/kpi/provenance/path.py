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

from kpi.lazy import exp
from kpi.provenance.normal_form import is_star, members, normalize
from kpi.provenance.query import (
    INSTEAD,
    Branch,
    Qualifier,
    Relation,
    Scope,
    Source,
    Untraceable,
    branches,
    columns_in,
    conjuncts,
    is_expanded,
    is_plain_star,
    is_recursive,
    opened,
    own_columns,
    sources_of,
    starred,
    with_columns,
)

Fixed = dict[str, object]
"""Columns of a query with the value that they have in the row that is looked for; None is null."""
UNKNOWN = object()
FIGURE_COLUMNS = frozenset(("figure_id", "service", "report_year", "value"))


class Catalogue:
    """The models of a build: `models` are their compiled SELECTs by `schema.name`, `feeds` the feed of each raw table.

    `columns` are those of tables in the build. `has_row` tells whether a table of figures has the row that is looked
    for: one that has not needs no path. `repeating` are models of which several CTEs have one name. `models_read` are
    those whose SELECT was looked at since somebody cleared it, by what was worked out for an earlier row too.
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
        self._outputs: dict[int, tuple[Any, tuple[str, ...]]] = {}  # with the query, so that its id stays its own
        self._backed: dict[str, tuple[Any, bool]] = {}
        self.repeating: set[str] = set()
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

            tree = normalize(sqlglot.parse_one(self.models[relation.name], dialect="duckdb"))
            names = [one.alias.lower() for one in tree.find_all(exp.CTE)]
            if len(set(names)) < len(names):
                self.repeating.add(relation.name)
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
        while not isinstance(query, exp.Select):
            if not isinstance(query, exp.Subquery | exp.SetOperation) or query.args.get("pivots"):
                return ()
            query, scope = opened(query.this, scope)
        if id(query) not in self._outputs:
            self._outputs[id(query)] = query, ()  # a query that reads itself
            sources = self.sources(query, scope)
            self._outputs[id(query)] = query, tuple(dict.fromkeys(self._output_names(query, sources, scope.model)))
        return self._outputs[id(query)][1]

    def _output_names(self, query: Any, sources: Sequence[Source], model: str) -> Iterator[str]:
        for one in query.expressions:
            if is_plain_star(one):
                every = [each for each in sources if not one.args.get("table") or one.table.lower() == each.alias]
                yield from (name for each in every if not each.is_test for name in self.columns_of_source(each))
            elif is_expanded(one):
                yield from (name for name, _ in starred(one, sources, self.columns_of_source, model))
            else:
                yield one.alias_or_name.lower()

    def columns_of_source(self, source: Source) -> tuple[str, ...]:
        """The columns of an item of FROM; none where they are not known."""
        if source.problem in ("pivot", "unpivot"):
            return ()
        return self.columns_of(source.relation) if source.relation is not None else own_columns(source.item)

    def sources(self, query: Any, scope: Scope) -> tuple[Source, ...]:
        """What a SELECT reads, in the order of FROM: `q(a, b)` as a query, USING and NATURAL as conditions."""
        for source in list(sources_of(query, scope)):
            self._name_columns(source)
        sources: list[Source] = []
        for source in sources_of(query, scope):
            names = source.using
            if names is None:
                before = {name for one in sources for name in self.columns_of_source(one)}
                names = tuple(name for name in self.columns_of_source(source) if name in before)
            if not names:
                sources.append(replace(source, using=()))
                continue
            equal = []
            for name in names:
                first = next((one.alias for one in sources if name in self.columns_of_source(one)), sources[0].alias)
                own = exp.column(name, table=source.alias)
                equal.append(exp.EQ(this=exp.column(name, table=first), expression=own))
            sources.append(replace(source, on=exp.and_(*equal, copy=False), using=names))
        return tuple(sources)

    def _name_columns(self, source: Source) -> None:
        """Write `q(a, b)` as the query that it stands for, where the columns of `q` are known."""
        alias = source.item.args.get("alias")
        names = (alias.args.get("columns") if isinstance(alias, exp.TableAlias) else None) or []
        if not names or source.relation is None:
            return
        columns = self.columns_of_source(source)
        if len(columns) < len(names):
            return
        inner = source.item.copy()
        inner.set("alias", exp.TableAlias(this=exp.to_identifier(source.alias, quoted=True)))
        texts = [one.name for one in names] + list(columns[len(names) :])
        named = [
            exp.alias_(exp.column(exp.to_identifier(column, quoted=True)), exp.to_identifier(name, quoted=True))
            for column, name in zip(columns, texts, strict=True)
        ]
        query = exp.Select(expressions=named, from_=exp.From(this=inner))
        source.item.replace(exp.Subquery(this=query, alias=exp.TableAlias(this=alias.this.copy())))

    def is_backed(self, relation: Relation) -> bool:
        """Tell whether rows of deliveries, or figures, stand behind the rows of a relation."""
        key = relation.name if relation.query is None else f"{id(relation.query)}"
        with self.noting_reads(key):
            if key not in self._backed:
                self._backed[key] = relation.query, False  # a model that reads itself
                self._backed[key] = relation.query, self._reaches_rows(relation)
        return self._backed[key][1]

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
        query, scope = query_and_scope
        items: list[Relation | None] = []
        for branch in branches(query):
            if isinstance(branch.select, exp.Pivot):
                items.append(Relation(*_table(branch.select.this, scope)))
                continue
            select, inner = opened(branch.select, scope)
            items += [source.relation for source in sources_of(select, inner)]
        return any(self.is_backed(one) for one in items if one is not None)

    def reads_rows(self, query: Any, scope: Scope) -> bool:
        """Tell whether a query inside an expression reads rows of deliveries, or figures."""
        return any(self.is_backed(Relation(*_table(one, scope))) for one in query.find_all(exp.Table))


def _table(item: Any, scope: Scope) -> tuple[Any, ...]:
    """The name of a table as SQL writes it, with its query and scope where it is a CTE."""
    name = ".".join(part.name for part in item.parts).lower() if isinstance(item, exp.Table) else ""
    return name, *(() if name.partition(".")[2] else scope.ctes.get(name, ()))


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
    renamed: Mapping[str, str]
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
        return any(windows_in(one) for one in (*self.projections.values(), self.qualify) if one is not None)

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
            columns = self.catalogue.columns_of_source(source)
            if name in columns or (len(self.stars) == 1 and not columns):
                return exp.column(name, table=alias)
        raise Untraceable(self.model, f"{self.name} has no column '{column}'.")

    def expand(self, expression: Any) -> Any:
        """Return an expression of this SELECT's own columns in terms of its sources."""

        def resolved(column: Any) -> Any:
            value = self.resolve(column.name.lower())
            return value if isinstance(value, exp.Column | exp.Literal | exp.Func) else exp.paren(value, copy=False)

        return with_columns(expression, resolved)


def paths(catalogue: Catalogue, table: str, columns: Sequence[str], fixed: Fixed) -> list[list[Hop]]:
    """Return the paths, each from the table down, of columns in the row that `fixed` names.

    A path ends above a raw table, or above a table of figures that is of another figure.
    """
    every_path = list(_paths(catalogue, Relation(table), frozenset(columns), dict(fixed), fixed.get("figure_id"), 0))
    for path in every_path:
        for hop in path:
            if any(one.side in ("RIGHT", "FULL") for one in hop.sources):
                raise Untraceable(hop.model, f"{hop.name}: {INSTEAD['right']}", "join")
    return every_path


_DEEPEST = 200


def _paths(
    catalogue: Catalogue, relation: Relation, columns: frozenset[str], fixed: Fixed, figure: object, depth: int
) -> Iterator[list[Hop]]:
    query_and_scope = catalogue.query_of(relation)
    if query_and_scope is None or depth > _DEEPEST:
        return
    query, scope = query_and_scope
    every = [
        (branch, inner, hop)
        for branch in branches(query)
        for inner in ({branch.renamed.get(name, name): value for name, value in fixed.items()},)
        if inner.get("figure_id", figure) != figure or not _is_of_others(catalogue, branch.select, scope)
        for hop in _hops(catalogue, relation, branch, scope, inner)
    ]
    for branch, inner, hop in every:
        used = _used(hop, columns)
        drivers = _drivers(catalogue, hop, used)
        if drivers:
            _refuse(hop, relation, branch, len(every))
        else:
            _refuse_hidden(catalogue, hop, columns)
        for source, siblings in drivers:
            if source.problem or (source.method == "ASOF"):
                _refuse_for(hop.model, source.problem or "asof")
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


def _refuse(hop: Hop, relation: Relation, branch: Branch, count: int) -> None:
    """Raise Untraceable for a SELECT with rows whose rows cannot be followed."""
    if is_recursive(relation):
        _refuse_for(hop.model, "recursive")
    if branch.problem:
        _refuse_for(hop.model, branch.problem)
    if branch.is_distinct and (count > 1 or hop.keys is None):
        _refuse_for(hop.model, "union")
    if any(source.problem == "positional" for source in hop.sources):
        _refuse_for(hop.model, "positional")


def _refuse_hidden(catalogue: Catalogue, hop: Hop, columns: frozenset[str]) -> None:
    """Raise Untraceable where rows stand behind a SELECT, but not as something that it reads in FROM."""
    values = [hop.resolve(name) for name in columns if hop.renamed.get(name, name) in hop.projections]
    if any(reads_rows_inside(one, hop) for one in values):
        _refuse_for(hop.model, "query")
    items = [one.item for one in hop.sources if one.relation is None]
    if any(catalogue.reads_rows(one, hop.scope) for one in items):
        _refuse_for(hop.model, "brackets")


def reads_rows_inside(expression: Any, hop: Hop) -> bool:
    """Whether an expression has a query in it that reads rows of deliveries, or figures."""
    return any(hop.catalogue.reads_rows(one, hop.scope) for one in expression.find_all(exp.Query))


def _refuse_for(model: str, word: str) -> None:
    raise Untraceable(model, INSTEAD[word], word)


def _is_of_others(catalogue: Catalogue, select: Any, scope: Scope) -> bool:
    """Whether a SELECT reads one table of figures alone, which has not the one that is looked for."""
    sources = list(sources_of(select, scope))
    relation = sources[0].relation if len(sources) == 1 else None
    return relation is not None and catalogue.has_figures(relation) and not catalogue.has_row(relation.name)


def _used(hop: Hop, columns: frozenset[str]) -> list[Any]:
    values = [hop.resolve(name) for name in columns if name in hop.projections or hop.renamed.get(name) or hop.stars]
    return [one for each in values for one in columns_in(each)]


def _drivers(catalogue: Catalogue, hop: Hop, used: Sequence[Any]) -> list[tuple[Source, frozenset[str]]]:
    """The sources whose rows make the columns that matter: one, but of a row made by a join, each that has a part."""
    backed = [
        one
        for one in hop.sources
        if one.relation is not None and not one.is_test and not one.is_lateral and catalogue.is_backed(one.relation)
    ]
    aliases = {column.table.lower() for column in used}
    own = [one for one in backed if one.alias in aliases]
    if hop.keys is None and len(own) == 1 and own[0].side == "LEFT" and any(map(_is_null_test, used)):
        own = []  # what is missing is told as well, and stands in no row of it
    own = own or [one for one in backed if not one.side][:1] or backed[:1]
    if not own:
        return []
    if hop.keys is not None or len(own) == 1:
        return [(own[0], frozenset())]
    return [(one, frozenset(other.alias for other in own if other is not one)) for one in own]


def _is_null_test(column: Any) -> bool:
    return isinstance(column.parent, exp.Is) and isinstance(column.parent.expression, exp.Null)


def _hops(catalogue: Catalogue, relation: Relation, branch: Branch, scope: Scope, fixed: Fixed) -> Iterator[Hop]:
    """The SELECT as hops that can have the row: one, or one for each of its grouping sets."""
    key = (id(branch.select), relation.name, *sorted(branch.renamed.items()))
    with catalogue.noting_reads(key):
        if key not in catalogue.hops:
            every = list(_all_hops(catalogue, relation, branch.select, scope, branch.renamed))
            catalogue.hops[key] = branch.select, every
    yield from (hop for hop in catalogue.hops[key][1] if _is_possible(hop, fixed))


def _all_hops(
    catalogue: Catalogue, relation: Relation, select: Any, scope: Scope, renamed: Mapping[str, str]
) -> Iterator[Hop]:
    query, scope = opened(select, scope)
    if not isinstance(query, exp.Select):
        _refuse_for(scope.model, branches(query)[0].problem or "pivot")
    sources = catalogue.sources(query, scope)
    qualified = Qualifier(catalogue.columns_of_source, sources, query, scope)
    sources = tuple(_of_those_before(source, qualified) for source in sources)
    qualified = Qualifier(catalogue.columns_of_source, sources, query, scope)
    projections = dict[str, Any]()
    for one in query.expressions:
        if is_expanded(one):
            for name, value in starred(one, sources, catalogue.columns_of_source, scope.model):
                projections.setdefault(name, qualified(value))
        elif not is_star(one):
            projections[one.alias_or_name.lower()] = qualified(one.unalias())
    where, having, qualify = (query.args.get(name) for name in ("where", "having", "qualify"))
    base = Hop(
        model=scope.model,
        name=relation.name if relation.query is not None else relation.name.rpartition(".")[2],
        select=query,
        scope=scope,
        sources=sources,
        projections=projections,
        stars=tuple(
            source.alias
            for one in query.expressions
            if is_plain_star(one)
            for source in sources
            if not source.is_test and (not one.args.get("table") or one.table.lower() == source.alias)
        ),
        where=[qualified(one) for one in conjuncts(where.this)] if where else [],
        keys=None,
        having=qualified(having.this, aliases_first=True) if having else None,
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


def _of_those_before(source: Source, qualified: Qualifier) -> Source:
    """A source with its names told from those of the sources before it, where it is computed from their rows."""
    on = qualified(source.on) if source.on is not None else None
    if not isinstance(source.item, exp.Subquery | exp.Lateral | exp.Unnest):
        return replace(source, on=on)
    item = qualified(source.item)
    if source.is_lateral or next(columns_in(item), None) is None:
        return replace(source, on=on, item=item if source.is_lateral else source.item)
    return replace(source, on=on, item=item, is_lateral=True)


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
        is_grouped = any(aggregates_in(one) for one in projections.values())
        if distinct is not None and distinct.args.get("on") is not None:
            raise Untraceable(model, "write row_number() for DISTINCT ON.", "distinct")
        yield ([] if is_grouped else list(projections.values()) if distinct else None), None
        return

    def key(one: Any) -> Any:
        if isinstance(one, exp.Literal) and not one.is_string:
            return list(projections.values())[int(one.name) - 1].copy()
        return qualified(one)

    if group.args.get("all"):
        yield [one.copy() for one in projections.values() if not aggregates_in(one)], None
        return
    plain = [one for one in group.expressions if not isinstance(one, exp.GroupingSets)]
    sets = [one for one in group.expressions if isinstance(one, exp.GroupingSets)]
    sets += group.args.get("grouping_sets") or []
    if not sets:
        yield [key(one) for one in plain], None
        return
    each = [members(one) for one in sets[0].expressions]
    all_keys = [key(one) for one in plain] + [key(one) for own in each for one in own]
    for own in each:
        yield [key(one) for one in plain] + [key(one) for one in own], all_keys


def _fix_grouping(hop: Hop, keys: Sequence[Any], all_keys: Sequence[Any]) -> None:
    """Make one of several grouping sets an ordinary one: keys of others are null, and grouping() is a number."""
    own, others = {_sql(one) for one in keys}, {_sql(one) for one in all_keys}

    def fixed(node: Any) -> Any:
        if isinstance(node, exp.Grouping):
            bits = "".join("0" if _sql(one) in own else "1" for one in node.expressions)
            return exp.Literal.number(int(bits or "0", 2))
        if _sql(node) in others - own and not node.find_ancestor(exp.AggFunc):
            return exp.null()
        return node

    hop.projections = {name: simplified(one.copy().transform(fixed)) for name, one in hop.projections.items()}
    if hop.having is not None:
        hop.having = simplified(hop.having.copy().transform(fixed))


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


def aggregates_in(expression: Any) -> list[Any]:
    """Return the aggregates that an expression computes of its own query's rows, without those of windows."""
    return [one for one in expression.find_all(exp.AggFunc) if not one.find_ancestor(exp.Window, exp.Query)]


def windows_in(expression: Any) -> list[Any]:
    """Return the windows that an expression computes over its own query's rows, without those inside others."""
    return [one for one in expression.find_all(exp.Window) if not one.find_ancestor(exp.Window, exp.Query)]


def _sql(expression: Any) -> str:
    return str(expression.sql(dialect="duckdb")).lower()
