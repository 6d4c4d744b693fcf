"""What each column of the warehouse is made from, down to the raw columns, and what is made from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kpi.base.compile_cache import remembered
from kpi.base.errors import ConfigError, nearest
from kpi.compile.binding import Columns, tables_of
from kpi.compile.graph import Graph
from kpi.compile.origins import COMPUTED, COPIED, USED, Origins, Place, origins
from kpi.models.model import Node

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
    return remembered(lambda: origins(node.sql, parents), "origins", node.sql, sorted(parents.items()))


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
