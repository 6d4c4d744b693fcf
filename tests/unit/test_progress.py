"""The same run, shown three ways."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from kpi.events import Event
from kpi.jobs.progress import JsonScreen, PlainScreen, TerminalScreen, how_far, make_screen

USUAL = {"load": 60.0, "build": 30.0, "publish": 10.0}
EVENTS = (
    Event("compiled", "Compiled 2 models.", stage="compile"),
    Event("loading", stage="load", name="calls", rows=1_600_000, done=1, total=4),
    Event("message", "  warning: [odd] markup"),
    Event("built", stage="build", name="one", done=1, total=2),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_elsewhere_than_on_a_terminal_are_the_text_alone() -> None:
    lines: list[str] = []
    screen = make_screen("auto", lines.append, io.StringIO(), Path("none"))
    assert type(screen) is PlainScreen
    for event in EVENTS:
        screen.on_event(event)
    assert lines == ["Compiled 2 models.", "  warning: [odd] markup"]


def test_other_programs_get_each_event_as_a_line_of_json() -> None:
    lines: list[str] = []
    screen = make_screen("json", lines.append, Terminal(), Path("none"))
    assert isinstance(screen, JsonScreen)
    screen.on_event(EVENTS[1])
    screen("text")
    first, second = (json.loads(line) for line in lines)
    assert first.pop("at")
    assert first == {"event": "loading", "stage": "load", "name": "calls", "rows": 1600000, "done": 1, "total": 4}
    assert (second["event"], second["message"]) == ("message", "text")


def test_a_terminal_shows_stage_rows_and_time_left_and_keeps_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    screen = make_screen("auto", print, stream, Path("none"))
    assert isinstance(screen, TerminalScreen)
    screen = TerminalScreen(stream, lambda: USUAL)
    for event in EVENTS[:3]:
        screen.on_event(event)
    screen.close()
    text = stream.getvalue()
    assert "Compiled 2 models." in text
    assert "  warning: [odd] markup" in text
    assert "about 85 s left" in text
    assert "1/4 calls 1 600 000 rows" in text


def test_a_file_among_others_does_not_set_the_stage_back() -> None:
    stream = Terminal()
    screen = TerminalScreen(stream, lambda: USUAL)
    screen.on_event(EVENTS[1])
    screen.on_event(Event("loaded", stage="load", name="calls/a.csv", rows=7))
    screen.close()
    assert "1/4 calls/a.csv 7 rows" in stream.getvalue()


def test_a_terminal_that_has_nothing_to_show_imports_nothing() -> None:
    stream = Terminal()
    screen = TerminalScreen(stream, dict)
    screen("Nothing changed since build 1: nothing to do.")
    screen.close()
    assert stream.getvalue() == "Nothing changed since build 1: nothing to do.\n"


@pytest.mark.parametrize(
    ("usual", "event", "elapsed", "expected"),
    [
        (USUAL, Event("x", stage="compile"), 1.0, (0.0, 100.0)),
        (USUAL, Event("x", stage="load"), 15.0, (0.15, 85.0)),
        (USUAL, Event("x", stage="load"), 600.0, (0.6, 40.0)),
        (USUAL, Event("x", stage="build", done=1, total=3), 0.0, (0.7, 30.0)),
        (USUAL, Event("x", stage="publish", done=0, total=0), 10.0, (1.0, 0.0)),
        ({}, Event("x", stage="build", done=1, total=2), 0.0, (0.5, None)),
    ],
)
def test_time_left_is_what_the_last_run_took_for_what_is_still_to_do(
    usual: dict[str, float], event: Event, elapsed: float, expected: tuple[float, float | None]
) -> None:
    share, left = how_far(usual, event, elapsed)
    assert share == pytest.approx(expected[0])
    assert left == (None if expected[1] is None else pytest.approx(expected[1]))
