"""Commands that build, or say what would be built: refresh, build, retry, plan, demo."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from kpi.base.upkeep import check_size
from kpi.cli.options import (
    attended,
    day,
    project_folder,
    project_option,
    run_options,
    select_options,
    target_option,
    variables_of,
    vars_option,
)
from kpi.warehouse.options import Options


@click.command()
@run_options
def refresh(**options: Any) -> None:
    """Load what changed, rebuild what that touches, check, publish. The nightly job."""
    from kpi.nightly.refresh import refresh

    root = project_folder(options["project_dir"])
    attended("refresh", options, lambda tell: refresh(root, _options(options), tell))


@click.command()
@select_options
@click.option("--watch", is_flag=True, help="Go on: build and test what each saved file touches. Never published.")
@run_options
def build(watch: bool, **options: Any) -> None:
    """Like refresh, but of selected nodes if you like, and only of models whose unit tests pass.

    When nodes that changed are left out, the build is kept for you to open but not published.
    """
    root = project_folder(options["project_dir"])
    options["unit_tests"] = options["usual_selector"] = True
    if watch:
        from kpi.nightly.watch import watch as go_on

        go_on(root, _options(options), click.echo)
        return
    from kpi.nightly.refresh import refresh

    attended("build", options, lambda tell: refresh(root, _options(options), tell), notifies=False)


@click.command()
@run_options
def retry(**options: Any) -> None:
    """Continue the last run if it failed: keep what it built, do the rest. What that run was asked is asked again."""
    from kpi.nightly.refresh import retry

    root = project_folder(options["project_dir"])
    attended("retry", options, lambda tell: retry(root, _options(options), tell))


@click.command()
@select_options
@click.option("--full-refresh", is_flag=True, help="As if everything were built anew.")
@click.option("--as-of", metavar="DATE", help="The day of the refresh, YYYY-MM-DD; else today.")
@vars_option
@target_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@project_option
def plan(as_json: bool, **options: Any) -> None:
    """Say what a refresh would rebuild and why, one line a node. Runs nothing, writes nothing."""
    from kpi.nightly.plan import plan

    steps = plan(project_folder(options["project_dir"]), _options(options))
    if as_json:
        import json
        from dataclasses import asdict

        click.echo(json.dumps([asdict(step) for step in steps], indent=1, ensure_ascii=False))
        return
    # Tests that run again only because of what they judge are counted, not told one by one.
    told = [step for step in steps if step.action != "test" or "because of" not in step.why]
    width = max((len(step.name) for step in told), default=0)
    for step in told:
        click.echo(f"{step.action + '?' * (not step.certain):<7} {step.name:<{width}}  {step.why}")
    built = [step for step in steps if step.action == "build"]
    sure = sum(step.certain for step in built)
    tests = sum(step.action == "test" for step in steps)
    if not steps:
        click.echo("nothing to do")
    else:
        click.echo(f"To build: {sure}, perhaps {len(built) - sure} more; data tests to run: up to {tests}.")


def _options(given: dict[str, Any]) -> Options:
    settings = {name: given.get(name) for name in ("threads", "memory_limit", "temp_directory")}
    if settings["memory_limit"]:
        check_size(settings["memory_limit"], "--memory-limit")
    if settings["temp_directory"]:
        settings["temp_directory"] = Path(settings["temp_directory"]).absolute()
    return Options(
        as_of=day(given.get("as_of")),
        select=given.get("select", ()),
        exclude=given.get("exclude", ()),
        indirect=given.get("indirect", "eager"),
        kinds=given.get("kinds", ()),
        state=given.get("state", ""),
        full_refresh=given["full_refresh"],
        max_reject_share=given.get("max_reject_share"),
        publish_despite_checks=given.get("publish_despite_checks", "").strip(),
        variables=variables_of(given["variables"]),
        settings={name: str(value) for name, value in settings.items() if value},
        validate=not given.get("no_expectations"),
        keep_going=given.get("keep_going", False),
        unit_tests=given.get("unit_tests", False),
        store_failures=given.get("store_failures", False),
        wait_seconds=given.get("wait_seconds", 0),
        selector=given.get("selector", ""),
        usual_selector=given.get("usual_selector", False),
        target=given.get("target", ""),
    )


@click.command()
@project_option
@click.option("--seed", default=2025, show_default=True, help="The same seed writes the same bytes.")
@click.option("--scale", default=1.0, show_default=True, help="Share of the county's true volumes.")
@click.option("--if-empty", is_flag=True, help="Do nothing when there are deliveries already.")
def demo(project_dir: Path | None, seed: int, scale: float, if_empty: bool) -> None:
    """Write synthetic deliveries into warehouse/raw. They hold no real person's data."""
    from kpi.deliveries.rawfiles import UNFINISHED_DEMO, scan
    from kpi.warehouse.builds import Warehouse

    warehouse = Warehouse(project_folder(project_dir).resolve() / "warehouse")
    raw = warehouse.raw
    if os.path.exists(raw / UNFINISHED_DEMO):
        from kpi.demo.deliver import finish_demo

        if done := finish_demo(raw):
            click.echo(f"Finished what an earlier kpi demo began in {raw}: {done.files} SYNTHETIC files.")
            return
    if if_empty and (scan(raw).files or warehouse.current()):
        # Where something was published, an empty folder is a loss to be told, not a place for synthetic data.
        return
    from kpi.demo.deliver import write_demo

    click.echo(f"Writing SYNTHETIC deliveries into {raw}: made up, no real person or event is in them.")
    report = write_demo(raw, seed, scale)
    click.echo(f"Wrote {report.files} files, {report.records} records, {report.bytes / 1e6:.0f} MB (seed {seed}).")
