"""Commands that look at the project and run nothing: ls, compile."""

from __future__ import annotations

from pathlib import Path

import click

from kpi.cli_options import project_folder, project_option, say
from kpi.errors import ConfigError


@click.command("ls")
@click.option("--select", "-s", multiple=True, metavar="NODES", help="List these only, in dbt's selection syntax.")
@click.option("--exclude", multiple=True, metavar="NODES", help="But not these.")
@project_option
def list_nodes(select: tuple[str, ...], exclude: tuple[str, ...], project_dir: Path | None) -> None:
    """List the project's nodes in building order."""
    from kpi.bind import columns_in
    from kpi.graph import compile_project
    from kpi.project import load_project
    from kpi.selection import select as choose

    graph = compile_project(load_project(project_folder(project_dir)), columns_in)
    chosen = choose(graph, select, exclude)
    say(f"{node.kind:<7} {node.name:<44} {node.file}" for node in graph.nodes.values() if node.id in chosen)


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
