"""The command that tests: unit tests without a warehouse, data tests on a build that is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kpi.cli_options import project_folder, project_option, say, variables_of
from kpi.errors import CheckFailed

if TYPE_CHECKING:
    from kpi.testing import Report


@click.command("test")
@click.option("--select", "-s", multiple=True, metavar="NODES", help="Tests of these only, in dbt's selection syntax.")
@click.option("--exclude", multiple=True, metavar="NODES", help="But not of these.")
@click.option("--build", "build_id", metavar="ID", help="Data tests on this build, not the published one.")
@click.option("--store-failures", is_flag=True, help="Keep the failing rows in a file beside the build's.")
@click.option("--vars", "variables", metavar="YAML", default="", help="Variables for this run.")
@project_option
def run_tests(
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    build_id: str | None,
    store_failures: bool,
    variables: str,
    project_dir: Path | None,
) -> None:
    """Run unit tests and data tests. Nothing is built and the build is only read; exit code 7 when a test fails."""
    from kpi.testing import run_project_tests

    root = project_folder(project_dir)
    report = run_project_tests(root, select, exclude, build_id, store_failures, variables_of(variables))
    say(_lines(report, f" --build {build_id}" if build_id else ""))
    if report.failed:
        raise CheckFailed(f"{report.failed} of {len(report.units) + len(report.data)} tests failed.")


def _lines(report: Report, build: str) -> Iterator[str]:
    for unit in report.units:
        if not unit.passed:
            yield f"FAIL {unit.told}"
    stored = False
    for check in report.data:
        if check.status != "pass":
            rows = f"{check.failures} failing row{'' if check.failures == 1 else 's'}"
            yield f"{check.status.upper()} {check.name} ({check.where}): {rows}"
        if check.stored:
            stored = True
            table = check.stored.partition(".")[2]
            yield f"     kpi query --failures{build} 'select * from {table}'"
    if report.units:
        yield f"Ran {len(report.units)} unit tests: {sum(not unit.passed for unit in report.units)} failed."
    if report.data:
        counts = {status: sum(check.status == status for check in report.data) for status in ("fail", "warn")}
        yield f"Ran {len(report.data)} data tests: {counts['fail']} failed, {counts['warn']} warned."
    if stored:
        yield f"Failing rows are in {report.kept}, personal data and all, and go when their build goes."
    if not report.units and not report.data:
        yield "There is no test of what is selected."
