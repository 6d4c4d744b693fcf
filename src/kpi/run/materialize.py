"""The statements that make a node's table or view, by its materialization and by what is there already."""

from __future__ import annotations

from dataclasses import dataclass

from kpi.models.contracts import column_names, is_enforced, table_columns
from kpi.models.ephemeral import is_ephemeral
from kpi.models.incremental import Columns, adds_to, increment_statements
from kpi.models.model import Node
from kpi.models.seeds import seed_table
from kpi.models.snapshots import snapshot_statements
from kpi.parse.outside import absolute
from kpi.parse.project import Project


@dataclass(frozen=True, slots=True)
class Present:
    """What is there before a node is built.

    `kind` is 'table', 'view' or empty, `columns` those of its table, `new` those its SELECT yields now; both are known
    only where a table is kept. `anew` tells that a table that could be kept is not to be.
    """

    kind: str = ""
    columns: Columns = ()
    new: Columns = ()
    anew: bool = False


NOTHING = Present()


def keeps_table(node: Node, kind: str, anew: bool) -> bool:
    """Whether the node's table stays and its rows are added to, given what is there and whether that is asked away."""
    return kind == "table" and (node.kind == "snapshot" or adds_to(node, True, anew))


def statements(project: Project, node: Node, present: Present = NOTHING) -> tuple[str, ...]:
    """Return the statements that build a node, hooks included, to be run in order and all or none.

    Raises BuildError when what is there does not fit what is to come and the project says that this is an error.
    """
    adds = keeps_table(node, present.kind, present.anew)
    if is_ephemeral(node):
        return ()
    hooks = node.increment.hooks if adds and node.increment else node.hooks
    dropped = () if adds or present.kind in ("", _kind(node)) else (f"drop {present.kind} {node.relation} cascade",)
    return (*hooks.before, *dropped, *_own(project, node, present, adds), *hooks.after)


def _kind(node: Node) -> str:
    return "view" if node.materialized == "view" else "table"


def _own(project: Project, node: Node, present: Present, adds: bool) -> tuple[str, ...]:
    if node.kind == "seed":
        return (seed_table(project, node),)
    if node.kind == "snapshot":
        return snapshot_statements(node, present.columns if adds else None, present.new)
    if adds and node.increment:
        return increment_statements(node, node.increment.sql, present.columns, present.new)
    if is_enforced(node) and node.materialized != "view":
        columns = column_names(node)
        return (
            f"create or replace table {node.relation} (\n{table_columns(node)}\n)",
            f"insert into {node.relation} ({columns})\nselect {columns} from (\n{node.sql}\n) as yielded",
        )
    sql = absolute(project.root, node.sql) if node.kind == "source" else node.sql
    return (f"create or replace {_kind(node)} {node.relation} as\n{sql}",)
