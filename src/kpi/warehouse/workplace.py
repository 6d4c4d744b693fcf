"""Where a build is made: its open database, what runs there may read, and where it may spill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kpi.base.upkeep import spill_folder
from kpi.deliveries.rawfiles import kept_beside
from kpi.parse.outside import reached
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.options import Options
from kpi.warehouse.rights import DATABASE, whole

if TYPE_CHECKING:
    import duckdb

    from kpi.compile.graph import Graph


@contextmanager
def working_on(
    warehouse: Warehouse, graph: Graph, options: Options, candidate: Path
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the database of a build's private folder for writing, confined to what it is made from."""
    from kpi.base import engine

    spill, settings = resources(warehouse, graph, options, candidate)
    with engine.building(whole(candidate) / DATABASE, spill, settings, within(warehouse, graph)) as con:
        yield con


def resources(warehouse: Warehouse, graph: Graph, options: Options, candidate: Path) -> tuple[Path, dict[str, str]]:
    """Where a build may spill, and DuckDB's other settings."""
    upkeep, root = graph.project.upkeep, graph.project.root
    settings = upkeep.engine_settings(options.settings or {})
    given = settings.pop("temp_directory", "")
    if upkeep.stewards_schemas and not given:
        spill = whole(candidate) / "spill"
    else:
        spill = spill_folder(warehouse.root, root, given)
    return spill, {"file_search_path": str(root), **settings}


def within(warehouse: Warehouse, graph: Graph) -> list[Path]:
    """The files that what is run may read: deliveries and what is kept of them, seeds, files outside, and builds."""
    from kpi.models.seeds import seed_folders

    project = graph.project
    outside = [path for location in graph.outside for path in reached(project.root, location)]
    return [warehouse.raw, kept_beside(warehouse.raw), warehouse.builds, *seed_folders(project), *outside]
