"""What a template asks for that is not known yet: it is rendered again when it is."""

from __future__ import annotations

from kpi.base.errors import CompileError
from kpi.base.relation import Relation


class NeedsColumns(CompileError):
    """A template asked for the columns of a relation that are not known yet."""


class NeedsGraph(NeedsColumns):
    """A template asked for the graph of all nodes before there is one."""


class LaterError(Exception):
    """The columns of a relation are asked for, or with None the graph, on its way to one of the errors above."""

    def __init__(self, relation: Relation | None) -> None:
        self.relation = relation
        super().__init__(str(relation))
