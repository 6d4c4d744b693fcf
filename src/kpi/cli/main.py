"""The command line: each command reads options, calls one function, prints, and imports the heavy modules it needs."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from collections.abc import Callable
from copy import copy

import click

from kpi.cli import develop as cli_artifacts
from kpi.cli import develop as cli_build
from kpi.cli import develop as cli_project
from kpi.cli import develop as cli_test
from kpi.cli import operate as cli_nightly
from kpi.cli import operate as cli_operate
from kpi.cli import read as cli_read
from kpi.cli import release as cli_release
from kpi.cli.develop import list_nodes
from kpi.cli.operate import freshness
from kpi.cli.options import complain
from kpi.errors import INTERRUPTED, CompileError, KpiError, exit_code_of, interruptible, is_not_allowed
from kpi.presentation import guard_streams

_DBT = ".venv-dbt/bin/dbt"
_COMPLETION = "_KPI_COMPLETE"
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
    def refuse(context: click.Context, words: tuple[str, ...]) -> None:
        typed = instead.format(words=shlex.join(words)).strip()
        raise click.UsageError(f"dbt {name} is here: {typed} ({why}).", context)

    command: Callable[..., click.Command] = click.command(
        name,
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
        hidden=True,
        help=f"Say what dbt's {name} is here.",
    )
    return command(click.argument("words", nargs=-1, type=click.UNPROCESSED)(refuse))


redirects = tuple(_redirect(name) for name in _INSTEAD)

list_as_dbt = copy(list_nodes)
list_as_dbt.name, list_as_dbt.hidden = "list", True

source = click.Group(
    "source", commands={"freshness": freshness}, help="As dbt has it: kpi source freshness is kpi freshness."
)
source.hidden = True


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="kpi")
def cli() -> None:
    """The KPI data warehouse: raw deliveries to published, checked, reconciled indicators."""
    guard_streams()


for _command in (
    *(cli_build.refresh, cli_build.build, cli_build.retry, cli_build.plan, cli_build.demo),
    *(cli_project.list_nodes, cli_project.compile_command, cli_project.lineage_command),
    *(cli_read.show, cli_read.explain, cli_read.why, cli_read.query, cli_read.validate),
    *(cli_read.builds, cli_read.deliveries, cli_read.rejects),
    *(cli_read.export, cli_read.serve, cli_read.site),
    *(cli_test.run_tests, cli_artifacts.artifacts),
    *(cli_operate.diff, cli_operate.rollback, cli_operate.prune_raw, cli_operate.doctor, cli_operate.publish),
    *(cli_release.release, cli_release.revisions),
    *(source, list_as_dbt, *redirects),
    *(cli_nightly.runs, cli_nightly.freshness, cli_nightly.notify, cli_nightly.schedule),
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line. A KpiError is printed in plain words and becomes its exit code."""
    if _COMPLETION not in os.environ:  # what a shell is given to complete is bytes, and of the program's own words
        guard_streams()
    _watch_for_interrupts()
    gc.set_threshold(50_000, 20, 20)  # what a run makes lives to its end: looking for garbage took 5 % of it
    try:
        with interruptible():
            code = cli(standalone_mode=False)  # of --help and its like; what commands return is nothing
        if isinstance(code, int):
            sys.exit(code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        complain("kpi: interrupted.")
        sys.exit(INTERRUPTED)
    except KpiError as error:
        from kpi.errors import error_text
        from kpi.ingest.masking import message

        complain(message(f"kpi: {error_text(error)}"))
        sys.exit(exit_code_of(error))
    except RecursionError:
        complain("kpi: something in the project is nested too deeply. kpi compile may say which file it is.")
        sys.exit(CompileError.exit_code)
    except Exception as error:
        if isinstance(error, OSError) and (code := _broken_output(error)) is not None:
            sys.exit(code)
        # DuckDB's errors are recognised by name: importing it only to catch them would cost every command its import.
        if not isinstance(error, OSError) and not type(error).__module__.startswith(("duckdb", "_duckdb")):
            raise
        from kpi.ingest.masking import hidden, message

        remedy = ". See: kpi doctor" if is_not_allowed(error) else ""
        complain(message(f"kpi: {hidden(str(error))}{remedy}"))
        sys.exit(exit_code_of(error))


def _watch_for_interrupts() -> None:
    """At Ctrl-C have a thread stop DuckDB's statements: the main one may be within one, and act on it much later."""
    import signal
    import socket
    import threading

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # ignored, as in the background of a shell
        return
    woken, waking = socket.socketpair()
    waking.setblocking(False)
    signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)

    def watch() -> None:
        while number := woken.recv(1):
            engine = sys.modules.get("kpi.database")
            if number[0] == signal.SIGINT and engine is not None:
                engine.interrupt_all()

    threading.Thread(target=watch, daemon=True).start()
    _WAKING.append(waking)  # it must live as long as the process


_WAKING: list[object] = []


def _broken_output(error: OSError) -> int | None:
    """The exit code when it is the output that cannot be written: 0 when its reader has enough; else None."""
    from kpi.jobs.progress import mute

    try:
        if sys.stdout is not None:
            sys.stdout.flush()
        if not isinstance(error, BrokenPipeError) and not getattr(sys.stdout, "is_broken", False):
            return None
    except (OSError, ValueError):
        mute(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return 0
    complain(f"kpi: the output cannot be written: {error.strerror}.")
    return 1
