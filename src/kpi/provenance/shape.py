"""Whether the figures of a project can be explained: the house rule of `kpi compile` for models of figures."""

from __future__ import annotations

import json
import re

from kpi.cache import caching, remembered
from kpi.engine.compile import CACHE
from kpi.engine.graph import Graph
from kpi.engine.node import Node
from kpi.errors import CompileError
from kpi.provenance.labels import LEFT_OUT, normal
from kpi.provenance.path import Catalogue, Untraceable, paths
from kpi.provenance.weight import weigh

PARTS = ("numerator", "denominator")


def unexplained(graph: Graph) -> list[CompileError]:
    """Return what `kpi explain` could not say of the project's figures, each at its model, with what to write instead.

    Empty for a project without a table of figures. What was found before is remembered by the models' SQL.
    """
    top = graph.project.report_tables.indicators
    models = {str(node.relation): node for node in graph.nodes.values() if node.kind == "model" and node.sql}
    found = []
    if top in models and {*PARTS, "figure_id"} <= {name for name, _ in graph.columns[models[top].id]}:
        known = {str(node.relation): [name for name, _ in graph.columns[node.id]] for node in models.values()}
        feeds = {f"raw.{feed.name}": feed.name for feed in graph.feeds}
        sql = {name: node.sql for name, node in models.items()}
        catalogue = Catalogue(sql, feeds, known)
        with caching(graph.project.root / CACHE):
            wrong = remembered(lambda: _wrong(catalogue, top), "explain", sorted(sql.items()), sorted(known.items()))
        found += [
            CompileError(models[name].file, models[name].line, message) for name, message in wrong if name in models
        ]
    return [*found, *(error for node in models.values() for error in _labels(node))]


def _wrong(catalogue: Catalogue, top: str) -> list[tuple[str, str]]:
    """The models on the paths of all figures that stand in the way, each once, with the reason."""
    found: dict[str, str] = {}
    for part in PARTS:
        try:
            every = paths(catalogue, top, [part], {})
        except Untraceable as error:
            found.setdefault(error.model, f"kpi explain cannot follow this model: {error.message}")
            continue
        for path in every:
            try:
                weigh(path, part)
            except Untraceable as error:
                found.setdefault(error.model, f"kpi explain cannot follow this model: {error.message}")
    return sorted(found.items())


def _labels(node: Node) -> list[CompileError]:
    """The names of clauses that are wrong: no condition, or of columns that the model does not have."""
    meta = dict(node.config).get("meta")
    labels = meta.get(LEFT_OUT) if isinstance(meta, dict) else None
    if labels is None:
        return []
    if not isinstance(labels, list) or not all(isinstance(one, dict) and "clause" in one for one in labels):
        message = f"meta.{LEFT_OUT} is a list of {{clause: …, fi: …, sv: …, en: …}}."
        return [CompileError(node.file, node.line, message)]
    found = []
    for one in labels:
        try:
            words = set(re.findall(r"[a-z_][a-z0-9_]*", normal(str(one["clause"]))))
        except ValueError:
            found.append(CompileError(node.file, node.line, f"meta.{LEFT_OUT}: '{one['clause']}' is no condition."))
            continue
        strange = sorted(word for word in words - _WORDS if word not in node.sql.lower())
        if strange:
            message = f"'{one['clause']}' names {json.dumps(strange[0])}, which the model does not."
            found.append(CompileError(node.file, node.line, f"meta.{LEFT_OUT}: {message}"))
    return found


_WORDS = frozenset(("not", "is", "null", "and", "or", "in", "true", "false", "coalesce", "case", "when", "then", "end"))
