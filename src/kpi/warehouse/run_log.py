"""The log of each run, JSON lines in `warehouse/runs`, and the history of runs read from them.

A run holds a lock on its file while it lives, so one that was killed is known by a file without an end and a lock. A
disk that is full or not writable never makes a run fail for its log.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from kpi.codec import from_line, to_line, to_plain
from kpi.errors import EXITS, KILLED, Problem
from kpi.events import Event, now
from kpi.files import is_regular, replacing, why_unreadable
from kpi.ingest.masking import message
from kpi.lazy import duckdb
from kpi.sql import counted

KEPT = 400  # runs
IDLE_BYTES = 1 << 16  # of the file of runs that found nothing to do


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBegun:
    """The first line of a run's log. Times are UTC as ISO 8601.

    `invocation` is systemd's name for the start of the service, by which the unit for failures finds the run.
    """

    at: str = ""
    event: Literal["begun"] = "begun"
    run: str = ""
    command: str = ""
    process: int = 0
    invocation: str = ""
    begun_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """The last line of a run's log, with what it came to. `problems` are what failed or is warned of, as data."""

    at: str = ""
    event: Literal["end"] = "end"
    outcome: str = ""
    exit_code: int | None = None
    build: str = ""
    changed: str = ""
    run_seconds: float | None = None
    warnings: tuple[str, ...] = ()
    message: str = ""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class IdleRun:
    """A line of the file that runs with nothing to do share."""

    at: str
    command: str
    build: str


LogLine = RunBegun | Event | RunEnded
_KINDS: dict[str, type[RunBegun | RunEnded]] = {"begun": RunBegun, "end": RunEnded}


class RunLog:
    """Hears the events of a run and writes them down, each as one line, at once."""

    def __init__(self, warehouse: Path, command: str) -> None:
        self.folder, self.command = warehouse / "runs", command
        self.run = ""
        self._file: int | None = None
        self._broken = False
        self._is_cut = False
        self._started = time.monotonic()
        self._at = now("milliseconds")
        self._stage, self._stage_began = "", self._started
        self._counts: dict[str, int] = {}

    def __call__(self, line: str) -> None:
        """Write down a line of text."""
        self.on_event(Event("message", line))

    def on_event(self, event: Event) -> None:
        """Write down an event. A run that finds nothing to do has none but that, and no file of its own."""
        if event.event in ("nothing to do", "end"):
            return
        if event.event in ("loaded", "removed", "built"):
            self._counts[event.event] = self._counts.get(event.event, 0) + 1
        self._open()
        if event.stage and event.stage != self._stage:
            self._end_stage()
            self._stage = event.stage
        self._write(event)

    def rest(self, build: str) -> None:
        """Note that there was nothing to do: one short line in a file that all such runs share."""
        path = self.folder / "idle.jsonl"
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(path) and not is_regular(path):
                return  # writing into a pipe that nobody reads would wait for ever
            if path.is_file() and path.stat().st_size > IDLE_BYTES:
                half = path.read_bytes()[IDLE_BYTES // 2 :]
                with replacing(path) as new:
                    new.write_bytes(half[half.find(b"\n") + 1 :])
            with path.open("ab") as stream:
                stream.write(f"{to_line(IdleRun(now('milliseconds'), self.command, build))}\n".encode())

    def end(
        self,
        outcome: str,
        exit_code: int,
        build: str,
        warnings: Sequence[str],
        message: str = "",
        problems: Sequence[Problem] = (),
    ) -> None:
        """Write the last line of the run, and forget the oldest runs beyond those that are kept.

        `problems` are what failed, or what is warned of, as data.
        """
        self._open()
        self._end_stage()
        self._write(
            RunEnded(
                outcome=outcome,
                exit_code=exit_code,
                build=build,
                changed=self.changed(),
                run_seconds=round(time.monotonic() - self._started, 3),
                warnings=tuple(warnings),
                message=message,
                problems=tuple(problem.public() for problem in problems),
            )
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
        counts = ((self._counts.get(kind, 0), what, done) for kind, what, done in parts)
        return ", ".join(f"{counted(number, what)} {done}" for number, what, done in counts if number)

    def _end_stage(self) -> None:
        moment = time.monotonic()
        if self._stage:
            seconds = round(moment - self._stage_began, 3)
            self._write(Event("stage ended", stage=self._stage, seconds=seconds))
        self._stage_began = moment

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
        invocation, process = os.environ.get("INVOCATION_ID", ""), os.getpid()
        begun = RunBegun(run=self.run, command=self.command, process=process, invocation=invocation, begun_at=self._at)
        self._write(begun)

    def _write(self, line: LogLine) -> None:
        if self._file is None:
            return
        data = (as_json(replace(line, at=now("milliseconds"))) + "\n").encode("utf-8", "backslashreplace")
        with suppress(OSError):
            # What a full disk cut short gets a line end first, so that the next line is whole.
            data = b"\n" + data if self._is_cut else data
            self._is_cut = os.write(self._file, data) < len(data)


def as_json(line: LogLine) -> str:
    """Return a line as it is written: of an event the fields that are set, of the first and the last line all."""
    content = line.as_dict() if isinstance(line, Event) else to_plain(line)
    return json.dumps(_for_people(content), ensure_ascii=False)


def _for_people(content: object) -> object:
    """The content, each text of it, however deep, fit to be read on a terminal."""
    match content:
        case str():
            return message(content)
        case Mapping():
            return {name: _for_people(value) for name, value in content.items()}
        case list():
            return [_for_people(value) for value in content]
        case _:
            return content


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


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run that people were notified of as failed: its name, how it ended, and when (ISO 8601)."""

    run: str
    outcome: str
    at: str


TABLE = "marts.runs"
TAIL = 1 << 16  # bytes in which a run's last line is looked for first; it may be longer


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What one run did. Times are UTC as ISO 8601; `exit_code` and `finished_at` are None while it is running.

    `changed` says in a few words what it loaded and built, `message` the first line of what made it fail.
    """

    run: str
    command: str
    started_at: str
    finished_at: str | None = None
    seconds: float | None = None
    outcome: str = "running"
    exit_code: int | None = None
    build: str = ""
    changed: str = ""
    warnings: int = 0
    message: str = ""


def history(warehouse: Path) -> list[RunOutcome]:
    """Return the runs that are kept, oldest first; those that found nothing to do are not among them.

    What cannot be read is passed over: `unreadable` says which those are.
    """
    return [ended for path in run_files(warehouse / "runs") if (ended := _read(path))]


def unreadable(warehouse: Path) -> list[Problem]:
    """Return a problem for each log of a run that cannot be read, as one that another user wrote for itself alone."""
    logs = unreadable_runs(warehouse / "runs")
    more = [f"{len(logs) - 3} more logs of runs cannot be read either"] * (len(logs) > 3)
    return [
        *(
            Problem("run_log.unreadable", f"the log of a run {path.name} is passed over: {why}")
            for path, why in logs[:3]
        ),
        *(Problem("run_logs.unreadable", message) for message in more),
    ]


def lines_of(warehouse: Path, run: str) -> list[LogLine]:
    """Return all that a run wrote down, in order; empty when there is no such run."""
    path = warehouse / "runs" / f"{run}.jsonl"
    return list(_lines(path.read_bytes())) if path in run_files(warehouse / "runs") else []


def close_killed(warehouse: Path) -> list[RunOutcome]:
    """Write an end to every run that has none and is not running: it was killed. Returns them."""
    outcomes = []
    for path in run_files(warehouse / "runs")[-20:]:
        ended = _read(path)
        if ended is None or ended.outcome != "killed" or ended.exit_code is not None:
            continue
        line = RunEnded(at=now("milliseconds"), outcome=EXITS[KILLED].outcome, exit_code=KILLED, message=ended.message)
        with suppress(OSError), path.open("ab") as stream:
            stream.write(f"\n{as_json(line)}\n".encode())
        outcomes.append(ended)
    return outcomes


def last_invocation(warehouse: Path, invocation: str) -> RunOutcome | None:
    """Return the newest run that a start of the systemd service made, if it left one."""
    for path in reversed(run_files(warehouse / "runs")[-20:]):
        with suppress(OSError), path.open("rb") as stream:
            first = next(_lines(stream.readline()), None)
            if isinstance(first, RunBegun) and first.invocation == invocation:
                return _read(path)
    return None


def seconds_of_stages(warehouse: Path) -> dict[str, float]:
    """Return how long each stage of the newest run that published took."""
    for path in reversed(run_files(warehouse / "runs")[-20:]):
        ended = _read(path)
        if ended is None or ended.outcome != "published":
            continue
        lines = [line for line in _lines(path.read_bytes()) if isinstance(line, Event)]
        return {line.stage: line.seconds for line in lines if line.event == "stage ended" and line.seconds is not None}
    return {}


def write_table(con: duckdb.DuckDBPyConnection, warehouse: Path, with_messages: bool = True) -> None:
    """Replace marts.runs by the runs so far. Grain: one row per run; the one that writes this is still running.

    What made a run fail may quote a row, so it can be left out.
    """
    kinds = {"seconds": "double", "exit_code": "bigint", "warnings": "bigint"}
    typed = ", ".join(f"{field.name} {kinds.get(field.name, 'varchar')}" for field in fields(RunOutcome))
    con.execute("create schema if not exists marts")
    left_out = {} if with_messages else {"message": ""}
    # As a value and not as an Arrow table: for that pyarrow and pandas would be imported, which nothing else may need.
    con.execute(
        f"create or replace table {TABLE} as select * replace (try_cast(started_at as timestamp) as"
        " started_at, try_cast(finished_at as timestamp) as finished_at)"
        f" from (select unnest(cast($runs as struct({typed})[]), recursive := true)) order by run",
        {"runs": [asdict(run) | left_out for run in history(warehouse)]},
    )


def _read(path: Path) -> RunOutcome | None:
    """Read the first line and the last of a run; None when it cannot be read."""
    try:
        with path.open("rb") as stream:
            # Before its lines are read: a run that ends in between has its end among them, and was not killed.
            alive = not _is_free(stream.fileno())
            first = next(_lines(stream.readline()), None)
            last, stage = _end_of(stream)
    except OSError:
        return None
    begun = first if isinstance(first, RunBegun) else RunBegun()
    command, started_at = begun.command, begun.begun_at or _time_in(path.stem)
    if last is None:
        message = f"in the stage {stage}" if stage else ""
        return RunOutcome(path.stem, command, started_at, outcome="running" if alive else "killed", message=message)
    return RunOutcome(
        run=path.stem,
        command=command,
        started_at=started_at,
        finished_at=last.at,
        seconds=last.run_seconds,
        outcome=last.outcome,
        exit_code=last.exit_code,
        build=last.build,
        changed=last.changed,
        warnings=len(last.warnings),
        message=last.message,
    )


def _end_of(stream: BinaryIO) -> tuple[RunEnded | None, str]:
    """Read how a run ended, which its last line says; of one that has no end, the last stage that it was in.

    The line is among the last bytes of the file, or in more of them when it is longer.
    """
    size, tail = stream.seek(0, os.SEEK_END), TAIL
    while True:
        stream.seek(max(0, size - tail))
        lines = _lines(stream.read(), newest_first=True)
        if (last := next(lines, None)) or tail >= size:
            break
        tail *= 8
    if isinstance(last, RunEnded):
        return last, ""
    return None, next((line.stage for line in (last, *lines) if isinstance(line, Event) and line.stage), "")


def _time_in(run: str) -> str:
    """The time in a run's name, for one whose first line found no room on the disk."""
    try:
        return f"{datetime.strptime(run[7:], '%Y%m%dT%H%M%SZ'):%Y-%m-%dT%H:%M:%SZ}"
    except ValueError:
        return ""


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _lines(data: bytes, newest_first: bool = False) -> Iterator[LogLine]:
    """The lines that are whole: a crash may have cut one short, and a tail begins in the middle of one."""
    lines = data.split(b"\n")
    for line in reversed(lines) if newest_first else lines:
        event = from_line(Event, line)
        if event is not None:
            kind = _KINDS.get(event.event)
            yield (from_line(kind, line) if kind else None) or event
