"""What the pages of data and models show: the catalogue, columns with their tests, lineage and compiled SQL."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kpi.site import charts
from kpi.site.content import Row
from kpi.site.figure_pages import file_name
from kpi.site.language import Language

if TYPE_CHECKING:
    from kpi.engine.graph import Graph
    from kpi.engine.node import Node

_LINEAGE = 5  # tables drawn above a model; below it one less


@dataclass(frozen=True, slots=True)
class Models:
    """The tables of a project by name, each with what it reads, what reads it and its tests."""

    nodes: Mapping[str, Node] = field(default_factory=dict)
    reads: Mapping[str, Sequence[str]] = field(default_factory=dict)
    read_by: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tests: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)

    def outline(self) -> str:
        """Return all that pages other than a table's own show of the tables."""
        return repr([(name, node.kind, node.description, self.reads[name]) for name, node in self.nodes.items()])

    def checksums(self) -> dict[str, str]:
        """Return a hash of what the page of each table shows, by name."""
        return {name: hashlib.blake2b(self._shown(name).encode(), digest_size=8).hexdigest() for name in self.nodes}

    def _shown(self, name: str) -> str:
        node = self.nodes[name]
        columns = [(column.name, column.data_type, column.description) for column in node.columns]
        tests = [(column, found) for (table, column), found in self.tests.items() if table == name]
        around = (self.reads[name], self.read_by[name], self.rows.get(name))
        text = (node.kind, node.materialized, str(node.file), node.description, node.column_types, node.sql)
        return repr((text, columns, tests, around))


def models_of(graph: Graph, rows: Mapping[str, int]) -> Models:
    """Return the seeds, models, snapshots and sources of a project."""
    kinds = ("seed", "model", "snapshot", "source")
    nodes = {str(node.relation): node for node in graph.nodes.values() if node.kind in kinds}
    names = {node.id: name for name, node in nodes.items()}
    reads = {
        name: sorted(names[parent] for parent in node.depends_on if parent in names) for name, node in nodes.items()
    }
    read_by: dict[str, list[str]] = {name: [] for name in nodes}
    for name, parents in reads.items():
        for parent in parents:
            read_by[parent].append(name)
    tests: dict[tuple[str, str], list[str]] = {}
    for test in graph.tests():
        if test.test and len(test.depends_on) >= 1 and (table := names.get(test.depends_on[0])):
            column = str(getattr(test.test, "column", "") or "")
            tests.setdefault((table, column), []).append(test.test.kind.rpartition(".")[2])
    return Models(nodes, reads, {name: sorted(found) for name, found in read_by.items()}, tests, rows)


def page_of_model(name: str) -> str:
    """Return the name of the page of a table."""
    return f"model-{file_name(name)}.html"


def groups(models: Models) -> list[tuple[str, list[Row]]]:
    """Return the tables by schema, those that are read by people first."""
    order = {"marts": 0, "expectations": 1, "intermediate": 2, "staging": 3, "seeds": 4, "raw": 5}
    found: dict[str, list[Row]] = {}
    for name, node in models.nodes.items():
        entry = {"name": name, "href": page_of_model(name), "text": first_sentence(node.description)}
        found.setdefault(name.partition(".")[0], []).append(entry)
    return [
        (schema, sorted(found[schema], key=lambda row: str(row["name"])))
        for schema in sorted(found, key=lambda schema: (order.get(schema, 9), schema))
    ]


def first_sentence(text: str) -> str:
    """Return the first sentence of a description."""
    head, dot, _ = " ".join(text.split()).partition(". ")
    return head + ("." if dot else "")


def model_page(models: Models, name: str, language: Language) -> Row:
    """Return what the page of one table shows."""
    node = models.nodes[name]
    above, below = models.reads[name], models.read_by[name]
    steps = [
        *((parent, "") for parent in above[:_LINEAGE]),
        (name, "self"),
        *((one, "") for one in below[: _LINEAGE - 1]),
    ]
    rows = models.rows.get(name)
    kinds = dict(node.column_types)
    return {
        "text": " ".join(node.description.split()),
        "materialized": node.materialized or node.kind,
        "file": str(node.file),
        "rows": language.number(rows) if rows is not None else "",
        "columns": [
            (column.name, kinds.get(column.name) or getattr(column, "data_type", "") or "",
             " ".join(column.description.split()), models.tests.get((name, column.name), []))
            for column in node.columns
        ],
        "svg": charts.path_of(steps),
        "related": [
            (language.say("reads"), [(parent, page_of_model(parent)) for parent in above]),
            (language.say("read_by"), [(one, page_of_model(one)) for one in below]),
        ],
        "sql": node.sql.strip() if node.kind in ("model", "snapshot") else "",
    }  # fmt: skip


def way_to(models: Models, table: str, family: str) -> list[tuple[str, str, str]]:
    """Return the tables between the deliveries and a table of figures, by way of the model of a family.

    Each with its page and what it is. The model of a family has the family in its name (`int_<family>_figures`,
    `ind_<family>`); a figure that no such model makes has no way.
    """
    start = next((name for name in models.reads.get(table, ()) if family and _is_of(name, family)), "")
    if not start:
        return []
    found: dict[str, None] = {table: None, start: None}
    front = [start]
    while front:
        parents = [parent for name in front for parent in models.reads.get(name, ())
                   if parent not in found and not parent.startswith("seeds.")]  # fmt: skip
        front = list(dict.fromkeys(parents))
        found.update(dict.fromkeys(front))
    return [(name, page_of_model(name), first_sentence(models.nodes[name].description)) for name in reversed(found)]


def _is_of(name: str, family: str) -> bool:
    return name.partition(".")[2] in (f"int_{family}_figures", f"ind_{family}")
