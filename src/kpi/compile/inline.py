"""A SELECT that somebody types, with ref() and source() as in models, compiled against a project and not kept."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from kpi.compile.binding import Binder
from kpi.compile.graph import Graph
from kpi.models.ephemeral import with_ctes
from kpi.models.model import Node, read_select
from kpi.models.template import Relation, Templates

INLINE = Path("--inline")


def compile_inline(graph: Graph, text: str) -> str:
    """Return the SQL of a SELECT, checked as a model's is: its tables, columns and types are known.

    Raises CompileError that names the line of the text.
    """
    templates = Templates(graph.project)
    templates.relations.update(
        {node.id: node.relation for node in graph.nodes.values() if node.kind not in ("test", "analysis", "exposure")}
    )
    templates.known_columns = graph.columns
    rendered = templates.render(text, INLINE, ())
    select = read_select(rendered, INLINE, "query", templates.relations)
    node_id = f"model.{graph.project.name}.{INLINE}"
    node = Node(
        id=node_id,
        kind="model",
        name=str(INLINE),
        file=INLINE,
        line=select.line,
        relation=Relation(node_id, "main", "inline_query"),
        materialized="view",
        depends_on=tuple(rendered.depends_on),
        sql=select.sql,
        lines=rendered.lines,
    )
    whole = with_ctes({**graph.nodes, node_id: node})
    with closing(Binder(whole, ())) as binder:
        binder.known.update(graph.columns)
        binder.bind(whole[node_id])
    return whole[node_id].sql
