"""What a run reports while it goes on: lines of text for people, events for the log, the screen and other programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

Emit = Callable[[str], None]
STAGES = ("compile", "wait", "load", "build", "test", "validate", "publish")


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in a run.

    `event` is its kind, a word; `message` the line of text it has for people, if any; `stage` one of STAGES; `name` the
    node, feed or file; `done` of `total` say how far the stage is; `rows` and `seconds` what it made and took;
    `outcome` and `exit_code` how the run ended; `at` is when it was written down (UTC, ISO 8601).
    """

    event: str
    message: str = ""
    stage: str = ""
    name: str = ""
    rows: int | None = None
    seconds: float | None = None
    done: int | None = None
    total: int | None = None
    outcome: str = ""
    exit_code: int | None = None
    at: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields that are set, the time first."""
        content = {"at": self.at} | {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in content.items() if value not in (None, "")}


@runtime_checkable
class Listener(Protocol):
    """Something that hears lines, as any Emit, and events too."""

    def __call__(self, line: str) -> None:
        """Hear a line of text."""

    def on_event(self, event: Event) -> None:
        """Hear an event."""


def emit_event(emit: Emit, event: Event) -> None:
    """Emit an event: whole to who listens to events, else the line of text it has."""
    if isinstance(emit, Listener):
        emit.on_event(event)
    elif event.message:
        emit(event.message)


class Listeners:
    """Passes everything on to several listeners, in order."""

    def __init__(self, *listeners: Emit) -> None:
        self._listeners = listeners

    def __call__(self, line: str) -> None:
        """Pass on a line."""
        self.on_event(Event("message", line))

    def on_event(self, event: Event) -> None:
        """Pass on an event."""
        for listener in self._listeners:
            emit_event(listener, event)


def now(timespec: str = "seconds") -> str:
    """Return the time as records and logs have it: UTC, ISO 8601, to the second or finer."""
    return datetime.now(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def silent(line: str) -> None:
    """Emit to nobody."""
