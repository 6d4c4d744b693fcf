"""What a notebook asks for: figures, months and builds as frames, charts, and `%%sql`. Each names its build."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from html import escape
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kpi.errors import ConfigError, nearest
from kpi.files import find_project
from kpi.lazy import duckdb
from kpi.presentation import LANGUAGES, Form, presented
from kpi.provenance.figure_values import refuse_without_figures
from kpi.reader.figures import check_year, open_build, tables_of
from kpi.reader.screen import form_of
from kpi.site.charts import ticks
from kpi.site.figure_data import (
    CODES,
    FIGURES,
    MONTHS,
    SERVICES,
    FigureRow,
    figure_rows,
    in_languages,
    names_of,
    relation,
)
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
        rows = con.sql(
            f"{_with_names(con, tables, language) if language else f'select * from {tables.indicators} as i'}"
            " where ($year is null or i.report_year = $year)"
            " and ($services is null or list_contains($services, i.service))"
            " order by i.figure_id, i.service, i.report_year, i.basis",
            params={"year": report_year, "services": list(services) if services is not None else None},
        )
        return frame_of(rows, identity, as_)


def _with_names(con: duckdb.DuckDBPyConnection, tables: ReportTables, lang: str) -> str:
    """SQL of the indicators with the names of figure, service and unit, and the value as it is shown."""
    return f"""
        select i.*, {names_of("f", "name", lang, "i.figure_id")} as name,
            {names_of("s", "service_name", lang, "i.service")} as service_name,
            {names_of("u", "name", lang, "f.unit")} as unit, {presented("i.value", "f.decimals", "f.unit")} as shown
        from {tables.indicators} as i
        left join {relation(con, tables.figures, FIGURES)} as f on i.figure_id = f.figure_id
        left join {relation(con, tables.figure_services, SERVICES)} as s
            on i.figure_id = s.figure_id and i.service = s.service
        left join {relation(con, tables.code_lists, CODES)} as u on u.list = 'unit' and f.unit = u.code
    """


def _refuse_unknown_services(con: duckdb.DuckDBPyConnection, table: str, services: Sequence[str] | None) -> None:
    names = {row[0] for row in con.execute(f"select distinct service from {table}").fetchall()} if services else set()
    for service in services or ():
        if service not in names:
            raise ConfigError(f"there is no service '{service}'.{nearest(service, map(str, names))}")


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
        months = relation(con, tables.monthly_series, MONTHS)
        _refuse_unknown(con, months, figure, service)
        columns = ("figure_id", "service", "starts_on", *in_languages("reason"))
        breaks = relation(con, tables.comparability_breaks, columns)
        rows = con.sql(
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
        return frame_of(rows, identity, as_)


def _refuse_unknown(con: duckdb.DuckDBPyConnection, months: str, figure: str, service: str | None) -> None:
    rows = con.execute(f"select distinct figure_id, service from {months} order by all").fetchall()
    if figure not in (figures := {row[0] for row in rows}):
        raise ConfigError(f"'{figure}' has no months.{nearest(figure, map(str, figures))}")
    services = [str(row[1]) for row in rows if row[0] == figure]
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
    return Warehouse(find_project(project_dir).resolve() / "warehouse").folder(build).name


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
        options, rest = _options(line)
        sql = cell if cell is not None else rest
        if not sql.strip() or (cell is not None and rest.strip()):
            message = "%%sql takes options on its line (-o NAME, --polars, --arrow, --build BUILD), and SQL below it."
            raise ConfigError(message)
        identity = _identity(options["build"], None)
        if options["build"] is None:
            if self.seen not in ("", identity):
                sys.stdout.write(f"now reading {identity}\n")
            self.seen = identity
        with open_build(identity) as con:
            try:
                statements = con.extract_statements(sql)
                if len(statements) != 1:
                    raise ConfigError("%%sql takes one statement.")
                result = con.sql(sql, params=self._bound(statements[0]))
                frame = None if result is None else frame_of(result, identity, str(options["as_"]))
            except duckdb.Error as error:
                raise ConfigError(str(error)) from None
        if options["output"]:
            self.shell.user_ns[options["output"]] = frame
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
    options: dict[str, str | None] = {"output": None, "as_": "pandas", "build": None}
    rest = line.strip()
    while rest.startswith("-"):
        option, _, rest = rest.partition(" ")
        rest = rest.strip()
        if option in ("--polars", "--arrow", "--pandas"):
            options["as_"] = option[2:]
        elif option in ("-o", "--output", "--build"):
            value, _, rest = rest.partition(" ")
            options["build" if option == "--build" else "output"] = shlex.split(value)[0] if value else None
        else:
            names = ("-o", "--polars", "--arrow", "--build")
            raise ConfigError(f"%%sql has no option {option}.{nearest(option, names)}")
    if options["output"] is not None and not options["output"].isidentifier():
        raise ConfigError(f"'{options['output']}' is no name of a variable.")
    return options, rest


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


MOST = 6  # lines of a chart, each with a stroke of its own
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 340, 80, 170, 16, 44
_STROKES = (
    ("#0072b2", ""),
    ("#d55e00", "7 3"),
    ("#009e73", "2 3"),
    ("#cc79a7", "9 3 2 3"),
    ("#56b4e9", "12 4"),
    ("#8a6d00", "4 2"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """The months of a service: its name, and value and month number (12 times the year) in turn."""

    name: str
    points: tuple[tuple[int, float | None], ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """A chart of a figure by month. A notebook shows it as it is; `svg` is it as text, `frame` what it is drawn from.

    `breaks` are the months from which on a line is not comparable with what is before, each with the reason.
    """

    title: str
    build: str
    form: Form
    lines: tuple[Line, ...]
    breaks: tuple[tuple[int, str], ...] = ()
    target: float | None = None
    frame: Any = field(default=None, repr=False)

    @property
    def svg(self) -> str:
        """The chart as SVG, with a title that says in words what it shows."""
        return "".join(_svg(self))

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{_month(month)}: {escape(reason)}</li>" for month, reason in self.breaks)
        items = f"<ol>{notes}</ol>" if notes else ""
        return f"<figure>{self.svg}<figcaption>{escape(self.title)} ({escape(self.build)})</figcaption>{items}</figure>"

    def altair(self) -> Any:
        """Return an Altair chart of the same, to go on from. Its own renderer may need a network: see the guide."""
        from importlib import import_module

        try:
            altair: Any = import_module("altair")
        except ImportError:
            raise ConfigError("Altair is not installed: pip install altair") from None
        rows = [
            {"service": line.name, "month": f"{_month(month)}-01", "value": value}
            for line in self.lines
            for month, value in line.points
        ]
        return (
            altair.Chart(altair.Data(values=rows), title=self.title)
            .mark_line(point=True)
            .encode(x="month:T", y=altair.Y("value:Q").scale(zero=False), color="service:N", strokeDash="service:N")
        )


def plot(
    figure: str,
    services: str | Sequence[str] | None = None,
    build: str | None = None,
    project_dir: Path | str | None = None,
    *,
    lang: str | None = None,
) -> Plot:
    """Return a chart of a figure by month, for one service, for several or for all, with its breaks and its target.

    Raises ConfigError for a figure or a service without months, and for more services than can be told apart.
    """
    language = language_of(lang) or "en"
    frame = series(figure, None, build, project_dir, lang=language)
    wanted = [services] if isinstance(services, str) else list(services or frame["service"].unique())
    for service in wanted:
        if service not in set(frame["service"]):
            series(figure, service, build, project_dir)  # which says what there is
    if len(wanted) > MOST:
        raise ConfigError(
            f"'{figure}' has {len(wanted)} services, and a chart tells {MOST} apart. Name some: {', '.join(wanted)}."
        )
    frame = frame[frame["service"].isin(wanted)]
    with open_build(build, project_dir) as con:
        rows = [row for row in figure_rows(con, tables_of(build, project_dir), language) if row.figure_id == figure]
    row_by_service = {row.service: row for row in reversed(rows)}
    first = rows[0] if rows else None
    form = form_of(first, language, None) if first else Form(language=language)
    broken = frame[frame["is_break"]]
    return Plot(
        title=first.name if first else figure,
        build=str(frame.attrs["build"]),
        form=form,
        lines=tuple(_line(frame, service, row_by_service) for service in wanted),
        breaks=tuple(sorted(_reasons(broken[["month", "break_reason"]].to_numpy()).items())),
        target=_target(rows, wanted),
        frame=frame,
    )


def _line(frame: Any, service: str, row_by_service: dict[str, FigureRow]) -> Line:
    own = frame[frame["service"] == service]
    name = row_by_service[service].service_name if service in row_by_service else service
    values = [
        (_number(month), None if isnan(value) else float(value)) for month, value in own[["month", "value"]].to_numpy()
    ]
    return Line(name, tuple(values))


def _reasons(rows: Sequence[tuple[date, object]]) -> dict[int, str]:
    """The reasons of the breaks that begin in a month, by its number: each once, those of several services too."""
    reasons_by_month: dict[int, list[str]] = {}
    for month, reason in rows:
        reasons = reasons_by_month.setdefault(_number(month), [])
        if isinstance(reason, str) and reason not in reasons:
            reasons.append(reason)
    return {month: " ".join(reasons) for month, reasons in reasons_by_month.items()}


def _target(rows: Sequence[FigureRow], services: Sequence[str]) -> float | None:
    """The target of the newest year that has one, when all the services that are shown have the same."""
    years = {row.report_year for row in rows if row.target is not None and row.service in services}
    targets = {row.target for row in rows if row.report_year == max(years, default=0) and row.service in services}
    (target,) = targets if len(targets) == 1 else (None,)
    return None if target is None else float(target)


def _number(month: date) -> int:
    return month.year * 12 + month.month - 1


def _month(number: int) -> str:
    return f"{number // 12}-{number % 12 + 1:02}"


def _svg(chart: Plot) -> Iterator[str]:
    """Yield the pieces: grid and its labels, breaks, target, and the lines with their names at their ends."""
    months = [month for line in chart.lines for month, _ in line.points]
    values = [value for line in chart.lines for _, value in line.points if value is not None]
    first, last = min(months, default=0), max(months, default=0)
    drawn = [*values, *([chart.target] if chart.target is not None else [])] or [0.0, 1.0]
    scale = ticks(0 if 0 <= min(drawn) < max(drawn) / 2 else min(drawn), max(drawn), chart.form.unit)

    def x(month: float) -> str:
        return f"{_LEFT + (month - first) / max(last - first, 1) * (_WIDTH - _LEFT - _RIGHT):.1f}"

    def y(value: float) -> str:
        span = scale[-1] - scale[0]
        return f"{_TOP + (scale[-1] - value) / span * (_HEIGHT - _TOP - _BOTTOM):.1f}"

    described = f"{chart.title}: {', '.join(line.name for line in chart.lines)}, {_month(first)} – {_month(last)}"
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" width="100%"'
    yield ' style="max-width:760px;color:inherit" font-family="sans-serif" font-size="12" fill="currentColor">'
    yield f"<title>{escape(described)}</title>"
    for tick in scale:
        yield f'<path d="M{_LEFT} {y(tick)}H{_WIDTH - _RIGHT}" stroke="currentColor" stroke-opacity=".2"/>'
        text = escape(chart.form.write(Decimal(f"{tick:.6f}").normalize()))
        yield f'<text x="{_LEFT - 8}" y="{y(tick)}" dy=".35em" text-anchor="end">{text}</text>'
    for year in range(first // 12, last // 12 + 1):
        january = max(year * 12, first)
        yield f'<path d="M{x(january)} {_HEIGHT - _BOTTOM}v6" stroke="currentColor"/>'
        yield f'<text x="{x(january)}" y="{_HEIGHT - _BOTTOM + 20}">{year}</text>'
    for number, (month, _) in enumerate(chart.breaks, 1):
        at = x(month - 0.5 if month > first else month)
        yield f'<path d="M{at} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="currentColor" stroke-dasharray="3 3"/>'
        yield f'<text x="{at}" y="{_TOP - 4}" text-anchor="middle">{number}</text>'
    if chart.target is not None:
        yield f'<path d="M{_LEFT} {y(chart.target)}H{_WIDTH - _RIGHT}" stroke="currentColor" stroke-width="1.5"'
        yield ' stroke-dasharray="8 4"/>'
    yield from _strokes(chart, x, y)
    yield "</svg>"


def _strokes(chart: Plot, x: Any, y: Any) -> Iterator[str]:
    """Yield each line, with gaps where it has no value, and its name where it ends, none upon another."""
    ends = []
    for line, (colour, dashes) in zip(chart.lines, _STROKES, strict=False):
        path, is_open = [], False
        for month, value in line.points:
            if value is not None:
                path.append(f"{'L' if is_open else 'M'}{x(month)} {y(value)}")
            is_open = value is not None
        if not path:
            continue
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        yield f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>'
        month, value = next(point for point in reversed(line.points) if point[1] is not None)
        ends.append((float(y(value)), x(month), colour, line.name))
    lowest = -14.0
    for place, at, colour, name in sorted(ends):
        lowest = max(place, lowest + 14)
        shown = name if len(name) <= 24 else f"{name[:23]}…"
        yield f'<text x="{float(at) + 8:.1f}" y="{lowest:.1f}" dy=".35em" fill="{colour}">{escape(shown)}</text>'
