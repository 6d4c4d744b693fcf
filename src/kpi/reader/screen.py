"""What `kpi show` prints: one screen of what matters in a report year, and lists of figures, in three languages.

Every text that comes from data passes `one_line` before it is coloured: colours are the only escape sequences here.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, TextIO

from kpi.presentation import MINUS, NO_BREAK, Form, bare, one_line, words
from kpi.site.figure_data import FigureRow

if TYPE_CHECKING:
    from kpi.build_record import BuildRecord


STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_NARROWEST, _WIDEST = 60, 140
_MOST_DIFFERING = 3
_SPARKS = "▁▂▃▄▅▆▇█"
_MARKS = {"reproduced": "=", "differs": "≠", "documented_inconsistency": "~", "not_delivered": "?"}


@dataclass(frozen=True, slots=True)
class Screen:
    """Where lines go: how wide and high it is, whether it is coloured, and in which language."""

    width: int = 80
    height: int = 40
    has_colour: bool = False
    lang: str = "en"

    def text(self, key: str) -> str:
        """A text of the screen's own in its language."""
        return screen_text(key, self.lang)

    def painted(self, text: str, style: str | None) -> str:
        """The text in a style, on a screen that has colours."""
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if style and self.has_colour and text.strip() else text


def screen_text(key: str, lang: str) -> str:
    """Return one of the screen's own texts in a language."""
    return words("screen")[key][lang]


def screen_of(stream: TextIO, lang: str) -> Screen:
    """Return the terminal that a stream is; 80 by 40 without colours when it is none."""
    is_terminal = stream.isatty()
    size = shutil.get_terminal_size((80, 40)) if is_terminal else os.terminal_size((80, 40))
    has_colour = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Screen(min(max(size.columns, _NARROWEST), _WIDEST), max(size.lines, 16), has_colour, lang)


def write(lines: Iterable[str]) -> None:
    """Print lines whose texts of data have passed `one_line`, colours and all, on stdout."""
    stream = bare(sys.stdout)
    for line in lines:
        stream.write(f"{line}\n")
    stream.flush()


@dataclass(frozen=True, slots=True)
class Status:
    """What matters of a build before any figure: its years, how printed figures stand, and which feeds are late.

    `statuses` counts the printed figures of each report by status, `differing` are the figures that differ, `late` the
    feeds that are late on the day, each with the day by which more was expected. `notes` are of one year each.
    """

    build: str
    years: tuple[int, ...]
    unfinished: frozenset[int]
    statuses: dict[int, Counter[str]] = field(default_factory=dict)
    differing: tuple[FigureRow, ...] = ()
    late: tuple[tuple[str, date | None], ...] = ()
    is_synthetic: bool = False


def late_feeds(record: BuildRecord, day: date) -> tuple[tuple[str, date | None], ...]:
    """Return the feeds that are late on a day, with the day by which more was expected; none of synthetic ones."""
    if record.synthetic:
        return ()
    return tuple(
        (feed.feed, feed.expected_by or feed.very_late_by)
        for feed in record.freshness
        if feed.state(day) in ("late", "very late")
    )


def year_of_screen(rows: Sequence[FigureRow], unfinished: frozenset[int]) -> int | None:
    """The report year that is shown when none is asked for: the newest that is finished, else the newest."""
    years = {row.report_year for row in rows}
    return max(years - unfinished, default=max(years, default=None))


def overview_lines(
    status: Status, rows: Sequence[FigureRow], screen: Screen, notes: Mapping[int, Sequence[str]]
) -> Iterator[str]:
    """Yield one screen: what matters of the build first, then as many figures of one year as there is room for.

    Each family has one before any has two; those that a report prints come before the others. `notes` are by year.
    """
    year = rows[0].report_year
    head = [*status_lines(status, screen), *(_cut(note, screen.width) for note in notes.get(year, ()))]
    head += ["", _headings(f"{screen.text('year')} {year}", screen)]
    chosen = _chosen(rows, max(screen.height - len(head) - 4, 4))
    yield from head
    for row in chosen:
        yield _figure_line(row, f"{row.name}, {row.service_name}", screen)
    yield ""
    if len(rows) > len(chosen):
        yield _cut(screen.text("more").format(count=len(rows) - len(chosen)), screen.width)
    yield screen.painted(_cut(screen.text("legend"), screen.width), "dim")


def status_lines(status: Status, screen: Screen) -> Iterator[str]:
    """Yield what matters of a build, each within the width of the screen."""
    unfinished = ", ".join(map(str, sorted(status.unfinished & set(status.years))))
    years = f"{status.years[0]}–{status.years[-1]}" if status.years[1:] else "".join(map(str, status.years))
    years = f"{screen.text('years')} {years or screen.text('none')}"
    years += f" ({unfinished} {screen.text('not_finished')})" if unfinished else ""
    yield screen.painted(_cut(f"{years} · {screen.text('build')} {status.build}", screen.width), "bold")
    for report, counts in sorted(status.statuses.items(), reverse=True):
        parts = [
            screen.painted(f"{counts[kind]} {screen.text(kind)}", style if counts[kind] else None)
            for kind, style in (
                ("reproduced", "green"),
                ("documented_inconsistency", None),
                ("differs", "red"),
                ("not_delivered", "yellow"),
            )
            if counts[kind] or kind in ("reproduced", "differs")
        ]
        yield f"{screen.text('report')} {report}: {sum(counts.values())} {screen.text('printed')}: {', '.join(parts)}."
    yield from _differing(status.differing, screen)
    if status.late:
        feeds = ", ".join(f"{one_line(feed)} ({by})" if by else one_line(feed) for feed, by in status.late)
        yield screen.painted(_cut(f"{screen.text('late')}: {feeds}", screen.width), "red")
    elif not status.is_synthetic:
        yield screen.text("nothing_late")
    if status.is_synthetic:
        yield screen.painted(screen.text("synthetic"), "yellow")


def _differing(rows: Sequence[FigureRow], screen: Screen) -> Iterator[str]:
    """A line for each of the first figures that differ, and how many more there are."""
    for row in rows[:_MOST_DIFFERING]:
        value = f"{shown_value(row, screen.lang)} ({screen.text('in_print')} {printed_text(row, screen.lang)})"
        room = screen.width - len(value) - 11
        label = _cut(f"{row.name}, {row.service_name}", room)
        yield screen.painted(f"  ≠ {row.report_year} {label}: {value}", "red")
    if len(rows) > _MOST_DIFFERING:
        yield "    " + screen.text("others").format(count=len(rows) - _MOST_DIFFERING)


def _chosen(rows: Sequence[FigureRow], room: int) -> list[FigureRow]:
    """As many figures as there is room for, in their order: of each family one, then of each a second, and so on."""
    families: dict[str, list[FigureRow]] = {}
    for row in rows:
        families.setdefault(row.family, []).append(row)
    ranked = [sorted(members, key=lambda row: row.status is None) for members in families.values()]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*ranked))
    chosen = {id(row) for row in itertools.islice((row for row in turns if row is not None), room)}
    return [row for row in rows if id(row) in chosen]


def list_lines(rows: Sequence[FigureRow], screen: Screen, notes: Mapping[int, Sequence[str]]) -> Iterator[str]:
    """Yield figures by year, the newest first, by theme and figure: a line for each service. `notes` are by year."""
    for year, of_year in itertools.groupby(rows, key=lambda row: row.report_year):
        yield ""
        yield _headings(f"{screen.text('year')} {year}", screen)
        yield "-" * screen.width
        yield from (_cut(note, screen.width) for note in notes.get(year, ()))
        for theme, of_theme in itertools.groupby(of_year, key=lambda row: row.theme_name or row.family_name):
            if theme:
                yield screen.painted(_cut(theme, screen.width), "bold")
            for _, of_figure in itertools.groupby(of_theme, key=lambda row: row.figure_id):
                members = list(of_figure)
                figure_id = f" ({members[0].figure_id})" if members[0].name != members[0].figure_id else ""
                yield _cut(f"{members[0].name}{figure_id}", screen.width)
                for row in members:
                    yield _figure_line(row, f"  {row.service_name}", screen)
                    if row.status not in (None, "reproduced"):
                        printed = f"{screen.text('in_print')} {printed_text(row, screen.lang)}"
                        yield screen.painted(_cut(f"      {printed}", screen.width), "dim")


def _headings(label: str, screen: Screen) -> str:
    change, target, months = (screen.text(f"column_{name}") for name in ("change", "target", "months"))
    line = _columns("  " + label, screen.text("column_value"), change, target, months, screen)
    return screen.painted(line, "bold")


def _figure_line(row: FigureRow, label: str, screen: Screen) -> str:
    partial = f" ({screen.text(row.basis)})" if row.basis in ("partial_year", "year_to_date") else ""
    mark = _MARKS.get(row.status or "", " ")
    value = shown_value(row, screen.lang)
    target = ""
    if row.target is not None:
        sign = "≤" if row.target_comparison == "at_most" else "≥"
        met = {True: " ✓", False: " ✗", None: ""}[row.target_is_met]
        target = f"{sign} {_plain(form_of(row, screen.lang, None).write(row.target))}{met}"
    style = {"better": "green", "worse": "red"}.get(row.assessment or "") if row.is_comparable else None
    line = _columns(f"{mark} {label}{partial}", value, _change(row, screen.lang), target, sparkline(row.months), screen)
    if not screen.has_colour:
        return line
    change = _change(row, screen.lang)
    line = line.replace(change, screen.painted(change, style), 1) if style and change else line
    return screen.painted(mark, {"=": "green", "≠": "red", "~": "yellow"}.get(mark)) + line[1:]


def _columns(label: str, value: str, change: str, target: str, months: str, screen: Screen) -> str:
    """One line of the columns, no wider than the screen: what is too narrow for the months goes without."""
    has_months = screen.width >= 76
    room = screen.width - 12 - 14 - 9 - (13 if has_months else 0)
    line = f"{_cut(label, room):<{room}}{_cut(value, 11):>12}{_cut(change, 13):>14}{_cut(target, 8):>9}"
    return f"{line} {months:<12}".rstrip() if has_months else line.rstrip()


def _cut(text: str, width: int) -> str:
    return one_line(text, max(width, 2))


def _change(row: FigureRow, lang: str) -> str:
    """How much more or less than the year before, in the unit of the figure; `|` where a break lies between."""
    if row.change is None:
        return ""
    mark = "" if row.is_comparable or row.is_comparable is None else "|"
    if row.change == 0:
        return f"{mark}="
    form = form_of(row, lang, row.decimals)
    if row.unit != "percent":
        return mark + _plain(form.change(row.change))
    sign = "+" if row.change > 0 else MINUS
    return f"{mark}{sign}{_plain(form.number(abs(row.change)))}{screen_text('percentage_points', lang)}"


def sparkline(values: Sequence[float | None]) -> str:
    """Return a bar of eighths for each value between the least and the greatest; a blank for none."""
    there = [value for value in values if value is not None]
    if not there:
        return ""
    least, range_ = min(there), max(there) - min(there)
    steps = len(_SPARKS) - 1
    return "".join(
        " " if value is None else _SPARKS[round((value - least) / range_ * steps) if range_ else 3] for value in values
    )


def shown_value(row: FigureRow, lang: str) -> str:
    """Return a figure's value as people see it, in its unit."""
    return _plain(form_of(row, lang, row.decimals).write(row.shown))


def printed_text(row: FigureRow, lang: str) -> str:
    """Return the value that a report prints, with the words of its precision."""
    if row.printed_value is None:
        return ""
    return _plain(form_of(row, lang, row.printed_decimals).write(row.printed_value, row.printed_qualifier or "exact"))


def form_of(row: FigureRow, lang: str, decimals: str | None) -> Form:
    """Return how values of a figure are written."""
    symbols = {row.unit: row.unit_symbol} if row.unit_symbol else {}
    return Form(row.unit or "count", decimals or None, lang, row.is_signed, symbols)


def _plain(text: str) -> str:
    """A text with blanks that can be typed: on a terminal, lines are cut where they end."""
    return text.replace(NO_BREAK, " ")
