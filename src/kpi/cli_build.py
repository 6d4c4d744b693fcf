"""Commands that build: refresh, build, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kpi.cli_options import day, project_folder, project_option, run_options, variables_of


@click.command()
@run_options
def refresh(**options: Any) -> None:
    """Load what changed, rebuild what that touches, check, publish. The nightly job."""
    _refresh((), (), unit_tests=False, **options)


@click.command()
@click.option("--select", "-s", multiple=True, metavar="NODES", help="Rebuild these only, in dbt's selection syntax.")
@click.option("--exclude", multiple=True, metavar="NODES", help="But not these.")
@run_options
def build(select: tuple[str, ...], exclude: tuple[str, ...], **options: Any) -> None:
    """Like refresh, but of selected nodes if you like, and only of models whose unit tests pass.

    When nodes that changed are left out, the build is kept for you to open but not published.
    """
    _refresh(select, exclude, unit_tests=True, **options)


def _refresh(select: tuple[str, ...], exclude: tuple[str, ...], unit_tests: bool, **given: Any) -> None:
    from kpi.refresh import Options, refresh

    settings = {"threads": given["threads"], "memory_limit": given["memory_limit"]}
    options = Options(
        as_of=day(given["as_of"]),
        select=select,
        exclude=exclude,
        full_refresh=given["full_refresh"],
        max_reject_share=given["max_reject_share"],
        publish_despite_checks=given["publish_despite_checks"].strip(),
        variables=variables_of(given["variables"]),
        settings={name: str(value) for name, value in settings.items() if value},
        validate=not given["no_expectations"],
        unit_tests=unit_tests,
        store_failures=given["store_failures"],
    )
    refresh(project_folder(given["project_dir"]), options, click.echo)


@click.command()
@project_option
@click.option("--seed", default=2025, show_default=True, help="The same seed writes the same bytes.")
@click.option("--scale", default=1.0, show_default=True, help="Share of the county's true volumes.")
@click.option("--if-empty", is_flag=True, help="Do nothing when there are deliveries already.")
def demo(project_dir: Path | None, seed: int, scale: float, if_empty: bool) -> None:
    """Write synthetic deliveries into warehouse/raw. They hold no real person's data."""
    from kpi.rawfiles import scan
    from kpi.warehouse import Warehouse

    warehouse = Warehouse(project_folder(project_dir).resolve() / "warehouse")
    raw = warehouse.raw
    if if_empty and (scan(raw).files or warehouse.current()):
        # Where something was published, an empty folder is a loss to be told, not a place for synthetic data.
        return
    from kpi.demo import write_demo

    click.echo(f"Writing SYNTHETIC deliveries into {raw}: made up, no real person or event is in them.")
    report = write_demo(raw, seed, scale)
    click.echo(f"Wrote {report.files} files, {report.records} records, {report.bytes / 1e6:.0f} MB (seed {seed}).")
