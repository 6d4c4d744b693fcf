"""Which figures an edit moves: two git revisions of a project built on the same deliveries, and told in Markdown.

Both are built in a scratch folder with a warehouse of its own, which starts from the published build where there is one
and else from the deliveries. What they have in common is built once, what differs twice. Nothing in the project, its
warehouse or its repository is changed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.database import attached
from kpi.errors import ConfigError, KpiError
from kpi.files import project_digest, scratch_folder
from kpi.lazy import duckdb
from kpi.presentation import one_line, significant
from kpi.provenance import git
from kpi.provenance.attribution import Attribution, BuildChange
from kpi.provenance.figure_values import FigureKey
from kpi.provenance.recomputation import BuildSide
from kpi.reader.change_report import subjects_text
from kpi.reader.diff import USUAL_BASIS, moved_indicators
from kpi.sql import counted
from kpi.warehouse.builds import Warehouse, publish
from kpi.warehouse.permissions import database_folder

if TYPE_CHECKING:
    from kpi.engine.graph import Graph

MOST_ROWS = 40  # of figures, so that all of it is at most 60 lines
MOST_NAMES = 20  # of models and seeds
_REASON = "two revisions are compared"


@dataclass(frozen=True, slots=True)
class Repository:
    """The git repository of a project: its top folder, and the project's place in it."""

    top: Path
    place: Path

    def commit_of(self, revision: str) -> str:
        """Return the id of the commit that a revision names. Raises ConfigError when there is none here."""
        try:
            return git.output(
                self.top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
            ).strip()
        except ConfigError:
            is_shallow = git.output(self.top, "rev-parse", "--is-shallow-repository").strip() == "true"
        message = f"there is no revision '{one_line(revision, 100)}' in {self.top}."
        if is_shallow:
            message += " The clone is shallow: get the whole history, as with git fetch --unshallow, or fetch-depth: 0."
        raise ConfigError(f"{message} A branch of another clone is named as origin/main.")

    def is_dirty(self) -> bool:
        """Whether files of the project are other than in the commit that is checked out."""
        return bool(
            git.output(self.top, "status", "--porcelain", "--untracked-files=normal", "--", str(self.place)).strip()
        )

    def write_revision(self, commit: str, folder: Path) -> Path:
        """Write the files of a commit into a folder, and return the project's place in it."""
        git.write_revision(self.top, commit, folder)
        return self._project_in(folder)

    def write_working_tree(self, folder: Path) -> Path:
        """Copy the files as they are, edited or new, but for what git ignores; return the project's place."""
        names = git.output(self.top, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
        for name in dict.fromkeys(filter(None, names)):
            source, target = self.top / name, folder / name
            is_delivery = Path(name).is_relative_to(self.place / "warehouse")
            if not is_delivery and (source.is_symlink() or source.is_file()):  # one that was deleted is not there
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target, follow_symlinks=False)
        return self._project_in(folder)

    def _project_in(self, folder: Path) -> Path:
        project, packages = folder / self.place, self.top / self.place / "dbt_packages"
        if packages.is_dir() and project.is_dir() and not (project / "dbt_packages").exists():
            (project / "dbt_packages").symlink_to(packages)
        return project


def repository_of(root: Path) -> Repository:
    """Return the repository that a project lies in. Raises ConfigError when there is no git, or none."""
    try:
        top = git.top_of(root)
    except ConfigError as error:
        raise ConfigError(f"{root} is in no git repository that can be read: {error}") from None
    return Repository(top, root.resolve().relative_to(top))


def revision_lines(root: Path, revision: str, as_of: date) -> Iterator[str]:
    """Yield in Markdown which figures the project as it is moves against a revision; nothing when it moves none.

    Raises ConfigError when there is no git, no such revision, or no delivery to build from; and what stops a build,
    when either does not build.
    """
    repository = repository_of(root)
    commit = repository.commit_of(revision)
    with scratch_folder("diff") as place:
        old = repository.write_revision(commit, place / "old")
        new = repository.write_working_tree(place / "new")
        if not (old / "dbt_project.yml").is_file():
            raise ConfigError(f"revision {revision} has no {repository.place / 'dbt_project.yml'}: nothing to compare.")
        if project_digest(old) == project_digest(new):
            return
        warehouse = _scratch_warehouse(root, place, (old, new))
        graphs = _compiled(revision, old), _compiled("", new)
        if not _differing(*graphs):
            return
        _refuse_empty(warehouse, root)
        sides = _built(warehouse, revision, (old, new), as_of)
        rows = _moved(sides)
        if rows:
            state = ", with edits that are not committed" if repository.is_dirty() else ""
            heading = f"Against `{_cell(revision)}` ({commit[:9]}){state}; deliveries of this warehouse, as of {as_of}."
            with Attribution(sides[0], sides[1], graphs[1].feeds) as attribution:
                yield from _markdown(attribution, rows, heading)


def _compiled(revision: str, project: Path) -> Graph:
    """Compile a project that nothing is known of yet. An error of the other revision says that it is that one's."""
    from kpi.engine.compile import compiled

    with _naming(revision):
        return compiled(project).graph


@contextmanager
def _naming(revision: str) -> Iterator[None]:
    try:
        yield
    except KpiError as error:
        if revision:
            error.args = (f"revision {revision} cannot be built, so nothing can be compared with it.\n{error}",)
        raise


def _differing(old: Graph, new: Graph) -> set[str]:
    """Return the ids of nodes that make something else, whatever is delivered: not by a comment or a description."""
    from kpi.engine.plan import checksums_of
    from kpi.ingest.raw_files import RawFolder

    nothing = RawFolder(files=(), ignored=())
    parts = [checksums_of(graph, nothing) for graph in (old, new)]
    built = [
        {node.id for node in (*graph.built(), *graph.nodes.values()) if node.kind != "test"} for graph in (old, new)
    ]
    ids = built[0] ^ built[1]
    for node in built[0] & built[1]:
        before, after = (own[node] for own in parts)
        if (before.shape, before.settings) != (after.shape, after.settings):
            ids.add(node)
    return ids


def _refuse_empty(warehouse: Warehouse, root: Path) -> None:
    """Raise ConfigError when there is no delivery: then no figure could move, whatever the edit does."""
    if not any(warehouse.raw.glob("*/*")):
        raise ConfigError(
            f"there are no deliveries in {root / 'warehouse' / 'raw'}, so no figure could move. Where there are none,"
            " as in CI, make synthetic ones first: kpi demo --scale 0.05"
        )


def _scratch_warehouse(root: Path, place: Path, projects: Sequence[Path]) -> Warehouse:
    """Make a warehouse for both projects that reads the deliveries of the real one, and starts from its last build."""
    from kpi.engine.compile import CACHE

    real, scratch = Warehouse(root.resolve() / "warehouse"), Warehouse(place / "warehouse")
    scratch.builds.mkdir(parents=True)
    with suppress(OSError):  # what is remembered of files holds for the same files elsewhere
        (place / CACHE).parent.mkdir()
        shutil.copyfile(root / CACHE, place / CACHE)
    for name in ("raw", "kept", ".salt"):
        if (real.root / name).exists():
            (scratch.root / name).symlink_to(real.root / name)
    current = real.current()
    if current is not None and current.is_dir():
        with suppress(OSError):  # who may not read it starts from the deliveries
            target = scratch.builds / current.name
            for file in (current / "build.json", database_folder(current) / "kpi.duckdb"):
                (target / file.relative_to(current)).parent.mkdir(parents=True, exist_ok=True)
                _link(file, target / file.relative_to(current))
            publish(scratch, target)
    for project in projects:
        shutil.rmtree(project / "warehouse", ignore_errors=True)
        (project / "warehouse").symlink_to(scratch.root)
    return scratch


def _link(file: Path, target: Path) -> None:
    """Give a file a second name, or copy it where that is another disk. A build's files never change."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def _built(warehouse: Warehouse, revision: str, projects: Sequence[Path], as_of: date) -> tuple[BuildSide, BuildSide]:
    """Build both projects, the second from the first. What checks would say of either does not matter here."""
    from kpi.events import silent
    from kpi.jobs.options import Options
    from kpi.jobs.refresh import refresh

    kinds = ("model", "seed", "snapshot")
    options = Options(as_of, max_reject_share=1.0, publish_despite_checks=_REASON, validate=False, kinds=kinds)
    sides = []
    for project, name in zip(projects, (revision, ""), strict=True):
        with _naming(name):
            build = refresh(project, options, silent).build
        folder = warehouse.builds / build
        publish(warehouse, folder)  # in the scratch warehouse: the second one starts from the first
        sides.append(BuildSide(warehouse.record(folder), database_folder(folder) / "kpi.duckdb"))
    return sides[0], sides[1]


def _moved(sides: tuple[BuildSide, BuildSide]) -> list[tuple[Any, ...]]:
    """Return the rows of figures that differ, the latest year first, in it what moved most first."""
    with attached({"before": sides[0].database, "after": sides[1].database}) as con:
        try:
            rows = moved_indicators(
                con,
                {"before": sides[0].tables.indicators, "after": sides[1].tables.indicators},
            )
        except duckdb.CatalogException:
            raise ConfigError(
                "one of the revisions has no table of indicators, so no figure can be compared."
            ) from None
    return sorted(rows, key=lambda row: (-row[2], -_share(row[4], row[5]), row[0], row[1], row[3]))


def _share(before: float | None, after: float | None) -> float:
    """By what share of itself a value moved; one that came or went by all of it."""
    if before is None or after is None:
        return 1.0 if before != after else 0.0
    return abs(after - before) / max(abs(before), abs(after), 1e-300)


def _markdown(attribution: Attribution, rows: Sequence[tuple[Any, ...]], heading: str) -> Iterator[str]:
    figures = len({row[0] for row in rows})
    yield f"### {counted(figures, 'figure')} move{'s' * (figures == 1)}, {counted(len(rows), 'row')} in all"
    yield ""
    yield heading
    yield ""
    yield "| figure | service | year | before | after | change | unrounded | by |"
    yield "|---|---|---|---:|---:|---:|---:|---|"
    changes = [attribution.causes(FigureKey(*row[:4])) for row in rows[:MOST_ROWS]]
    names = dict.fromkeys(f"{part.cause}: {name}" for one in changes for part in one.parts for name in part.subjects)
    for row, change in zip(rows, changes, strict=False):
        yield _row(row, change)
    if len(rows) > MOST_ROWS:
        yield ""
        yield f"and {len(rows) - MOST_ROWS} more rows, of {len({row[0] for row in rows[MOST_ROWS:]})} figures."
    yield ""
    yield "By " + (", ".join(f"`{_cell(name)}`" for name in [*names][:MOST_NAMES]) or "nothing that kpi knows of")
    if len(names) > MOST_NAMES:
        yield f"and {len(names) - MOST_NAMES} more."
    for note in [*dict.fromkeys(note for one in changes for note in one.notes)][:3]:
        yield f"- {_cell(note)}"


def _row(row: Sequence[Any], change: BuildChange) -> str:
    """A row of the table: of GRAIN, the values before and after as tables have them, and why."""
    figure, service, year, basis, before, after = row
    how = change.presentation
    parts = [
        f"{_cell(subjects_text(part.subjects))} {how.text(part.printed, sign=True)}"
        if len(change.parts) > 1 and part.printed is not None
        else _cell(subjects_text(part.subjects))
        for part in change.parts
    ]
    is_there = before is not None and after is not None
    unrounded = significant(float(change.change), 4) if is_there and change.change is not None else ""
    cells = (
        *(_cell(text) for text in (figure, service, f"{year}" if basis == USUAL_BASIS else f"{year}, {basis}")),
        how.text(change.shown_before) if before is not None else "-",
        how.text(change.shown_after) if after is not None else "-",
        how.text(change.shown_change, sign=True) if is_there else "new" if before is None else "gone",
        f"+{unrounded}" if change.change and change.change > 0 and unrounded else unrounded,
        "; ".join(parts),
    )
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """A text in a cell of a table: one line, with nothing in it that Markdown or HTML would take for its own."""
    return one_line(text, 200).replace("\\", "\\\\").replace("|", "\\|").replace("`", "'").replace("<", "&lt;")
