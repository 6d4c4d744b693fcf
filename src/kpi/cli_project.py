"""Commands that look at the project and run nothing: ls, compile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kpi.cli_options import project_folder, project_option, say, select_options
from kpi.errors import ConfigError


@click.command("ls")
@select_options
@click.option("--output", type=click.Choice(("table", "name", "path", "json", "selector")), default="table")
@project_option
def list_nodes(project_dir: Path | None, output: str, **options: Any) -> None:
    """List the project's nodes in building order."""
    from kpi.bind import columns_in
    from kpi.fingerprint import own_parts
    from kpi.graph import compile_project
    from kpi.listing import lines
    from kpi.project import load_project
    from kpi.rawfiles import scan
    from kpi.running import known_nodes
    from kpi.selection import State, select
    from kpi.warehouse import Warehouse

    root = project_folder(project_dir).resolve()
    warehouse = Warehouse(root / "warehouse")
    graph = compile_project(load_project(root), columns_in)
    own = own_parts(graph, scan(warehouse.raw)) if "state" in "".join(options["select"] + options["exclude"]) else {}
    state = State(known_nodes(warehouse.facts_of(options["state"])), own, warehouse.last_results())
    chosen = select(graph, options["select"], options["exclude"], options["indirect"], options["kinds"], state)
    say(lines([node for node in graph.nodes.values() if node.id in chosen], output))


@click.command("compile")
@click.argument("model", required=False)
@project_option
def compile_command(model: str | None, project_dir: Path | None) -> None:
    """Check every model and test, and print the compiled SQL of MODEL if one is named."""
    from kpi.bind import check_project
    from kpi.errors import nearest
    from kpi.project import load_project

    graph = check_project(load_project(project_folder(project_dir)))
    if model is None:
        say(f"note: {note}" for note in graph.notes)
        click.echo(f"{len(graph.built())} seeds and models and {len(graph.tests())} tests compile.")
        return
    found = [node for node in graph.nodes.values() if node.name == model and node.sql]
    if not found:
        raise ConfigError(
            f"there is no model or test '{model}'.{nearest(model, (n.name for n in graph.nodes.values()))}"
        )
    click.echo(found[0].sql)
