"""What each raw row adds to a figure: the aggregates of a path, turned into an expression of one row.

`count(*)` of a group becomes 1 of each of its rows, `count(x)` 1 where there is an x, `sum(x)` x, and a sum of such
sums passes through the groups in between. What cannot pass (a count of groups, such as of persons) is put on the first
row of each group. A median has no such weight: its rows are those that enter it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kpi.lazy import exp
from kpi.provenance.path import (
    Catalogue,
    Fixed,
    Hop,
    aggregates_in,
    constant,
    reads_rows_inside,
    simplified,
    windows_in,
)
from kpi.provenance.query import (
    INSTEAD,
    Relation,
    Scope,
    Untraceable,
    columns_in,
    conjuncts,
    is_recursive,
    opened,
    with_columns,
)
from kpi.sql import identifier

DISTINCT = "__distinct"
"""A function that stands for 1 on the first row of each value in its group, and 0 on the others."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One aggregate over rows: the weight of a row, the conditions of a row that enters, and the aggregate itself.

    `aggregate` is SQL of the aggregate of the weights, with `{}` for them.
    """

    weight: Any
    conditions: tuple[Any, ...]
    is_by_weight: bool
    aggregate: str = "sum({})"

    def total(self, weights: str) -> str:
        """SQL of what weights come to, from SQL of them."""
        return self.aggregate.replace("{}", weights)


@dataclass(frozen=True, slots=True)
class Weight:
    """How a part of a figure is made of rows: at the hop with number `place` of its path.

    `is_once` says that of each group below only the first row counts. `formula` computes the part from the totals of
    several leaves, as columns total_0, total_1, …; empty when there is one leaf, whose total it is.
    """

    place: int
    leaves: tuple[Leaf, ...]
    is_once: bool
    formula: str = ""

    @property
    def has_distinct(self) -> bool:
        """Whether of equal values the first counts."""
        return any(isinstance(one, exp.Anonymous) and one.this == DISTINCT
                   for leaf in self.leaves for one in leaf.weight.walk())  # fmt: skip

    @property
    def aggregate(self) -> str:
        """What the weights are put together by: sum, median, …, or formula."""
        return "formula" if self.formula else self.leaves[0].aggregate.partition("(")[0].lower()


class _NotLinear(Exception):
    """An expression that is no sum over rows."""


def weigh(path: Sequence[Hop], column: str) -> Weight | None:
    """Return how a column of a path's top is made of rows; None when it is a number that no row stands behind."""
    for place, hop in enumerate(path):
        is_unnested = any(isinstance(source.item, exp.Unnest) for source in hop.sources)
        if is_unnested and any(one.keys is not None for one in path[place + 1 :]):
            raise Untraceable(hop.model, INSTEAD["unnest"], "unnest")
    expression: Any = exp.column(column)
    for place, hop in enumerate(path):
        expression = _without_siblings(simplified(hop.expand(expression)), hop)
        if constant(expression) is None or isinstance(constant(expression), int | float | str):
            return None
        if hop.keys is not None and any(windows_in(one) for one in hop.projections.values()):
            raise Untraceable(hop.model, "it computes windows over its groups. Do so in a CTE of its own.", "over")
        is_grouped = any(one.keys is not None for one in path[place + 1 :])
        if hop.keys is None:
            is_shared = any(one.siblings for one in path[place + 1 :])
            if (is_grouped or is_shared) and _is_of_driver(expression, hop):
                expression = _bare(expression)
                continue
            return Weight(place, (_leaf(expression),), is_grouped)
        if not any(_is_over_rows(one, hop) for one in aggregates_in(expression)):
            if reads_rows_inside(expression, hop):
                raise Untraceable(hop.model, INSTEAD["query"], "select")
            return None
        try:
            leaf = _contribution(expression)
        except _NotLinear:
            return _formula(expression, place, is_grouped, hop)
        if is_grouped and leaf.aggregate == "sum({})" and _passes(leaf.weight, path, place):
            expression = _bare(leaf.weight)
            continue
        return Weight(place, (leaf,), is_grouped)
    raise Untraceable(path[-1].model, f"'{column}' leads to no rows.")


def _leaf(weight: Any, aggregate: str = "sum({})") -> Leaf:
    conditions, is_by_weight = conditions_of(weight)
    return Leaf(weight, tuple(conditions), is_by_weight, aggregate)


def conditions_of(weight: Any) -> tuple[list[Any], bool]:
    """Return the conditions of a row that enters, and whether they are only so because its weight is not 0."""
    inner = _inside(weight)
    if inner is not None:
        return conditions_of(inner)
    conditions: tuple[list[Any], bool] = [_is_known(weight)], False
    match weight:
        case exp.Literal() | exp.Boolean():
            conditions = [], False
        case exp.Predicate() | exp.And() | exp.Or() | exp.Not():  # true counts as 1
            conditions = conjuncts(weight), False
        case exp.Case() if weight.this is None and len(weight.args["ifs"]) == 1 and _is_nothing(weight):
            one = weight.args["ifs"][0]
            others, is_by_weight = conditions_of(one.args["true"])
            conditions = [*conjuncts(one.this), *others], is_by_weight
        case exp.Add() | exp.Sub():
            conditions = _of_both(weight), True
        case exp.Anonymous() if weight.this == DISTINCT:
            conditions = [_is_known(weight.expressions[0])], False
        case exp.Case():
            weight_or_zero = exp.func("coalesce", weight.copy(), _number(0))
            conditions = [exp.NEQ(this=weight_or_zero, expression=_number(0))], True
    return conditions


def _inside(weight: Any) -> Any:
    """The weight without what changes nothing about which rows enter; None when there is no such thing about it."""
    match weight:
        case exp.Paren() | exp.Cast() | exp.TryCast() | exp.Neg():
            return weight.this
        case exp.Coalesce() if constant(weight.expressions[0]) == 0:
            return weight.this
        case exp.Mul() if isinstance(constant(weight.left), int | float):
            return weight.right
    return None


def _of_both(weight: Any) -> list[Any]:
    """The conditions of a row that adds to one of two counts, or of a difference to one of them alone."""
    left, right = conditions_of(weight.left)[0], conditions_of(weight.right)[0]
    texts = ([_sql(one) for one in left], [_sql(one) for one in right])
    common = [one for one in left if _sql(one) in texts[1]]
    rest = [one for one in left if _sql(one) not in texts[1]], [one for one in right if _sql(one) not in texts[0]]
    if rest[0] and rest[1]:
        both = [exp.and_(*(one.copy() for one in each)) for each in rest]
        return [*common, exp.or_(*both)]
    if rest[1] and isinstance(weight, exp.Sub):
        only = rest[1][0]
        if len(rest[1]) == 1 and isinstance(only, exp.Not):
            return [*common, only.this.copy()]
        return [*common, exp.not_(exp.paren(exp.and_(*(one.copy() for one in rest[1]))))]
    return common


def _contribution(expression: Any) -> Leaf:
    """What a row adds to an expression of aggregates. Raises _NotLinear when they are not merely added."""
    match expression:
        case exp.Paren() | exp.Cast() | exp.TryCast():
            return _contribution(expression.this)
        case exp.Coalesce() if constant(expression.expressions[0]) == 0:
            return _contribution(expression.this)
        case exp.Filter():
            inner = _contribution(expression.this)
            return _leaf(_when(expression.expression.this, inner.weight), inner.aggregate)
        case exp.AggFunc() | exp.WithinGroup():
            return _of_aggregate(expression)
    return _leaf(_combined(expression))


def _combined(expression: Any) -> Any:
    """The weight of several aggregates that are added up, or chosen among by the group's keys."""
    match expression:
        case exp.Add() | exp.Sub():
            return type(expression)(this=_part(expression.left), expression=exp.paren(_part(expression.right)))
        case exp.Neg():
            return exp.Neg(this=exp.paren(_part(expression.this)))
        case exp.Mul() if isinstance(constant(expression.left), int | float):
            return exp.Mul(this=expression.left.copy(), expression=exp.paren(_part(expression.right)))
        case exp.Case() if expression.this is None and not any(
            aggregates_in(one.this) for one in expression.args["ifs"]
        ):
            case = exp.Case()
            for one in expression.args["ifs"]:
                case = case.when(one.this.copy(), _part(one.args["true"]))
            default = expression.args.get("default")
            return case.else_(_part(default)) if default is not None else case
    raise _NotLinear


def _part(expression: Any) -> Any:
    """The weight of one term of a sum: 0 of nothing, never null."""
    if constant(expression) in (0, None):
        return _number(0)
    leaf = _contribution(expression)
    if leaf.aggregate != "sum({})":
        raise _NotLinear
    if isinstance(leaf.weight, exp.Literal):
        return leaf.weight
    return exp.func("coalesce", leaf.weight, _number(0))


def _of_aggregate(aggregate: Any) -> Leaf:
    argument = aggregate.this
    if isinstance(aggregate, exp.Count):
        if argument is None or isinstance(argument, exp.Star | exp.Literal):
            return _leaf(_number(1))
        if isinstance(argument, exp.Distinct):
            if len(argument.expressions) != 1:
                raise _NotLinear
            return _leaf(exp.Anonymous(this=DISTINCT, expressions=[argument.expressions[0].copy()]))
        conditions, is_by_weight = conditions_of(argument)
        if is_by_weight or (isinstance(argument, exp.Case) and not _is_nothing(argument, zero=False)):
            conditions = [_is_known(argument)]
        return _leaf(_when(exp.and_(*(one.copy() for one in conditions)), _number(1)) if conditions else _number(1))
    if isinstance(aggregate, exp.CountIf):
        return _leaf(_when(argument, _number(1)))
    if isinstance(aggregate, exp.Sum) and not isinstance(argument, exp.Distinct):
        return _leaf(argument.copy())
    if isinstance(argument, exp.Distinct) or argument is None:
        raise _NotLinear
    text = aggregate.copy()
    inner = text.find(exp.Ordered) if isinstance(aggregate, exp.WithinGroup) else text
    weight = inner.this.copy()
    inner.set("this", exp.column("__weight"))
    if isinstance(weight, exp.Order) or any(one.name != "__weight" for one in columns_in(text)):
        raise _NotLinear
    leaf = _leaf(weight, text.sql(dialect="duckdb").replace("__weight", "{}"))
    return replace(leaf, conditions=()) if isinstance(aggregate, exp.ArrayAgg | exp.First | exp.Last) else leaf


def _formula(expression: Any, place: int, is_grouped: bool, hop: Hop) -> Weight:
    """Several aggregates that are more than added up: each with its own weight, and the formula of their totals."""
    leaves: list[Leaf] = []
    numbers: dict[str, int] = {}

    def total(node: Any) -> Any:
        if isinstance(node, exp.AggFunc | exp.Filter) and not node.find_ancestor(exp.AggFunc, exp.Window, exp.Filter):
            text = _sql(node)
            if text not in numbers:
                numbers[text] = len(leaves)
                leaves.append(_contribution(node))
            return exp.column(f"total_{numbers[text]}")
        return node

    try:
        formula = expression.copy().transform(total)
    except _NotLinear:
        message = "no row's part in it can be told. Write count, sum, min, max, avg or median, once, of a column."
        raise Untraceable(hop.model, f"{hop.name} computes '{_sql(expression)[:60]}': {message}") from None
    if any(column.table for column in columns_in(formula)):
        raise Untraceable(hop.model, f"{hop.name} mixes aggregates with columns: '{_sql(expression)[:60]}'.")
    return Weight(place, tuple(leaves), is_grouped, formula.sql(dialect="duckdb"))


def _passes(weight: Any, path: Sequence[Hop], place: int) -> bool:
    """Whether a weight is a sum of sums of the groups below: then each row has its own part in it."""
    hop = path[place]
    terms, conditions = _terms(weight)
    if not terms or any(not _is_of_driver(one, hop) for one in (*terms, *conditions)):
        return False
    if any(_is_sum(column, path, place + 1) for one in conditions for column in _columns(one)):
        return False
    return all(_is_sum(one, path, place + 1) for one in terms)


def _is_sum(column: Any, path: Sequence[Hop], place: int) -> bool:
    """Whether a column of a hop is a sum over its rows, or a sum of such columns."""
    if not isinstance(column, exp.Column):
        return False
    hop = path[place]
    expression = simplified(hop.resolve(column.name.lower()))
    if hop.keys is not None:
        try:
            return bool(aggregates_in(expression)) and _contribution(expression).aggregate == "sum({})"
        except _NotLinear:
            return False
    terms, conditions = _terms(expression)
    is_below = any(one.keys is not None for one in path[place + 1 :])
    if not terms or not is_below or any(not _is_of_driver(one, hop) for one in (*terms, *conditions)):
        return False
    return all(_is_sum(one, path, place + 1) for one in terms)


def _terms(weight: Any) -> tuple[list[Any], list[Any]]:
    """The terms that a weight adds up, and the conditions under which it does."""
    inner = _inside(weight)
    if inner is not None:
        return _terms(inner)
    match weight:
        case exp.Add() | exp.Sub():
            left, right = _terms(weight.left), _terms(weight.right)
            return left[0] + right[0], left[1] + right[1]
        case exp.Case() if weight.this is None:
            branches = [_terms(one.args["true"]) for one in weight.args["ifs"]]
            default = weight.args.get("default")
            if default is not None and constant(default) not in (0, None):
                branches.append(_terms(default))
            conditions = [one.this for one in weight.args["ifs"]]
            return [one for each in branches for one in each[0]], conditions + [
                one for each in branches for one in each[1]
            ]
    return [weight], []


def _without_siblings(expression: Any, hop: Hop) -> Any:
    """Return an expression without the terms that other paths follow."""
    if not hop.siblings:
        return expression

    def is_other(node: Any) -> bool:
        tables = {one.table.lower() for one in _columns(node)}
        return bool(tables & hop.siblings) and hop.driver not in tables

    def dropped(node: Any) -> Any:
        if isinstance(node, exp.Paren | exp.Cast | exp.Coalesce):
            node.set("this", dropped(node.this))
        if isinstance(node, exp.Add | exp.Sub):
            if is_other(node.right):
                return dropped(node.left)
            if is_other(node.left):
                right = dropped(node.right)
                return right if isinstance(node, exp.Add) else exp.Neg(this=exp.paren(right))
            node.set("this", dropped(node.left))
            node.set("expression", dropped(node.right))
        return node

    return dropped(expression.copy())


def _is_over_rows(aggregate: Any, hop: Hop) -> bool:
    columns = _columns(aggregate)
    is_added_up = isinstance(aggregate, exp.Sum | exp.Count | exp.CountIf | exp.Avg)
    return not columns or is_added_up or any(one.table.lower() == hop.driver for one in columns)


def _is_of_driver(expression: Any, hop: Hop) -> bool:
    return all(one.table.lower() == hop.driver for one in _columns(expression))


def _columns(expression: Any) -> list[Any]:
    return list(columns_in(expression))


def _bare(expression: Any) -> Any:
    """The expression with the columns of the relation below by their names alone."""
    return with_columns(expression, lambda one: exp.column(one.name))


def _is_nothing(case: Any, zero: bool = True) -> bool:
    """Whether a CASE is null, or 0, where its condition does not hold."""
    default = case.args.get("default")
    return default is None or constant(default) is None or (zero and constant(default) == 0)


def _when(condition: Any, weight: Any) -> Any:
    return exp.Case().when(condition.copy(), weight)


def _is_known(expression: Any) -> Any:
    inner = expression
    while isinstance(inner, exp.Paren | exp.Cast):
        inner = inner.this
    return exp.not_(exp.Is(this=inner.copy(), expression=exp.null()), copy=False)


def _number(value: int) -> Any:
    return exp.Literal.number(value)


def _sql(expression: Any) -> str:
    return str(expression.sql(dialect="duckdb"))


@dataclass
class WeighedPath:
    """One path of one part of a figure, and what each of its rows adds to it.

    `prior` are conditions that leave rows out before those of the part itself: those of its denominator.
    """

    catalogue: Catalogue
    path: Sequence[Hop]
    weight: Weight
    key: Fixed
    prior: tuple[Any, ...] = ()
    carried: tuple[int, str, tuple[str, ...]] | None = None
    plains: dict[str, str] = field(default_factory=dict)
    _queries: dict[str, Any] = field(default_factory=dict, repr=False)
    _recursive: set[str] = field(default_factory=set, repr=False)

    @property
    def top_group(self) -> int | None:
        """The number of the topmost hop that groups; None where no hop does."""
        return next((place for place, hop in enumerate(self.path) if hop.keys is not None), None)

    def plain(self, relation: Relation) -> str:
        """Return the name by which a relation is selected from whose rows are not followed; adds its CTE."""
        if relation.query is None:
            return relation.name
        name = f"{relation.scope.model.rpartition('.')[2]}__{relation.name}"
        while self._queries.setdefault(name, relation.query) is not relation.query:
            name += "_"  # two queries inside others have one name
        name = identifier(name)
        if name not in self.plains:
            if is_recursive(relation):
                self._recursive.add(name)
                self.plains[name] = ""  # it reads itself by this name
            query, scope = opened(relation.query, relation.scope)
            sql = self.bound(query, scope)
            self.plains.pop(name, None)  # after what it reads
            self.plains[name] = sql
        return name

    def bound(self, expression: Any, scope: Scope) -> str:
        """Return SQL of an expression in which the names of CTEs are those of `plain`."""
        copy = expression.copy()
        for table in list(copy.find_all(exp.Table)):
            name = table.name.lower()
            if not table.db and name in scope.ctes and not isinstance(table.this, exp.Func):
                plain = self.plain(Relation(name, *scope.ctes[name]))
                fresh = exp.to_table(plain, dialect="duckdb")
                own = table.args.get("alias")
                fresh.set("alias", own or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
                for key in ("joins", "pivots", "sample"):
                    if table.args.get(key):
                        fresh.set(key, table.args[key])
                if table is copy:
                    return str(fresh.sql(dialect="duckdb"))
                table.replace(fresh)
        return str(copy.sql(dialect="duckdb"))
