"""The command line: reads options, calls one function, prints. A command imports the heavy modules it needs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from kpi.errors import ConfigError, KpiError

project_option = click.option(
    "--project-dir", type=click.Path(path_type=Path), help="Folder of dbt_project.yml; else the nearest one above."
)


def _project(folder: Path | None) -> Path:
    from kpi.figures import find_project

    return find_project(folder)


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="kpi")
def cli() -> None:
    """The KPI data warehouse: raw deliveries to published, checked, reconciled indicators."""


def _run_options(command: Any) -> Any:
    for option in reversed(
        (
            project_option,
            click.option("--as-of", metavar="DATE", help="The day of the refresh, YYYY-MM-DD; else today."),
            click.option("--full-refresh", is_flag=True, help="Build everything anew, whatever changed."),
            click.option(
                "--max-reject-share",
                type=click.FloatRange(0, 1),
                metavar="SHARE",
                help="For this run: the share of a file's records that may be rejected, 0 to 1.",
            ),
            click.option("--publish-despite-checks", metavar="REASON", default="", help="Publish even if checks fail."),
            click.option("--no-expectations", is_flag=True, help="Do not judge the report years; then not published."),
            click.option("--vars", "variables", metavar="YAML", default="", help="Variables for this run."),
            click.option("--threads", type=click.IntRange(1), help="Threads DuckDB may use."),
            click.option("--memory-limit", metavar="SIZE", help="Memory DuckDB may use, as 2GB."),
        )
    ):
        command = option(command)
    return command


@cli.command()
@_run_options
def refresh(**options: Any) -> None:
    """Load what changed, rebuild what that touches, check, publish. The nightly job."""
    _refresh((), (), **options)


@cli.command()
@click.option("--select", "-s", multiple=True, metavar="NODES", help="Rebuild these only, in dbt's selection syntax.")
@click.option("--exclude", multiple=True, metavar="NODES", help="But not these.")
@_run_options
def build(select: tuple[str, ...], exclude: tuple[str, ...], **options: Any) -> None:
    """Like refresh, but of selected nodes if you like.

    When nodes that changed are left out, the build is kept for you to open but not published.
    """
    _refresh(select, exclude, **options)


def _refresh(select: tuple[str, ...], exclude: tuple[str, ...], **given: Any) -> None:
    from kpi.refresh import Options, refresh

    settings = {"threads": given["threads"], "memory_limit": given["memory_limit"]}
    options = Options(
        as_of=_day(given["as_of"]),
        select=select,
        exclude=exclude,
        full_refresh=given["full_refresh"],
        max_reject_share=given["max_reject_share"],
        publish_despite_checks=given["publish_despite_checks"].strip(),
        variables=_variables(given["variables"]),
        settings={name: str(value) for name, value in settings.items() if value},
        validate=not given["no_expectations"],
    )
    refresh(_project(given["project_dir"]), options, click.echo)


@cli.command()
@project_option
@click.option("--seed", default=2025, show_default=True, help="The same seed writes the same bytes.")
@click.option("--scale", default=1.0, show_default=True, help="Share of the county's true volumes.")
@click.option("--if-empty", is_flag=True, help="Do nothing when there are deliveries already.")
def demo(project_dir: Path | None, seed: int, scale: float, if_empty: bool) -> None:
    """Write synthetic deliveries into warehouse/raw. They hold no real person's data."""
    from kpi.rawfiles import scan
    from kpi.warehouse import Warehouse

    warehouse = Warehouse(_project(project_dir).resolve() / "warehouse")
    raw = warehouse.raw
    if if_empty and (scan(raw).files or warehouse.current()):
        # Where something was published, an empty folder is a loss to be told, not a place for synthetic data.
        return
    from kpi.demo import write_demo

    click.echo(f"Writing SYNTHETIC deliveries into {raw}: made up, no real person or event is in them.")
    report = write_demo(raw, seed, scale)
    click.echo(f"Wrote {report.files} files, {report.records} records, {report.bytes / 1e6:.0f} MB (seed {seed}).")


@cli.command("ls")
@click.option("--select", "-s", multiple=True, metavar="NODES", help="List these only, in dbt's selection syntax.")
@click.option("--exclude", multiple=True, metavar="NODES", help="But not these.")
@project_option
def list_nodes(select: tuple[str, ...], exclude: tuple[str, ...], project_dir: Path | None) -> None:
    """List the project's nodes in building order."""
    from kpi.graph import compile_project
    from kpi.graph import select as choose
    from kpi.project import load_project

    graph = compile_project(load_project(_project(project_dir)))
    chosen = choose(graph, select, exclude)
    _say(f"{node.kind:<7} {node.name:<44} {node.file}" for node in graph.nodes.values() if node.id in chosen)


@cli.command("compile")
@click.argument("model", required=False)
@project_option
def compile_command(model: str | None, project_dir: Path | None) -> None:
    """Check every model and test, and print the compiled SQL of MODEL if one is named."""
    from kpi.bind import check_project
    from kpi.errors import nearest
    from kpi.project import load_project

    graph = check_project(load_project(_project(project_dir)))
    if model is None:
        click.echo(f"{len(graph.built())} seeds and models and {len(graph.tests())} tests compile.")
        return
    found = [node for node in graph.nodes.values() if node.name == model and node.sql]
    if not found:
        raise ConfigError(
            f"there is no model or test '{model}'.{nearest(model, (n.name for n in graph.nodes.values()))}"
        )
    click.echo(found[0].sql)


@cli.command()
@click.argument("what", required=False, metavar="[FIGURE|TABLE]")
@click.option("--build", "build_id", metavar="ID", help="Of this build, not the published one.")
@click.option("--limit", default=40, show_default=True, help="Rows of a table to print.")
@project_option
def show(what: str | None, build_id: str | None, limit: int, project_dir: Path | None) -> None:
    """Print every indicator beside its printed value, or one figure, or a table."""
    from kpi import figures

    with figures.open_build(build_id, _project(project_dir)) as con:
        if what is None:
            _say(figures.figure_lines(con))
            _say(["", *figures.summary_lines(con)])
            return
        kind, name = figures.resolve(con, what)
        if kind == "figure":
            _say(figures.definition_lines(con, name))
            _say(figures.figure_lines(con, name))
            return
        result = con.execute(f"select * from {name} limit {int(limit) + 1}")
        rows = result.fetchall()
        _say(figures.table_lines([column[0] for column in result.description or []], rows[:limit]))
        if len(rows) > limit:
            click.echo(f"… more rows; see --limit, or: kpi query 'select * from {name}'")


@cli.command()
@click.argument("sql")
@click.option("--build", "build_id", metavar="ID", help="Of this build, not the published one.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@project_option
def query(sql: str, build_id: str | None, as_csv: bool, project_dir: Path | None) -> None:
    """Run one SQL query on the published build, read-only, and print its rows."""
    import duckdb

    from kpi import figures

    with figures.open_build(build_id, _project(project_dir)) as con:
        try:
            if len(duckdb.extract_statements(sql)) != 1:
                raise ConfigError("kpi query takes one SQL statement.")
            result = con.execute(sql)
            names, rows = [column[0] for column in result.description or []], result.fetchall()
        except duckdb.Error as error:
            raise ConfigError(str(error)) from None
    if as_csv:
        import csv

        csv.writer(sys.stdout, lineterminator="\n").writerows([names, *rows])
    elif names:
        _say(figures.table_lines(names, rows))


@cli.command()
@click.option("--year", type=click.IntRange(1990, 2099), help="Judge this report year alone.")
@click.option("--build", "build_id", metavar="ID", help="Judge this build, not the published one.")
@click.option("--as-of", metavar="DATE", help="The day to judge on, YYYY-MM-DD; else the day of the build.")
@click.option("--html", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write the pages here.")
@project_option
def validate(
    year: int | None, build_id: str | None, as_of: str | None, html: Path | None, project_dir: Path | None
) -> None:
    """Judge the report years of a build again, by the rules of today. Nothing is rebuilt or published.

    Exits with 7 when an expectation whose failure is an error does not hold.
    """
    from kpi.errors import CheckFailed
    from kpi.validation import errors, judge, result_lines

    results = judge(_project(project_dir), build_id, year, _day(as_of) if as_of else None, html)
    _say(result_lines(results))
    if failed := errors(results):
        raise CheckFailed(f"{len(failed)} expectation{'s' * (len(failed) > 1)} failed.")


@cli.command()
@project_option
def builds(project_dir: Path | None) -> None:
    """List the builds that are kept; the published one is marked."""
    from kpi.warehouse import Warehouse

    for facts in Warehouse(_project(project_dir).resolve() / "warehouse").list_builds():
        reason = " ".join(str(facts.get("reason") or "").split())
        mark = "*" if facts["is_current"] else " "
        click.echo(f"{mark} {facts['id']:<24} {facts.get('status', 'unknown'):<10} {reason}"[:160].rstrip())


def _day(text: str | None) -> Any:
    from datetime import date

    if text is None:
        return date.today()
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--as-of takes a date such as 2026-03-05, not '{text}'.") from None


def _variables(text: str) -> dict[str, Any]:
    if not text:
        return {}
    import yaml

    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError:
        values = None
    if not isinstance(values, dict):
        raise ConfigError("--vars takes a YAML mapping, as '{about_tolerance_percent: 5}'.")
    return values


def main() -> None:
    """Run the command line. A KpiError is told in plain words and becomes its exit code."""
    try:
        cli(standalone_mode=True)
    except KpiError as error:
        click.echo(f"kpi: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        # DuckDB's errors are recognised by name: importing it only to catch them would cost every command its import.
        if not isinstance(error, OSError) and not type(error).__module__.startswith(("duckdb", "_duckdb")):
            raise
        click.echo(f"kpi: {error}", err=True)
        full = "No space left" in str(error) or "not enough space" in str(error).lower()
        sys.exit(9 if full else 1)


if __name__ == "__main__":
    main()
