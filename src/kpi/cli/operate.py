"""Commands that operate the warehouse: runs, schedule, freshness, diff, rollback, doctor, publish, release."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import click

from kpi.cli.options import (
    OutputPath,
    attended,
    day,
    limit_option,
    project_folder,
    project_option,
    reject_share_option,
    say,
    say_json,
    stewards_option,
    variables_of,
    vars_option,
    warehouse_of,
)
from kpi.errors import CheckFailed, ConfigError, KpiError
from kpi.sql import counted


@click.command()
@click.argument("before", required=False)
@click.argument("after", required=False)
@click.option(
    "--against",
    metavar="REV",
    help="Figures that the project as it is moves against this git revision, in Markdown; nothing when it moves none.",
)
@click.option("--as-of", metavar="DATE", help="With --against: the day of both builds, YYYY-MM-DD; else today.")
@stewards_option
@project_option
def diff(
    before: str | None,
    after: str | None,
    against: str | None,
    as_of: str | None,
    stewards: bool,
    project_dir: Path | None,
) -> None:
    """Show what differs between two builds.

    That is nodes, tables by content, rows by key, deliveries, and figures. Of one build it is the difference to the
    current one, the older first, as in: kpi diff candidate. Without any it is that of the current build to the one
    published before it. With --against it is figures that an edit moves.
    """
    from kpi.reader.diff import compare_builds, difference_lines, in_order, keys_of

    root = project_folder(project_dir).resolve()
    if against is not None:
        from kpi.reader.revision_diff import revision_lines

        if before or after or stewards:
            raise click.UsageError("--against REV compares the project as it is: name no build, and not --stewards.")
        say(revision_lines(root, against, day(as_of)))
        return
    if as_of:
        raise click.UsageError("--as-of is for --against: a build has its day already.")
    warehouse = warehouse_of(project_dir)
    before, after = in_order(warehouse, before, after)
    say(difference_lines(compare_builds(warehouse, before, after, keys_of(root), stewards)))


@click.command()
@click.argument("build", required=False)
@click.option("--reason", default="", help="Why; it is recorded in the ledger.")
@click.option(
    "--show-rows", is_flag=True, help="Roll back although that build shows readers rows that are left out now."
)
@project_option
def rollback(build: str | None, reason: str, show_rows: bool, project_dir: Path | None) -> None:
    """Let readers see an earlier published build again.

    It is BUILD, or the one published before the current one. The next refresh leaves it so until a delivery, the
    project or kpi itself changes.
    """
    from kpi.warehouse.lifecycle import deleted_since, roll_back

    warehouse = warehouse_of(project_dir)
    current = warehouse.current()
    was = current.name if current else ""
    build = build or warehouse.published_before(was or "~")
    if build == was:
        raise ConfigError(f"{build} is what readers see already.")
    troubles = roll_back(warehouse, build, reason, show_rows)
    click.echo(f"Readers see build {warehouse.published()} again; before it was {was or 'none'}.")
    for trouble in troubles:
        click.echo(f"  warning: {trouble}", err=True)
    now = warehouse.current_record()
    if now and deleted_since(warehouse, now):
        message = "it was made before deliveries were deleted, so readers see their rows again."
        click.echo(f"  warning: {message} As it was: kpi rollback {was or 'ID'}", err=True)


@click.command("prune-raw")
@click.option("--delete", is_flag=True, help="Do it. Without this it only says what it would do.")
@click.option("--dry-run", is_flag=True, help="Only say what it would do, as without --delete.")
@click.option("--also-released", is_flag=True, help="Also deliveries that a released year was made from.")
@click.option("--as-of", metavar="DATE", help="The day that years are counted back from, YYYY-MM-DD; else today.")
@reject_share_option("As of a refresh, for what stays.")
@vars_option
@project_option
def prune_raw(delete: bool, dry_run: bool, as_of: str | None, **options: Any) -> None:
    """Delete deliveries that are past the retention of their feed.

    The figures made of them stay as published. Never part of a refresh. Deletes nothing unless --delete says so.
    """
    from kpi.jobs.options import Options
    from kpi.jobs.prune_raw import prune_raw

    if delete and dry_run:
        raise ConfigError("--dry-run and --delete: one or the other.")
    root, day_ = project_folder(options["project_dir"]), day(as_of)
    run = Options(
        day_,
        max_reject_share=options["max_reject_share"],
        variables=variables_of(options["variables"]),
        also_released=options["also_released"],
    )
    if not delete:
        prune_raw(root, run, click.echo, is_named=as_of is not None)
        return
    run_options = {**options, "as_of": as_of, "log_format": "auto", "detailed_exit_codes": False}
    attended("prune-raw", run_options, lambda emit: prune_raw(root, run, emit, delete, is_named=as_of is not None))


@click.command()
@project_option
def doctor(project_dir: Path | None) -> None:
    """Check the warehouse, and print the remedy for what is wrong.

    Exits with 1 when something is wrong.
    """
    from kpi.jobs.doctor import examine

    wrong = 0
    for finding in examine(warehouse_of(project_dir)):
        click.echo(f"{finding.level:<8}{finding.what}{f'  -> {finding.remedy}' if finding.remedy else ''}")
        wrong += finding.level == "error"
    if wrong:
        raise KpiError(f"{counted(wrong, 'thing')} need{'s' * (wrong == 1)} a remedy.")


@click.command()
@click.option(
    "--public",
    "folder",
    required=True,
    type=OutputPath(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The folder to write.",
)
@click.option("--build", metavar="BUILD", help="Of this build, not the published one.")
@click.option("--include-unfinished-years", is_flag=True, help="Also years that are not finished, as year to date.")
@project_option
def publish(folder: Path, build: str | None, include_unfinished_years: bool, project_dir: Path | None) -> None:
    """Write what may leave the house into a folder.

    That is the tables tagged `public`, as one DuckDB file and as CSV. No delivery, no row of a person and no small
    count is in it. Years that are not finished are left out unless you ask for them.
    """
    from kpi.engine.compile import compiled
    from kpi.ingest.raw_files import is_labelled_synthetic
    from kpi.reader.export import write_public

    root, warehouse = project_folder(project_dir).resolve(), warehouse_of(project_dir)
    for table in write_public(warehouse, compiled(root).graph, folder, build, include_unfinished_years):
        click.echo(f"{table.table}: {counted(table.rows, 'row')}")
    if is_labelled_synthetic(warehouse.raw):
        click.echo("These figures are SYNTHETIC: made from made-up deliveries.")


def _open_to_us(warehouse: Path) -> Path:
    """The folder of a warehouse, when we may look into its log of runs. Raises ConfigError."""
    folder = warehouse / "runs"
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        message = (
            "the logs of runs may quote rows of persons, so they are for stewards. In short they are in marts.runs."
        )
        raise ConfigError(f"{folder} is closed to you: {message}")
    return warehouse


@click.group(invoke_without_command=True)
@limit_option(20, "The newest so many.")
@project_option
@click.pass_context
def runs(context: click.Context, limit: int, project_dir: Path | None) -> None:
    """List the runs that did something.

    Of each start, duration, outcome, exit code, build, and what changed.
    """
    if context.invoked_subcommand:
        return
    from kpi.reader.figures import table_lines
    from kpi.warehouse.run_log import history, unreadable

    logged_runs = history(_open_to_us(warehouse_of(project_dir).root))
    for message in unreadable(warehouse_of(project_dir).root):
        click.echo(f"  warning: {message}", err=True)
    rows = [
        (
            run.run[:6],
            run.started_at[:19].replace("T", " "),
            "" if run.seconds is None else f"{run.seconds:.1f} s",
            run.command,
            run.outcome,
            run.exit_code,
            run.build,
            run.changed or run.message,
        )
        for run in logged_runs[-limit:]
    ]
    say(table_lines(["run", "started (UTC)", "took", "command", "outcome", "exit", "build", "what"], rows))
    if len(logged_runs) > limit:
        click.echo(f"… {len(logged_runs) - limit} older ones; see --limit")


@runs.command("show")
@click.argument("run", required=False)
@click.option("--json", "is_json", is_flag=True, help="Print the lines as they were written.")
@project_option
def show_run(run: str | None, is_json: bool, project_dir: Path | None) -> None:
    """Show what one run did, line by line.

    It is RUN, by its id or number, or the newest.
    """
    from kpi.warehouse.run_log import RunBegun, RunEnded, as_json, history, lines_of

    root = _open_to_us(warehouse_of(project_dir).root)
    names = [ended.run for ended in history(root)]
    wanted = [name for name in names if run is None or name == run or name[:6] == run.zfill(6)]
    if not wanted:
        raise ConfigError(f"there is no run '{run}'. See: kpi runs" if run else "there is no run yet. Run: kpi refresh")
    said = ("at", "event", "message", "warnings", "problems")  # problems by the message and the warnings
    for line in lines_of(root, wanted[-1]):
        if is_json:
            click.echo(as_json(line))
            continue
        values = ((one.name, getattr(line, one.name)) for one in dataclasses.fields(line) if one.name not in said)
        rest = "  ".join(f"{name}={value}" for name, value in values if value not in ("", None))
        message = "" if isinstance(line, RunBegun) else line.message
        click.echo(f"{line.at[11:19]}  {line.event:<12} {message}{'  ' if message and rest else ''}{rest}".rstrip())
        if isinstance(line, RunEnded):
            say(f"{'':14}warning: {' '.join(text.split())}" for text in line.warnings)


@click.command()
@click.option("--at", default="03:15", show_default=True, metavar="HH:MM", help="Every night at this local time.")
@click.option("--cron", is_flag=True, help="A line of a crontab, not systemd's service and timer.")
@click.option("--user", "for_user", is_flag=True, help="Units of your own service manager, not the system's.")
@click.option("--memory-max", default="", metavar="SIZE", help="Memory the run may use at most, as 4G.")
@click.option("--name", default="kpi-refresh", show_default=True, help="Of the units; one for each warehouse.")
@click.option(
    "--install", is_flag=True, help="Write the units, or the line into your crontab, and say what comes next."
)
@project_option
def schedule(
    at: str, cron: bool, for_user: bool, memory_max: str, name: str, install: bool, project_dir: Path | None
) -> None:
    """Print what makes the refresh run every night.

    It is a systemd service and timer, or with --cron a crontab line.
    """
    from kpi.engine.compile import read_project
    from kpi.jobs import schedule as schedules
    from kpi.jobs.notifications import FILE, VARIABLE, addresses

    root = project_folder(project_dir).resolve()
    warehouse = warehouse_of(root)
    temp_directory = read_project(root).warehouse_settings.temp_directory
    options = schedules.JobOptions(name, at, memory_max, for_user, temp_directory)
    job = schedules.make_job(root, options, has_network=bool(addresses(warehouse.root)))
    if os.environ.get(VARIABLE) and not (warehouse.root / FILE).is_file():
        message = f"{VARIABLE} is set here, but not where the schedule runs: write the addresses into warehouse/{FILE}."
        click.echo(f"  warning: {message}", err=True)
    if not job.user and not for_user and not cron:
        message = "the warehouse belongs to root, so the service runs as root. Better give it a user of its own."
        click.echo(f"  warning: {message}", err=True)
    for obstacle in [] if cron else schedules.obstacles(job):
        click.echo(f"  warning: {obstacle}", err=True)
    if cron:
        _cron(job, install)
    elif install:
        for path in schedules.install_units(job):
            click.echo(f"Wrote {path}")
        say(["Now run:", *(f"  {step}" for step in schedules.next_steps(job))])
    else:
        for file, text in schedules.systemd_units(job).items():
            say([f"# {schedules.unit_folder(job) / file}", text])


def _cron(job: Any, install: bool) -> None:
    from kpi.jobs import schedule as schedules

    if not install:
        click.echo(schedules.cron_line(job))
        return
    import subprocess

    try:
        crontab = subprocess.run(
            ["crontab", "-l"], capture_output=True, text=True, errors="surrogateescape", check=False
        )
        if crontab.returncode and "no crontab" not in crontab.stderr.lower():
            raise ConfigError(f"crontab -l failed: {crontab.stderr.strip()}")
        new = schedules.add_cron_line(crontab.stdout if crontab.returncode == 0 else "", job)
        subprocess.run(
            ["crontab", "-"], input=new, text=True, errors="surrogateescape", check=True, capture_output=True
        )
    except FileNotFoundError:
        raise ConfigError("there is no crontab command here. Install cron, or leave --cron out.") from None
    except subprocess.CalledProcessError as error:
        raise ConfigError(f"the crontab was not taken: {error.stderr.strip()}") from None
    click.echo(f"Your crontab has the line: {schedules.cron_line(job)}")


@click.command()
@click.option("--test", "is_test", is_flag=True, help="Send a message to every address, to see whether it arrives.")
@click.option("--crashed", is_flag=True, help="Notify of a run that was killed and could not do so itself.")
@project_option
def notify(is_test: bool, crashed: bool, project_dir: Path | None) -> None:
    """Send what the nightly job sends.

    The addresses are those of KPI_NOTIFY, or of warehouse/notify.txt.
    """
    from kpi.jobs import notifications as sending
    from kpi.jobs.recorded_run import notify_crash

    warehouse = warehouse_of(project_dir)
    urls = sending.addresses(warehouse.root)
    if is_test == crashed:
        raise ConfigError("kpi notify takes --test or --crashed.")
    if not crashed and (why := sending.unreadable(warehouse.root)):
        raise ConfigError(f"{warehouse.root / sending.FILE} cannot be read: {why}. No notification is sent.")
    if not urls and not crashed:
        raise ConfigError(
            f"no address is set. Write one a line into {warehouse.root / sending.FILE}"
            f" (see docs/guides/schedule-the-nightly-job.md), or set {sending.VARIABLE}."
        )
    if sending.is_exposed(warehouse.root):
        click.echo(f"  warning: others can read {sending.FILE}, which holds passwords. chmod 600 it.", err=True)
    if crashed:
        notify_crash(warehouse, os.environ, click.echo)
        return
    body = f"Messages about the warehouse {warehouse.root.parent} reach you.\n"
    troubles = sending.send(urls, sending.Message("info", f"kpi {warehouse.root.parent.name}: a test", body))
    if troubles:
        raise KpiError("\n".join(troubles))
    click.echo(f"Sent to {len(urls)} address{'es' * (len(urls) > 1)}.")


@click.command()
@click.option("--as-of", metavar="DATE", help="On this day, YYYY-MM-DD; else today.")
@project_option
def freshness(as_of: str | None, project_dir: Path | None) -> None:
    """Show how far each feed has come, and which are late.

    It also shows when more is expected. Exits with 7 when a feed is very late. Of deliveries that are labelled
    synthetic no more is expected, but with --as-of they are treated as others are.
    """
    from kpi import database
    from kpi.engine.compile import read_feeds
    from kpi.ingest import calendar
    from kpi.ingest.calendar import read_months
    from kpi.ingest.raw_files import is_labelled_synthetic
    from kpi.reader.figures import table_lines
    from kpi.warehouse.permissions import database_path

    root = project_folder(project_dir).resolve()
    today = day(as_of)
    is_more_expected = as_of is not None or not is_labelled_synthetic(warehouse_of(root).raw)
    _, feeds = read_feeds(root)
    if not feeds:
        raise ConfigError("the project has no feeds, so nothing is awaited.")
    with database.reading(database_path(warehouse_of(root).folder(), stewards=True)) as con:
        dues = calendar.measure(con, read_months(con, feeds, today))
    say(table_lines(*calendar.table(dues, today, is_more_expected)))
    if not is_more_expected:
        last = max((due.newest for due in dues if due.newest), default=today)
        click.echo(f"These deliveries are SYNTHETIC: no more is expected, so none is late. Try: --as-of {last}")
        return
    very_late = [due.feed for due in dues if due.state(today) == "very late"]
    if very_late:
        raise CheckFailed(f"very late: {', '.join(very_late)}.")


@click.command()
@click.argument("year", metavar="YEAR|verify")
@click.argument("wanted", required=False, metavar="[YEAR]")
@click.option("--note", default="", metavar="TEXT", help="What is released, in words.")
@click.option("--by", default="", metavar="NAME", help="Who releases it; else git's user, else yours.")
@click.option(
    "--despite-failed-checks", "despite", default="", metavar="REASON", help="Release it though checks of it failed."
)
@project_option
def release(year: str, wanted: str | None, note: str, by: str, despite: str, project_dir: Path | None) -> None:
    """Freeze a report year as it is published.

    Its figures, definitions and deliveries are written as text into seeds/releases, to be committed. From then on a
    refresh fails when a released figure comes to differ, until that is accounted for: kpi revisions.

    With `verify YEAR` a release, or the latest of a year, is built again of its deliveries and by its code in a
    scratch place, and compared; or it says what is missing. Exits with 7 then.
    """
    from kpi.jobs import release as releases

    root = project_folder(project_dir)
    if year == "verify":
        if not wanted or note or by or despite:
            raise click.UsageError("kpi release verify takes the year, or the release, alone.")
        _verify(root, wanted)
        return
    if wanted or not (year.isdecimal() and len(year) == 4):
        raise click.UsageError(f"'{year}' is no year, such as 2025; or it is: kpi release verify YEAR")
    releases.release(root, releases.ReleaseOptions(int(year), note, by, despite), click.echo)


def _verify(root: Path, wanted: str) -> None:
    from kpi.jobs.release import MOST_LINES, verify

    report = verify(root, wanted, click.echo)
    if report.differences:
        lines = [str(one) for one in report.differences[:MOST_LINES]]
        lines += [f"and {len(report.differences) - MOST_LINES} more"] * (len(report.differences) > MOST_LINES)
        message = "\n  ".join(lines)
        raise CheckFailed(
            f"release {report.release}: {len(report.differences)} of {report.figures} figures differ:\n  {message}"
        )
    click.echo(f"Release {report.release}: all {report.figures} figures come out as released, to the last digit.")
    if report.kept_figures:
        click.echo(
            f"  {report.kept_figures} of them stand as they were kept, for their deliveries were deleted before."
        )


@click.group(invoke_without_command=True)
@click.option("--build", "build_id", metavar="BUILD", help="Of this build, not the newest.")
@click.option("--open", "only_open", is_flag=True, help="Only those that nobody accounted for.")
@click.option("--json", "as_json", is_flag=True, help="Print them as a JSON array of objects.")
@project_option
@click.pass_context
def revisions(
    context: click.Context, build_id: str | None, only_open: bool, as_json: bool, project_dir: Path | None
) -> None:
    """List the released figures that have come to differ.

    Of each the released value and the one of now, why it differs, and who accounted for it. Of the newest build,
    whether it was published or held back because of them.
    """
    if context.invoked_subcommand:
        return
    _, rows_of_build = _read(project_dir, build_id)
    rows_of_build = [one for one in rows_of_build if one.is_open or not only_open]
    if as_json:
        say_json([_plain(one) for one in rows_of_build])
        return
    from kpi.reader.figures import table_lines

    rows = [
        (
            one.revision_id,
            one.release,
            f"{one.figure_id} {one.service}",
            one.moved,
            "; ".join(map(str, one.causes)),
            one.status if one.is_open else f"{one.reason}{', planned' if one.is_planned else ''}",
        )
        for one in rows_of_build
    ]
    if rows:
        say(table_lines(["revision", "release", "figure", "released -> now", "cause", "state"], rows))
    still = sum(one.is_open for one in rows_of_build)
    click.echo(f"{len(rows_of_build)} released figures differ, {still} not accounted for.")


@revisions.command("acknowledge")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "is_all", is_flag=True, help="All that are open.")
@click.option(
    "--reason", required=True, metavar="REASON", help="One of the project's reasons (seeds.revision_reasons)."
)
@click.option("--note", default="", metavar="TEXT", help="What happened, in words.")
@click.option("--by", default="", metavar="NAME", help="Who accounts for it; else git's user, else yours.")
@project_option
def acknowledge(ids: tuple[str, ...], is_all: bool, reason: str, note: str, by: str, project_dir: Path | None) -> None:
    """Account for revisions, so that a build with them is published.

    It is written beside the release, to be committed. When the figure moves on, that is another revision.
    """
    from datetime import UTC, datetime

    from kpi.jobs.release import name_of_user
    from kpi.provenance.revisions import acknowledge as write

    root = project_folder(project_dir).resolve()
    if bool(ids) == is_all:
        raise click.UsageError("name the revisions, or --all of them.")
    reasons, every_revision = _read(root, None)
    open_ones = [one for one in every_revision if one.is_open]
    chosen = open_ones
    if ids:
        by_id = {one.revision_id: one for one in open_ones}
        if strange := [name for name in ids if name not in by_id]:
            raise ConfigError(f"there is no open revision '{strange[0]}'. See: kpi revisions --open")
        chosen = [by_id[name] for name in dict.fromkeys(ids)]
    if not chosen:
        raise ConfigError("no revision is open: there is nothing to account for.")
    counts = write(root, chosen, reasons, (reason, note, name_of_user(root, by)), datetime.now(UTC))
    for file, count in counts.items():
        click.echo(f"Accounted for {count} in {file.relative_to(root)}. Commit it, then: kpi refresh")
    if before := len(chosen) - sum(counts.values()):
        click.echo(
            f"{before} of them {'is' if before == 1 else 'are'} accounted for there already, and left as before."
        )


def _read(project_dir: Path | None, build_id: str | None) -> tuple[list[str], list[Any]]:
    """The project's reasons, and the revisions of a build, or of the newest that has any."""
    from kpi import database
    from kpi.jobs.release import sized
    from kpi.provenance.revisions import has_table, read_revisions
    from kpi.warehouse.permissions import readable_database

    warehouse = warehouse_of(project_dir)
    folder = warehouse.folder(build_id or "latest")
    tables = warehouse.record(folder).report_tables
    with database.reading(readable_database(folder)) as con:
        if not has_table(con, tables.revisions):
            raise ConfigError(f"build {folder.name} has no {tables.revisions}: see docs/guides/release-a-year.md")
        reasons = []
        if has_table(con, tables.revision_reasons):
            reasons = [
                row[0] for row in con.execute(f"select reason from {tables.revision_reasons} order by 1").fetchall()
            ]
        revisions_of_build = read_revisions(con, tables)
    return reasons, sized(project_folder(project_dir), folder, revisions_of_build)


def _plain(revision: Any) -> dict[str, object]:
    fields = dataclasses.asdict(revision)
    fields["acknowledged_at"] = fields["acknowledged_at"] and f"{fields['acknowledged_at']:%Y-%m-%dT%H:%M:%SZ}"
    return fields
