"""A project compiled and checked, at once when nothing has changed since it was last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.compile_cache import WHOLE, caching, key_of
from kpi.errors import KpiError
from kpi.projectfiles import project_digest

if TYPE_CHECKING:
    from kpi.binding import Columns
    from kpi.graph import Graph

CACHE = Path("warehouse/.cache/compiled")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A graph without mistakes, with name and type of every column of each node by its id."""

    graph: Graph
    columns: Mapping[str, Columns]


def compiled(root: Path, variables: Mapping[str, Any] | None = None) -> Compiled:
    """Compile and bind the project in `root`; `variables` are given for this run.

    What was found out before is taken from the cache, and what is new is kept there. Raises one KpiError with all that
    is wrong, each with file and place, whose `root` is the project's.
    """
    root = root.resolve()

    with caching(root / CACHE) as cache:
        key = WHOLE + key_of(str(root), project_digest(root), sorted((variables or {}).items()))
        found = cache.get(key)
        if isinstance(found, Compiled):
            return found
        made = _compiled(root, variables)
        from kpi.template import is_fleeting

        if not any(is_fleeting((root / file).read_text("utf-8", "replace")) for file in _templates(made.graph)):
            cache.put(key, made)
        return made


def _compiled(root: Path, variables: Mapping[str, Any] | None) -> Compiled:
    from kpi.bind import check_columns
    from kpi.graph import compile_nodes
    from kpi.project import load_project, together

    try:
        project = load_project(root, variables)
    except KpiError as error:
        error.root = root
        raise
    graph, mistakes = compile_nodes(project)
    columns, wrong = check_columns(graph)
    if mistakes + wrong:
        raise together(mistakes + wrong, root)
    return Compiled(graph, columns)


def _templates(graph: Graph) -> set[Path]:
    return {node.file for node in graph.nodes.values() if node.sql} | set(graph.project.macro_files)
