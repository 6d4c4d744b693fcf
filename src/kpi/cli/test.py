"""The command that tests: unit tests without a warehouse, data tests on a build that is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kpi.base.errors import CheckFailed
from kpi.base.names import counted
from kpi.cli.options import project_folder, project_option, say, target_option, variables_of, vars_option

if TYPE_CHECKING:
    from kpi.compile.graph import Graph
    from kpi.compile.unit_runs import UnitResult
    from kpi.models.unit_tests import UnitTest
    from kpi.warehouse.testing import Report


@click.command("test")
@click.option("--select", "-s", multiple=True, metavar="NODES", help="Tests of these only, in dbt's selection syntax.")
@click.option("--exclude", multiple=True, metavar="NODES", help="But not of these.")
@click.option("--build", "build_id", metavar="BUILD", help="Data tests on this build, not the published one.")
@click.option("--store-failures", is_flag=True, help="Keep the failing rows in a file beside the build's.")
@vars_option
@target_option
@click.option("--selector", metavar="NAME", default="", help="Tests of what selectors.yml means by that, instead.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first test that fails.")
@project_option
def run_tests(
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    build_id: str | None,
    store_failures: bool,
    variables: str,
    target: str,
    selector: str,
    fail_fast: bool,
    project_dir: Path | None,
) -> None:
    """Run unit tests and data tests. Nothing is built and the build is only read; exit code 7 when a test fails."""
    from kpi.compile.compiling import compiled
    from kpi.compile.unit_runs import run_unit_tests
    from kpi.warehouse.builds import Warehouse
    from kpi.warehouse.testing import chosen_tests, run_data_tests

    root = project_folder(project_dir).resolve()
    graph = compiled(root, variables_of(variables), target).graph
    units, data = chosen_tests(graph, select, exclude, selector)
    results = _until_one_fails(graph, units) if fail_fast else run_unit_tests(graph, units) if units else ()
    say(_unit_lines(results))
    failed = sum(not result.passed for result in results)
    if fail_fast and failed:
        data = ()
    if data:
        folder = Warehouse(root / "warehouse").folder(build_id).resolve()
        report = run_data_tests(folder, data, store_failures, graph, fail_fast)
        say(_data_lines(report, f" --build {build_id}" if build_id else ""))
        failed += sum(check.is_error for check in report.checks)
    if not units and not data:
        click.echo("There is no test of what is selected.")
    if failed:
        raise CheckFailed(f"{failed} of {len(units) + len(data)} tests failed.")


def _until_one_fails(graph: Graph, units: Sequence[UnitTest]) -> tuple[UnitResult, ...]:
    from kpi.compile.unit_runs import run_unit_tests

    results: list[UnitResult] = []
    for unit in units:
        results += run_unit_tests(graph, (unit,))
        if not results[-1].passed:
            break
    return tuple(results)


def _unit_lines(results: Sequence[UnitResult]) -> Iterator[str]:
    for result in results:
        if not result.passed:
            yield f"FAIL {result.told}"
    if results:
        yield f"Ran {counted(len(results), 'unit test')}: {sum(not result.passed for result in results)} failed."


def _data_lines(report: Report, build: str) -> Iterator[str]:
    for check in report.checks:
        if check.status != "pass":
            rows = f"{check.failures} failing row{'' if check.failures == 1 else 's'}"
            yield f"{check.status.upper()} {check.name} ({check.where}): {rows}{check.first_rows}"
        if check.stored:
            yield f"     kpi query --failures{build} 'select * from {check.stored.partition('.')[2]}'"
    counts = {status: sum(check.status == status for check in report.checks) for status in ("fail", "warn")}
    yield f"Ran {counted(len(report.checks), 'data test')}: {counts['fail']} failed, {counts['warn']} warned."
    if any(check.stored for check in report.checks):
        yield f"Failing rows are in {report.kept}, personal data and all, and go when their build goes."
