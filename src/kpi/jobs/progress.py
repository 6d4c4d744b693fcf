"""What a run shows while it goes on: a bar on a terminal, lines elsewhere, or JSON for other programs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from kpi.events import STAGES, Event, now
from kpi.ingest.masking import message
from kpi.presentation import bare

if TYPE_CHECKING:
    from rich.progress import Progress


Echo = Callable[[str], object]
Format = Literal["auto", "plain", "json"]
WORDS: Mapping[str, str] = {
    "compile": "Compiling",
    "wait": "Waiting for the lock",
    "load": "Loading",
    "build": "Building",
    "test": "Testing",
    "validate": "Validating",
    "publish": "Publishing",
}
SLOTS = 1000  # of the bar


class Unbroken:
    """A stream for the output of a run, which goes on when nobody can hear it any more: a closed pipe, a full disk.

    What cannot be written is lost; `message` hears of it once. `stream` may be None, as where output was closed.
    """

    def __init__(self, stream: TextIO | None, message: Callable[[str], object]) -> None:
        self._stream, self._message = stream, message

    def write(self, text: str) -> int:
        """Write, or do as if."""
        self._try(lambda stream: stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, or do as if."""
        self._try(lambda stream: stream.flush())

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, do: Callable[[TextIO], object]) -> None:
        if self._stream is None:
            return
        try:
            do(self._stream)
        except (OSError, ValueError) as error:
            mute(self._stream)
            self._stream = None
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            self._message(f"kpi: the output of this run cannot be written any more ({why}); it goes on. See: kpi runs")


def mute(stream: TextIO) -> None:
    """Lead a stream that broke to nowhere, so that what it still holds does not fail once more when Python ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class PlainScreen:
    """Prints the lines of text alone."""

    def __init__(self, echo: Echo) -> None:
        self._echo = echo

    def __call__(self, line: str) -> None:
        self._echo(message(line))

    def on_event(self, event: Event) -> None:
        """Print the line an event has, if any."""
        if event.message:
            self._echo(message(event.message))

    def close(self) -> None:
        """There is nothing to take down."""


class JsonScreen(PlainScreen):
    """Prints each event as one line of JSON, lines of text too."""

    def __call__(self, line: str) -> None:
        """Print a line as an event."""
        self.on_event(Event("message", line))

    def on_event(self, event: Event) -> None:
        content = replace(event, at=now("milliseconds")).as_dict()
        shown = {name: message(value) if isinstance(value, str) else value for name, value in content.items()}
        self._echo(json.dumps(shown, ensure_ascii=False))


class TerminalScreen(PlainScreen):
    """Shows stage, rows and time left below the lines. Rich is imported when there is something to show."""

    def __init__(self, stream: TextIO, usual: Callable[[], Mapping[str, float]]) -> None:
        super().__init__(lambda line: stream.write(line + "\n"))
        self._stream, self._usual = stream, usual
        self._seconds: Mapping[str, float] = {}
        self._bar: Progress | None = None
        self._stage, self._began = "", time.monotonic()
        self._count: tuple[int | None, int | None] = None, None

    def __call__(self, line: str) -> None:
        """Print a line above the bar."""
        line = message(line)
        if self._bar:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            self._echo(line)

    def on_event(self, event: Event) -> None:
        """Move the bar, and print the line an event has."""
        if event.event == "end":
            self.close()
        elif event.stage:
            self._show(event)
        if event.message:
            self(event.message)

    def close(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _show(self, event: Event) -> None:
        if self._bar is None:
            self._bar, self._seconds = _bar(self._stream), self._usual()
            self._bar.add_task("", total=SLOTS, about="", left=str)
            self._bar.start()
        if event.stage != self._stage:
            self._stage, self._began, self._count = event.stage, time.monotonic(), (None, None)
        if event.done is None:  # a file or a node among others: the stage is as far as it was
            event = replace(event, done=self._count[0], total=self._count[1])
        self._count = event.done, event.total
        latest = event

        def left() -> str:
            """What is left at this moment, as long as nothing else is heard."""
            seconds = how_far(self._seconds, latest, time.monotonic() - self._began)[1]
            return "" if seconds is None else f"about {_span(seconds)} left"

        share, _ = how_far(self._seconds, event, time.monotonic() - self._began)
        rows = f" {event.rows:,} rows".replace(",", " ") if event.rows else ""
        count = f"{event.done}/{event.total}" if event.total else ""
        self._bar.update(
            self._bar.task_ids[0],
            description=WORDS[event.stage],
            completed=round(share * SLOTS),
            about=message(f"{count} {event.name}{rows}".strip()),
            left=left,
        )


def how_far(usual: Mapping[str, float], event: Event, elapsed: float) -> tuple[float, float | None]:
    """Return the share of a run that is done, 0 to 1, and the seconds that are left, or None when that is unknown.

    `usual` holds the seconds each stage took in the last run that published, `elapsed` those since this stage began.
    """
    place = STAGES.index(event.stage)
    within = event.done / event.total if event.total and event.done is not None else 0.0
    total = sum(usual.get(stage, 0.0) for stage in STAGES)
    if not total:
        return (place + within) / len(STAGES), None
    this = usual.get(event.stage, 0.0)
    # By what was counted or, where nothing is, by the time it took last time.
    left = this * (1 - within) if within else max(0.0, this - elapsed)
    left += sum(usual.get(stage, 0.0) for stage in STAGES[place + 1 :])
    return 1 - left / total, left


def make_screen(format: Format, echo: Echo, stream: TextIO, warehouse: Path) -> PlainScreen:
    """Return what a run is to be shown by: `auto` is a bar on a terminal and lines elsewhere."""
    if format == "json":
        return JsonScreen(echo)
    if format == "auto" and stream.isatty() and os.environ.get("TERM") not in (None, "dumb"):
        from kpi.warehouse.run_log import seconds_of_stages

        return TerminalScreen(stream, lambda: seconds_of_stages(warehouse))
    return PlainScreen(echo)


def _bar(stream: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Left(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(task.fields["left"]())

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(30),
        TimeElapsedColumn(),
        Left(),
        TextColumn("{task.fields[about]}", markup=False),
        console=Console(file=bare(stream)),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
