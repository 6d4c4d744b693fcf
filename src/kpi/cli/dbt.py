"""Commands of dbt that are another one here: each says which, with what was typed, and exits as for a usage error."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from copy import copy

import click

from kpi.cli.nightly import freshness
from kpi.cli.project import list_nodes

_DBT = ".venv-dbt/bin/dbt"
# By dbt's command: what to type instead, where the words that were typed go, and why.
_INSTEAD = {
    "run": ("kpi build {words}", "models are built with their tests, or the build is not published"),
    "seed": ("kpi build --resource-type seed {words}", "seeds are built when their files change, with all else"),
    "snapshot": ("kpi build --resource-type snapshot {words}", "snapshots are taken by each build"),
    "deps": ("dbt deps", "kpi fetches nothing; it reads what lies in dbt_packages/ and the `local:` packages"),
    "docs": ("kpi artifacts, then " + _DBT + " docs serve", "kpi writes what dbt's pages show"),
    "parse": ("kpi compile", "compiling checks everything and runs nothing"),
    "debug": ("kpi doctor", "there is no connection to test; the doctor looks at the warehouse"),
    "clean": ("kpi builds", "old builds go by themselves, and nothing else is written into the project"),
    "clone": ("kpi build {words}", "a build begins as a copy of the published one"),
    "run-operation": (
        "kpi compile --inline '{{{{ macro() }}}}'",
        "a macro runs nothing by itself; put what changes the build into a hook",
    ),
    "init": ("a dbt_project.yml with `name: …`, and models/", "that is all a project needs"),
}


def _redirect(name: str) -> click.Command:
    instead, why = _INSTEAD[name]

    @click.pass_context
    def told(context: click.Context, words: tuple[str, ...]) -> None:
        typed = instead.format(words=shlex.join(words)).strip()
        raise click.UsageError(f"dbt {name} is here: {typed} ({why}).", context)

    command: Callable[..., click.Command] = click.command(
        name,
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
        hidden=True,
        help=f"Say what dbt's {name} is here.",
    )
    return command(click.argument("words", nargs=-1, type=click.UNPROCESSED)(told))


redirects = tuple(_redirect(name) for name in _INSTEAD)

list_as_dbt = copy(list_nodes)
list_as_dbt.name, list_as_dbt.hidden = "list", True

source = click.Group(
    "source", commands={"freshness": freshness}, help="As dbt has it: kpi source freshness is kpi freshness."
)
source.hidden = True
