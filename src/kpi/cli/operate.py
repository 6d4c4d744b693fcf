"""Commands on the warehouse as a whole: diff, rollback, doctor, publish."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kpi.base.errors import ConfigError
from kpi.base.names import counted
from kpi.cli.options import attended, day, project_folder, project_option, say, stewards_option, variables_of


@click.command()
@click.argument("before", required=False)
@click.argument("after", required=False)
@stewards_option
@project_option
def diff(before: str | None, after: str | None, stewards: bool, project_dir: Path | None) -> None:
    """Tell what differs between two builds: nodes, tables by content, rows by key, deliveries, and figures.

    Of one build it is the difference to the current one, the older first, as in: kpi diff candidate. Without any it is
    that of the current build to the one published before it.
    """
    from kpi.read.diff import compare_builds, difference_lines, in_order, keys_of
    from kpi.warehouse.builds import Warehouse

    root = project_folder(project_dir).resolve()
    warehouse = Warehouse(root / "warehouse")
    before, after = in_order(warehouse, before, after)
    say(difference_lines(compare_builds(warehouse, before, after, keys_of(root), stewards)))


@click.command()
@click.argument("build", required=False)
@click.option("--reason", default="", help="Why; it is kept in the ledger.")
@click.option("--show-rows", is_flag=True, help="Although that build shows readers what is left out for them now.")
@project_option
def rollback(build: str | None, reason: str, show_rows: bool, project_dir: Path | None) -> None:
    """Let readers see an earlier published build again: BUILD, or the one published before the current one.

    The next refresh leaves it so until a delivery, the project or kpi itself changes.
    """
    from kpi.warehouse.builds import Warehouse
    from kpi.warehouse.keeping import deleted_since, roll_back

    warehouse = Warehouse(project_folder(project_dir).resolve() / "warehouse")
    current = warehouse.current()
    was = current.name if current else ""
    build = build or warehouse.published_before(was or "~")
    if build == was:
        raise ConfigError(f"{build} is what readers see already.")
    roll_back(warehouse, build, reason, show_rows)
    click.echo(f"Readers see build {warehouse.published()} again; before it was {was or 'none'}.")
    if deleted_since(warehouse, warehouse.facts_of()):
        told = "it was made before deliveries were deleted, so readers see their rows again."
        click.echo(f"  warning: {told} As it was: kpi rollback {was or 'ID'}", err=True)


@click.command("prune-raw")
@click.option("--delete", is_flag=True, help="Do it. Without this it only says what it would do.")
@click.option("--dry-run", is_flag=True, help="Only say what it would do, as without --delete.")
@click.option("--as-of", metavar="DATE", help="The day that years are counted back from, YYYY-MM-DD; else today.")
@click.option(
    "--max-reject-share", type=click.FloatRange(0, 1), metavar="SHARE", help="As of a refresh, for what stays."
)
@click.option("--vars", "variables", metavar="YAML", default="", help="Variables for this run.")
@project_option
def prune_raw(delete: bool, dry_run: bool, as_of: str | None, **options: Any) -> None:
    """Delete deliveries that are past the retention of their feed; the figures made of them stay as published.

    Never part of a refresh. Deletes nothing unless --delete says so.
    """
    from kpi.nightly.prune import prune_raw
    from kpi.warehouse.options import Options

    if delete and dry_run:
        raise ConfigError("--dry-run and --delete: one or the other.")
    root, day_ = project_folder(options["project_dir"]), day(as_of)
    run = Options(day_, max_reject_share=options["max_reject_share"], variables=variables_of(options["variables"]))
    if not delete:
        prune_raw(root, run, click.echo, is_named=as_of is not None)
        return
    given = {**options, "as_of": as_of, "log_format": "auto", "detailed_exit_codes": False}
    attended("prune-raw", given, lambda tell: prune_raw(root, run, tell, delete, is_named=as_of is not None))


@click.command()
@project_option
def doctor(project_dir: Path | None) -> None:
    """Look whether the warehouse is well, and say the remedy where it is not. Exits with 1 when something is wrong."""
    from kpi.base.errors import KpiError
    from kpi.read.doctor import examine
    from kpi.warehouse.builds import Warehouse

    wrong = 0
    for finding in examine(Warehouse(project_folder(project_dir).resolve() / "warehouse")):
        click.echo(f"{finding.level:<8}{finding.what}{f'  -> {finding.remedy}' if finding.remedy else ''}")
        wrong += finding.level == "error"
    if wrong:
        raise KpiError(f"{counted(wrong, 'thing')} need{'s' * (wrong == 1)} a remedy.")


@click.command()
@click.option("--public", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--build", metavar="BUILD", help="Of this build, not the published one.")
@click.option("--include-unfinished-years", is_flag=True, help="Also years that are not finished, as year to date.")
@project_option
def publish(folder: Path, build: str | None, include_unfinished_years: bool, project_dir: Path | None) -> None:
    """Write what may leave the house into DIR: the tables tagged `public`, as one DuckDB file and as CSV.

    No delivery, no row of a person and no small count is in it. Years that are not finished are left out unless you
    ask for them.
    """
    from kpi.compile.compiling import compiled
    from kpi.read.public import write_public
    from kpi.warehouse.builds import Warehouse
    from kpi.warehouse.validation import is_labelled_synthetic

    root = project_folder(project_dir).resolve()
    warehouse = Warehouse(root / "warehouse")
    for table in write_public(warehouse, compiled(root).graph, folder, build, include_unfinished_years):
        click.echo(f"{table.table}: {table.rows} rows")
    if is_labelled_synthetic(warehouse.raw):
        click.echo("These figures are SYNTHETIC: made from made-up deliveries.")
