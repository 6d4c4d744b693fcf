"""What a notebook asks for: figures, months and builds as frames, and `%%sql`. Every frame names its build."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kpi.errors import ConfigError, nearest
from kpi.files import find_project
from kpi.lazy import duckdb
from kpi.presentation import LANGUAGES, presented
from kpi.provenance.figure_values import refuse_without_figures
from kpi.reader.figures import check_year, open_build, tables_of
from kpi.site.figure_data import in_languages, names_of, relation
from kpi.warehouse.builds import Warehouse

if TYPE_CHECKING:
    import pandas as pd

    from kpi.settings import ReportTables


FrameKind = Literal["pandas", "polars", "arrow"]
BUILD = "build"


def indicators(
    report_year: int | None = None,
    build: str | None = None,
    project_dir: Path | str | None = None,
    *,
    lang: str | None = None,
    services: Sequence[str] | None = None,
    as_: FrameKind = "pandas",
) -> Any:
    """Return marts.indicators as a frame, of one report year or all, of some services or all.

    Grain: one row per figure_id, service, report_year and basis, in that order. `value` is unrounded, in the unit of
    seeds.figures; shares are in percent. A year that is not finished has the basis year_to_date, and `last_full_month`
    (1 to 12) says up to which month it is counted; null for a finished year and what was entered by hand. With `lang`
    (fi, sv or en; else that of KPI_LANG, if it is set) there are `name`, `service_name` and `unit` too, and `shown`,
    the value at the precision of its figure. The build's id is in `frame.attrs["build"]` of pandas, in the metadata of
    the schema of Arrow, and in `frame.build` of polars. Raises ConfigError for a year or a service that is not there.
    """
    language = language_of(lang)
    tables, identity = tables_of(build, project_dir), _identity(build, project_dir)
    with open_build(build, project_dir) as con:
        refuse_without_figures(con, tables)
        if report_year is not None:
            check_year(con, report_year, tables=tables)
        _refuse_unknown_services(con, tables.indicators, services)
        found = con.sql(
            f"{_with_names(con, tables, language) if language else f'select * from {tables.indicators} as i'}"
            " where ($year is null or i.report_year = $year)"
            " and ($services is null or list_contains($services, i.service))"
            " order by i.figure_id, i.service, i.report_year, i.basis",
            params={"year": report_year, "services": list(services) if services is not None else None},
        )
        return frame_of(found, identity, as_)


def _with_names(con: duckdb.DuckDBPyConnection, tables: ReportTables, lang: str) -> str:
    """SQL of the indicators with the names of figure, service and unit, and the value as it is shown."""
    figures = {"figure_id": "varchar", "unit": "varchar", "decimals": "varchar", **in_languages("name")}
    services = {"figure_id": "varchar", "service": "varchar", **in_languages("service_name")}
    codes = {"list": "varchar", "code": "varchar", **in_languages("name")}
    return f"""
        select i.*, {names_of("f", "name", lang, "i.figure_id")} as name,
            {names_of("s", "service_name", lang, "i.service")} as service_name,
            {names_of("u", "name", lang, "f.unit")} as unit, {presented("i.value", "f.decimals", "f.unit")} as shown
        from {tables.indicators} as i
        left join {relation(con, tables.figures, figures)} as f on i.figure_id = f.figure_id
        left join {relation(con, tables.figure_services, services)} as s
            on i.figure_id = s.figure_id and i.service = s.service
        left join {relation(con, tables.code_lists, codes)} as u on u.list = 'unit' and f.unit = u.code
    """


def _refuse_unknown_services(con: duckdb.DuckDBPyConnection, table: str, services: Sequence[str] | None) -> None:
    known = {row[0] for row in con.execute(f"select distinct service from {table}").fetchall()} if services else set()
    for service in services or ():
        if service not in known:
            raise ConfigError(f"there is no service '{service}'.{nearest(service, map(str, known))}")


def series(
    figure: str,
    service: str | None = None,
    build: str | None = None,
    project_dir: Path | str | None = None,
    *,
    lang: str | None = None,
    as_: FrameKind = "pandas",
) -> Any:
    """Return a figure by month as a frame, for one service or all, with the breaks of its comparability.

    Grain: one row per service and month, in that order; `month` is its first day. `value` is unrounded, in the unit of
    the figure. `is_full_month` is false of what an unfinished year has after its last full month. `is_break` says that
    a break begins in the month, and `break_reason` why, in the language (English unless `lang` or KPI_LANG says
    another). Raises ConfigError for a figure, or a service of it, that has no months.
    """
    language = language_of(lang) or "en"
    tables, identity = tables_of(build, project_dir), _identity(build, project_dir)
    with open_build(build, project_dir) as con:
        months = relation(con, tables.monthly_series, _SERIES)
        _refuse_unknown(con, months, figure, service)
        breaks = relation(
            con,
            tables.comparability_breaks,
            {"figure_id": "varchar", "service": "varchar", "starts_on": "date", **in_languages("reason")},
        )
        found = con.sql(
            f"""
            with reasons as (
                select figure_id, service, date_trunc('month', starts_on)::date as month,
                    string_agg(distinct {names_of("b", "reason", language, "''")}, ' ') as break_reason
                from {breaks} as b group by all
            ),
            months as (select *, make_date(report_year, m.month, 1) as day from {months} as m)
            select months.figure_id, months.service, months.day as month, months.value, months.numerator,
                months.denominator, months.event_count, coalesce(months.is_full_month, true) as is_full_month,
                coalesce(months.is_break, false) or reasons.month is not null as is_break, reasons.break_reason
            from months
            left join reasons on months.figure_id = reasons.figure_id and months.service = reasons.service
                and months.day = reasons.month
            where months.figure_id = $figure and ($service is null or months.service = $service)
            order by months.service, months.day
            """,
            params={"figure": figure, "service": service},
        )
        return frame_of(found, identity, as_)


def _refuse_unknown(con: duckdb.DuckDBPyConnection, months: str, figure: str, service: str | None) -> None:
    known = con.execute(f"select distinct figure_id, service from {months} order by all").fetchall()
    if figure not in (figures := {row[0] for row in known}):
        raise ConfigError(f"'{figure}' has no months.{nearest(figure, map(str, figures))}")
    services = [str(row[1]) for row in known if row[0] == figure]
    if service is not None and service not in services:
        raise ConfigError(f"'{figure}' has no months for '{service}'. It has: {', '.join(services)}.")


def builds(project_dir: Path | str | None = None) -> pd.DataFrame:
    """Return the builds on disk as a frame, the oldest first.

    Grain: one row per build. `status` is published, held back, failed or building; `is_current` is true of the one that
    readers see; `as_of` is the day of its refresh, `started_at` and `finished_at` are in UTC.
    """
    import pandas as pd

    warehouse = Warehouse(find_project(project_dir).resolve() / "warehouse")
    names = ("started_at", "finished_at", "as_of", "reason")
    rows = [
        (
            one.id,
            one.record.status,
            one.is_current,
            one.record.synthetic,
            *(getattr(one.record, name) for name in names),
        )
        for one in warehouse.list_builds()
    ]
    frame = pd.DataFrame(rows, columns=["build", "status", "is_current", "is_synthetic", *names])
    for name in names[:2]:
        frame[name] = pd.to_datetime(frame[name], utc=True, errors="coerce")
    return frame


def frame_of(result: duckdb.DuckDBPyRelation, build: str, as_: str = "pandas") -> Any:
    """Return the rows of a query as a frame of a kind, which carries the build's id."""
    if as_ == "arrow":
        table = result.to_arrow_table()
        return table.replace_schema_metadata({**(table.schema.metadata or {}), BUILD: build})
    if as_ == "polars":
        try:
            import polars
        except ImportError:
            raise ConfigError("polars is not installed: pip install polars") from None
        frame: Any = polars.from_arrow(result.to_arrow_table())
        frame.build = build
        return frame
    if as_ != "pandas":
        raise ConfigError(f"there are no frames as_='{as_}'.{nearest(as_, ('pandas', 'polars', 'arrow'))}")
    pandas_frame = result.df()
    pandas_frame.attrs[BUILD] = build
    return pandas_frame


def _identity(build: str | None, project_dir: Path | str | None) -> str:
    """The id of the build that is read."""
    return Warehouse(find_project(project_dir).resolve() / "warehouse").folder(build).resolve().name


def language_of(lang: str | None) -> str | None:
    """The language that is asked for, here or by the environment. Raises ConfigError for one that there is not."""
    language = lang or os.environ.get("KPI_LANG") or None
    if language is not None and language not in LANGUAGES:
        raise ConfigError(f"there is no language '{language}'.{nearest(language, LANGUAGES)}")
    return language


class SqlMagic:
    """`%%sql`, which reads the published build as it is when a cell runs: a new publish is followed at the next one.

        %%sql -o frame --polars
        select * from marts.indicators where report_year = $year

    `-o` names the variable for the frame, `--polars` or `--arrow` its kind, `--build` another build. `$name` is the
    value of the notebook's variable of that name, bound and never written into the SQL.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.seen = ""

    def run(self, line: str, cell: str | None = None) -> Any:
        """Run one statement, of a cell or of a line, and return its rows as a frame; with `-o` assign it instead."""
        given, rest = _options(line)
        sql = cell if cell is not None else rest
        if not sql.strip() or (cell is not None and rest.strip()):
            message = "%%sql takes options on its line (-o NAME, --polars, --arrow, --build BUILD), and SQL below it."
            raise ConfigError(message)
        identity = _identity(given["build"], None)
        if given["build"] is None:
            if self.seen not in ("", identity):
                sys.stdout.write(f"now reading {identity}\n")
            self.seen = identity
        with open_build(identity) as con:
            try:
                statements = con.extract_statements(sql)
                if len(statements) != 1:
                    raise ConfigError("%%sql takes one statement.")
                result = con.sql(sql, params=self._bound(statements[0]))
                frame = None if result is None else frame_of(result, identity, str(given["as_"]))
            except duckdb.Error as error:
                raise ConfigError(str(error)) from None
        if given["output"]:
            self.shell.user_ns[given["output"]] = frame
            return None
        return frame

    def _bound(self, statement: Any) -> Mapping[str, object] | None:
        """The notebook's variables that a statement names. Raises ConfigError for one that is not there."""
        names = sorted(statement.named_parameters)
        for name in names:
            if name not in self.shell.user_ns:
                raise ConfigError(f"there is no variable '{name}' for ${name}.")
        return {name: self.shell.user_ns[name] for name in names} or None


def _options(line: str) -> tuple[dict[str, str | None], str]:
    """Return what a line of `%%sql` says, and what stands after its options."""
    found: dict[str, str | None] = {"output": None, "as_": "pandas", "build": None}
    rest = line.strip()
    while rest.startswith("-"):
        option, _, rest = rest.partition(" ")
        rest = rest.strip()
        if option in ("--polars", "--arrow", "--pandas"):
            found["as_"] = option[2:]
        elif option in ("-o", "--output", "--build"):
            value, _, rest = rest.partition(" ")
            found["build" if option == "--build" else "output"] = shlex.split(value)[0] if value else None
        else:
            known = ("-o", "--polars", "--arrow", "--build")
            raise ConfigError(f"%%sql has no option {option}.{nearest(option, known)}")
    if found["output"] is not None and not found["output"].isidentifier():
        raise ConfigError(f"'{found['output']}' is no name of a variable.")
    return found, rest


def load_magic(shell: Any) -> None:
    """Give IPython `%sql` and `%%sql`, and the same under the name `kpi`, where another extension has taken `sql`."""
    magic = SqlMagic(shell)
    for name in _MAGICS:
        shell.register_magic_function(magic.run, "line_cell", name)


def unload_magic(shell: Any) -> None:
    """Take them away again."""
    for of_kind in shell.magics_manager.magics.values():
        for name in _MAGICS:
            of_kind.pop(name, None)


_MAGICS = ("sql", "kpi")


_SERIES = {
    "figure_id": "varchar",
    "service": "varchar",
    "report_year": "bigint",
    "month": "bigint",
    "value": "double",
    "numerator": "double",
    "denominator": "double",
    "event_count": "bigint",
    "is_break": "boolean",
    "is_full_month": "boolean",
}
