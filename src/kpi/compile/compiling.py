"""A project compiled and checked, at once when nothing has changed since it was last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.base.compile_cache import WHOLE, caching, key_of
from kpi.base.environment import is_as_read
from kpi.base.errors import KpiError
from kpi.base.projectfiles import project_digest

if TYPE_CHECKING:
    from kpi.compile.binding import Columns
    from kpi.compile.graph import Graph
    from kpi.parse.invocation import Invocation

CACHE = Path("warehouse/.cache/compiled")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A graph without mistakes, with name and type of every column of each node by its id."""

    graph: Graph
    columns: Mapping[str, Columns]


def compiled(
    root: Path,
    variables: Mapping[str, Any] | None = None,
    target: str = "",
    invocation: Invocation | None = None,
) -> Compiled:
    """Compile and bind the project in `root`; `variables` are given for this run, `invocation` is what it was asked.

    What was found out before is taken from the cache, and what is new is kept there. Raises one KpiError with all that
    is wrong, each with file and place, whose `root` is the project's.
    """
    root = root.resolve()

    with caching(root / CACHE) as cache:
        key = WHOLE + key_of(str(root), project_digest(root), sorted((variables or {}).items()), target)
        found = cache.get(key)
        if isinstance(found, Compiled) and is_as_read(found.graph.environment_read):
            return found
        made = _compiled(root, variables, target, invocation)
        from kpi.parse.jinjafile import is_fleeting

        project = made.graph.project
        # Files that the digest does not cover: of sources outside, and of doc blocks.
        is_covered = not project.docs and not any(
            node.sql for node in made.graph.nodes.values() if node.kind == "source"
        )
        if is_covered and not any(
            is_fleeting((root / f).read_text("utf-8", "replace")) for f in _templates(made.graph)
        ):
            cache.put(key, made)
        return made


def _compiled(root: Path, variables: Mapping[str, Any] | None, target: str, invocation: Invocation | None) -> Compiled:
    from kpi.compile.bind import check_all
    from kpi.parse.project import load_project

    try:
        return Compiled(*check_all(load_project(root, variables, target, invocation)))
    except KpiError as error:
        error.root = root
        raise


def _templates(graph: Graph) -> set[Path]:
    """Every file that Jinja may stand in."""
    own = {node.file for node in graph.nodes.values() if node.sql} | {
        resource.file for resource in graph.project.models
    }
    packages = (file for files in graph.project.packages.values() for file in files)
    return {*own, *graph.project.macro_files, *packages, Path("dbt_project.yml")}
