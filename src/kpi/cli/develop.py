"""Commands for those who write models: build, retry, plan, ls, compile, lineage, test, artifacts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kpi.cli.options import (
    OutputPath,
    attended,
    complain,
    day,
    engine_of,
    engine_options,
    json_option,
    project_folder,
    project_option,
    run_options,
    say,
    say_json,
    select_options,
    target_option,
    variables_of,
    vars_option,
    warehouse_of,
)
from kpi.errors import CheckFailed, ConfigError, KpiError, Place, mistakes, nearest
from kpi.files import replacing
from kpi.jobs.options import Options
from kpi.settings import check_size
from kpi.sql import Columns, counted

if TYPE_CHECKING:
    from kpi.engine.compile import Compiled
    from kpi.engine.graph import Graph, UnitTest
    from kpi.engine.runner import AdapterFor
    from kpi.engine.unit_tests import UnitResult
    from kpi.jobs.check_build import Report


@click.command()
@run_options
def refresh(**options: Any) -> None:
    """Load what changed, rebuild what that touches, check, publish. The nightly job."""
    from kpi.jobs.refresh import refresh

    root = project_folder(options["project_dir"])
    attended("refresh", options, lambda emit: refresh(root, _options(options), emit))


@click.command()
@select_options
@click.option("--watch", is_flag=True, help="Go on: build and test what each saved file touches. Nothing is published.")
@run_options
def build(watch: bool, **options: Any) -> None:
    """Refresh selected nodes, or all, when their unit tests pass.

    When nodes that changed are left out, the build is kept for you to open but not published.
    """
    root = project_folder(options["project_dir"])
    options["unit_tests"] = options["usual_selector"] = True
    if watch:
        from kpi.jobs.watch import watch as go_on

        go_on(root, _options(options), click.echo)
        return
    from kpi.jobs.refresh import refresh

    attended("build", options, lambda emit: refresh(root, _options(options), emit), notifies=False)


@click.command()
@run_options
def retry(**options: Any) -> None:
    """Continue the last run if it failed.

    What it built is kept, and the rest is done, with the selection of that run.
    """
    from kpi.jobs.refresh import retry

    root = project_folder(options["project_dir"])
    attended("retry", options, lambda emit: retry(root, _options(options), emit))


@click.command()
@select_options
@click.option("--full-refresh", is_flag=True, help="As if everything were rebuilt.")
@click.option("--as-of", metavar="DATE", help="The day of the refresh, YYYY-MM-DD; else today.")
@vars_option
@target_option
@engine_options
@json_option
@project_option
def plan(as_json: bool, **options: Any) -> None:
    """Show what a refresh would do and why, one line a node. Runs nothing, writes nothing."""
    from kpi.jobs.plan import plan

    steps = plan(project_folder(options["project_dir"]), _options(options))
    if as_json:
        names = ("action", "name", "why", "certain", "id")
        say_json([{name: getattr(step, name) for name in names} for step in steps])
        return
    # Tests that run again only because a table they test is rebuilt are counted, not listed one by one.
    message = [step for step in steps if step.action != "test" or "because of" not in step.why]
    width = max((len(step.name) for step in message), default=0)
    for step in message:
        click.echo(f"{step.action + '?' * (not step.certain):<7} {step.name:<{width}}  {step.why}")
    built = [step for step in steps if step.action == "build"]
    sure = sum(step.certain for step in built)
    tests = sum(step.action == "test" for step in steps)
    if not steps:
        click.echo("nothing to do")
    else:
        click.echo(f"To build: {sure}, perhaps {len(built) - sure} more; data tests to run: up to {tests}.")


def _options(options: dict[str, Any]) -> Options:
    settings = {name: options.get(name) for name in ("threads", "memory_limit", "temp_directory")}
    if settings["memory_limit"]:
        check_size(settings["memory_limit"], Place("--memory-limit"))
    if settings["temp_directory"]:
        settings["temp_directory"] = Path(settings["temp_directory"]).absolute()
    return Options(
        as_of=day(options.get("as_of")),
        select=options.get("select", ()),
        exclude=options.get("exclude", ()),
        indirect=options.get("indirect", "eager"),
        kinds=options.get("kinds", ()),
        state=options.get("state", ""),
        full_refresh=options["full_refresh"],
        max_reject_share=options.get("max_reject_share"),
        publish_despite_checks=options.get("publish_despite_checks", "").strip(),
        variables=variables_of(options["variables"]),
        settings={name: str(value) for name, value in settings.items() if value},
        validate=not options.get("no_expectations"),
        keep_going=options.get("keep_going", False),
        unit_tests=options.get("unit_tests", False),
        store_failures=options.get("store_failures", False),
        wait_seconds=options.get("wait_seconds", 0),
        selector=options.get("selector", ""),
        usual_selector=options.get("usual_selector", False),
        target=options.get("target", ""),
        engine=engine_of(options),
    )


@click.command()
@project_option
@click.option("--seed", default=2025, show_default=True, help="The same seed writes the same bytes.")
@click.option("--scale", default=1.0, show_default=True, help="Share of the county's true volumes.")
@click.option("--if-empty", is_flag=True, help="Do nothing when there are deliveries already.")
def demo(project_dir: Path | None, seed: int, scale: float, if_empty: bool) -> None:
    """Write the project's synthetic deliveries into warehouse/raw.

    It runs the project's demo/. No real person is in them.
    """
    import subprocess

    root = project_folder(project_dir).resolve()
    if not (root / "demo/__main__.py").is_file():
        raise ConfigError(f"{root} has no demo/__main__.py, which would write synthetic deliveries for this project.")
    command = [sys.executable, "-m", "demo", str(root / "warehouse/raw"), "--seed", str(seed), "--scale", str(scale)]
    done = subprocess.run(
        [*command, *(["--if-empty"] if if_empty else [])], cwd=root, capture_output=True, text=True, check=False
    )
    say(done.stdout.splitlines())
    if done.returncode:
        complain(f"kpi: {done.stderr.strip()}")
        sys.exit(done.returncode)


@click.command("ls")
@select_options
@vars_option
@target_option
@click.option(
    "--output",
    type=click.Choice(("table", "name", "path", "json", "selector")),
    default="table",
    show_default=True,
    help="A table of all, or one line a node as dbt prints it.",
)
@project_option
def list_nodes(project_dir: Path | None, output: str, variables: str, target: str, **options: Any) -> None:
    """List the project's nodes in building order.

    Unless some are selected it lists all, or those of the default selector of selectors.yml.
    """
    from dataclasses import replace

    from kpi.cache import caching
    from kpi.engine.compile import CACHE, columns_in, known
    from kpi.engine.nodes import compile_project
    from kpi.engine.selector import Selection, State, default_of, lines, select
    from kpi.engine.unit_tests import read_unit_tests, with_unit_tests
    from kpi.ingest.raw_files import CHECKSUMS, Checksums, scan
    from kpi.project.project import load_project, together

    root, warehouse = project_folder(project_dir).resolve(), warehouse_of(project_dir)
    with caching(root / CACHE):
        if before := known(root, variables_of(variables), target):
            graph = before.graph
        else:
            graph = compile_project(load_project(root, variables_of(variables), target), columns_in)
            tests, wrong = read_unit_tests(graph.project, graph.nodes)
            if wrong:
                raise together(wrong, root)
            graph = replace(graph, unit_tests=tests)
    words = options["select"], options["exclude"], options["indirect"], options["kinds"]
    selector = options["selector"] or ("" if any(words[:2]) or words[3] else default_of(graph.project.selectors))
    state = State()
    if selector or any(words[:2]):  # only words can ask what is other than in a build
        from kpi.engine.artifacts import state_of
        from kpi.engine.plan import checksums_of

        folder = scan(warehouse.raw, Checksums(warehouse.root / CHECKSUMS))
        state_name, checksums = options["state"], checksums_of(graph, folder)
        state = state_of(graph, state_name, warehouse.nodes_of(state_name), checksums, warehouse.last_results())
    wide = with_unit_tests(graph)
    chosen = select(wide, Selection(*words, selector), state)
    say(lines([node for node in wide.nodes.values() if node.id in chosen], output))


@click.command("compile")
@click.argument("model", required=False)
@click.option("--inline", metavar="SQL", default="", help="Compile this SELECT, as if it were a model, and print it.")
@click.option("--json", "as_json", is_flag=True, help="List all mistakes as JSON, for an editor.")
@click.option(
    "--engine",
    type=click.Choice(("duckdb", "spark")),
    help="Also refuse what this engine would count in another way, and print its SQL; else the project's engine.",
)
@vars_option
@target_option
@project_option
def compile_command(
    model: str | None,
    inline: str,
    as_json: bool,
    engine: str | None,
    variables: str,
    target: str,
    project_dir: Path | None,
) -> None:
    """Check every model and test; print the compiled SQL of MODEL."""
    from kpi.cache import caching
    from kpi.engine.compile import CACHE, compiled
    from kpi.warehouse.permissions import tables_for_readers

    root = project_folder(project_dir)
    try:
        with caching(root.resolve() / CACHE):
            project = compiled(root, variables_of(variables), target)
            graph = project.graph
            engine = engine or graph.project.engine_settings.type
            _check_compiled(project, engine)
    except KpiError as error:
        if not as_json:
            raise
        say_json([{name: getattr(one, name) for name in one.__slots__} for one in mistakes(error)], indent=2)
        sys.exit(error.exit_code)
    if as_json:
        click.echo("[]")
        return
    if inline:
        from kpi.engine.compile import compile_inline

        click.echo(compile_inline(graph, inline))
        return
    if model is None:
        say(f"note: {note}" for note in graph.notes)
        for view in tables_for_readers(graph):
            click.echo(f"note: readers get {view} as a table, for it reads what stewards_schemas leaves out.")
        click.echo(f"{len(graph.built())} seeds and models and {counted(len(graph.tests()), 'test')} compile.")
        return
    matches = [node for node in graph.nodes.values() if model in (node.name, node.id) and node.sql]
    if not matches:
        raise ConfigError(
            f"there is no model or test '{model}'.{nearest(model, (n.name for n in graph.nodes.values()))}"
        )
    node = matches[0]
    click.echo(_in_words_of(engine, node.sql, project.columns.get(node.id, ())))


def _check_compiled(project: Compiled, engine: str) -> None:
    """Refuse what compiles and is wrong all the same: for an engine, readers, report years, explanations, pages."""
    from kpi.project.project import together
    from kpi.provenance.outline import unexplained
    from kpi.site.sentences import check_report
    from kpi.validation.rule import check_expectations, read_expectations
    from kpi.warehouse.permissions import refuse_unknown

    graph = project.graph
    if engine == "spark":
        from kpi.engine.spark_refusals import check_for_spark

        check_for_spark(graph, project.columns)
    refuse_unknown(graph)
    check_expectations(read_expectations(graph.project), graph)
    if wrong := unexplained(graph):
        raise together(wrong, graph.project.root)
    check_report(graph)


def _in_words_of(engine: str, sql: str, columns: Columns) -> str:
    """The SQL as an engine is given it."""
    if engine != "spark":
        return sql
    from kpi.engine.spark_sql import to_spark

    return to_spark(sql, dict(columns))


@click.command("lineage")
@click.argument("what", metavar="TABLE[.COLUMN]")
@click.option("--downstream", is_flag=True, help="Print what is made from it, not what it is made from.")
@click.option("--all", "also_used", is_flag=True, help="Also columns that only filter, join, group or order.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "mermaid"]),
    default="text",
    show_default=True,
    help="How to print it.",
)
@vars_option
@target_option
@project_option
def lineage_command(
    what: str, downstream: bool, also_used: bool, form: str, variables: str, target: str, project_dir: Path | None
) -> None:
    """Print what a column is made from, down to the raw columns.

    Of a table it prints that for each of its columns.
    """
    from kpi.cache import caching
    from kpi.engine import lineage
    from kpi.engine.compile import CACHE, compiled

    root = project_folder(project_dir).resolve()
    with caching(root / CACHE):
        project = compiled(root, variables_of(variables), target)
        starts, edges = lineage.lineage(
            project.graph, project.columns, what, downstream=downstream, also_used=also_used
        )
    match form:
        case "json":
            click.echo(lineage.as_json(starts, edges))
        case "mermaid":
            say(lineage.as_mermaid(starts, edges))
        case _:
            say(lineage.as_text(starts, edges, downstream))


@click.command("test")
@click.option("--select", "-s", multiple=True, metavar="NODES", help="Tests of these only, in dbt's selection syntax.")
@click.option("--exclude", multiple=True, metavar="NODES", help="But not of these.")
@click.option("--build", "build_id", metavar="BUILD", help="Data tests on this build, not the published one.")
@click.option("--store-failures", is_flag=True, help="Keep the failing rows in a file beside the build's.")
@vars_option
@target_option
@click.option(
    "--selector", metavar="NAME", default="", help="Tests of the nodes of this selector of selectors.yml instead."
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first test that fails.")
@engine_options
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
    **place: str | None,
) -> None:
    """Run unit tests and data tests. Nothing is built and the build is only read; exit code 7 when a test fails."""
    from kpi.engine.adapter import adapters
    from kpi.engine.compile import compiled
    from kpi.jobs.check_build import chosen_tests, run_data_tests
    from kpi.jobs.options import refuse_engine

    root = project_folder(project_dir).resolve()
    project = compiled(root, variables_of(variables), target)
    graph = project.graph
    engine = graph.project.engine_settings.with_options(engine_of(place) or {})
    refuse_engine(project, engine)
    units, data = chosen_tests(graph, select, exclude, selector)
    with adapters(engine, graph, _exchange_folder(), build_id or "", click.echo) as adapter_for:
        results = _unit_results(graph, units, fail_fast, adapter_for)
        say(_unit_lines(results))
        failed = sum(not result.passed for result in results)
        if fail_fast and failed:
            data = ()
        if data:
            folder = warehouse_of(project_dir).folder(build_id)
            report = run_data_tests(folder, data, store_failures, graph, fail_fast, adapter_for)
            say(_data_lines(report, f" --build {build_id}" if build_id else ""))
            failed += sum(check.is_error for check in report.checks)
    if not units and not data:
        click.echo("There is no test of what is selected.")
    if failed:
        raise CheckFailed(f"{failed} of {counted(len(units) + len(data), 'test')} failed.")


def _exchange_folder() -> Path:
    """A place for what goes to another engine: made when it is used, and of this process alone."""
    import os
    import tempfile

    return Path(tempfile.gettempdir()) / f"kpi-spark-{os.getuid()}-{os.getpid()}"


def _unit_results(
    graph: Graph, units: Sequence[UnitTest], fail_fast: bool, adapter_for: AdapterFor
) -> tuple[UnitResult, ...]:
    """Run unit tests, all of them or until one fails."""
    from kpi.engine.unit_tests import run_unit_tests

    if not fail_fast:
        return run_unit_tests(graph, units, adapter_for) if units else ()
    results: list[UnitResult] = []
    for unit in units:
        results += run_unit_tests(graph, (unit,), adapter_for)
        if not results[-1].passed:
            break
    return tuple(results)


def _unit_lines(results: Sequence[UnitResult]) -> Iterator[str]:
    for result in results:
        if not result.passed:
            yield f"FAIL {result.message}"
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
        yield f"Failing rows are in {report.failures}, personal data and all, and go when their build goes."


@click.command()
@project_option
@click.option("--build", metavar="BUILD", help="Results and catalog of this build; else of the published one.")
@vars_option
@target_option
@click.option("--target-path", type=OutputPath(path_type=Path), help="Where to; else target/ in the project.")
def artifacts(
    project_dir: Path | None, build: str | None, target_path: Path | None, variables: str, target: str
) -> None:
    """Write dbt's artifacts, for the tools that read them.

    They are manifest.json, run_results.json and catalog.json. The manifest is of the project as it is now. Results
    and catalog are of a build, when there is one.
    """
    import shutil

    from kpi.engine.artifacts import CATALOGUE, MANIFEST, RESULTS, write_project_manifest
    from kpi.engine.compile import compiled

    root = project_folder(project_dir)
    graph = compiled(root, variables_of(variables), target).graph
    folder_of_files = target_path or root / "target"
    folder_of_files.mkdir(parents=True, exist_ok=True)
    write_project_manifest(folder_of_files / MANIFEST, graph)
    click.echo(f"Wrote {folder_of_files / MANIFEST}.")
    warehouse = warehouse_of(project_dir)
    if build is None and warehouse.current() is None:
        click.echo("Nothing is published yet: no results and no catalog.")
        return
    folder = warehouse.folder(build)
    for name in (RESULTS, CATALOGUE):
        if (folder / name).is_file():
            with replacing(folder_of_files / name) as file:
                shutil.copyfile(folder / name, file)
            click.echo(f"Wrote {folder_of_files / name} of build {folder.name}.")
        else:
            click.echo(f"Build {folder.name} has no {name}: it was made before kpi wrote one, or it failed.")
