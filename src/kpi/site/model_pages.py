"""What pages show of models: the catalogue, columns with tests, lineage, compiled SQL, and how a figure is computed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isclose
from typing import TYPE_CHECKING

from markupsafe import Markup

from kpi import database
from kpi.cache import caching
from kpi.engine.compile import CACHE
from kpi.lazy import duckdb
from kpi.provenance.explanation import SUPERSEDED
from kpi.provenance.figure_facts import labels_of
from kpi.provenance.outline import Filter, Outline, PartOutline, outlines
from kpi.site import charts
from kpi.site.content import Content, Row, Value
from kpi.site.figure_pages import Writer, file_name, page_of
from kpi.site.sentences import Language

if TYPE_CHECKING:
    from kpi.engine.graph import Graph, Node

_COLUMN = Markup(
    '<tr><th scope="row"><code>{}</code></th><td><code>{}</code></td><td lang="en">{}</td><td>{}</td></tr>'
)
_LINEAGE = 5  # tables drawn above a model; below it one less


@dataclass(frozen=True, slots=True)
class Models:
    """The tables of a project by name, each with what it reads, what reads it and its tests."""

    nodes: Mapping[str, Node] = field(default_factory=dict)
    reads: Mapping[str, Sequence[str]] = field(default_factory=dict)
    read_by: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tests: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    outlines: Mapping[str, Outline] = field(default_factory=dict)
    _columns: dict[str, Markup] = field(default_factory=dict, compare=False, repr=False)  # the same in each language
    _checksums: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def columns(self, name: str) -> Markup:
        """Return the rows of the table of columns of a table: name, type, description and tests of each."""
        if name not in self._columns:
            node = self.nodes[name]
            kinds = dict(node.column_types)
            rows = [
                _COLUMN.format(
                    column.name,
                    kinds.get(column.name) or column.data_type or "",
                    " ".join(column.description.split()),
                    Markup(", ").join(map(_code, self.tests.get((name, column.name), ()))),
                )
                for column in node.columns
            ]
            self._columns[name] = Markup("\n").join(rows)
        return self._columns[name]

    def outline(self) -> str:
        """Return all that pages other than a table's own show of the tables."""
        shown = [(name, node.kind, node.description, self.reads[name]) for name, node in self.nodes.items()]
        return repr((shown, sorted(self.outlines.items())))

    def checksums(self) -> dict[str, str]:
        """Return a hash of what the page of each table shows, by name."""
        if not self._checksums:
            tests: dict[str, list[object]] = {}
            for (table, column), found in self.tests.items():
                tests.setdefault(table, []).append((column, found))
            for name in self.nodes:
                shown = self._shown(name, tests.get(name, [])).encode()
                self._checksums[name] = hashlib.blake2b(shown, digest_size=8).hexdigest()
        return self._checksums

    def _shown(self, name: str, tests: list[object]) -> str:
        node = self.nodes[name]
        columns = [(column.name, column.data_type, column.description) for column in node.columns]
        around = (self.reads[name], self.read_by[name], self.rows.get(name))
        text = (node.kind, node.materialized, str(node.file), node.description, node.column_types, node.sql)
        return repr((text, columns, tests, around))


def models_of(graph: Graph, con: duckdb.DuckDBPyConnection, rows: Mapping[str, int] | None = None) -> Models:
    """Return the seeds, models, snapshots and sources of a project, and how its figures are computed in a build.

    `rows` are the numbers of rows of its tables, counted here where nobody knows them.
    """
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
    children = {name: sorted(found) for name, found in read_by.items()}
    models = Models(nodes, reads, children, tests, database.row_counts(con) if rows is None else rows)
    with caching(graph.project.root / CACHE):
        return replace(models, outlines=_outlines(models, graph.project.report_tables.indicators, con))


def _outlines(models: Models, indicators: str, con: duckdb.DuckDBPyConnection) -> dict[str, Outline]:
    """Return how each figure is computed; remembered as long as no SQL, label or set of figures is another."""
    made_from, front = {indicators}, [indicators]
    while front:
        front = [one for name in front for one in models.reads.get(name, ()) if one not in made_from]
        made_from.update(front)
    nodes = {name: node for name, node in models.nodes.items() if name in made_from and node.kind == "model"}
    labels = labels_of({name: dict(node.config).get("meta") for name, node in nodes.items()})
    return outlines(con, {name: node.sql for name, node in nodes.items()}, indicators, labels)


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
    return {
        "text": " ".join(node.description.split()),
        "materialized": node.materialized or node.kind,
        "file": str(node.file),
        "rows": language.number(rows) if rows is not None else "",
        "columns": models.columns(name),
        "svg": charts.path_of(steps),
        "related": [
            (language.say("reads"), [(parent, page_of_model(parent)) for parent in above]),
            (language.say("read_by"), [(one, page_of_model(one)) for one in below]),
        ],
        "sql": node.sql.strip() if node.kind in ("model", "snapshot") else "",
    }  # fmt: skip


def computed(models: Models, writer: Writer, figure_id: str, latest: Value | None) -> Row:
    """Return how a figure is computed: in a sentence, its parts with what is left out of each, and its tables.

    Empty where nothing is known of it, as on a public site.
    """
    outline = models.outlines.get(figure_id)
    if outline is None:
        return {}
    language, content = writer.language, writer.content

    def box(table: str) -> str:
        schema, _, name = table.partition(".")
        return content.name("feed", name, language.code) if schema == "raw" else table

    return {
        "text": language.say(_formula_of(content, figure_id, latest)),
        "parts": [_part(writer, part) for part in outline.parts
                  if latest is None or part.column == "value" or getattr(latest, part.column) is not None],
        "svg": charts.path_of([(box(table), "") for table in outline.steps]),
        "steps": [(table, page_of_model(table) if table in models.nodes else "") for table in outline.steps],
    }  # fmt: skip


def _formula_of(content: Content, figure_id: str, latest: Value | None) -> str:
    """Return the label of how a value follows from its parts, as its numbers tell."""
    value, numerator = content.exact.get(latest.key) if latest else None, latest.numerator if latest else None
    if value is None or latest is None or numerator is None:
        return "is_other"
    if value == numerator:
        return "is_numerator"
    quotient = numerator / latest.denominator if latest.denominator else 0.0
    near = {"is_percent": 100 * quotient, "is_quotient": quotient}
    return next((label for label, one in near.items() if isclose(value, one, rel_tol=1e-9)), "is_other")


def _part(writer: Writer, part: PartOutline) -> Row:
    """Return a part of a figure in words: what it is made of, of which deliveries or figures, and what is left out."""
    language, content = writer.language, writer.content
    known = part.aggregate if f"part_{part.aggregate}" in language.labels else "else"
    kind = "entered" if part.is_entered else "figures" if part.is_of_figures else known
    text = language.around(f"part_{kind}", measure=_code(part.measure), aggregate=part.aggregate)
    if part.is_of_figures:
        sources = [(content.figure_name(figure, language.code), page_of(figure)) for figure in part.sources]
    else:
        sources = [(content.name("feed", table.partition(".")[2], language.code), "") for table in part.sources]
    return {
        "name": language.say("value" if part.column == "value" else part.column),
        "text": text,
        "sources": sources,
        "once": language.around("part_once", columns=Markup(", ").join(map(_code, part.once))) if part.once else "",
        "left_out": [_left_out(language, one) for one in part.filters],
    }


def _left_out(language: Language, condition: Filter) -> Markup | str:
    """Return what a condition leaves out: in the project's words, else in those of kpi over its SQL."""
    if condition.labels:
        return condition.labels.get(language.code) or next(iter(condition.labels.values()))
    if condition.clause.lower() == SUPERSEDED:
        return language.say("superseded")
    column = condition.clause.removesuffix(" IS NOT NULL")
    if column != condition.clause:
        return language.around("is_missing", column=_code(column))
    return language.around("not_so", clause=_code(condition.clause))


def _code(text: str) -> Markup:
    return Markup("<code>{}</code>").format(text)
