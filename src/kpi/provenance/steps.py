"""The models of a traced path as people read them: their SQL, but only of the columns that matter to the figure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from textwrap import indent
from typing import Any

from kpi.lazy import exp
from kpi.provenance.normal_form import is_star
from kpi.provenance.path import Hop
from kpi.provenance.query import Relation, Scope, Source, columns_in, is_recursive
from kpi.provenance.trace import Trace, tables_in
from kpi.sql import identifier

KEYS = ("figure_id", "service", "report_year", "report_month", "basis")


def shown_sql(trace: Trace, model: str, column: str) -> tuple[tuple[str, ...], str]:
    """Return the columns of a model that matter to a part of the figure, and its SQL with them alone.

    Of a union only the branch of the figure is there, of grouping sets only its set. All of the SQL is there where one
    name would have to stand for two queries.
    """
    columns = _asked(trace, column)
    hops = [(place, hop) for place, hop in enumerate(trace.path) if hop.model == model]
    ctes: dict[str, str] = {}
    texts: list[str] = []
    is_clear = model not in trace.catalogue.repeating
    for place, hop in reversed(hops):
        sql = _select(trace, hop, columns[place], ctes)
        if place == hops[0][0]:
            texts.append(sql)
        elif not _is_import(hop):
            is_clear = is_clear and hop.name not in ctes
            ctes[hop.name] = sql
    top = hops[0][1]
    shown = tuple(sorted(columns[hops[0][0]] & _names(top)))
    if not is_clear:
        return shown, trace.catalogue.models[model]
    recursive = "recursive " if any(is_recursive(Relation(name, *one)) for hop in hops
                                    for name, one in hop[1].scope.ctes.items() if name in ctes) else ""  # fmt: skip
    with_ = ",\n".join(f"{_name(name)} as (\n{indent(sql, '    ')}\n)" for name, sql in ctes.items())
    return shown, (f"with {recursive}{with_}\n" if ctes else "") + texts[-1]


def _name(name: str) -> str:
    """A name as SQL writes it: quoted where it has to be."""
    return name if re.fullmatch("[a-z_][a-z0-9_]*", name) and name not in _reserved() else identifier(name)


@cache
def _reserved() -> frozenset[str]:
    from sqlglot.dialects.duckdb import DuckDB

    return frozenset(DuckDB().generator().RESERVED_KEYWORDS)


def several_branches(traces: Sequence[Trace]) -> set[str]:
    """Return the models of a part of which rows come by several SELECTs of a union: no one of them is its SQL."""
    models: set[str] = set()
    for number, one in enumerate(traces):
        for other in traces[:number]:
            for here, there in zip(one.path, other.path, strict=False):
                if here.select is not there.select:
                    models |= {here.model} if here.model == there.model else set()
                    break
                if here.driver != there.driver:
                    break
    return models


def _names(hop: Hop) -> set[str]:
    return set(hop.projections) | set(hop.renamed) | (set(KEYS) if hop.stars else set())


def _asked(trace: Trace, column: str) -> list[set[str]]:
    """The columns of each hop that the figure needs."""
    columns = {column, *trace.key}
    columns_by_hop = []
    for place, hop in enumerate(trace.path):
        columns_by_hop.append(columns)
        expressions = [hop.resolve(name) for name in columns if _has(hop, name)]
        expressions += hop.where + [one for one in (hop.having, hop.qualify) if one is not None]
        expressions += [source.on for source in hop.sources if source.on is not None] + list(hop.keys or ())
        expressions += [source.item for source in hop.sources if source.is_lateral]
        if place == trace.weight.place:
            expressions += [leaf.weight for leaf in trace.weight.leaves]
        columns = {
            one.name.lower() for each in expressions for one in columns_in(each) if one.table.lower() == hop.driver
        }
    return columns_by_hop


def _has(hop: Hop, name: str) -> bool:
    return bool(hop.stars) or hop.renamed.get(name, name) in hop.projections


def _is_import(hop: Hop) -> bool:
    """Whether a hop only takes another relation over: `select * from x`."""
    return len(hop.sources) == 1 and not hop.projections and not hop.where and hop.keys is None


def _select(trace: Trace, hop: Hop, columns: set[str], ctes: dict[str, str]) -> str:
    is_alone = len(hop.sources) == 1
    is_distinct = hop.select.args.get("distinct") is not None
    own = {**hop.projections, **hop.renamed}
    wanted = set(own) if is_distinct else columns
    names = sorted(wanted & set(own), key=list(own).index)
    names = [name for name in names if name not in hop.renamed.values() or name in hop.projections]
    if hop.stars and hop.projections:
        names += sorted(columns - set(own))
    values = {name: hop.resolve(name) for name in names}
    lines = [f"    {_text(value, is_alone)}{_as(value, name)}" for name, value in values.items()]
    if hop.stars and not hop.projections:
        lines = ["    *"]
    sql = f"select{' distinct' if is_distinct else ''}\n" + ",\n".join(lines or ["    *"])
    for number, source in enumerate(hop.sources):
        item = _item(hop, source, ctes)
        on = f"\n    on {_text(source.on, False)}" if source.on is not None else ""
        sql += f"\n{source.join} {item}{on}" if number else f"\nfrom {item}"
    if hop.where:
        sql += "\nwhere " + "\n    and ".join(_condition(one, is_alone) for one in hop.where)
    if hop.keys and hop.select.args.get("group") is not None:
        sql += "\ngroup by " + ", ".join(_text(one, is_alone) for one in hop.keys)
    if hop.having is not None:
        sql += f"\nhaving {_text(hop.having, is_alone)}"
    if hop.qualify is not None:
        sql += f"\nqualify {_text(hop.qualify, is_alone)}"
    for one in (*values.values(), *hop.where, hop.having, hop.qualify, *(source.on for source in hop.sources)):
        if one is not None:
            _add_ctes(one, hop.scope, ctes)
    return sql


def _condition(test: Any, is_alone: bool) -> str:
    text = _text(test, is_alone)
    return f"({text})" if isinstance(test, exp.Or) else text


def _add_ctes(query: Any, scope: Scope, ctes: dict[str, str]) -> None:
    """Add the CTEs that a query reads, each after those that it reads itself."""
    for table in query.find_all(exp.Table):
        name = table.name.lower()
        if not table.db and name in scope.ctes and name not in ctes and not isinstance(table.this, exp.Func):
            own, inner = scope.ctes[name]
            ctes[name] = ""  # one that reads itself
            _add_ctes(own, inner, ctes)
            del ctes[name]
            ctes[name] = _pretty(own)


def _as(expression: Any, name: str) -> str:
    return "" if isinstance(expression, exp.Column) and expression.name.lower() == name else f" as {_name(name)}"


def _item(hop: Hop, source: Source, ctes: dict[str, str]) -> str:
    """What a SELECT reads, with imports by the name of what they import."""
    is_followed = source.alias == hop.driver
    if source.relation is None or ((source.problem or isinstance(source.item, exp.Subquery)) and not is_followed):
        _add_ctes(source.item, hop.scope, ctes)
        return str(source.item.sql(dialect="duckdb", normalize_functions="lower"))
    name = source.relation.name if source.relation.query is None else _name(source.relation.name)
    if source.relation.query is not None:
        inner = _imported(source.relation.query)
        if inner:
            name = inner
        elif not is_followed:
            _add_ctes(source.item, hop.scope, ctes)
    return name if name.rpartition(".")[2] == _name(source.alias) else f"{name} as {_name(source.alias)}"


def _imported(query: Any) -> str:
    """The table that a CTE imports by `select * from x`; empty when it does more."""
    from_ = query.args.get("from_")
    is_plain = isinstance(query, exp.Select) and len(query.expressions) == 1 and is_star(query.expressions[0])
    others = any(query.args.get(name) for name in ("joins", "where", "group", "having", "qualify", "distinct", "limit"))
    if not is_plain or others or from_ is None or not isinstance(from_.this, exp.Table):
        return ""
    return ".".join(part.name for part in from_.this.parts) if from_.this.db else ""


def _pretty(query: Any) -> str:
    return str(query.sql(dialect="duckdb", pretty=True, normalize_functions="lower"))


def _text(expression: Any, is_alone: bool) -> str:
    copy = expression.copy()
    if is_alone:
        for column in list(copy.find_all(exp.Column)):
            if not column.find_ancestor(exp.Query):
                column.set("table", None)
    return str(copy.sql(dialect="duckdb", normalize_functions="lower"))


def dated_seeds(trace: Trace, seeds: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the seeds that rows are joined to by dates, each with SELECT of their rows that the figure's rows found."""
    for place, hop in enumerate(trace.path):
        for source in hop.sources:
            if source.alias == hop.driver or source.relation is None or source.on is None:
                continue
            seed = _seed_of(source.relation, seeds)
            columns = trace.catalogue.columns_of(source.relation)
            dated = [one for one in columns if one in ("valid_from", "valid_to", "starts_on", "ends_on")]
            if seed and dated:
                common = [one for one in columns if one in trace.catalogue.columns.get(seed, ())]
                matches = trace.rows_of_source(place, source.alias, common)
                match = " and ".join(f"s.{identifier(one)} is not distinct from f.{identifier(one)}" for one in common)
                yield (
                    seed,
                    f"select distinct s.* from {seed} as s inner join (\n{matches}\n) as f on {match} order by all",
                )


def _seed_of(relation: Relation, seeds: Collection[str]) -> str:
    """The seed that a relation is made from alone; empty of any other."""
    names = {relation.name}
    if relation.query is not None:
        names = set(tables_in([(relation.query, relation.scope)]))
    return names.pop() if len(names) == 1 and names <= set(seeds) else ""
