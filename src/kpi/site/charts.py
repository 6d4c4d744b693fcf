"""Charts as SVG that is stretched to the width of the page, under labels that are HTML.

Text inside a stretched SVG would be stretched too, and in one of a fixed shape it would be unreadable on a phone.
Labels are placed by classes (`l0` to `l100` from the left, `t0` to `t100` from the top): the policy of a page forbids
styles of single elements. Lines take the colour of the text: they show in the dark, on paper and in forced colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from math import ceil, floor, log10

from markupsafe import Markup, escape

from kpi.presentation import Form

_WIDTH, _HEIGHT = 1000, 300
_TIME_STEPS = (1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)
BOXES = 12


@dataclass(frozen=True, slots=True)
class Mark:
    """A numbered line across a chart, at a place among its points."""

    place: int
    number: int


def ticks(low: float, high: float, unit: str) -> list[float]:
    """Return three to six round values that span two others: of lengths of time in seconds, minutes or hours."""
    span = (high - low) or abs(high) or 1.0
    if unit == "seconds":
        step = float(next((one for one in _TIME_STEPS if span / one <= 4), _TIME_STEPS[-1]))
    else:
        power = 10 ** floor(log10(span / 4))
        step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= 4)
    first, last = floor(low / step), ceil(high / step)
    return [place * step for place in range(first, max(last, first + 1) + 1)]


def line_chart(
    values: Sequence[Decimal | None],
    labels: Sequence[tuple[int, str]],
    form: Form,
    described: str,
    marks: Iterable[Mark] = (),
    target: Decimal | None = None,
) -> Markup:
    """Return a chart of values in turn, with gaps where one is missing, and labels below it at their places.

    Args:
        values: one a month.
        labels: place among the values and text.
        form: how the values are written, along the left side.
        described: what the chart shows, in words, for those who cannot see it.
        marks: numbered lines across it.
        target: drawn as a dashed line.
    """
    known = [float(value) for value in values if value is not None] + ([float(target)] if target is not None else [])
    if not known:
        return Markup("")
    low = min(known)
    scale = ticks(0 if 0 <= low < max(known) / 2 else low, max(known), form.unit)
    bottom, top = scale[0], scale[-1]

    def across(place: int) -> float:
        return round((place + 0.5) * _WIDTH / len(values), 1)

    def down(value: float) -> float:
        return round(_HEIGHT * (top - value) / (top - bottom), 1)

    shapes = [f'<line class="grid" x1="0" x2="{_WIDTH}" y1="{down(tick):g}" y2="{down(tick):g}"/>' for tick in scale]
    if target is not None:
        y = f"{down(float(target)):g}"
        shapes.append(f'<line class="target" x1="0" x2="{_WIDTH}" y1="{y}" y2="{y}"/>')
    numbers = []
    for mark in marks:
        x = round(mark.place * _WIDTH / len(values), 1)
        shapes.append(f'<line class="break" x1="{x:g}" x2="{x:g}" y1="0" y2="{_HEIGHT}"/>')
        numbers.append(f'<span class="mark l{round(x / 10)}">{mark.number}</span>')
    for points in _stretches(values):
        path = " ".join(f"{across(place):g},{down(float(value)):g}" for place, value in points)
        shapes.append(f'<polyline points="{path}{f" {path}" if len(points) == 1 else ""}"/>')
    if form.unit != "seconds" and all(tick == int(tick) for tick in scale):
        form = replace(form, decimals=None)
    sides = "".join(
        f'<span class="t{round(100 * (top - tick) / (top - bottom))}">{escape(form.write(_exact(tick)))}</span>'
        for tick in scale
    )
    below = "".join(f'<span class="l{round(across(place) / 10)}">{escape(text)}</span>' for place, text in labels)
    return Markup(
        f'<div class="chart" role="img" aria-label="{escape(described)}"><div class="side">{sides}</div>'
        f'<div class="plot"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" aria-hidden="true"'
        f' focusable="false">{"".join(shapes)}</svg>{"".join(numbers)}</div><div class="below">{below}</div></div>'
    )


def _exact(value: float) -> Decimal:
    exact = Decimal(f"{value:.6f}").normalize()
    return exact if exact != exact.to_integral_value() else exact.quantize(Decimal(1))


def _stretches(values: Sequence[Decimal | None]) -> list[list[tuple[int, Decimal]]]:
    """Return the values that stand in a row, with their places."""
    found: list[list[tuple[int, Decimal]]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            found.append([])
        else:
            found[-1].append((place, value))
    return [points for points in found if points]


def sparkline(values: Sequence[Decimal | None], broken_at: Iterable[int] = ()) -> Markup:
    """Return a small line of a few years, its last point marked; a gap before each place where it is broken.

    It is drawn for the eye alone: the values stand beside it.
    """
    known = [float(value) for value in values if value is not None]
    if len(known) < 2:
        return Markup("")
    low, high = min(known), max(known)
    span, step = (high - low) or 1.0, 120 / max(len(values) - 1, 1)

    def at(place: int, value: Decimal) -> str:
        return f"{4 + place * step:.0f},{4 + 32 * (high - float(value)) / span:.0f}"

    cuts, lines = set(broken_at), []
    for points in _stretches(values):
        begun: list[str] = []
        for place, value in points:
            if place in cuts and begun:
                lines.append(begun)
                begun = []
            begun.append(at(place, value))
        lines.append(begun)
    drawn = "".join(f'<polyline points="{" ".join(line)}"/>' for line in lines if len(line) > 1)
    if not drawn:
        return Markup("")
    last = next((place, value) for place, value in reversed(list(enumerate(values))) if value is not None)
    x, _, y = at(*last).partition(",")
    return Markup(
        f'<svg class="spark" viewBox="0 0 128 40" aria-hidden="true" focusable="false">{drawn}'
        f'<circle cx="{x}" cy="{y}" r="3"/></svg>'
    )


def bar(value: Decimal, highest: Decimal) -> Markup:
    """Return a bar as long as a value is of the highest one; none of a value below zero."""
    width = max(0.0, min(100.0, 100 * float(value) / float(highest))) if highest else 0.0
    return Markup(
        f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        f'<rect width="{width:.1f}" height="10"/></svg>'
    )


def path_of(steps: Sequence[tuple[str, str]]) -> Markup:
    """Return boxes from top to bottom with arrows between them, of names and what they are; at most twelve boxes.

    It is drawn for the eye alone: the same stands in a list beside it.
    """
    boxes = list(steps)
    if len(boxes) > BOXES:
        boxes = [*boxes[: BOXES // 2], ("…", ""), *boxes[len(boxes) - BOXES // 2 + 1 :]]
    height = 44 * len(boxes)
    drawn = []
    for place, (name, kind) in enumerate(boxes):
        y = 44 * place + 2
        if place:
            drawn.append(f'<path d="M150 {y - 14}v10m-4 -5l4 5l4 -5"/>')
        shown = name if len(name) <= 36 else f"{name[:35]}…"
        drawn.append(
            f'<path class="box{f" {escape(kind)}" if kind else ""}" d="M1 {y}h298v28h-298z"/>'
            f'<text x="150" y="{y + 19}">{escape(shown)}</text>'
        )
    return Markup(
        f'<svg class="path" viewBox="0 0 300 {height}" width="300" height="{height}" aria-hidden="true"'
        f' focusable="false">{"".join(drawn)}</svg>'
    )
