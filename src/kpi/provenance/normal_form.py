"""The normal form of a model's SELECT: what SQL writes in several ways stands in one, before paths are looked for.

The rows stay the same. Windows by name are written out, subqueries have names, `cube` and `rollup` are grouping sets,
an `unnest()` among columns is a join, and a SELECT does one of these: group, compute windows, take equal rows once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from kpi.lazy import exp


def normalize(tree: Any) -> Any:
    """Return the tree in its normal form; it is changed in place."""
    taken = {one.name.lower() for one in tree.find_all(exp.Table, exp.CTE)}
    taken |= {one.alias.lower() for one in tree.find_all(exp.Table, exp.Subquery)}
    names = (name for number in range(1, 10_000) if (name := f"subquery_{number}") not in taken)
    for condition in list(tree.find_all(exp.If)):
        if not isinstance(condition.parent, exp.Case):
            default = condition.args.get("false")
            case = exp.Case().when(condition.this, condition.args["true"])
            condition.replace(case.else_(default) if default is not None else case)
    for aggregate in tree.find_all(exp.Sum, exp.Count, exp.Avg, exp.Min, exp.Max, exp.Median):
        if isinstance(aggregate.this, exp.Order):  # in which order makes no difference
            aggregate.set("this", aggregate.this.this)
    for one in list(tree.find_all(exp.IgnoreNulls)):
        if isinstance(one.this, exp.AnyValue):  # it always does
            one.replace(one.this)
    for cte in list(tree.find_all(exp.CTE)):
        _name_columns(cte)
        if cte.args["alias"].args.get("columns") or isinstance(cte.this, exp.Values):
            _put_names_in_from(cte)
    for item in list(tree.find_all(exp.Subquery)):
        if isinstance(item.parent, exp.From | exp.Join) and item.arg_key == "this" and is_query(item):
            _name_columns(item)
            if not item.alias:
                item.set("alias", exp.TableAlias(this=exp.to_identifier(next(names))))
    for select in list(tree.find_all(exp.Select)):
        _write_out_windows(select)
        _write_out_sets(select)
        _join_unnested(select, names)
        _put_in_layers(select, names)
    return tree


def is_query(item: Any) -> bool:
    """Whether an item of FROM in brackets is a query, and not a join in brackets."""
    return isinstance(item.unnest(), exp.Query) and not isinstance(item.unnest(), exp.Subquery)


def _name_columns(item: Any) -> None:
    """Give the names in `q(a, b)` to the columns of the query itself, where it lists them."""
    alias = item.args.get("alias")
    columns = alias.args.get("columns") if alias is not None else None
    if not columns:
        return
    query = item.this
    while not isinstance(query, exp.Select):
        if not isinstance(query, exp.Subquery | exp.SetOperation) or query.args.get("by_name"):
            return
        query = query.this
    projections = list(query.expressions)
    if len(columns) > len(projections) or any(is_star(one) or one.find(exp.Columns) for one in projections):
        return
    named = [exp.alias_(one.unalias(), name.copy()) for one, name in zip(projections, columns, strict=False)]
    query.set("expressions", named + projections[len(columns) :])
    alias.set("columns", None)


def _put_names_in_from(cte: Any) -> None:
    """Write `with q(a, b) as (…)` as `with q as (select * from (…) as q(a, b))`."""
    alias, query = cte.args["alias"], cte.this
    own = exp.TableAlias(this=exp.to_identifier("own"), columns=alias.args.get("columns"))
    alias.set("columns", None)
    item: Any
    if isinstance(query, exp.Values):
        item = query.copy()
        item.set("alias", own if own.args.get("columns") else None)
    else:
        item = exp.Subquery(this=query.copy(), alias=own)
    cte.set("this", exp.Select(expressions=[exp.Star()], from_=exp.From(this=item)))


def is_star(projection: Any) -> bool:
    """Whether a projection is `*` or `x.*`."""
    return isinstance(projection, exp.Star) or (
        isinstance(projection, exp.Column) and isinstance(projection.this, exp.Star)
    )


# --- windows, sets, lists ---------------------------------------------------------------------------------------------


def _own(select: Any, *kinds: type[Any]) -> list[Any]:
    """The nodes of these kinds that a SELECT computes itself, not in a query inside it."""
    return [one for one in select.find_all(*kinds) if one.parent_select is select]


def _write_out_windows(select: Any) -> None:
    named = {one.name.lower(): one for one in select.args.get("windows") or ()}
    if not named:
        return
    select.set("windows", None)
    for definition in named.values():
        _complete(definition, named)
    for window in _own(select, exp.Window):
        _complete(window, named)


def _complete(window: Any, named: dict[str, Any]) -> None:
    """Take over what the window says that this one names."""
    name = window.alias
    base = named.get(name.lower()) if name else None
    if base is None or base is window:
        return
    _complete(base, named)
    for part in ("partition_by", "order", "spec"):
        if not window.args.get(part) and base.args.get(part):
            value = base.args[part]
            window.set(part, [one.copy() for one in value] if isinstance(value, list) else value.copy())
    window.set("alias", None)


def _write_out_sets(select: Any) -> None:
    """Write `cube`, `rollup` and several grouping sets as one GROUPING SETS."""
    group = select.args.get("group")
    if group is None:
        return
    every = [one for one in group.expressions if isinstance(one, exp.Cube | exp.Rollup | exp.GroupingSets)]
    for name in ("cube", "rollup", "grouping_sets"):
        every += group.args.get(name) or []
    if not every or (len(every) == 1 and isinstance(every[0], exp.GroupingSets) and not _holds_sets(every[0])):
        return
    product: list[list[Any]] = [[]]
    for one in every:
        product = [[*before, *own] for before in product for own in _sets(one)]
    plain = [one for one in group.expressions if not isinstance(one, exp.Cube | exp.Rollup | exp.GroupingSets)]
    sets = [exp.Tuple(expressions=[one.copy() for one in members]) for members in product]
    group.set("expressions", [*plain, exp.GroupingSets(expressions=sets)])
    for name in ("cube", "rollup", "grouping_sets"):
        group.set(name, None)


def _holds_sets(one: Any) -> bool:
    return any(isinstance(each, exp.Cube | exp.Rollup | exp.GroupingSets) for each in one.expressions)


def _sets(one: Any) -> Iterator[list[Any]]:
    """Yield the members of each set that a `cube`, `rollup`, GROUPING SETS or plain list stands for."""
    if isinstance(one, exp.Cube):
        parts = [members(each) for each in one.expressions]
        for size in range(len(parts), -1, -1):
            for chosen in combinations(parts, size):
                yield [each for part in chosen for each in part]
    elif isinstance(one, exp.Rollup):
        parts = [members(each) for each in one.expressions]
        for size in range(len(parts), -1, -1):
            yield [each for part in parts[:size] for each in part]
    elif isinstance(one, exp.GroupingSets):
        for each in one.expressions:
            yield from _sets(each)
    else:
        yield members(one)


def members(one: Any) -> list[Any]:
    """Return the expressions of `(a, b)`, `(a)` or `a`."""
    if isinstance(one, exp.Tuple):
        return list(one.expressions)
    return [one.this] if isinstance(one, exp.Paren) else [one]


def _join_unnested(select: Any, names: Iterator[str]) -> None:
    """Write `select unnest(x) as y from t` as a join with `unnest(x)`: the same rows."""
    lists = [one for one in _own(select, exp.Explode) if one.find_ancestor(exp.Select) is select]
    others = [select.args.get(name) for name in ("group", "distinct", "having", "qualify", "limit")]
    if len(lists) != 1 or select.args.get("from_") is None or any(others) or computes(select, exp.Window, exp.AggFunc):
        return
    (one,) = lists
    if len(one.args.get("expressions") or ()) or one.parent.find_ancestor(exp.Where, exp.From, exp.Join):
        return
    name, column = next(names), "element"
    if one.parent is select:
        one.replace(exp.alias_(one.copy(), "unnest"))
        one = next(iter(_own(select, exp.Explode)))
    alias = exp.TableAlias(this=exp.to_identifier(name), columns=[exp.to_identifier(column)])
    unnest = exp.Unnest(expressions=[one.this.copy()], alias=alias, offset=False)
    one.replace(exp.column(column, table=name))
    select.append("joins", exp.Join(this=unnest, kind="CROSS"))


# --- one thing at a time ----------------------------------------------------------------------------------------------


def computes(select: Any, *kinds: type[Any]) -> bool:
    """Whether the columns of a SELECT are computed by a window, or by an aggregate that is no window's."""
    for kind in kinds:
        nodes = [one for each in select.expressions for one in each.find_all(kind) if one.parent_select is select]
        if any(kind is exp.Window or not is_of_window(one) for one in nodes):
            return True
    return False


def is_of_window(aggregate: Any) -> bool:
    """Whether an aggregate is the function of a window: `sum(x) over (…)`."""
    node, parent = aggregate, aggregate.parent
    while isinstance(parent, exp.Filter | exp.IgnoreNulls | exp.RespectNulls | exp.WithinGroup) and parent.this is node:
        node, parent = parent, parent.parent
    return isinstance(parent, exp.Window) and parent.this is node


def _put_in_layers(select: Any, names: Iterator[str]) -> None:
    """Split a SELECT that groups, computes windows over the groups and takes rows once into one for each."""
    windows = computes(select, exp.Window) or select.args.get("qualify") is not None
    grouped = select.args.get("group") is not None or computes(select, exp.AggFunc)
    distinct = select.args.get("distinct")
    if distinct is not None and distinct.args.get("on") is None and (windows or grouped):
        _split_distinct(select, next(names))
        (select,) = [select.args["from_"].this.this]
    if windows and grouped:
        _split_windows(select, next(names))


_ABOVE = ("distinct", "order", "limit", "offset")


def _below(select: Any, name: str, expressions: Sequence[Any]) -> Any:
    """The SELECT without what is done above it, as an item of FROM."""
    inner = exp.Select()
    for key, value in list(select.args.items()):
        if key not in (*_ABOVE, "with_", "expressions"):
            select.set(key, None)
            inner.set(key, value)
    inner.set("expressions", list(expressions))
    item = exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier(name)))
    select.set("from_", exp.From(this=item))
    return inner


def _split_distinct(select: Any, name: str) -> None:
    projections = list(select.expressions)
    if any(not is_star(one) and not one.alias_or_name for one in projections):
        projections = [
            one if is_star(one) or one.alias_or_name else exp.alias_(one, f"column_{number}")
            for number, one in enumerate(projections)
        ]
    if any(is_star(one) for one in projections):
        outer: list[Any] = [exp.Star()]
    else:
        outer = [exp.column(exp.to_identifier(one.alias_or_name, quoted=True)) for one in projections]
    _below(select, name, projections)
    select.set("expressions", outer)


def _split_windows(select: Any, name: str) -> None:
    """Group in a SELECT below, and compute windows over its rows."""
    projections = [one if one.alias_or_name else exp.alias_(one, f"column_{n}")
                   for n, one in enumerate(select.expressions)]  # fmt: skip
    qualify = select.args.pop("qualify", None)
    aliased = {one.alias.lower(): one.this for one in projections if one.alias}
    keys = _keys(select, projections)
    columns: dict[str, Any] = {}
    labels: dict[str, str] = {}
    for one in projections:
        inner = one.unalias()
        if not inner.find(exp.Window) and (inner.sql() in keys or isinstance(inner, exp.AggFunc | exp.Filter)):
            labels.setdefault(inner.sql(), one.alias_or_name)

    def taken(node: Any) -> Any:
        """A group's key, or an aggregate of it, as a column of the SELECT below."""
        if node.find_ancestor(exp.Query):
            return node
        text = node.sql()
        is_aggregate = isinstance(node, exp.AggFunc | exp.Filter | exp.WithinGroup) and not is_of_window(node)
        if text not in keys and not is_aggregate:
            is_name = isinstance(node, exp.Column) and not node.table and node.name.lower() in aliased
            if is_name and node.find_ancestor(exp.Window, exp.Qualify):
                return aliased[node.name.lower()].copy().transform(taken)
            return node
        label = labels.setdefault(text, f"part_{len(labels)}")
        columns[label] = exp.alias_(node.copy(), exp.to_identifier(label, quoted=True))
        return exp.column(exp.to_identifier(label, quoted=True), table=name)

    outer = [exp.alias_(_rewritten(one.unalias(), taken), exp.to_identifier(one.alias_or_name, quoted=True))
             for one in projections]  # fmt: skip
    test = _rewritten(qualify, taken) if qualify is not None else None
    group = select.args.get("group")
    if group is not None and (group.args.get("all") or any(_is_number(one) for one in group.expressions)):
        group.set("all", None)
        group.set("expressions", [one.copy() for one in keys.values()])
    _below(select, name, list(columns.values()) or [exp.alias_(exp.Literal.number(1), "part_0")])
    select.set("expressions", outer)
    if test is not None:
        select.set("qualify", test)


def _rewritten(node: Any, rule: Any) -> Any:
    """A copy of a tree with the topmost nodes that a rule changes changed by it."""
    holder = exp.Paren(this=node.copy())
    return holder.transform(rule).this


def _is_number(one: Any) -> bool:
    return isinstance(one, exp.Literal) and not one.is_string


def _keys(select: Any, projections: Sequence[Any]) -> dict[str, Any]:
    """What a SELECT groups by, by its SQL."""
    group = select.args.get("group")
    if group is None:
        return {}
    plain = [one.unalias() for one in projections]
    if group.args.get("all"):
        keys = [one for one in plain if not one.find(exp.AggFunc, exp.Window)]
    else:
        keys = []
        for one in group.expressions:
            if isinstance(one, exp.GroupingSets):
                keys += [each for part in one.expressions for each in members(part)]
            else:
                keys.append(plain[int(one.name) - 1] if _is_number(one) else one)
    return {one.sql(): one for one in keys}
