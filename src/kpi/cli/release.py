"""Commands about what was published of a report year: release, revisions."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import click

from kpi.cli.options import project_folder, project_option, say
from kpi.errors import CheckFailed, ConfigError


@click.command()
@click.argument("year", metavar="YEAR|verify")
@click.argument("wanted", required=False, metavar="[YEAR]")
@click.option("--note", default="", metavar="TEXT", help="What is released, in words.")
@click.option("--by", default="", metavar="NAME", help="Who releases it; else git's user, else yours.")
@click.option(
    "--despite-failed-checks", "despite", default="", metavar="REASON", help="Release it though checks of it failed."
)
@project_option
def release(year: str, wanted: str | None, note: str, by: str, despite: str, project_dir: Path | None) -> None:
    """Freeze a report year as it is published.

    Its figures, definitions and deliveries are written as text into seeds/releases, to be committed. From then on a
    refresh fails when a released figure comes to differ, until that is accounted for: kpi revisions.

    With `verify YEAR` a release, or the latest of a year, is built again of its deliveries and by its code in a
    scratch place, and compared; or it says what is missing. Exits with 7 then.
    """
    from kpi.jobs import release as releases

    root = project_folder(project_dir)
    if year == "verify":
        if not wanted or note or by or despite:
            raise click.UsageError("kpi release verify takes the year, or the release, alone.")
        _verify(root, wanted)
        return
    if wanted or not (year.isdecimal() and len(year) == 4):
        raise click.UsageError(f"'{year}' is no year, such as 2025; or it is: kpi release verify YEAR")
    releases.release(root, releases.ReleaseOptions(int(year), note, by, despite), click.echo)


def _verify(root: Path, wanted: str) -> None:
    from kpi.jobs.release import TOLD, verify

    found = verify(root, wanted, click.echo)
    if found.differences:
        lines = [str(one) for one in found.differences[:TOLD]]
        lines += [f"and {len(found.differences) - TOLD} more"] * (len(found.differences) > TOLD)
        message = "\n  ".join(lines)
        raise CheckFailed(
            f"release {found.release}: {len(found.differences)} of {found.figures} figures differ:\n  {message}"
        )
    click.echo(f"Release {found.release}: all {found.figures} figures come out as released, to the last digit.")
    if found.kept:
        click.echo(f"  {found.kept} of them stand as they were kept, for their deliveries were deleted before.")


@click.group(invoke_without_command=True)
@click.option("--build", "build_id", metavar="BUILD", help="Of this build, not the newest.")
@click.option("--open", "only_open", is_flag=True, help="Only those that nobody accounted for.")
@click.option("--json", "as_json", is_flag=True, help="Print them as a JSON array of objects.")
@project_option
@click.pass_context
def revisions(
    context: click.Context, build_id: str | None, only_open: bool, as_json: bool, project_dir: Path | None
) -> None:
    """List the released figures that have come to differ.

    Of each the released value and the one of now, why it differs, and who accounted for it. Of the newest build,
    whether it was published or held back because of them.
    """
    if context.invoked_subcommand:
        return
    _, found = _read(project_dir, build_id)
    found = [one for one in found if one.is_open or not only_open]
    if as_json:
        click.echo(json.dumps([_plain(one) for one in found], ensure_ascii=False, indent=1))
        return
    from kpi.reader.figures import table_lines

    rows = [
        (
            one.revision_id,
            one.release,
            f"{one.figure_id} {one.service}",
            one.moved,
            "; ".join(map(str, one.causes)),
            one.status if one.is_open else f"{one.reason}{', planned' if one.is_planned else ''}",
        )
        for one in found
    ]
    if rows:
        say(table_lines(["revision", "release", "figure", "released -> now", "cause", "state"], rows))
    still = sum(one.is_open for one in found)
    click.echo(f"{len(found)} released figures differ, {still} not accounted for.")


@revisions.command("acknowledge")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "is_all", is_flag=True, help="All that are open.")
@click.option(
    "--reason", required=True, metavar="REASON", help="One of the project's reasons (seeds.revision_reasons)."
)
@click.option("--note", default="", metavar="TEXT", help="What happened, in words.")
@click.option("--by", default="", metavar="NAME", help="Who accounts for it; else git's user, else yours.")
@project_option
def acknowledge(ids: tuple[str, ...], is_all: bool, reason: str, note: str, by: str, project_dir: Path | None) -> None:
    """Account for revisions, so that a build with them is published.

    It is written beside the release, to be committed. When the figure moves on, that is another revision.
    """
    from datetime import UTC, datetime

    from kpi.jobs.release import name_of_user
    from kpi.provenance.revisions import acknowledge as write

    root = project_folder(project_dir).resolve()
    if bool(ids) == is_all:
        raise click.UsageError("name the revisions, or --all of them.")
    reasons, found = _read(root, None)
    open_ones = [one for one in found if one.is_open]
    chosen = open_ones
    if ids:
        known = {one.revision_id: one for one in open_ones}
        if strange := [name for name in ids if name not in known]:
            raise ConfigError(f"there is no open revision '{strange[0]}'. See: kpi revisions --open")
        chosen = [known[name] for name in dict.fromkeys(ids)]
    if not chosen:
        raise ConfigError("no revision is open: there is nothing to account for.")
    files = write(root, chosen, reasons, (reason, note, name_of_user(root, by)), datetime.now(UTC))
    for file in files:
        click.echo(f"Accounted for {len(chosen)} in {file.relative_to(root)}. Commit it, then: kpi refresh")


def _read(project_dir: Path | None, build_id: str | None) -> tuple[list[str], list[Any]]:
    """The project's reasons, and the revisions of a build, or of the newest that has any."""
    from kpi import database
    from kpi.jobs.release import sized
    from kpi.provenance.revisions import has_table, read_revisions
    from kpi.settings import ReportTables
    from kpi.warehouse.builds import Warehouse
    from kpi.warehouse.permissions import DATABASE, database_path

    warehouse = Warehouse(project_folder(project_dir).resolve() / "warehouse")
    folder = warehouse.folder(build_id or "latest")
    tables = ReportTables.from_names(warehouse.record(folder).tables)
    # A build that was held back has no file for readers where there is one for stewards.
    with database.reading(database_path(folder, stewards=not os.path.lexists(folder / DATABASE))) as con:
        if not has_table(con, tables.revisions):
            raise ConfigError(f"build {folder.name} has no {tables.revisions}: see docs/guides/release-a-year.md")
        reasons = []
        if has_table(con, tables.revision_reasons):
            reasons = [
                row[0] for row in con.execute(f"select reason from {tables.revision_reasons} order by 1").fetchall()
            ]
        found = read_revisions(con, tables)
    return reasons, sized(project_folder(project_dir), folder, found)


def _plain(revision: Any) -> dict[str, object]:
    found = dataclasses.asdict(revision)
    found["acknowledged_at"] = found["acknowledged_at"] and f"{found['acknowledged_at']:%Y-%m-%dT%H:%M:%SZ}"
    return found
