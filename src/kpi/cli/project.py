"""Commands that look at the project and run nothing: ls, compile, lineage."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from kpi.base.errors import ConfigError, KpiError
from kpi.cli.options import (
    project_folder,
    project_option,
    say,
    select_options,
    target_option,
    variables_of,
    vars_option,
)


@click.command("ls")
@select_options
@vars_option
@target_option
@click.option("--output", type=click.Choice(("table", "name", "path", "json", "selector")), default="table")
@project_option
def list_nodes(project_dir: Path | None, output: str, variables: str, target: str, **options: Any) -> None:
    """List the project's nodes in building order: all, or what the default selector of selectors.yml means."""
    from dataclasses import replace

    from kpi.artifacts.state import state_of
    from kpi.base.compile_cache import caching
    from kpi.compile.bind import columns_in
    from kpi.compile.compiling import CACHE
    from kpi.compile.graph import compile_project, with_unit_tests
    from kpi.compile.listing import lines
    from kpi.compile.selection import select
    from kpi.compile.selectors import default_of
    from kpi.deliveries.rawfiles import scan
    from kpi.models.unit_tests import read_unit_tests
    from kpi.parse.project import load_project, together
    from kpi.run.fingerprint import own_parts
    from kpi.warehouse.builds import Warehouse

    root = project_folder(project_dir).resolve()
    warehouse = Warehouse(root / "warehouse")
    with caching(root / CACHE):
        graph = compile_project(load_project(root, variables_of(variables), target), columns_in)
    tests, wrong = read_unit_tests(graph.project, graph.nodes)
    if wrong:
        raise together(wrong, root)
    graph = replace(graph, unit_tests=tests)
    own = (
        own_parts(graph, scan(warehouse.raw))
        if "state" in "".join(options["select"] + options["exclude"]) or options["selector"]
        else {}
    )
    named = options["state"]
    state = state_of(graph, named, warehouse.facts_of(named), own, warehouse.last_results())
    wide = with_unit_tests(graph)
    given = options["select"], options["exclude"], options["indirect"], options["kinds"]
    selector = options["selector"] or ("" if any(given[:2]) or given[3] else default_of(graph.project.selectors))
    chosen = select(wide, *given, state, selector)
    say(lines([node for node in wide.nodes.values() if node.id in chosen], output))


@click.command("compile")
@click.argument("model", required=False)
@click.option("--inline", metavar="SQL", default="", help="Compile this SELECT, as if it were a model, and print it.")
@click.option("--json", "as_json", is_flag=True, help="List all mistakes as JSON, for an editor.")
@vars_option
@target_option
@project_option
def compile_command(
    model: str | None, inline: str, as_json: bool, variables: str, target: str, project_dir: Path | None
) -> None:
    """Check every model and test, and print the compiled SQL of MODEL if one is named."""
    from kpi.base.errors import nearest
    from kpi.compile.compiling import compiled
    from kpi.warehouse.finished import tables_for_readers
    from kpi.warehouse.rights import refuse_unknown

    try:
        graph = compiled(project_folder(project_dir), variables_of(variables), target).graph
        refuse_unknown(graph)
    except KpiError as error:
        if not as_json:
            raise
        _print_mistakes(error)
        sys.exit(error.exit_code)
    if as_json:
        click.echo("[]")
        return
    if inline:
        from kpi.compile.inline import compile_inline

        click.echo(compile_inline(graph, inline))
        return
    if model is None:
        say(f"note: {note}" for note in graph.notes)
        for view in tables_for_readers(graph):
            click.echo(f"note: readers get {view} as a table, for it reads what stewards_schemas leaves out.")
        click.echo(f"{len(graph.built())} seeds and models and {len(graph.tests())} tests compile.")
        return
    found = [node for node in graph.nodes.values() if model in (node.name, node.id) and node.sql]
    if not found:
        raise ConfigError(
            f"there is no model or test '{model}'.{nearest(model, (n.name for n in graph.nodes.values()))}"
        )
    click.echo(found[0].sql)


def _print_mistakes(error: KpiError) -> None:
    import json

    from kpi.base.excerpts import mistakes

    facts = [{name: getattr(mistake, name) for name in mistake.__slots__} for mistake in mistakes(error)]
    click.echo(json.dumps(facts, indent=2, ensure_ascii=False))


@click.command("lineage")
@click.argument("what", metavar="TABLE[.COLUMN]")
@click.option("--downstream", is_flag=True, help="What is made from it, not what it is made from.")
@click.option("--all", "also_used", is_flag=True, help="Also columns that only filter, join, group or order.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "mermaid"]), default="text", show_default=True, help="How."
)
@vars_option
@target_option
@project_option
def lineage_command(
    what: str, downstream: bool, also_used: bool, form: str, variables: str, target: str, project_dir: Path | None
) -> None:
    """Print what a column is made from, down to the raw columns; of a table, for each of its columns."""
    from kpi.base.compile_cache import caching
    from kpi.compile import lineage
    from kpi.compile.compiling import CACHE, compiled

    root = project_folder(project_dir).resolve()
    with caching(root / CACHE):
        project = compiled(root, variables_of(variables), target)
        starts, found = lineage.lineage(
            project.graph, project.columns, what, downstream=downstream, also_used=also_used
        )
    match form:
        case "json":
            click.echo(lineage.as_json(starts, found))
        case "mermaid":
            say(lineage.as_mermaid(starts, found))
        case _:
            say(lineage.as_text(starts, found, downstream))
