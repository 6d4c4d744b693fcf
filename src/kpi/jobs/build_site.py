"""Write the site of a build: beside it when it is made, or into a folder, for all or for the public."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from kpi import database
from kpi.errors import ConfigError
from kpi.files import change_places, staging_folder
from kpi.lazy import duckdb
from kpi.presentation import LANGUAGES
from kpi.site.content import INPUTS
from kpi.site.model_pages import Models, models_of
from kpi.site.pages import About
from kpi.site.sentences import check_report
from kpi.site.site import (
    EXPECTATIONS,
    FINGERPRINT,
    FOLDER,
    ProjectFiles,
    Written,
    fingerprint_of,
    read_earlier,
    read_results,
    write_fingerprint,
    write_model_pages,
    write_site,
)
from kpi.site.site import carry_over as carry_over_site
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import readable_database

if TYPE_CHECKING:
    from kpi.build_record import BuildRecord
    from kpi.engine.graph import Graph
    from kpi.project.project import Project


def write_beside(
    con: duckdb.DuckDBPyConnection, graph: Graph, candidate: Path, record: BuildRecord, before: Path | None
) -> Written | None:
    """Write the site of a build that is being made into its folder; that of the build before when nothing changed.

    Returns what was written: None when it was carried over, or there is nothing to show.
    """
    tables = graph.project.report_tables
    shown_tables = {getattr(tables, name) for name in INPUTS} | {"marts.expectation_results"}
    nodes = record.nodes or {}
    versions = {node.id: str(nodes[node.id].version) for node in graph.built()
                if node.id in nodes and str(node.relation) in shown_tables}  # fmt: skip
    results = candidate / EXPECTATIONS
    validated = results.read_text(encoding="utf-8") if results.is_file() else ""
    files = "".join(f"{one.path} {one.rows_loaded} {one.rows_rejected}\n" for one in record.files or ())
    code = record.inputs.code if record.inputs else ""
    models = models_of(graph, con, record.rows)
    more = (code, str(record.synthetic), files, models.outline())
    fingerprint = fingerprint_of(versions, graph.project.root, validated, *more)
    about = About(record.id, date.fromisoformat(record.as_of), record.synthetic)
    project, folder = ProjectFiles(graph.project.root, tables, models), candidate / FOLDER
    earlier = read_earlier(before, code) if before else None
    if before and (checksums := carry_over_site(before, candidate, fingerprint)) is not None:
        stale = [name for name, checksum in models.checksums().items() if checksums.get(name) != checksum]
        pages = write_model_pages(folder, con, project, about, stale, earlier)
        write_fingerprint(folder, fingerprint, models, pages, code)
        return None
    result = write_site(folder, con, project, about, read_results(candidate, EXPECTATIONS), earlier)
    if result:
        write_fingerprint(folder, fingerprint, models, result, code)
    return result


def written_site(root: Path, build: str | None) -> Path:
    """Return the page to open of the site of the published build, or of the one named. Raises ConfigError."""
    warehouse = Warehouse(root.resolve() / "warehouse")
    folder = warehouse.folder(build)
    # By the link, a page that is open or bookmarked is that of the next build too.
    page = (folder if build else warehouse.root / "current") / FOLDER / "fi" / "index.html"
    if not page.is_file():
        message = f"build {folder.name} has no pages: it has no figures, or an earlier kpi made it"
        raise ConfigError(f"{message}. Write them: kpi site DIR")
    return page


def write_copy(root: Path, build: str | None, target: Path, is_public: bool) -> Written:
    """Write the site of a build into a folder, anew: for all, or for the public from public tables alone.

    Raises ConfigError when the folder holds what is not of a site, or the build has no figures for it.
    """
    from kpi.engine.compile import compiled

    warehouse = Warehouse(root.resolve() / "warehouse")
    folder = warehouse.folder(build)
    record = warehouse.record(folder)
    graph = compiled(root).graph
    check_report(graph)
    about = About(record.id, date.fromisoformat(record.as_of or str(date.today())), record.synthetic, is_public)
    with database.reading(readable_database(folder)) as con:
        models = Models() if is_public else models_of(graph, con)
        project = ProjectFiles(graph.project.root, graph.project.report_tables, models)
        with _replaced(target, record.id) as staging:
            result = write_site(staging, con, project, about, read_results(folder, EXPECTATIONS))
            return _refuse_none(result, record.id, " for the public" if is_public else "")


def write_validated(
    target: Path, con: duckdb.DuckDBPyConnection, project: Project, record: BuildRecord, results: str
) -> None:
    """Write the site of a build into a folder with what another validation of it found, as JSON.

    Raises ConfigError as `write_copy`.
    """
    about = About(record.id, date.fromisoformat(record.as_of), record.synthetic)
    files = ProjectFiles(project.root, project.report_tables)
    with _replaced(target, record.id) as staging:
        _refuse_none(write_site(staging, con, files, about, json.loads(results)), record.id)


def _refuse_none(result: Written | None, build: str, whom: str = "") -> Written:
    """Return what was written. Raises ConfigError when nothing was."""
    if result is None:
        raise ConfigError(f"build {build} has no figures{whom} to show.")
    return result


@contextmanager
def _replaced(target: Path, build: str) -> Iterator[Path]:
    """Yield an empty folder to write a site into; when that went well, it is in place of the one in `target`.

    Files of others stay where they are. Raises ConfigError when `target` holds what is no site.
    """
    target = Path(os.path.realpath(target))
    own = {*LANGUAGES, "data", FINGERPRINT}
    with staging_folder(target) as staging:
        there = [path for path in sorted(target.iterdir()) if path != staging]
        if there and not (target / FINGERPRINT).is_file():
            raise ConfigError(f"{target} holds something that is no site of kpi's. Name an empty folder, or a new one.")
        yield staging
        (staging / FINGERPRINT).write_text(f"copy of {build}\n", encoding="utf-8")
        if not change_places(target, staging, [path for path in there if path.name not in own]):
            _one_by_one(target, staging, own)


def _one_by_one(target: Path, staging: Path, own: Iterable[str]) -> None:
    """Move the parts of a site in, each in place of the old one; its mark first, so that it may be written again."""
    for name in sorted(own, key=lambda name: name != FINGERPRINT):
        if (target / name).is_dir():
            os.replace(target / name, staging / f"old-{name}")
        if (staging / name).exists():
            os.replace(staging / name, target / name)
