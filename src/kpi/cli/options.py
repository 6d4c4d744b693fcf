"""What the commands share: options that several take, and how their texts become values."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kpi.errors import ConfigError, DiskFull, KpiError, interruptible, is_disk_full
from kpi.events import Emit
from kpi.files import find_project
from kpi.jobs.options import Outcome
from kpi.lazy import yaml
from kpi.settings import FIRST_YEAR, LAST_YEAR

if TYPE_CHECKING:
    from kpi.warehouse.builds import Warehouse


def _profiles_dir(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        os.environ["DBT_PROFILES_DIR"] = str(value.absolute())


def together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return one decorator that adds several options, which the help lists in this order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


project_option = click.option(
    "--project-dir", type=click.Path(path_type=Path), help="Folder of dbt_project.yml; else the nearest one above."
)

stewards_option = click.option("--stewards", is_flag=True, help="Open the stewards' file, which has all schemas.")

build_option = click.option("--build", "build_id", metavar="BUILD", help="Of this build, not the published one.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

lang_option = click.option(
    "--lang",
    type=click.Choice(("fi", "sv", "en")),
    envvar="KPI_LANG",
    default="en",
    show_default=True,
    help="The language of names and texts; KPI_LANG sets another than English for good.",
)


def project_folder(folder: Path | None) -> Path:
    """Return the folder of the project that a command means."""
    return find_project(folder)


def warehouse_of(folder: Path | None) -> Warehouse:
    """Return the warehouse of the project that a command means."""
    from kpi.warehouse.builds import Warehouse

    return Warehouse(project_folder(folder).resolve() / "warehouse")


def say_json(content: object, indent: int = 1) -> None:
    """Print a value as JSON; what JSON does not know as its text."""
    import json

    click.echo(json.dumps(content, indent=indent, ensure_ascii=False, default=str))


def say(lines: Iterable[str]) -> None:
    """Print lines."""
    for line in lines:
        click.echo(line)


_OUTPUTS = "kpi.outputs"  # in what click passes from a command to its group


class OutputPath(click.Path):
    """A file or folder that a command writes: an error of the system in writing there is told of it by name."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check the value as click.Path does, and note it."""
        path = super().convert(value, param, ctx)
        if ctx is not None and path is not None:
            ctx.meta.setdefault(_OUTPUTS, []).append(path)
        return path


class CommandGroup(click.Group):
    """The commands. An output that cannot be written is a setting that cannot be used: it ends like one."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises ConfigError for an output that cannot be written, and DiskFull for want of room."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            outputs = ctx.meta.get(_OUTPUTS, ())
            if outputs and is_disk_full(error) and not isinstance(error, KpiError):
                raise DiskFull(
                    f"{outputs[-1]} cannot be written: the disk is full. Make room, and run again."
                ) from error
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                for path in outputs:
                    if _is_met_at(error, path):
                        raise ConfigError(f"{path} cannot be written: {os.strerror(error.errno or 0)}.") from None
            raise


def _is_met_at(error: OSError, path: Path) -> bool:
    """Tell whether an error was met at a path, below it, or at a folder on the way to it."""
    output = os.path.abspath(path)
    names = [os.path.abspath(name) for name in (error.filename, error.filename2) if isinstance(name, str | Path)]
    if not names:  # pyarrow says the name in its words alone
        return str(path) in str(error)
    return any(os.path.commonpath((name, output)) in (name, output) for name in names)


def complain(line: str) -> None:
    """Print a line on stderr, if that can still be written to."""
    try:
        click.echo(line, err=True)
    except (OSError, ValueError):
        from kpi.jobs.progress import mute

        mute(sys.stderr)


select_options = together(
    click.option("--select", "-s", multiple=True, metavar="NODES", help="These nodes only, in dbt's selection syntax."),
    click.option("--exclude", multiple=True, metavar="NODES", help="But not these nodes."),
    click.option("--resource-type", "kinds", multiple=True, metavar="KIND", help="Nodes of this kind only."),
    click.option(
        "--indirect-selection",
        "indirect",
        type=click.Choice(("eager", "cautious", "buildable", "empty")),
        default="eager",
        show_default=True,
        help="Take tests along with any node they test, with all, with all or their parents, or never.",
    ),
    click.option(
        "--state",
        metavar="BUILD|DIR",
        default="",
        help="The build, or the folder with a manifest, that state: compares with.",
    ),
    click.option("--selector", metavar="NAME", default="", help="The nodes of this selector of selectors.yml instead."),
)


def _no_defer(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        message = (
            "what is not selected is always that of the published build, so there is nothing to defer. Leave it out."
        )
        raise click.UsageError(f"--defer: {message}", context)


vars_option = click.option("--vars", "variables", metavar="YAML", default="", help="Variables for this run.")
target_option = together(
    click.option(
        "--target",
        "-t",
        metavar="NAME",
        default="",
        help="What templates see as target.name; of dbt's profile if there is one.",
    ),
    click.option(
        "--profiles-dir",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        expose_value=False,
        hidden=True,
        callback=_profiles_dir,
        help="The folder of dbt's profiles.yml, whose files hold sources that another tool loads; as DBT_PROFILES_DIR.",
    ),
)
engine_options = together(
    click.option(
        "--engine",
        type=click.Choice(("duckdb", "spark")),
        help="What computes models and tests, whatever dbt_project.yml says.",
    ),
    click.option("--master", metavar="MASTER", help="Spark with its driver here: local[*], spark://host:7077."),
    click.option("--remote", metavar="ADDRESS", help="Spark over Spark Connect: sc://host:15002."),
)


def engine_of(options: Mapping[str, Any]) -> dict[str, str] | None:
    """Return what the options of a command say of the engine; None when they say nothing."""
    return {name: options[name] for name in ("engine", "master", "remote") if options.get(name)} or None


defer_option = click.option(
    "--defer",
    is_flag=True,
    expose_value=False,
    hidden=True,
    callback=_no_defer,
    help="Refused: what is not selected is always that of the published build.",
)


class _Share(click.FloatRange):
    """A share, 0 to 1. What is no number (nan) is in no range, and click lets it pass."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the share."""
        share = super().convert(value, param, ctx)
        return share if 0 <= share <= 1 else self.fail(f"{value!r} is not a share, 0 to 1.", param, ctx)


def reject_share_option(text: str) -> Callable[[Any], Any]:
    """Return the option of a share of a file's records that may be rejected."""
    return click.option("--max-reject-share", type=_Share(0, 1), metavar="SHARE", help=text)


def limit_option(most: int, text: str) -> Callable[[Any], Any]:
    """Return the option of how many rows or runs are printed."""
    return click.option("--limit", type=click.IntRange(0), default=most, show_default=True, help=text)


run_options = together(
    project_option,
    click.option("--as-of", metavar="DATE", help="The day of the refresh, YYYY-MM-DD; else today."),
    click.option("--full-refresh", is_flag=True, help="Rebuild everything, whatever changed."),
    click.option(
        "--keep-going/--fail-fast",
        help="After a failure, finish what does not depend on it; or stop, which is the usual.",
    ),
    reject_share_option("For this run: the share of a file's records that may be rejected, 0 to 1."),
    click.option("--publish-despite-checks", metavar="REASON", default="", help="Publish even if checks fail."),
    click.option(
        "--no-expectations",
        is_flag=True,
        help="Do not validate the report years; the build is not published then.",
    ),
    click.option("--store-failures", is_flag=True, help="Keep the failing rows of data tests in the build."),
    vars_option,
    target_option,
    defer_option,
    engine_options,
    click.option("--threads", type=click.IntRange(1), help="Threads DuckDB may use."),
    click.option("--memory-limit", metavar="SIZE", help="Memory of the run, as 2GB: DuckDB gets what Python leaves."),
    click.option("--temp-directory", metavar="DIR", help="Where DuckDB puts what does not fit into memory."),
    click.option(
        "--wait",
        "wait_seconds",
        type=click.FloatRange(0),
        is_flag=False,
        flag_value=float("inf"),
        default=0,
        metavar="[SECONDS]",
        help="Wait for another run that writes, at most so long; without a number until it is done.",
    ),
    click.option(
        "--log-format",
        type=click.Choice(("auto", "plain", "json")),
        default="auto",
        show_default=True,
        help="auto is a bar on a terminal and lines elsewhere; json one line of JSON for each event.",
    ),
    click.option(
        "--detailed-exit-codes",
        is_flag=True,
        help="Exit with 10 when there was nothing to do, 11 when published with warnings, 12 when held back.",
    ),
)


def attended(command: str, options: Mapping[str, Any], work: Callable[[Emit], Outcome], notifies: bool = True) -> None:
    """Do a run: show its progress, keep its log, send notifications. Exits with its code when that is not 0."""
    from kpi.errors import exit_code_of
    from kpi.jobs.progress import Unbroken, make_screen
    from kpi.jobs.recorded_run import attend, exit_code

    root = project_folder(options["project_dir"]).resolve()
    # A run is not stopped by who stops listening to it.
    stream: Any = Unbroken(sys.stdout, complain)
    screen = make_screen(options["log_format"], partial(click.echo, file=stream), stream, root / "warehouse")
    try:
        with interruptible():
            outcome = attend(root, command, day(options["as_of"]), screen, work, notifies)
    except KeyboardInterrupt as error:
        screen.close()
        complain("kpi: interrupted. Readers keep the build they had.")
        sys.exit(exit_code_of(error))
    finally:
        screen.close()
    if code := exit_code(outcome, options["detailed_exit_codes"]):
        sys.exit(code)


def day(text: str | None) -> Any:
    """Return the date that --as-of means; today when it is not given."""
    from datetime import date

    try:
        moment = date.today() if text is None else date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--as-of takes a date such as 2026-03-05, not '{text}'.") from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        what = "the clock of this machine says" if text is None else "--as-of is"
        raise ConfigError(f"{what} {moment}, and a refresh has a day from {FIRST_YEAR} to {LAST_YEAR}.")
    return moment


def variables_of(text: str) -> dict[str, Any]:
    """Return the variables that --vars gives."""
    if not text:
        return {}
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError:
        values = None
    if not isinstance(values, dict):
        raise ConfigError("--vars takes a YAML mapping, as '{about_tolerance_percent: 5}'.")
    if odd := [name for name in values if not isinstance(name, str)]:
        raise ConfigError(f"--vars: the name of a variable is a text, and YAML reads {odd[0]!r}. Put it in quotes.")
    return values
