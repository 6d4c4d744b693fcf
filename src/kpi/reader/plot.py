"""A figure by month as a chart of its own: SVG that a notebook shows without script, and Altair for those who go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from html import escape
from math import isnan
from pathlib import Path
from typing import Any

from kpi.errors import ConfigError
from kpi.presentation import Form
from kpi.reader.figures import open_build, tables_of
from kpi.reader.notebook import language_of, series
from kpi.reader.screen import form_of
from kpi.site.charts import ticks
from kpi.site.figure_data import FigureRow, figure_rows

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
        listed = f"<ol>{notes}</ol>" if notes else ""
        return (
            f"<figure>{self.svg}<figcaption>{escape(self.title)} ({escape(self.build)})</figcaption>{listed}</figure>"
        )

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
    named = {row.service: row for row in reversed(rows)}
    first = rows[0] if rows else None
    form = form_of(first, language, None) if first else Form(language=language)
    broken = frame[frame["is_break"]]
    return Plot(
        title=first.name if first else figure,
        build=str(frame.attrs["build"]),
        form=form,
        lines=tuple(_line(frame, service, named) for service in wanted),
        breaks=tuple(sorted(_reasons(broken[["month", "break_reason"]].to_numpy()).items())),
        target=_target(rows, wanted),
        frame=frame,
    )


def _line(frame: Any, service: str, named: dict[str, FigureRow]) -> Line:
    own = frame[frame["service"] == service]
    name = named[service].service_name if service in named else service
    values = [
        (_number(month), None if isnan(value) else float(value)) for month, value in own[["month", "value"]].to_numpy()
    ]
    return Line(name, tuple(values))


def _reasons(rows: Sequence[tuple[date, object]]) -> dict[int, str]:
    """The reasons of the breaks that begin in a month, by its number: each once, those of several services too."""
    found: dict[int, list[str]] = {}
    for month, reason in rows:
        reasons = found.setdefault(_number(month), [])
        if isinstance(reason, str) and reason not in reasons:
            reasons.append(reason)
    return {month: " ".join(reasons) for month, reasons in found.items()}


def _target(rows: Sequence[FigureRow], services: Sequence[str]) -> float | None:
    """The target of the newest year that has one, when all the services that are shown have the same."""
    years = {row.report_year for row in rows if row.target is not None and row.service in services}
    found = {row.target for row in rows if row.report_year == max(years, default=0) and row.service in services}
    (target,) = found if len(found) == 1 else (None,)
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
