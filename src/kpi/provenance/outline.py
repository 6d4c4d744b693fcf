"""How figures are computed, from the compiled SQL of models alone: no record is read, so each figure's page may say it.

`kpi.provenance.explain` says of one figure, service and year how many records and which; this says of every figure what
its parts are made of, what leaves records out, and which models lie between the deliveries and the figure. Whether all
figures of a project can be followed is a house rule of `kpi compile`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from kpi.cache import caching, key_of, remembered
from kpi.database import table_columns
from kpi.engine.compile import CACHE
from kpi.engine.graph import Graph, Node
from kpi.errors import CompileError
from kpi.files import checksum
from kpi.lazy import duckdb, exp
from kpi.provenance.explanation import Names
from kpi.provenance.figure_facts import LEFT_OUT, normal
from kpi.provenance.path import FIGURE_COLUMNS, Catalogue, Fixed, Hop, aggregates_in, fixed_below, paths
from kpi.provenance.query import Untraceable, conjuncts, plain_text
from kpi.provenance.steps import KEYS
from kpi.provenance.weight import DISTINCT, Weight, weigh
from kpi.sql import literal

Labels = Mapping[tuple[str, str], Names]
# Columns that say which row of a table of figures it is: a condition on them alone leaves no record out.
_OF_THE_ROW = frozenset((*KEYS, "is_comparison", "last_full_month", "family"))
_DELIVERED = {"_file", "_record"}


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition of a model: where it does not hold, records are left out. `labels` say which, by language."""

    model: str
    clause: str
    labels: Names


@dataclass(frozen=True, slots=True)
class PartOutline:
    """What the numerator, denominator or value of a figure is made of.

    `sources` are raw tables, or the ids of other figures where `is_of_figures`. `aggregate` puts `measure` together:
    sum, median, …; without a measure count of records, difference of two counts, or formula of several sums. Of each
    group of the columns `once` one counts. `is_entered`: a value stands as it was delivered.
    """

    column: str
    sources: tuple[str, ...]
    measure: str
    aggregate: str
    once: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    is_of_figures: bool = False
    is_entered: bool = False


@dataclass(frozen=True, slots=True)
class Outline:
    """How one figure is computed: its parts, and the tables from those of the deliveries up to the mart."""

    parts: tuple[PartOutline, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Figure:
    """A figure as it is followed: its latest derived row, and the tables of figures that have the row, or any of it."""

    key: Fixed
    columns: tuple[str, str]
    tables: tuple[str, ...]
    others: tuple[str, ...]


def outlines(
    con: duckdb.DuckDBPyConnection, models: Mapping[str, str], indicators: str, labels: Labels
) -> dict[str, Outline]:
    """Return the outline of each figure by its id; none of one that is no row's sum, or cannot be followed.

    A figure is followed as it is in its latest year, for the service with most records.

    Args:
        con: the build; of it only columns and the keys of figures are read.
        models: compiled SQL of the indicators and of all that they are made from, by `schema.name`.
        indicators: the table whose figures are asked for.
        labels: what the project calls the clauses of its models (`kpi.provenance.figure_facts`).
    """
    columns_of = {name: tuple(columns) for name, columns in table_columns(con).items()}
    if indicators not in models or not set(columns_of.get(indicators, ())) >= {*FIGURE_COLUMNS, "numerator"}:
        return {}
    figures = _figures(con, indicators, [name for name in models if set(columns_of.get(name, ())) >= FIGURE_COLUMNS])
    feeds = {name: name.partition(".")[2] for name, columns in columns_of.items() if set(columns) >= _DELIVERED}

    catalogue = Catalogue(models, feeds, columns_of)
    texts = {name: checksum(sql) for name, sql in models.items()}
    held_in = sorted((figure, one.others) for figure, one in figures.items())
    # What each follows from beside its own row and the SELECTs that are looked at for it.
    all_else = key_of(indicators, sorted(models), sorted(columns_of.items()), held_in, sorted(labels.items()))

    def make(figure: str) -> tuple[Outline | None, dict[str, str]]:
        catalogue.models_read.clear()
        outline = _outline(catalogue, indicators, figures, figure, labels)
        return outline, {name: texts[name] for name in sorted(catalogue.models_read)}

    def is_right(entry: tuple[Outline | None, dict[str, str]]) -> bool:
        return all(texts.get(name) == text for name, text in entry[1].items())

    by_figure = {
        figure: remembered(partial(make, figure), "outline", all_else, figure, row, is_right=is_right)[0]
        for figure, row in figures.items()
    }
    return {figure: one for figure, one in by_figure.items() if one is not None}


def _figures(con: duckdb.DuckDBPyConnection, indicators: str, tables: Sequence[str]) -> dict[str, _Figure]:
    """Return how each figure is followed, by its id."""
    each = [f"select {literal(name)} as name, figure_id, service, report_year from {name}"
            for name in tables if name != indicators]  # fmt: skip
    held = " union ".join(each) or "select '' as name, '' as figure_id, '' as service, 0 as report_year where false"
    rows = con.execute(
        f"""
        with held as ({held}),
        latest as (
            select i.*, exists (select 1 from held as h where h.figure_id = i.figure_id and h.service = i.service
                                and h.report_year = i.report_year) as is_derived
            from {indicators} as i
            qualify row_number() over (partition by i.figure_id order by is_derived desc, i.report_year desc,
                                       i.event_count desc nulls last, i.service, i.basis) = 1
        )
        select
            i.figure_id, i.service, i.report_year, i.numerator is null and i.value is not null,
            list(distinct h.name order by h.name) filter (
                where not i.is_derived or (h.service = i.service and h.report_year = i.report_year)
            ),
            list(distinct h.name order by h.name)
        from latest as i left join held as h on h.figure_id = i.figure_id
        group by all order by i.figure_id
        """
    ).fetchall()
    return {
        figure: _Figure(
            {"figure_id": figure, "service": service, "report_year": year},
            ("value" if is_value else "numerator", "denominator"),
            tuple(tables or ()),
            tuple(others or ()),
        )
        for figure, service, year, is_value, tables, others in rows
    }


def _outline(
    catalogue: Catalogue, indicators: str, figures: Mapping[str, _Figure], figure_id: str, labels: Labels
) -> Outline | None:
    figure = figures[figure_id]
    catalogue.has_row = lambda table: table in figure.tables or table == indicators or table not in catalogue.models
    parts, steps = [], list[str]()
    for column in figure.columns:
        try:
            weights = [(path, weigh(path, column)) for path in paths(catalogue, indicators, [column], figure.key)]
        except Untraceable:
            return None
        weighed = [(path, weight) for path, weight in weights if weight is not None and _is_there(path, figures)]
        if not weighed:
            continue
        parts.append(_part(indicators, column, weighed, labels))
        for path, _ in weighed:
            steps += [path[-1].driving_relation.name, *(hop.model for hop in reversed(path))]
    order = {name: place for place, name in enumerate(dict.fromkeys(steps)) if name != indicators}
    return Outline(tuple(parts), (*order, indicators)) if parts else None


def _is_there(path: Sequence[Hop], figures: Mapping[str, _Figure]) -> bool:
    """Whether a path that ends at a table of figures ends at one that has the figure it is of."""
    if not _ends_at_figures(path):
        return True
    other = figures.get(_other_figure(path))
    return other is not None and path[-1].driving_relation.name in other.others


def _ends_at_figures(path: Sequence[Hop]) -> bool:
    last = path[-1]
    return last.driving_relation.name not in last.catalogue.feeds and last.catalogue.has_figures(last.driving_relation)


def _other_figure(path: Sequence[Hop]) -> str:
    """Return the figure that a path ends at; empty where it ends at deliveries, or it is not known which."""
    values = fixed_below(path[-1], path[-1].driver, path[-1].fixed) if _ends_at_figures(path) else {}
    return str(values.get("figure_id") or "")


def _part(indicators: str, column: str, weighed: Sequence[tuple[Sequence[Hop], Weight]], labels: Labels) -> PartOutline:
    # Of several ways to a row that only its records tell apart, the one whose conditions say most; of several SELECTs
    # of a union that bring records of one table to one row, the conditions that all of them have.
    path, weight = max(weighed, key=lambda one: len(list(_filters(one[0], one[1], indicators, labels))))
    filters = list(_filters(path, weight, indicators, labels))
    for other, other_weight in weighed:
        is_of_one_table = path[-1].driving_relation.name == other[-1].driving_relation.name
        if is_of_one_table and _meet_in_a_group(path, other):
            clauses = {(one.model, one.clause) for one in _filters(other, other_weight, indicators, labels)}
            filters = [one for one in filters if (one.model, one.clause) in clauses]
    sources = tuple(dict.fromkeys(_other_figure(one) or one[-1].driving_relation.name for one, _ in weighed))
    is_of_figures = _ends_at_figures(path)
    measure, aggregate = _measure(weight)
    return PartOutline(
        column,
        sources,
        measure,
        aggregate,
        _once(path, weight),
        () if is_of_figures else tuple(filters),
        is_of_figures,
        is_entered=not is_of_figures and all(hop.keys is None for hop in path),
    )


def _meet_in_a_group(path: Sequence[Hop], other: Sequence[Hop]) -> bool:
    """Whether the records of two paths are of one group: only below it do the paths part."""
    for here, there in zip(path, other, strict=False):
        keys = [[plain_text(one) for one in hop.keys or ()] for hop in (here, there)]
        if here.select is not there.select or keys[0] != keys[1]:  # of grouping sets each is a group of its own
            return False
        if here.keys is not None:
            return path is not other
    return False


def _measure(weight: Weight) -> tuple[str, str]:
    """Return what is put together, and by what."""
    if weight.formula:
        return "", "formula"
    inner = weight.leaves[0].weight
    while True:
        if isinstance(inner, exp.Paren | exp.Cast | exp.Coalesce):
            inner = inner.this
        elif isinstance(inner, exp.Case) and inner.this is None and len(inner.args["ifs"]) == 1:
            inner = inner.args["ifs"][0].args["true"]
        else:
            break
    if weight.aggregate == "sum":
        if isinstance(inner, exp.Literal):
            return "", "count"
        if isinstance(inner, exp.Anonymous) and inner.this == DISTINCT:
            return plain_text(inner.expressions[0]), "count"
        if isinstance(inner, exp.Add | exp.Sub):
            is_rest = isinstance(inner.left, exp.Literal)  # one less what is counted: the records that are not
            return "", "count" if is_rest else "difference" if isinstance(inner, exp.Sub) else "formula"
    return plain_text(inner), weight.aggregate


def _once(path: Sequence[Hop], weight: Weight) -> tuple[str, ...]:
    """Return the columns of the groups that count once each, where it is not records that are counted."""
    if not weight.is_once:
        return ()
    below = next((hop for hop in path[weight.place + 1 :] if hop.keys is not None), None)
    return tuple(dict.fromkeys(plain_text(key) for key in below.keys or ())) if below else ()


def _filters(path: Sequence[Hop], weight: Weight, indicators: str, labels: Labels) -> Iterator[Filter]:
    """Yield the conditions that leave records out, from the deliveries up, each once."""
    clauses = set()
    for place, hop in reversed(list(enumerate(path))):
        tests = [
            *hop.where,
            *(one for test in (hop.having, hop.qualify) if test is not None for one in conjuncts(test)),
        ]
        if place == weight.place:
            others = [{plain_text(one) for one in leaf.conditions} for leaf in weight.leaves]
            tests += [one for one in weight.leaves[0].conditions if all(plain_text(one) in other for other in others)]
        for test in tests if hop.model != indicators else ():
            clause = plain_text(test)
            if clause not in clauses and (aggregates_in(test) or not _columns(test) <= _OF_THE_ROW):
                clauses.add(clause)
                yield Filter(hop.model, clause, labels.get((hop.model, clause.lower()), {}))


def _columns(test: Any) -> set[str]:
    return {column.name.lower() for column in test.find_all(exp.Column)}


PARTS = ("numerator", "denominator")


def unexplained(graph: Graph) -> list[CompileError]:
    """Return what `kpi explain` could not say of the project's figures, each at its model, with what to write instead.

    Empty for a project without a table of figures. What was found before is remembered by the models' SQL.
    """
    top = graph.project.report_tables.indicators
    models = {str(node.relation): node for node in graph.nodes.values() if node.kind == "model" and node.sql}
    errors = []
    with caching(graph.project.root / CACHE):
        if top in models and {*PARTS, "figure_id"} <= {name for name, _ in graph.columns[models[top].id]}:
            columns = {str(node.relation): [name for name, _ in graph.columns[node.id]] for node in models.values()}
            feeds = {f"raw.{feed.name}": feed.name for feed in graph.feeds}
            sql = {name: node.sql for name, node in models.items()}
            parents = [str(graph.nodes[parent].relation) for parent in models[top].depends_on]
            wrong = _wrong(Catalogue(sql, feeds, columns), top, [one for one in parents if one in models])
            for name, (message, word) in wrong:
                if name in models:
                    errors.append(CompileError(models[name].file, _line_of(models[name], word), message))
        return [*errors, *(error for node in models.values() for error in _wrong_labels(node))]


def _line_of(node: Node, word: str) -> int:
    """The line of a model's file where a word of SQL stands first; that of the model where it is not found."""
    found = re.search(rf"\b{word}\b", node.sql, re.IGNORECASE) if word else None
    return node.lines.at(found.start()) if found else node.line


def _wrong(catalogue: Catalogue, top: str, parents: Sequence[str]) -> list[tuple[str, tuple[str, str]]]:
    """The models on the paths of all figures that stand in the way, each once, with the reason and the word of SQL.

    Each table of figures that the top reads is followed by itself, and remembered as long as no SELECT that was looked
    at for it is another.
    """
    texts = {name: checksum(sql) for name, sql in catalogue.models.items()}
    tables = [one for one in parents if set(catalogue.columns.get(one, ())) >= FIGURE_COLUMNS]
    all_else = key_of(top, parents, sorted(texts), sorted(catalogue.columns.items()), sorted(catalogue.feeds.items()))

    def make(table: str) -> tuple[list[tuple[str, str, str]], dict[str, str]]:
        catalogue.has_row = lambda name: name == table or name not in tables
        catalogue.models_read.clear()
        wrong = list(_in_the_way(catalogue, top))
        return wrong, {name: texts[name] for name in sorted(catalogue.models_read)}

    def is_right(entry: tuple[list[tuple[str, str, str]], dict[str, str]]) -> bool:
        return all(texts.get(name) == text for name, text in entry[1].items())

    messages: dict[str, tuple[str, str]] = {}
    for table in tables or [top]:
        for model, message, word in remembered(partial(make, table), "explain", all_else, table, is_right=is_right)[0]:
            messages.setdefault(model, (message, word))
    return sorted(messages.items())


def _in_the_way(catalogue: Catalogue, top: str) -> Iterator[tuple[str, str, str]]:
    for part in PARTS:
        try:
            every = paths(catalogue, top, [part], {})
        except Untraceable as error:
            yield error.model, f"kpi explain cannot follow this model: {error.message}", error.word
            continue
        for path in every:
            try:
                weigh(path, part)
            except Untraceable as error:
                yield error.model, f"kpi explain cannot follow this model: {error.message}", error.word


def _wrong_labels(node: Node) -> list[CompileError]:
    """The names of clauses that are wrong: no condition, or of columns that the model does not have."""
    meta = dict(node.config).get("meta")
    labels = meta.get(LEFT_OUT) if isinstance(meta, dict) else None
    if labels is None:
        return []
    if not isinstance(labels, list) or not all(isinstance(one, dict) and "clause" in one for one in labels):
        message = f"meta.{LEFT_OUT} is a list of {{clause: …, fi: …, sv: …, en: …}}."
        return [CompileError(node.file, node.line, message)]
    errors = []
    for one in labels:
        try:
            words = set(re.findall(r"[a-z_][a-z0-9_]*", normal(str(one["clause"]))))
        except ValueError:
            errors.append(CompileError(node.file, node.line, f"meta.{LEFT_OUT}: '{one['clause']}' is no condition."))
            continue
        strange = sorted(word for word in words - _WORDS if word not in node.sql.lower())
        if strange:
            message = f"'{one['clause']}' names {json.dumps(strange[0])}, which the model does not."
            errors.append(CompileError(node.file, node.line, f"meta.{LEFT_OUT}: {message}"))
    return errors


_WORDS = frozenset(("not", "is", "null", "and", "or", "in", "true", "false", "coalesce", "case", "when", "then", "end"))
