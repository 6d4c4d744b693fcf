"""Commands that read builds: show, explain, query, validate, builds."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kpi.cli.options import (
    OutputPath,
    build_option,
    day,
    lang_option,
    limit_option,
    project_folder,
    project_option,
    say,
    say_json,
    stewards_option,
    target_option,
    variables_of,
    vars_option,
    warehouse_of,
)
from kpi.errors import CheckFailed, ConfigError
from kpi.files import replacing
from kpi.lazy import duckdb
from kpi.presentation import bare
from kpi.settings import FIRST_YEAR, LAST_YEAR
from kpi.sql import counted

if TYPE_CHECKING:
    import pyarrow as pa

    from kpi.provenance.explanation import RowKind
    from kpi.settings import ReportTables

FORMATS = ("csv", "csv-fi", "parquet", "xlsx", "json-stat", "sdmx-csv", "datapackage")


@click.command()
@click.argument("what", required=False, metavar="[FIGURE|SERVICE|TABLE]")
@click.option("--year", type=int, metavar="YEAR", help="Of this report year alone.")
@click.option("--family", metavar="FAMILY", help="Every figure of this family.")
@click.option("--service", metavar="SERVICE", help="Every figure for this service.")
@click.option("--differs", is_flag=True, help="The figures that differ from what a report prints.")
@click.option("--all", "is_all", is_flag=True, help="Every figure, not only as many as one screen holds.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the months of each figure.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values, with no formula live in them.")
@lang_option
@build_option
@click.option("--as-of", metavar="DATE", help="Of the build that readers saw on that day, YYYY-MM-DD.")
@click.option(
    "--inline", metavar="SQL", default="", help="The rows of this SELECT, with ref() and source() as in models."
)
@limit_option(40, "Rows of a table to print.")
@vars_option
@target_option
@stewards_option
@project_option
def show(
    what: str | None,
    inline: str,
    limit: int,
    variables: str,
    target: str,
    stewards: bool,
    project_dir: Path | None,
    **options: Any,
) -> None:
    """Print what matters of a build, and its newest figures.

    That is one screen, of the newest report year that is finished. Of a FIGURE or SERVICE, and with --family,
    --service, --differs or --all, it is every figure with its change, target and months; of a TABLE, or of a SELECT
    given by --inline, it is the rows.
    """
    from kpi.reader import figures

    root, year = project_folder(project_dir), options["year"]
    build_id = options["build_id"] = build_of_day(project_dir, options["as_of"], options["build_id"])
    _refuse_mixed(what, inline, variables, target, options)
    if inline:
        _show_inline(root, inline, build_id, limit, variables, target, stewards)
        return
    tables = figures.tables_of(build_id, root)
    with figures.open_build(build_id, root, stewards=stewards) as con:
        try:
            kind, name = figures.resolve(con, what, tables) if what else ("", "")
        except ConfigError as error:
            raise ConfigError(
                f"{error}{'' if stewards else figures.hint_left_out(what or '', build_id, root)}"
            ) from None
        if kind != "table":
            wanted = options | {"figure": name} if kind == "figure" else options | {kind: name} if kind else options
            _show_figures(con, root, tables, wanted)
            return
        rows_of, as_csv = figures.rows_of(con, name, year), options["as_csv"] or options["as_json"]
        names, rows = _fetched(con, rows_of if as_csv else f"{rows_of} limit {int(limit) + 1}")
        if as_csv:
            if options["as_csv"]:
                _print_csv(names, rows)
            else:
                say_json([dict(zip(names, row, strict=True)) for row in rows])
            return
        say(figures.table_lines(names, rows[:limit]))
        if len(rows) > limit:
            click.echo(f"… more rows; see --limit, or: kpi query '{rows_of}'")


def _refuse_mixed(what: str | None, inline: str, variables: str, target: str, options: Mapping[str, Any]) -> None:
    """Raise UsageError when options are given that do not go together."""
    chosen = [name for name in ("year", "family", "service", "differs", "is_all", "as_json", "as_csv") if options[name]]
    if inline and (what or chosen):
        raise click.UsageError("give a figure, a table or --inline, not two of them; --year is not for --inline.")
    if not inline and (variables or target):
        raise click.UsageError("--vars and --target are for --inline: what is built has its values already.")
    if options["as_json"] and options["as_csv"]:
        raise click.UsageError("--json and --csv: one or the other.")


def _show_figures(con: Any, root: Path, tables: ReportTables, options: Mapping[str, Any]) -> None:
    """Print figures: one screen, or all that are chosen, as text, JSON or CSV."""
    from kpi.reader import figures, screen
    from kpi.site.figure_data import figure_rows

    warehouse = warehouse_of(root)
    record = warehouse.outline(warehouse.folder(options["build_id"]))
    everything = figure_rows(con, tables, options["lang"])
    rows, year = figures.chosen_rows(everything, options), options["year"]
    if options["as_csv"]:
        _print_csv(*figures.as_table(rows))
        return
    status = figures.read_status(con, record, tables, everything)
    if options["as_json"]:
        click.echo(figures.as_json(status, rows))
        return
    page = screen.screen_of(sys.stdout, options["lang"])
    notes = figures.year_notes(con, tables, options["lang"])
    is_list = options["is_all"] or any(options.get(name) for name in ("figure", "service", "family", "differs"))
    if options.get("figure"):
        say(figures.definition_lines(con, options["figure"], tables, options["lang"]))
    if not rows:
        screen.write([*screen.status_lines(status, page), screen.screen_text("no_figures", page.lang)])
    elif is_list:
        screen.write(screen.list_lines(rows, page, notes))
    else:
        year = year or screen.year_of_screen(rows, status.unfinished)
        screen.write(screen.overview_lines(status, [row for row in rows if row.report_year == year], page, notes))


def build_of_day(project_dir: Path | None, as_of: str | None, build_id: str | None) -> str | None:
    """Return the build that --as-of means, or the one that is named; None is the published one."""
    from kpi.reader.figures import build_as_of

    return build_id if as_of is None else build_as_of(warehouse_of(project_dir), as_of, build_id)


def _show_inline(
    root: Path, text: str, build_id: str | None, limit: int, variables: str, target: str, stewards: bool
) -> None:
    """Compile a SELECT against the project as it is, and print what it yields of a build."""
    from kpi.engine.compile import compile_inline, compiled
    from kpi.reader import figures

    sql = compile_inline(compiled(root, variables_of(variables), target).graph, text)
    with figures.open_build(build_id, root, stewards=stewards) as con:
        try:
            names, rows = _fetched(con, f"select * from (\n{sql}\n) limit {int(limit) + 1}")
        except duckdb.Error as error:
            hint = "" if stewards else figures.hint_left_out(sql, build_id, root)
            raise ConfigError(f"{error}{hint} Is it built yet? See: kpi plan") from None
    say(figures.table_lines(names, rows[:limit]))
    if len(rows) > limit:
        click.echo("… more rows; see --limit")


@click.command()
@click.argument("folder", metavar="DIR", type=OutputPath(path_type=Path, file_okay=False))
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice((*FORMATS, "all")),
    default=("all",),
    show_default=True,
    help="What to write.",
)
@lang_option
@build_option
@click.option("--public", "is_public", is_flag=True, help="From the tables tagged `public` alone, small counts hidden.")
@click.option("--include-unfinished-years", is_flag=True, help="With --public, also years that are not finished.")
@project_option
def export(
    folder: Path,
    formats: tuple[str, ...],
    lang: str,
    build_id: str | None,
    is_public: bool,
    include_unfinished_years: bool,
    project_dir: Path | None,
) -> None:
    """Write the figures as files for others into DIR.

    They are indicators, changes, months, breaks, revisions and definitions, as far as the build has them. The files
    take the place of what kpi wrote into DIR before; the same build gives the same bytes. Without --public they are
    for the house: small counts are in them.
    """
    from kpi.reader.figures_export import ExportOptions, export_figures

    if include_unfinished_years and not is_public:
        raise click.UsageError("--include-unfinished-years is for --public: without it they are all there.")
    chosen = FORMATS if "all" in formats else formats
    options = ExportOptions(chosen, lang, build_id, is_public, include_unfinished_years)
    for name, size in export_figures(project_folder(project_dir), folder, options):
        click.echo(f"{name}: {size:,} bytes")


@click.command()
@click.argument(
    "folder", required=False, metavar="[DIR]", type=click.Path(path_type=Path, exists=True, file_okay=False)
)
@click.option(
    "--exports",
    metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Serve the files of kpi export under /exports/.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 is any that is free.")
@click.option("--address", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Another needs --to-others.")
@click.option("--to-others", is_flag=True, help="Let other machines read. There is no password and no encryption.")
@project_option
def serve(
    folder: Path | None, exports: Path | None, port: int, address: str, to_others: bool, project_dir: Path | None
) -> None:
    """Serve the published pages to a browser of this machine.

    They are the site of the published build, or the files of DIR. Nothing can be written. A publish is followed.
    """
    from kpi.reader.serve import LOOPBACK, Served, site_of
    from kpi.reader.serve import serve as serve_pages

    if address not in LOOPBACK and not to_others:
        message = f"{address} can be reached by other machines"
        raise ConfigError(
            f"{message}: pages for the house would be open to all on the network. If it is meant: --to-others"
        )
    if folder is None:
        warehouse = warehouse_of(project_dir)
        warehouse.folder()  # or it says that nothing is published
        if site_of(warehouse) is None:
            raise ConfigError(
                f"the build {warehouse.published()} has no pages. Name a folder to serve, or: kpi refresh"
            )
    served = Served(lambda: folder or site_of(warehouse), exports, is_local=address in LOOPBACK)
    serve_pages(served, address, port, lambda url: click.echo(f"Serving {url} until you press Ctrl-C."))


@click.command()
@click.argument("figure")
@click.option("--service", metavar="SERVICE", help="Of this service; needed where the figure has several.")
@click.option("--year", type=int, metavar="YEAR", help="Of this report year, not the last finished one.")
@click.option("--basis", metavar="BASIS", help="On this basis, not that of the figure's definition.")
@click.option(
    "--rows",
    "kind",
    type=click.Choice(("numerator", "denominator", "left-out")),
    help="Print these raw rows themselves, each with its file and record.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(("table", "csv", "parquet")),
    default="table",
    show_default=True,
    help="What --rows are written as.",
)
@click.option("--output", type=OutputPath(path_type=Path, dir_okay=False), metavar="FILE", help="Write --rows here.")
@limit_option(40, "Rows of a table to print.")
@click.option("--sql", "as_sql", is_flag=True, help="Print the SQL of each step, or with --rows that of the rows.")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known as JSON.")
@click.option("--lang", type=click.Choice(("en", "fi", "sv")), default="en", show_default=True, help="The language.")
@build_option
@stewards_option
@project_option
def explain(
    figure: str,
    kind: RowKind | None,
    form: str,
    output: Path | None,
    limit: int,
    as_sql: bool,
    as_json: bool,
    build_id: str | None,
    **where: Any,
) -> None:
    """Say where a FIGURE comes from.

    On one screen: its value, its parts, its definition, the year before, the path from the mart to the raw rows, how
    many rows were left out by which clause, and the deliveries. With --rows the rows themselves.
    """
    from kpi.provenance.explain import explain as explain_figure

    if kind is None and (output or form != "table"):
        raise click.UsageError("--format and --output are for --rows.")
    if form == "parquet" and output is None:
        raise click.UsageError("--format parquet needs --output FILE.")
    explanation = explain_figure(figure, build=build_id, **where)
    if kind is not None:
        if as_sql:
            click.echo(explanation.sql_by_kind.get(kind, ""))
        else:
            rows = explanation.rows(kind)
            with replacing(output) if output else nullcontext() as file:
                _print_rows(rows, form, file, limit)
            if form == "parquet":
                click.echo(f"{counted(rows.num_rows, 'row')} in {output}", err=True)
    elif as_json:
        say_json(explanation.to_json())
    elif as_sql:
        say(line for step in explanation.steps if step.sql for line in (f"-- {step.model}", f"{step.sql};", ""))
    else:
        click.echo(explanation.text)


def _print_rows(rows: pa.Table, form: str, output: Path | None, limit: int) -> None:
    """Print raw rows, or write them to a file; a CSV has no formula live in it."""
    if form == "parquet" and output:
        import pyarrow.parquet

        with output.open("wb") as stream:
            pyarrow.parquet.write_table(rows, stream)
        return
    cells = list(zip(*(column.to_pylist() for column in rows.columns), strict=True)) if rows.num_columns else []
    if form == "csv":
        _print_csv(rows.column_names, cells, output)
        return
    from kpi.reader import figures

    lines = figures.table_lines(rows.column_names, cells[:limit])
    if output:
        output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        say(lines)
    if len(cells) > limit:
        click.echo(f"… {len(cells) - limit} more rows; see --limit, or --format csv --output FILE", err=True)


@click.command()
@click.argument("sql")
@build_option
@click.option("--as-of", metavar="DATE", help="Of the build that readers saw on that day, YYYY-MM-DD.")
@click.option("--failures", is_flag=True, help="Of the failing rows that kpi test --store-failures wrote for it.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values, with no formula live in them.")
@stewards_option
@project_option
def query(sql: str, build_id: str | None, failures: bool, as_csv: bool, stewards: bool, **place: Any) -> None:
    """Run one SQL query on the published build and print its rows.

    The build is opened read-only.
    """
    from kpi.reader import figures

    root = project_folder(place["project_dir"])
    build_id = build_of_day(root, place["as_of"], build_id)
    with figures.open_build(build_id, root, failures, stewards) as con:
        try:
            if len(duckdb.extract_statements(sql)) != 1:
                raise ConfigError("kpi query takes one SQL statement.")
            names, rows = _fetched(con, sql)
        except duckdb.Error as error:
            hint = "" if stewards else figures.hint_left_out(sql, build_id, root)
            raise ConfigError(f"{error}{hint}") from None
    if as_csv:
        _print_csv(names, rows)
    elif names:
        say(figures.table_lines(names, rows))


@click.command()
@click.argument("figure")
@click.option("--from", "before", metavar="YEAR|BUILD", help="The year, or the build, that it moved from.")
@click.option("--to", "after", metavar="YEAR|BUILD", help="The year, or the build, that it moved to.")
@click.option("--service", metavar="SERVICE", help="Of this service alone.")
@click.option("--year", type=int, metavar="YEAR", help="Between two builds: of this report year alone.")
@click.option("--basis", metavar="BASIS", default="", help="Where a year has several: of this one, as december.")
@click.option("--build", "build_id", metavar="BUILD", help="Between two years: of this build, not the published one.")
@click.option("--json", "as_json", is_flag=True, help="The parts as JSON, amounts as exact fractions.")
@stewards_option
@project_option
def why(
    figure: str,
    before: str | None,
    after: str | None,
    as_json: bool,
    project_dir: Path | None,
    build_id: str | None,
    **options: Any,
) -> None:
    """Say why a FIGURE moved, in parts that add up to the change.

    Between two years by service and month, own value apart from weight; between two builds by cause: deliveries, seeds,
    code, the engine. A build is named as in kpi diff, or is current or previous. Without --from and --to it is the last
    year and the one before.
    """
    from kpi.reader.change_report import why

    report = why(figure, before, after, build=build_id, project_dir=project_folder(project_dir), **options)
    if as_json:
        click.echo(report.to_json())
    else:
        say(report.lines())


@click.command()
@click.option("--year", type=click.IntRange(FIRST_YEAR, LAST_YEAR), help="Validate this report year alone.")
@click.option("--build", "build_id", metavar="BUILD", help="Validate this build, not the published one.")
@click.option("--as-of", metavar="DATE", help="As if it were this day, YYYY-MM-DD; else the day of the build.")
@click.option(
    "--html",
    type=OutputPath(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write the site here, with what was found.",
)
@project_option
def validate(
    year: int | None, build_id: str | None, as_of: str | None, html: Path | None, project_dir: Path | None
) -> None:
    """Validate the report years of a build again.

    It goes by the rules of today. Nothing is rebuilt or published. Exits with 7 when an expectation whose failure
    is an error does not hold.
    """
    from kpi.jobs.check_build import errors, result_lines, validate_build

    results = validate_build(project_folder(project_dir), build_id, year, day(as_of) if as_of else None, html)
    say(result_lines(results))
    if failed := errors(results):
        raise CheckFailed(f"{len(failed)} expectation{'s' * (len(failed) > 1)} failed.")


@click.command()
@click.option("--feed", metavar="FEED", help="Of this feed alone.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: an object for each file, with its warnings.")
@build_option
@project_option
def deliveries(feed: str | None, as_json: bool, build_id: str | None, project_dir: Path | None) -> None:
    """List the deliveries of a build by feed, with every warning.

    A feed is counted in files, records, rejected records and warnings. Files without a warning are in --json alone.
    """
    from kpi.reader.deliveries import delivered_files, delivery_lines

    warehouse = warehouse_of(project_dir)
    files = delivered_files(warehouse.record(warehouse.folder(build_id)), feed)
    if as_json:
        say_json([asdict(file) for file in files])
    else:
        say(delivery_lines(files))


@click.command()
@click.option("--feed", metavar="FEED", default="", help="Of this feed alone.")
@click.option("--file", metavar="PATH", default="", help="Of this delivery alone, as calls/2025.csv.")
@click.option(
    "--for-sender",
    type=OutputPath(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write a CSV of each delivery with rejects into DIR, for who sent it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: an object for each reason.")
@build_option
@stewards_option
@project_option
def rejects(
    feed: str,
    file: str,
    for_sender: Path | None,
    as_json: bool,
    build_id: str | None,
    stewards: bool,
    project_dir: Path | None,
) -> None:
    """List the rejected rows of a build by reason, with cells.

    Personal data in the cells is masked; those of free text and pseudonyms are not shown.
    """
    from kpi.engine.compile import compiled
    from kpi.reader import deliveries as read
    from kpi.reader import figures

    root = project_folder(project_dir)
    feeds = compiled(root).graph.feeds
    if not feeds:
        raise ConfigError("the project has no feeds, so there is nothing to reject.")
    private = read.private_columns(feeds)
    with figures.open_build(build_id, root, stewards=stewards) as con:
        try:
            if for_sender:
                say(read.sender_lines(read.write_for_senders(con, private, for_sender, feed, file)))
                return
            reasons = read.reject_reasons(con, private, feed, file)
        except duckdb.CatalogException as error:
            hint = "" if stewards else figures.hint_left_out("raw.rejects", build_id, root)
            raise ConfigError(f"{error}{hint}") from None
    if as_json:
        say_json([asdict(reason) for reason in reasons])
    else:
        say(read.reason_lines(reasons))


@click.command()
@click.argument("folder", required=False, type=OutputPath(path_type=Path, file_okay=False), metavar="[DIR]")
@click.option("--public", is_flag=True, help="For everybody: from public tables alone. Needs DIR.")
@build_option
@project_option
def site(folder: Path | None, public: bool, build_id: str | None, project_dir: Path | None) -> None:
    """Print where the pages of a build are, or write them.

    They are static and open from a disk: the report of each year, a page for each figure, the quality of each year,
    data and models, in Finnish, Swedish and English. A refresh writes them beside the build.
    """
    from kpi.jobs.build_site import write_copy, written_site

    root = project_folder(project_dir)
    if folder is None:
        if public:
            raise click.UsageError("--public needs a folder to write into: kpi site --public DIR")
        click.echo(str(written_site(root, build_id)))
        return
    result = write_copy(root, build_id, folder, public)
    for warning in result.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{result.pages} pages, {result.bytes / 1e6:.1f} MB: {folder / 'fi' / 'index.html'}")


@click.command()
@project_option
def builds(project_dir: Path | None) -> None:
    """List the builds, their state, size and free space.

    The published one is marked. Where there is a file for stewards, its size comes second.
    """
    from kpi.warehouse.lifecycle import free_share
    from kpi.warehouse.permissions import DATABASE, database_folder

    for build in warehouse_of(project_dir).list_builds():
        record, folder = build.record, build.folder
        reason = " ".join((record.reason or record.problem).split())
        mark = "*" if build.is_current else " "
        if not os.access(folder, os.X_OK):
            click.echo(f"{mark} {build.id:<24} closed      to you: it holds what only stewards may open")
            continue
        files = [place / DATABASE for place in {folder: 0, database_folder(folder): 0}]
        size = " + ".join(f"{os.stat(file).st_size / 1e6:.1f}" for file in files if os.access(file, os.F_OK))
        size += " MB" if size else ""
        share = free_share(record)
        free = "" if share is None else f"{100 * share:.0f} % free"
        line = f"{mark} {build.id:<24} {record.status:<10} {size:>11} {free:>9}  {reason}"
        click.echo(line[:160].rstrip())


def _fetched(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The names of the columns of a query, and its rows."""
    result = con.execute(sql)
    return [column[0] for column in result.description or []], result.fetchall()


def _print_csv(names: Sequence[str], rows: Iterable[Sequence[object]], output: Path | None = None) -> None:
    """Print rows as CSV, or write them to a file. In a file it is data; on a terminal it may be a command to it."""
    import csv

    stdout = sys.stdout if sys.stdout.isatty() else bare(sys.stdout)
    with output.open("w", encoding="utf-8", newline="") if output else nullcontext(stdout) as stream:
        csv.writer(stream, lineterminator="\n").writerows([names, *(map(_no_formula, row) for row in rows)])


def _no_formula(value: object) -> object:
    """A text that a spreadsheet would take for a formula, made plain text by an apostrophe; all else as it is."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
