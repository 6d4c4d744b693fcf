"""The command line: each command reads options, calls one function, prints, and imports the heavy modules it needs.

A command's own module is imported when the command is asked for.
"""

from __future__ import annotations

import gc
import importlib
import os
import shlex
import sys
from collections.abc import Callable, Iterator, MutableMapping
from copy import copy
from functools import partial

import click

from kpi.cli.options import CommandGroup, complain
from kpi.errors import (
    INTERRUPTED,
    CompileError,
    KpiError,
    error_text,
    exit_code_of,
    interruptible,
    is_disk_full,
    is_not_allowed,
)
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


def _list_as_dbt() -> click.Command:
    command = copy(_imported("develop", "list_nodes"))
    command.name, command.hidden = "list", True
    return command


def _source() -> click.Command:
    freshness = {"freshness": _imported("operate", "freshness")}
    message = "As dbt has it: kpi source freshness is kpi freshness."
    return click.Group("source", commands=freshness, help=message, hidden=True)


def _imported(module: str, name: str) -> click.Command:
    command: click.Command = getattr(importlib.import_module(f"kpi.cli.{module}"), name)
    return command


# The commands of each module; a name after a colon is that of the function where the command's is another.
_PLACES = {
    "develop": "refresh build retry plan demo ls:list_nodes compile:compile_command lineage:lineage_command"
    " test:run_tests artifacts",
    "read": "show explain why query validate builds deliveries rejects export serve site",
    "operate": "diff rollback prune-raw:prune_raw doctor publish runs freshness notify schedule release revisions",
}


class _Commands(MutableMapping[str, click.Command]):
    """The commands by name, each made when it is asked for: a module of commands takes 10 ms to import."""

    def __init__(self) -> None:
        self._makers: dict[str, Callable[[], click.Command]] = {"list": _list_as_dbt, "source": _source}
        for module, commands in _PLACES.items():
            for name, _, function in (one.partition(":") for one in commands.split()):
                self._makers[name] = partial(_imported, module, function or name)
        for name in _INSTEAD:
            self._makers[name] = partial(_redirect, name)
        self._made: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._makers[name] = lambda: command
        self._made.pop(name, None)

    def __delitem__(self, name: str) -> None:
        del self._makers[name]
        self._made.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


@click.group(
    cls=CommandGroup,
    commands=_Commands(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="kpi")
def cli() -> None:
    """The KPI data warehouse: raw deliveries to published, checked, reconciled indicators."""
    guard_streams()


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
        remedy = ". Make room, and run again. See: kpi doctor" if is_disk_full(error) else remedy
        words = str(error)
        if isinstance(error, OSError) and error.filename:  # of a link and what it leads to, the link
            words = f"{error.filename2 or error.filename}: {error.strerror}"
        complain(message(f"kpi: {hidden(words)}{remedy}"))
        sys.exit(exit_code_of(error))
    finally:
        gc.freeze()  # the process ends here: Python need not look what of it is garbage


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
