"""Column lineage: what each column of the warehouse is made from, down to the raw columns, and what is made from it.

It follows CTEs, joins, unions, subqueries (correlated ones too), windows, unnesting and `select *`. What it cannot tell
apart (a pivot, columns()) counts as computed from everything there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kpi.cache import remembered
from kpi.engine.binder import tables_of
from kpi.engine.graph import Graph, Node
from kpi.errors import ConfigError, nearest
from kpi.lazy import exp
from kpi.sql import Columns

COPIED, COMPUTED, USED = "copied", "computed", "used"

Place = tuple[str, str]
"""A column of a table: the table's `schema.name`, and the column."""
Sources = dict[Place, str]
"""The columns something comes from, each with how: copied or computed."""
Table = dict[str, Sources]
"""The columns of something to select from, by lower-case name in their order; `*` stands for any other."""


@dataclass(frozen=True, slots=True)
class Origins:
    """The sources of each column of a SELECT in their order, and the columns that filter, join, group or order it.

    `mentioned` are all columns of tables that the SELECT names anywhere.
    """

    columns: tuple[Sources, ...]
    used: tuple[Place, ...]
    mentioned: tuple[Place, ...]


def origins(sql: str, tables: Mapping[str, Sequence[str]]) -> Origins:
    """Return where the columns of a SELECT come from; `tables` are the columns of each table by its `schema.name`."""
    import sqlglot

    walk = _Walk({name: {c.lower(): {(name, c): COPIED} for c in columns} for name, columns in tables.items()})
    found = walk.query(sqlglot.parse_one(sql, dialect="duckdb"), _Scope())
    return Origins(tuple(sources for _, sources in found), tuple(sorted(walk.used)), tuple(sorted(walk.mentioned)))


@dataclass(frozen=True, slots=True)
class _Scope:
    """What names mean in one place: CTEs, the tables of the query by alias, and the query around it."""

    ctes: dict[str, Table] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    outer: _Scope | None = None
    aliases: Table = field(default_factory=dict)


_Columns = list[tuple[str, Sources]]


class _Walk:
    def __init__(self, tables: Mapping[str, Table]) -> None:
        self.tables = tables
        self.used: set[Place] = set()
        self.mentioned: set[Place] = set()

    def query(self, node: Any, scope: _Scope) -> _Columns:
        """The columns of a query; what is around it is `scope`."""
        scope = _Scope(self._ctes(node, scope), {}, scope)
        match node:
            case exp.Subquery():
                return self.query(node.this, scope)
            case exp.SetOperation():
                return self._union(node, scope)
            case exp.Select():
                return self._select(node, scope)
            case exp.Values():
                rows = [[self._sources(v, scope) for v in row.expressions] for row in node.expressions]
                return [(f"col{place}", _computed(*cells)) for place, cells in enumerate(zip(*rows, strict=False))]
            case exp.Table():
                return list(self._table(node, scope)[1].items())
            case _:
                return [("*", self._sources(node, scope))]

    def _ctes(self, node: Any, scope: _Scope) -> dict[str, Table]:
        ctes, with_ = dict(scope.ctes), node.args.get("with_")
        for cte in with_.expressions if with_ else ():
            inner = _Scope(ctes, {}, scope.outer)
            if with_.args.get("recursive") and hasattr(cte.this, "left"):
                # What a recursion starts with has all its columns; the second round adds what it then computes.
                start = _renamed(self.query(cte.this.left, inner), cte)
                inner = _Scope({**ctes, cte.alias.lower(): start}, {}, scope.outer)
            ctes = {**ctes, cte.alias.lower(): _renamed(self.query(cte.this, inner), cte)}
        return ctes

    def _union(self, node: Any, scope: _Scope) -> _Columns:
        left, right = self.query(node.left, scope), self.query(node.right, scope)
        own = _Scope(scope.ctes, {"": dict(left)}, scope.outer)
        self._use(node.args.get("order"), own)
        if not isinstance(node, exp.Union):
            self._use_all(left + right)
            return left
        if node.args.get("distinct"):
            self._use_all(left + right)
        if node.args.get("by_name"):
            names = dict.fromkeys([name for name, _ in left + right])
            return [(name, _either(dict(left).get(name), dict(right).get(name))) for name in names]
        pairs = zip(left, right, strict=False)
        return [(name, _either(one, other)) for (name, one), (_, other) in pairs]

    def _select(self, select: Any, outer: _Scope) -> _Columns:
        scope = _Scope(outer.ctes, {}, outer.outer)
        merged: dict[str, Sources] = {}
        from_ = select.args.get("from_")
        items = [from_.this] if from_ is not None else []
        for item in (*items, *(select.args.get("laterals") or ())):
            self._add(item, scope)
        for join in select.args.get("joins") or ():
            before = _all(scope.tables)
            self._add(join.this, scope)
            self._use(join.args.get("on"), scope)
            for name in (column.name.lower() for column in join.args.get("using") or ()):
                both = [table[name] for table in scope.tables.values() if name in table]
                self._note(both)
                self.used |= {place for sources in both for place in sources}
                merged[name] = before.get(name, both[0] if both else {})
        for item in (*items, *(join.this for join in select.args.get("joins") or ())):
            for join in item.args.get("joins") or ():  # joins in brackets
                self._add(join.this, scope)
                self._use(join.args.get("on"), scope)
        columns: _Columns = []
        for projection in select.expressions:
            columns += self._projected(projection, scope, merged)
            scope.aliases.update({name: sources for name, sources in columns if name not in scope.aliases})
        for part in ("where", "group", "having", "qualify", "order", "sample"):
            self._use(select.args.get(part), scope)
        for window in select.args.get("windows") or ():
            self._use(window, scope)
        distinct = select.args.get("distinct")
        if distinct is not None:
            # Which rows remain follows from every column, or from those of `distinct on`.
            self._use(distinct.args.get("on"), scope)
            self._use_all(columns if distinct.args.get("on") is None else [])
        return columns

    def _add(self, item: Any, scope: _Scope) -> None:
        alias, table = self._table(item, scope)
        scope.tables[alias] = table

    def _table(self, item: Any, scope: _Scope) -> tuple[str, Table]:
        """The name that an item of `from` goes by, and its columns."""
        alias = item.alias_or_name.lower()
        if isinstance(item, exp.Table) and not isinstance(item.this, exp.Func):
            named = ".".join(part.name for part in item.parts)
            found = self.tables.get(named) if len(item.parts) > 1 else scope.ctes.get(named.lower())
            columns = list((found if found is not None else self.tables.get(named, {})).items())
        elif isinstance(item, exp.Subquery):
            columns = self.query(item, scope)
        elif isinstance(item, exp.Lateral) and isinstance(item.this, exp.Subquery):
            columns = self.query(item.this, _Scope(scope.ctes, {}, scope))
        elif isinstance(item, exp.Values):
            columns = self.query(item, scope)
        else:
            # A table function: all it yields follows from its arguments.
            return alias, {"*": _computed(self._sources(item, scope))}
        if item.args.get("pivots"):
            everything = _computed(*(sources for _, sources in columns))
            self._note([everything])
            return alias, {**{name: everything for name, _ in columns}, "*": everything}
        return alias, _renamed(columns, item)

    def _projected(self, projection: Any, scope: _Scope, merged: Mapping[str, Sources]) -> _Columns:
        star = projection.this if isinstance(projection, exp.Column) else projection
        if isinstance(star, exp.Star):
            table = projection.table.lower() if isinstance(projection, exp.Column) else ""
            return self._star(star, {table: scope.tables.get(table, {})} if table else scope.tables, scope, merged)
        if isinstance(projection, exp.Columns) or projection.find(exp.Columns):
            everything = _all(scope.tables)
            self._note(list(everything.values()))
            return [(name, _computed(sources)) for name, sources in everything.items()]
        return [(projection.output_name.lower(), self._sources(projection, scope))]

    def _star(self, star: Any, tables: Mapping[str, Table], scope: _Scope, merged: Mapping[str, Sources]) -> _Columns:
        left_out = {one.name.lower() for one in star.args.get("except_") or ()}
        replaced = {one.alias.lower(): self._sources(one.this, scope) for one in star.args.get("replace") or ()}
        columns: _Columns = []
        for table in tables.values():
            for name, sources in table.items():
                if name not in left_out and not (name in merged and name in dict(columns)):
                    columns.append((name, replaced.get(name, merged.get(name, sources))))
        return columns

    def _sources(self, value: Any, scope: _Scope) -> Sources:
        """Where the value of an expression comes from; a bare column is a copy."""
        bare = value.unalias().unnest() if isinstance(value, exp.Alias | exp.Paren) else value
        if isinstance(bare, exp.Column) and not isinstance(bare.this, exp.Star):
            return self._column(bare, scope)
        return _computed(*self._inside(bare, scope))

    def _inside(self, value: Any, scope: _Scope) -> Iterator[Sources]:
        stack = [value]
        while stack:
            node = stack.pop()
            if isinstance(node, exp.Query) and not isinstance(node, exp.Subquery):
                yield from (sources for _, sources in self.query(node, scope))
            elif isinstance(node, exp.Column):
                yield self._column(node, scope)
            elif isinstance(node, exp.Table):
                everything = list(self._table(node, scope)[1].values())
                self._note(everything)
                yield from everything
            else:
                for part in node.args.values():
                    stack += [one for one in (part if isinstance(part, list) else [part]) if isinstance(one, exp.Expr)]

    def _column(self, column: Any, scope: _Scope) -> Sources:
        """What a name means: a column of the tables here, else another column of this select, else one further out."""
        name, table = column.name.lower(), column.table.lower()
        place: _Scope | None = scope
        while place is not None:
            tables = [place.tables[table]] if table in place.tables else place.tables.values() if not table else []
            found = next((each[name] for each in tables if name in each), None)
            if found is None and not table:
                found = place.aliases.get(name)
            if found is None:
                found = next((each["*"] for each in tables if "*" in each), None)
            if found is None and not table:
                # A table's own name stands for its whole row.
                found = _computed(*place.tables[name].values()) if name in place.tables else None
            if found is not None:
                self._note([found])
                return found
            place = place.outer
        return {}

    def _use(self, part: Any, scope: _Scope) -> None:
        if part is not None:
            for one in part if isinstance(part, list) else [part]:
                self.used |= {place for sources in self._inside(one, scope) for place in sources}

    def _use_all(self, columns: _Columns) -> None:
        self.used |= {place for _, sources in columns for place in sources}

    def _note(self, found: list[Sources]) -> None:
        self.mentioned |= {place for sources in found for place in sources}


def _renamed(columns: _Columns, item: Any) -> Table:
    """The columns under the names that an alias gives them, `as t (a, b)`."""
    names = [name.lower() for name in item.alias_column_names]
    return {(names[i] if i < len(names) else name): sources for i, (name, sources) in enumerate(columns)}


def _all(tables: Mapping[str, Table]) -> Table:
    found: Table = {}
    for table in tables.values():
        for name, sources in table.items():
            found.setdefault(name, sources)
    return found


def _computed(*all_sources: Sources) -> Sources:
    return {place: COMPUTED for sources in all_sources for place in sources}


def _either(one: Sources | None, other: Sources | None) -> Sources:
    """Of a union: a copy stays one, whichever side it comes from."""
    both = {**(one or {}), **(other or {})}
    return {
        place: COMPUTED if COMPUTED in ((one or {}).get(place), (other or {}).get(place)) else COPIED for place in both
    }


_RANK = {COPIED: 0, COMPUTED: 1, USED: 2}


@dataclass(frozen=True, slots=True)
class Edge:
    """One column made from another: `how` is copied, computed, or used (to filter, join, group or order the rows)."""

    column: Place
    source: Place
    how: str


def node_origins(graph: Graph, columns: Mapping[str, Columns], node: Node) -> Origins:
    """Return where the columns of one model come from."""
    parents = {str(graph.nodes[p].relation): [name for name, _ in columns[p]] for p in tables_of(graph.nodes, node)}
    found = remembered(lambda: origins(node.sql, parents), "origins", node.sql, sorted(parents.items()))
    if len(found.columns) == len(columns[node.id]):
        return found
    # What a pivot or a summary yields is not distinguished: it all comes from everything there.
    everything = _computed(*found.columns, dict.fromkeys(found.mentioned, COMPUTED))
    return replace(found, columns=(everything,) * len(columns[node.id]))


def edges(graph: Graph, columns: Mapping[str, Columns], nodes: Sequence[Node], also_used: bool) -> list[Edge]:
    """Return the edges into the columns of the given models; those that are only used when `also_used`."""
    found = []
    for node in nodes:
        origin, place = node_origins(graph, columns, node), str(node.relation)
        for (name, _), sources in zip(columns[node.id], origin.columns, strict=True):
            found += [Edge((place, name), source, how) for source, how in sources.items()]
            if also_used:
                found += [Edge((place, name), source, USED) for source in origin.used if source not in sources]
    return found


def lineage(
    graph: Graph, columns: Mapping[str, Columns], wanted: str, *, downstream: bool = False, also_used: bool = False
) -> tuple[list[Place], list[Edge]]:
    """Return the columns that `wanted` names (a table, or one of its columns) and all edges that lead to or from them.

    Raises ConfigError, with the nearest name, for what is not there.
    """
    starts = _wanted(graph, columns, wanted)
    models = [node for node in graph.nodes.values() if node.kind == "model" and node.id in columns]
    among = models if downstream else _ancestors(graph, starts[0][0])
    by_end: dict[Place, list[Edge]] = {}
    for edge in edges(graph, columns, among, also_used):
        by_end.setdefault(edge.source if downstream else edge.column, []).append(edge)
    reached: dict[Edge, None] = {}
    front, seen = list(starts), set(starts)
    while front:
        for edge in by_end.get(front.pop(), ()):
            reached[edge] = None
            other = edge.column if downstream else edge.source
            if other not in seen:
                seen.add(other)
                front.append(other)
    return starts, sorted(reached, key=lambda edge: (edge.column, _RANK[edge.how], edge.source))


def as_text(starts: Sequence[Place], found: Sequence[Edge], downstream: bool) -> Iterator[str]:
    """Yield the tree as lines; a column that was shown before is not opened again."""
    below: dict[Place, list[Edge]] = {}
    for edge in found:
        below.setdefault(edge.source if downstream else edge.column, []).append(edge)
    shown: set[Place] = set()

    def branches(place: Place, indent: str) -> Iterator[str]:
        shown.add(place)
        for edge in below.get(place, ()):
            other = edge.column if downstream else edge.source
            again = other in shown and other in below
            yield f"{indent}{edge.how:<9}{'.'.join(other)}{' (see above)' if again else ''}"
            if not again:
                yield from branches(other, indent + "  ")

    for start in starts:
        yield ".".join(start) + ("" if start in below else "  from no column" * (not downstream))
        yield from branches(start, "  ")


def as_json(starts: Sequence[Place], found: Sequence[Edge]) -> str:
    """Return the columns asked for and the edges as JSON."""
    listed = [{"column": ".".join(e.column), "source": ".".join(e.source), "how": e.how} for e in found]
    return json.dumps({"columns": [".".join(start) for start in starts], "edges": listed}, indent=2)


def as_mermaid(starts: Sequence[Place], found: Sequence[Edge]) -> Iterator[str]:
    """Yield a Mermaid flowchart, sources on the left: whole arrows for copies and computations, dotted ones for use."""
    places = dict.fromkeys([*starts, *(place for edge in found for place in (edge.column, edge.source))])
    ids = {place: f"c{number}" for number, place in enumerate(places)}
    yield "flowchart LR"
    for place, name in ids.items():
        yield f'    {name}["{".".join(place)}"]'
    for edge in found:
        arrow = {COPIED: "-->", COMPUTED: "==>", USED: "-.->"}[edge.how]
        yield f"    {ids[edge.source]} {arrow} {ids[edge.column]}"


def _wanted(graph: Graph, columns: Mapping[str, Columns], wanted: str) -> list[Place]:
    tables: dict[str, Node] = {}
    for node in graph.nodes.values():
        if node.id in columns:
            tables.update({str(node.relation): node, node.name: node})
    table, name = (wanted, "") if wanted in tables else (wanted.rpartition(".")[0], wanted.rpartition(".")[2])
    if table not in tables:
        raise ConfigError(f"there is no table '{table or name}'.{nearest(table or name, tables)}")
    node = tables[table]
    names = [column for column, _ in columns[node.id]]
    if name and name not in names:
        raise ConfigError(f"'{table}' has no column '{name}'.{nearest(name, names)}")
    return [(str(node.relation), one) for one in ([name] if name else names)]


def _ancestors(graph: Graph, relation: str) -> list[Node]:
    """The models that a table is made from, itself among them."""
    front = [node for node in graph.nodes.values() if str(node.relation) == relation]
    found: dict[str, Node] = {}
    while front:
        node = front.pop()
        if node.kind == "model" and node.id not in found:
            found[node.id] = node
            front += [graph.nodes[parent] for parent in node.depends_on]
    return list(found.values())
