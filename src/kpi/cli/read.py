"""Commands that read builds: show, explain, query, validate, builds."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kpi.cli.options import (
    day,
    project_folder,
    project_option,
    say,
    stewards_option,
    target_option,
    variables_of,
    vars_option,
)
from kpi.errors import ConfigError
from kpi.presentation import bare

if TYPE_CHECKING:
    import pyarrow as pa

    from kpi.provenance.explanation import RowKind


@click.command()
@click.argument("what", required=False, metavar="[FIGURE|SERVICE|TABLE]")
@click.option("--year", type=int, metavar="YEAR", help="Of this report year alone.")
@click.option("--build", "build_id", metavar="BUILD", help="Of this build, not the published one.")
@click.option(
    "--inline", metavar="SQL", default="", help="The rows of this SELECT, with ref() and source() as in models."
)
@click.option("--limit", default=40, show_default=True, help="Rows of a table to print.")
@vars_option
@target_option
@stewards_option
@project_option
def show(
    what: str | None,
    year: int | None,
    build_id: str | None,
    inline: str,
    limit: int,
    variables: str,
    target: str,
    stewards: bool,
    project_dir: Path | None,
) -> None:
    """Print every indicator beside its printed value.

    Or those of one FIGURE or SERVICE; or the rows of a TABLE, or of a SELECT given by --inline.
    """
    from kpi.reader import figures
    from kpi.reader.figures import rows_of

    root = project_folder(project_dir)
    if inline and (what or year):
        raise click.UsageError("give a figure, a table or --inline, not two of them; --year is not for --inline.")
    if not inline and (variables or target):
        raise click.UsageError("--vars and --target are for --inline: what is built has its values already.")
    if inline:
        _show_inline(root, inline, build_id, limit, variables, target, stewards)
        return
    tables = figures.tables_of(build_id, root)
    with figures.open_build(build_id, root, stewards=stewards) as con:
        if what is None:
            say(figures.figure_lines(con, year=year, tables=tables))
            say(["", *figures.summary_lines(con, tables)])
            return
        try:
            kind, name = figures.resolve(con, what, tables)
        except ConfigError as error:
            raise ConfigError(f"{error}{'' if stewards else figures.hint_left_out(what, build_id, root)}") from None
        if kind == "figure":
            lines = figures.figure_lines(con, name, year, tables=tables)
            say([*figures.definition_lines(con, name, tables), *lines])
            return
        if kind == "service":
            say(figures.figure_lines(con, year=year, service=name, tables=tables))
            return
        result = con.execute(f"{rows_of(con, name, year)} limit {int(limit) + 1}")
        rows = result.fetchall()
        say(figures.table_lines([column[0] for column in result.description or []], rows[:limit]))
        if len(rows) > limit:
            click.echo(f"… more rows; see --limit, or: kpi query '{rows_of(con, name, year)}'")


def _show_inline(
    root: Path, text: str, build_id: str | None, limit: int, variables: str, target: str, stewards: bool
) -> None:
    """Compile a SELECT against the project as it is, and print what it yields of a build."""
    import duckdb

    from kpi.engine.compile import compile_inline, compiled
    from kpi.reader import figures

    sql = compile_inline(compiled(root, variables_of(variables), target).graph, text)
    with figures.open_build(build_id, root, stewards=stewards) as con:
        try:
            result = con.execute(f"select * from (\n{sql}\n) limit {int(limit) + 1}")
            names, rows = [column[0] for column in result.description or []], result.fetchall()
        except duckdb.Error as error:
            hint = "" if stewards else figures.hint_left_out(sql, build_id, root)
            raise ConfigError(f"{error}{hint} Is it built yet? See: kpi plan") from None
    say(figures.table_lines(names, rows[:limit]))
    if len(rows) > limit:
        click.echo("… more rows; see --limit")


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
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write --rows here.")
@click.option("--limit", default=40, show_default=True, help="Rows of a table to print.")
@click.option("--sql", "as_sql", is_flag=True, help="Print the SQL of each step, or with --rows that of the rows.")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known as JSON.")
@click.option("--lang", type=click.Choice(("en", "fi", "sv")), default="en", show_default=True, help="The language.")
@click.option("--build", "build_id", metavar="BUILD", help="Of this build, not the published one.")
@stewards_option
@project_option
def explain(
    figure: str,
    service: str | None,
    year: int | None,
    basis: str | None,
    kind: RowKind | None,
    form: str,
    output: Path | None,
    limit: int,
    as_sql: bool,
    as_json: bool,
    lang: str,
    build_id: str | None,
    stewards: bool,
    project_dir: Path | None,
) -> None:
    """Say where a FIGURE comes from.

    On one screen: its value, its parts, its definition, the year before, the path from the mart to the raw rows, how
    many rows were left out by which clause, and the deliveries. With --rows the rows themselves.
    """
    from kpi.reader import figures

    if kind is None and (output or form != "table"):
        raise click.UsageError("--format and --output are for --rows.")
    if form == "parquet" and output is None:
        raise click.UsageError("--format parquet needs --output FILE.")
    root = project_folder(project_dir)
    found = figures.explain(
        figure, service, year, basis=basis, build=build_id, project_dir=root, stewards=stewards, lang=lang
    )
    if kind is not None:
        if as_sql:
            click.echo(found.sql_by_kind.get(kind, ""))
        else:
            _print_rows(found.rows(kind), form, output, limit)
    elif as_json:
        import json

        click.echo(json.dumps(found.to_json(), ensure_ascii=False, indent=1, default=str))
    elif as_sql:
        say(line for step in found.steps if step.sql for line in (f"-- {step.model}", f"{step.sql};", ""))
    else:
        click.echo(found.text)


def _print_rows(rows: pa.Table, form: str, output: Path | None, limit: int) -> None:
    """Print raw rows, or write them to a file; a CSV has no formula live in it."""
    if form == "parquet":
        import pyarrow.parquet

        pyarrow.parquet.write_table(rows, str(output))
        click.echo(f"{rows.num_rows} rows in {output}", err=True)
        return
    cells = list(zip(*(column.to_pylist() for column in rows.columns), strict=True)) if rows.num_columns else []
    if form == "csv":
        import csv

        stream = output.open("w", encoding="utf-8", newline="") if output else None
        target = stream or (sys.stdout if sys.stdout.isatty() else bare(sys.stdout))
        try:
            csv.writer(target, lineterminator="\n").writerows(
                [rows.column_names, *(map(_no_formula, row) for row in cells)]
            )
        finally:
            if stream is not None:
                stream.close()
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
@click.option("--build", "build_id", metavar="BUILD", help="Of this build, not the published one.")
@click.option("--failures", is_flag=True, help="Of the failing rows that kpi test --store-failures wrote for it.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values, with no formula live in them.")
@stewards_option
@project_option
def query(
    sql: str, build_id: str | None, failures: bool, as_csv: bool, stewards: bool, project_dir: Path | None
) -> None:
    """Run one SQL query on the published build and print its rows.

    The build is opened read-only.
    """
    import duckdb

    from kpi.reader import figures

    root = project_folder(project_dir)
    with figures.open_build(build_id, root, failures, stewards) as con:
        try:
            if len(duckdb.extract_statements(sql)) != 1:
                raise ConfigError("kpi query takes one SQL statement.")
            result = con.execute(sql)
            names, rows = [column[0] for column in result.description or []], result.fetchall()
        except duckdb.Error as error:
            hint = "" if stewards else figures.hint_left_out(sql, build_id, root)
            raise ConfigError(f"{error}{hint}") from None
    if as_csv:
        import csv

        # In a file it is data; on a terminal it may be a command to it.
        stream = sys.stdout if sys.stdout.isatty() else bare(sys.stdout)
        csv.writer(stream, lineterminator="\n").writerows([names, *(map(_no_formula, row) for row in rows)])
    elif names:
        say(figures.table_lines(names, rows))


@click.command()
@click.option("--year", type=click.IntRange(1990, 2099), help="Validate this report year alone.")
@click.option("--build", "build_id", metavar="BUILD", help="Validate this build, not the published one.")
@click.option("--as-of", metavar="DATE", help="As if it were this day, YYYY-MM-DD; else the day of the build.")
@click.option("--html", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write the pages here.")
@project_option
def validate(
    year: int | None, build_id: str | None, as_of: str | None, html: Path | None, project_dir: Path | None
) -> None:
    """Validate the report years of a build again.

    It goes by the rules of today. Nothing is rebuilt or published. Exits with 7 when an expectation whose failure
    is an error does not hold.
    """
    from kpi.errors import CheckFailed
    from kpi.jobs.check_build import errors, judge, result_lines

    results = judge(project_folder(project_dir), build_id, year, day(as_of) if as_of else None, html)
    say(result_lines(results))
    if failed := errors(results):
        raise CheckFailed(f"{len(failed)} expectation{'s' * (len(failed) > 1)} failed.")


@click.command()
@project_option
def builds(project_dir: Path | None) -> None:
    """List the builds, their state, size and free space.

    The published one is marked. Where there is a file for stewards, its size comes second.
    """
    from kpi.warehouse.builds import Warehouse
    from kpi.warehouse.lifecycle import free_share
    from kpi.warehouse.permissions import DATABASE, whole

    warehouse = Warehouse(project_folder(project_dir).resolve() / "warehouse")
    for build in warehouse.list_builds():
        record, folder = build.record, build.folder
        reason = " ".join((record.reason or record.problem).split())
        mark = "*" if build.is_current else " "
        if not os.access(folder, os.X_OK):
            click.echo(f"{mark} {build.id:<24} closed      to you: it holds what only stewards may open")
            continue
        files = [place / DATABASE for place in {folder: 0, whole(folder): 0}]
        size = " + ".join(f"{os.stat(file).st_size / 1e6:.1f}" for file in files if os.access(file, os.F_OK))
        size += " MB" if size else ""
        share = free_share(record)
        free = "" if share is None else f"{100 * share:.0f} % free"
        line = f"{mark} {build.id:<24} {record.status:<10} {size:>11} {free:>9}  {reason}"
        click.echo(line[:160].rstrip())


def _no_formula(value: object) -> object:
    """A text that a spreadsheet would take for a formula, made plain text by an apostrophe; all else as it is."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
