"""The log of one run, written as it goes: JSON lines in `warehouse/runs`. Imports nothing heavy.

A run holds a lock on its file while it lives, so one that was killed is known by a file without an end and a lock. A
disk that is full or not writable never makes a run fail for its log.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kpi.base.events import Event
from kpi.base.files import is_regular, why_unreadable
from kpi.base.names import counted
from kpi.deliveries.personal import message

KEPT = 400  # runs
IDLE_BYTES = 1 << 16  # of the file of runs that found nothing to do
OUTCOMES: Mapping[int, str] = {
    3: "configuration",
    4: "deliveries",
    5: "project",
    6: "build failed",
    7: "checks failed",
    8: "lock held",
    9: "disk full",
    130: "interrupted",
    137: "killed",
}


class RunLog:
    """Hears the events of a run and writes them down, each as one line, at once."""

    def __init__(self, warehouse: Path, command: str) -> None:
        self.folder, self.command = warehouse / "runs", command
        self.run = ""
        self._file: int | None = None
        self._broken = False
        self._is_cut = False
        self._started = time.monotonic()
        self._at = now()
        self._stage, self._stage_began = "", self._started
        self._counts: dict[str, int] = {}

    def __call__(self, line: str) -> None:
        """Write down a line of text."""
        self.hear(Event("told", line))

    def hear(self, event: Event) -> None:
        """Write down an event. A run that finds nothing to do has none but that, and no file of its own."""
        if event.event in ("nothing to do", "end"):
            return
        if event.event in ("loaded", "removed", "built"):
            self._counts[event.event] = self._counts.get(event.event, 0) + 1
        self._open()
        if event.stage and event.stage != self._stage:
            self._end_stage()
            self._stage = event.stage
        self._write(event.as_dict())

    def rest(self, build: str) -> None:
        """Note that there was nothing to do: one short line in a file that all such runs share."""
        path = self.folder / "idle.jsonl"
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(path) and not is_regular(path):
                return  # writing into a pipe that nobody reads would wait for ever
            if path.is_file() and path.stat().st_size > IDLE_BYTES:
                half = path.read_bytes()[IDLE_BYTES // 2 :]
                path.write_bytes(half[half.find(b"\n") + 1 :])
            with path.open("ab") as stream:
                stream.write(f'{{"at": "{now()}", "command": "{self.command}", "build": "{build}"}}\n'.encode())

    def end(self, outcome: str, exit_code: int, build: str, warnings: Sequence[str], message: str = "") -> None:
        """Write the last line of the run, and forget the oldest runs beyond those that are kept."""
        self._open()
        self._end_stage()
        self._write(
            {
                "event": "end",
                "outcome": outcome,
                "exit_code": exit_code,
                "build": build,
                "changed": self.changed(),
                "run_seconds": round(time.monotonic() - self._started, 3),
                "warnings": list(warnings),
                "message": message,
            }
        )
        if self._file is not None:
            with suppress(OSError):
                os.fsync(self._file)
            os.close(self._file)
            self._file = None
        for old in run_files(self.folder)[:-KEPT]:
            with suppress(OSError):
                old.unlink()

    def changed(self) -> str:
        """Say in a few words what was loaded and built."""
        parts = (("loaded", "file", "loaded"), ("removed", "file", "gone"), ("built", "node", "built"))
        made = ((self._counts.get(kind, 0), what, done) for kind, what, done in parts)
        return ", ".join(f"{counted(number, what)} {done}" for number, what, done in made if number)

    def _end_stage(self) -> None:
        now = time.monotonic()
        if self._stage:
            seconds = round(now - self._stage_began, 3)
            self._write({"event": "stage ended", "stage": self._stage, "seconds": seconds})
        self._stage_began = now

    def _open(self) -> None:
        if self._file is not None or self._broken:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            number = max((int(path.name[:6]) for path in _named_as_runs(self.folder)), default=0)
            while self._file is None:
                number += 1
                # Numbered first: runs sort by name in the order they began, whatever the clock does.
                self.run = f"{number:06}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
                if not any(self.folder.glob(f"{number:06}-*")):
                    with suppress(FileExistsError):
                        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
                        self._file = os.open(self.folder / f"{self.run}.jsonl", flags, 0o644)
            fcntl.flock(self._file, fcntl.LOCK_EX)  # a reader may be looking at it for a moment
        except OSError:
            self._broken = True
            return
        # systemd's name for this start of the service, by which the unit for failures finds the run.
        started = {"event": "begun", "run": self.run, "command": self.command, "process": os.getpid()}
        self._write(started | {"invocation": os.environ.get("INVOCATION_ID", ""), "begun_at": self._at})

    def _write(self, said: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        line = json.dumps({"at": now(), **_for_people(said)}, ensure_ascii=False, default=str) + "\n"
        data = line.encode("utf-8", "backslashreplace")
        with suppress(OSError):
            # What a full disk cut short gets a line end first, so that the next line is whole.
            data = b"\n" + data if self._is_cut else data
            self._is_cut = os.write(self._file, data) < len(data)


def _for_people(said: Mapping[str, Any]) -> dict[str, Any]:
    """What is said, each text of it fit to be read on a terminal."""
    found = {name: message(value) if isinstance(value, str) else value for name, value in said.items()}
    if "warnings" in found:
        found["warnings"] = [message(str(line)) for line in found["warnings"]]
    return found


def run_files(folder: Path) -> list[Path]:
    """Return the files of all runs in a folder, oldest first."""
    return [path for path in _named_as_runs(folder) if is_regular(path)]


def unreadable_runs(folder: Path) -> list[tuple[Path, str]]:
    """Return what is named as the file of a run and cannot be read, with the reason; others are gone on without it."""
    return [(path, why) for path in _named_as_runs(folder) if (why := why_unreadable(path))]


def _named_as_runs(folder: Path) -> list[Path]:
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".jsonl") and name[:6].isdigit())
    except OSError:
        return []
    return [folder / name for name in names]


def now() -> str:
    """The time as it stands in the log."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
