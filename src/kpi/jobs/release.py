"""Release a report year from the published build, and verify a release by building it again in a scratch place."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kpi import database
from kpi.errors import CheckFailed, ConfigError, KpiError, Place, Problem
from kpi.events import Emit
from kpi.files import RELEASES, scratch_folder
from kpi.ingest import release_files
from kpi.ingest.raw_files import kept_beside, scan
from kpi.jobs.options import Options
from kpi.jobs.refresh import inputs_of, was_made_from
from kpi.provenance import git
from kpi.provenance.releases import (
    FigureDifference,
    compare_figures,
    freeze,
    missing_deliveries,
    next_name,
    refuse_unfinished,
    refuse_without_tables,
    write_release,
)
from kpi.provenance.revisions import Revision, with_sizes
from kpi.sql import counted
from kpi.warehouse.builds import RELEASED, Warehouse, record, writing
from kpi.warehouse.lifecycle import rolled_back_from
from kpi.warehouse.permissions import database_path, readable_database

if TYPE_CHECKING:
    from kpi.build_record import BuildRecord

MOST_LINES = 20  # of a list in a message


@dataclass(frozen=True, slots=True)
class ReleaseOptions:
    """What a release was asked with. `despite` says why it is made although checks of the year failed."""

    year: int
    note: str
    by: str = ""
    despite: str = ""


def release(root: Path, options: ReleaseOptions, emit: Emit) -> Path:
    """Freeze a report year as the published build has it, in `seeds/releases`. Returns the new folder.

    Raises ConfigError for a year without figures or that is not over, when readers do not see what the deliveries and
    the project make now, or when nothing is said for a note; CheckFailed when checks of the year failed.
    """
    from kpi.engine.compile import compiled
    from kpi.ingest.retention import years_of

    root = root.resolve()
    if not options.note.strip():
        raise ConfigError("--note must say in words what is released: it is read years from now.")
    warehouse = Warehouse(root / "warehouse")
    with writing(warehouse):
        build = _up_to_date(root, warehouse)
        release_files.read_releases(root)  # none of them may be edited
        graph = compiled(root).graph
        tables = build.report_tables
        with database.reading(database_path(warehouse.folder(), stewards=True)) as con:
            refuse_without_tables(con, tables)
            waiting = refuse_unfinished(con, tables, options.year, date.fromisoformat(build.as_of).year)
            _refuse_failed(build, waiting, options)
            fields = _fields(root, options)
            frozen = freeze(con, tables, build, fields, years_of(con, [feed.limits for feed in graph.feeds]))
        folder = write_release(root, frozen)
        trouble = ""
        try:
            record(warehouse, build.id, RELEASED, folder.name)
        except OSError as error:
            trouble = f"the ledger cannot be written ({error}): the next run records that build {build.id} is released."
    emit(f"Released {options.year} as {folder.name}: {counted(len(frozen.figures), 'figure')} of build {build.id}.")
    if trouble:
        emit(f"  warning: {trouble}")
    if edited := frozen.fields["code_changes"]:
        emit(f"  warning: not committed, so nobody else can build it again: {edited}")
    if not frozen.fields["code_revision"]:
        emit("  warning: the project is in no git repository, so the code it was made by is not recorded.")
    emit(f"Commit {folder.relative_to(root)}. The next refresh takes it into the warehouse: kpi refresh")
    return folder


def _up_to_date(root: Path, warehouse: Warehouse) -> BuildRecord:
    """The record of the published build. Raises ConfigError unless it was made from what is there now."""
    warehouse.published()
    build = warehouse.current_record()
    if build is None or build.problem or not build.as_of:
        raise ConfigError("what is noted of the published build cannot be read. Run: kpi refresh")
    inputs = inputs_of(root, scan(warehouse.raw), Options(as_of=date.fromisoformat(build.as_of)))
    if rolled_back_from(warehouse) or not was_made_from(root, inputs, build):
        raise ConfigError(
            f"build {build.id}, which readers see, is not what the deliveries and the project make now, so it does not"
            " tell by what it was made. Run first: kpi refresh"
        )
    return build


def _refuse_failed(build: BuildRecord, waiting: Iterable[str], options: ReleaseOptions) -> None:
    """Raise CheckFailed when a check of the year failed, or a data test, which is of all years, unless it is meant."""
    failing = [
        Problem("expectation.failed", "does not hold", restricted=one.observed, subject=f"{one.year} {one.expectation}")
        for one in build.years or ()
        if one.year == options.year and one.severity == "error"
    ]
    failing += [
        Problem("test.failed", counted(one.failures, "failing row"), Place(one.where), subject=one.name)
        for one in build.checks
        if one.status == "fail"
    ]
    failing += [Problem("feed.unfinished", f"is still waited for in {options.year}", subject=feed) for feed in waiting]
    if build.years is None:
        failing.append(Problem("year.unjudged", "the report years of the published build were not validated"))
    if failing and not options.despite.strip():
        lines = "\n  ".join(map(str, failing[:MOST_LINES]))
        raise CheckFailed(
            f"{options.year} is not released, for its checks failed:\n  {lines}\nMend it, or say why it is released all"
            " the same: --despite-failed-checks REASON",
            failing,
        )


def _fields(root: Path, options: ReleaseOptions) -> dict[str, object]:
    from importlib.metadata import version

    name, number = next_name(root, options.year)
    edited = git.edited_files(root, f"seeds/{RELEASES}", "warehouse")
    return {
        "release": name,
        "report_year": options.year,
        "number": number,
        "released_at": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
        "released_by": name_of_user(root, options.by),
        "note": options.note,
        "despite": options.despite,
        "code_revision": git.revision_of(root),
        "code_changes": " ".join(edited[:MOST_LINES])
        + (f" and {len(edited) - MOST_LINES} more" if len(edited) > MOST_LINES else ""),
        "kpi_version": version("kpi"),
    }


def sized(root: Path, build: Path, revisions: Sequence[Revision]) -> list[Revision]:
    """Return the revisions of a build, those of several causes with what each does, as far as that can be had.

    Each costs some builds of its figure, so of more than a screen of them none is taken apart; and it takes the build
    that was released.
    """
    several = [one for one in revisions if one.is_open and len(one.causes) > 1]
    warehouse = Warehouse(root.resolve() / "warehouse")
    if not several or len(several) > MOST_LINES:
        return list(revisions)
    from kpi.engine.compile import compiled
    from kpi.provenance.attribution import Attribution
    from kpi.provenance.recomputation import BuildSide

    sides: dict[str, Attribution] = {}
    sizes: dict[str, Revision] = {}
    with suppress(KpiError):
        feeds = compiled(root).graph.feeds
        after = BuildSide(warehouse.record(build), database_path(build, stewards=True).resolve())
        for name in sorted({one.release for one in several}):
            fields = release_files.fields_of(release_files.releases_folder(root) / name)
            folder = warehouse.folder(str(fields["build"]))
            before = BuildSide(warehouse.record(folder), database_path(folder, stewards=True).resolve())
            sides[name] = Attribution(before, after, feeds)
    for one in several:
        if one.release in sides:
            with suppress(KpiError):
                sizes[one.revision_id] = with_sizes(one, sides[one.release])
    return [sizes.get(one.revision_id, one) for one in revisions]


def name_of_user(root: Path, by: str = "") -> str:
    """Return who does it: who is named, else git's user, else that of the system."""
    try:
        return by.strip() or git.user_of(root) or getpass.getuser()
    except (OSError, KeyError):
        return f"user {os.getuid()}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of building a release again: figures compared, those that differ, and those that were kept as they
    were because their deliveries were deleted, which proves nothing of them."""

    release: str
    figures: int
    differences: tuple[FigureDifference, ...]
    kept_figures: int


def find_release(root: Path, wanted: str) -> Path:
    """Return the folder of a release by its name, or by a year its latest. Raises ConfigError when there is none."""
    names = release_files.names_of(root)
    matches = [name for name in names if name == wanted or str(release_files.number_of(name)[0]) == wanted]
    if not matches:
        there = f"There is: {', '.join(names)}." if names else f"Nothing was released yet: kpi release {wanted}"
        raise ConfigError(f"there is no release '{wanted}'. {there}")
    return release_files.read_release(release_files.releases_folder(root) / matches[-1]).path


def verify(root: Path, wanted: str, emit: Emit) -> Verification:
    """Build a release again, of its deliveries and by its revision of the code, in a scratch place, and compare.

    Raises CheckFailed that says exactly what is missing, or when it cannot be built any more.
    """
    root = root.resolve()
    folder, warehouse = find_release(root, wanted), Warehouse(root / "warehouse")
    fields = {name: str(value or "") for name, value in release_files.fields_of(folder).items()}
    lying = scan(warehouse.raw)
    missing = [*_missing_code(root, fields), *missing_deliveries(folder, warehouse.raw, lying)]
    names = {*fields["kept"].split(), *(one.name for one in lying.kept)}
    kept_folders = [kept_beside(warehouse.raw) / name for name in sorted(names)]
    missing += [f"what was kept of deleted deliveries, {one}, is gone" for one in kept_folders if not one.is_dir()]
    if missing:
        problems = [Problem("release.missing", one) for one in missing]
        lines = "\n  ".join(missing)
        raise CheckFailed(f"release {folder.name} cannot be built again:\n  {lines}", problems)
    with scratch_folder("verify") as place:
        scratch = git.write_revision(root, fields["code_revision"], place / root.name)
        shutil.rmtree(scratch / "warehouse", ignore_errors=True)
        _lay_out(folder, warehouse, scratch / "warehouse", kept_folders)
        emit(f"Building release {folder.name} again, by revision {fields['code_revision'][:12]} of the project.")
        _build(scratch, fields["as_of"])
        return _compare(folder, scratch)


def _missing_code(root: Path, fields: dict[str, str]) -> list[str]:
    if not fields["code_revision"]:
        return ["the revision of the code was not recorded: it was released without git"]
    reasons = []
    if not git.has_revision(root, fields["code_revision"]):
        reasons.append(f"revision {fields['code_revision']} is not in this clone. Try: git fetch --all")
    if fields["code_changes"]:
        reasons.append(f"files were edited and not committed when it was released: {fields['code_changes']}")
    return reasons


def _lay_out(folder: Path, warehouse: Warehouse, target: Path, kept_folders: Iterable[Path]) -> None:
    """Copy the deliveries of a release, with their times, and what was kept of deleted ones."""
    for row in release_files.rows_of(folder, "deliveries.csv"):
        if not (warehouse.raw / row["feed"] / row["file"]).is_file():
            continue  # deleted by its retention, and its figures are kept
        copy = target / "raw" / row["feed"] / row["file"]
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(warehouse.raw / row["feed"] / row["file"], copy)
        if row["delivered_at"]:
            os.utime(copy, (int(row["delivered_at"]), int(row["delivered_at"])))
    if (warehouse.raw / "README.txt").is_file():  # says whether the deliveries are synthetic
        shutil.copy2(warehouse.raw / "README.txt", target / "raw" / "README.txt")
    for one in kept_folders:
        shutil.copytree(one, target / "kept" / one.name)


def _build(scratch: Path, as_of: str) -> None:
    """Refresh the scratch project in a process of its own; with the kpi of its revision, where it has one."""
    environment = {**os.environ, "KPI_NOTIFY": ""}
    environment.pop("KPI_PROJECT_DIR", None)
    if (scratch / "src" / "kpi").is_dir():
        environment["PYTHONPATH"] = str(scratch / "src")
    words = ["refresh", "--project-dir", str(scratch), "--as-of", as_of, "--log-format", "plain"]
    command = [sys.executable, "-m", "kpi.cli", *words, "--publish-despite-checks", "a release is verified"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=environment)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()[-MOST_LINES:]
        message = "\n  ".join(lines)
        raise CheckFailed(
            f"the project of that revision cannot be built here any more:\n  {message}",
            [Problem("release.unbuildable", "the project of that revision cannot be built", restricted=message)],
        )


def _compare(folder: Path, scratch: Path) -> Verification:
    warehouse = Warehouse(scratch / "warehouse")
    tables = (warehouse.current_record() or warehouse.record(warehouse.folder())).report_tables
    with database.attached({"again": readable_database(warehouse.folder())}) as con:
        count, differences = compare_figures(con, folder, f"again.{tables.indicators}")
        year, kept_count = release_files.number_of(folder.name)[0], 0
        sql = "select count(*) from again.raw.kept_indicators where report_year = ?"
        table_query = "select 1 from duckdb_tables() where schema_name = 'raw' and table_name = 'kept_indicators'"
        if con.execute(table_query).fetchall():
            kept_count = int(con.execute(sql, [year]).fetchall()[0][0])
    return Verification(folder.name, count, differences, kept_count)
