"""What `make bench` leaves in docs/reference: its table, a plot, and the ratios that the next run compares with."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "docs/reference"
PAGE, PLOT, RATIOS = "benchmarks.md", "benchmarks.svg", "benchmarks.json"
BEGIN, END = "<!-- written by make bench -->", "<!-- end of what make bench wrote -->"
# Cases in the plot, each with its colour: kpi's line is whole, that of what it is compared with is dashed.
SHOWN = {
    "from nothing": "#1b6ca8",
    "one file changed": "#c0392b",
    "one model changed, other rows": "#8e5ea2",
    "one model changed, the same rows": "#2e8b57",
    "no change": "#7f7f7f",
}


@dataclass(frozen=True, slots=True)
class Case:
    """Medians of one case in seconds, the median ratio of CPU seconds, and kpi's peak memory in MB."""

    name: str
    cpu: float
    wall: float
    bare_cpu: float
    bare_wall: float
    ratio: float
    memory: float
    compared: str


def ratios(folder: Path, scale: float) -> dict[str, float]:
    """Return the ratios recorded at a scale, by case; empty when there are none."""
    file = folder / RATIOS
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return dict(known.get(f"{scale:g}", {}))


def write(folder: Path, scale: float, runs: int, found: Mapping[int, Sequence[Case]]) -> None:
    """Write the cases, by number of records, into the page of a folder and beside it. The last volume is the table."""
    before = ratios(folder, scale)
    folder.mkdir(parents=True, exist_ok=True)
    records, cases = list(found.items())[-1]
    head = f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}"
    lines = [
        f"Medians of {runs}, {records} synthetic records ({scale:g} of the county), {head}:",
        "",
        "| | kpi CPU s | wall | bare CPU s | wall | ratio | before | peak MB | compared with |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(case, before.get(case.name)) for case in cases),
        "",
        f"![CPU seconds against records, of kpi and of what it is compared with]({PLOT})",
    ]
    replace_between(folder / PAGE, BEGIN, END, lines)
    (folder / PLOT).write_text(plot(found), encoding="utf-8")
    file = folder / RATIOS
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    known[f"{scale:g}"] = {case.name: round(case.ratio, 2) for case in cases}
    file.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def replace_between(page: Path, begin: str, end: str, lines: Iterable[str]) -> None:
    """Put lines between two markers of a page; a page that is not there becomes one with nothing else."""
    text = page.read_text(encoding="utf-8") if page.is_file() else f"{begin}\n{end}\n"
    start, _, rest = text.partition(begin)
    _, _, rest = rest.partition(end)
    page.write_text("\n".join([f"{start}{begin}", *lines, f"{end}{rest}"]), encoding="utf-8")


def _row(case: Case, before: float | None) -> str:
    figures = (case.cpu, case.wall, case.bare_cpu, case.bare_wall, case.ratio)
    recorded = f"{before:.2f}" if before else "–"
    cells = [case.name, *(f"{figure:.2f}" for figure in figures), recorded, f"{case.memory:.0f}", case.compared]
    return f"| {' | '.join(cells)} |"


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 420, 60, 290, 20, 50


def plot(found: Mapping[int, Sequence[Case]]) -> str:
    """Return an SVG of CPU seconds against records, both in powers of ten, a line for each case of SHOWN."""
    values = [value for cases in found.values() for case in cases for value in (case.cpu, case.bare_cpu)]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    first, last = math.log10(min(found)), math.log10(max(found))

    def at(records: float, seconds: float) -> tuple[float, float]:
        x = LEFT + (math.log10(records) - first) / ((last - first) or 1) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (math.log10(seconds) - low) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)
        return round(x, 1), round(y, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="13">',
        "<title>CPU seconds against records</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for power in range(low, high + 1):
        y = at(10**first, 10.0**power)[1]
        parts.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{10.0**power:g} s</text>')
    for records in found:
        x = at(records, 10.0**low)[0]
        parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{_thousands(records)}</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 8}">records</text>')
    for number, (name, colour) in enumerate(SHOWN.items()):
        points = [(records, case) for records, cases in found.items() for case in cases if case.name == name]
        parts += _line([at(records, case.cpu) for records, case in points], colour, "")
        parts += _line([at(records, case.bare_cpu) for records, case in points], colour, ' stroke-dasharray="5 4"')
        y = TOP + 20 + 22 * number
        parts.append(f'<path d="M{WIDTH - RIGHT + 20} {y - 4}h20" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 46}" y="{y}">{name}</text>')
    y = TOP + 30 + 22 * len(SHOWN)
    parts.append(f'<text x="{WIDTH - RIGHT + 20}" y="{y}">dashed: what it is compared with</text>')
    return "\n".join([*parts, "</svg>", ""])


def _line(points: Iterable[tuple[float, float]], colour: str, dash: str) -> list[str]:
    found = list(points)
    path = " ".join(f"{x},{y}" for x, y in found)
    line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
    return [line, *(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in found)]


def _thousands(records: int) -> str:
    return f"{records / 1e6:.1f} million" if records >= 1e6 else f"{records / 1e3:.0f} 000"
