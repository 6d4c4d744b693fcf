"""The history of runs, read from their logs: as objects, as a table, and which of them were killed."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from kpi.warehouse.runlog import now, run_files, unreadable_runs

if TYPE_CHECKING:
    import duckdb

TABLE = "marts.runs"
TAIL = 1 << 16  # bytes in which a run's last line is looked for first; it may be longer


@dataclass(frozen=True, slots=True)
class Ended:
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


def history(warehouse: Path) -> list[Ended]:
    """Return the runs that are kept, oldest first; those that found nothing to do are not among them.

    What cannot be read is passed over: `unreadable` says which those are.
    """
    return [ended for path in run_files(warehouse / "runs") if (ended := _read(path))]


def unreadable(warehouse: Path) -> list[str]:
    """Return a line for each log of a run that cannot be read, as one that another user wrote for itself alone."""
    found = unreadable_runs(warehouse / "runs")
    told = [f"the log of a run {path.name} is passed over: {why}" for path, why in found[:3]]
    return told + [f"{len(found) - 3} more logs of runs cannot be read either"] * (len(found) > 3)


def events_of(warehouse: Path, run: str) -> list[dict[str, Any]]:
    """Return all that a run wrote down, in order; empty when there is no such run."""
    path = warehouse / "runs" / f"{run}.jsonl"
    return list(_lines(path.read_bytes())) if path in run_files(warehouse / "runs") else []


def close_killed(warehouse: Path) -> list[Ended]:
    """Write an end to every run that has none and is not running: it was killed. Returns them."""
    found = []
    for path in run_files(warehouse / "runs")[-20:]:
        ended = _read(path)
        if ended is None or ended.outcome != "killed" or ended.exit_code is not None:
            continue
        line = {"at": now(), "event": "end", "outcome": "killed", "exit_code": 137, "message": ended.message}
        with suppress(OSError), path.open("ab") as stream:
            stream.write(b"\n" + json.dumps(line).encode() + b"\n")
        found.append(ended)
    return found


def last_invocation(warehouse: Path, invocation: str) -> Ended | None:
    """Return the newest run that a start of the systemd service made, if it left one."""
    for path in reversed(run_files(warehouse / "runs")[-20:]):
        first: dict[str, Any] = {}
        with suppress(OSError), path.open("rb") as stream:
            first = next(_lines(stream.readline()), {})
        if first.get("invocation") == invocation:
            return _read(path)
    return None


def seconds_of_stages(warehouse: Path) -> dict[str, float]:
    """Return how long each stage of the newest run that published took."""
    for path in reversed(run_files(warehouse / "runs")[-20:]):
        ended = _read(path)
        if ended is None or ended.outcome != "published":
            continue
        stages: dict[str, float] = {}
        for line in _lines(path.read_bytes()):
            if line.get("event") == "stage ended" and isinstance(line.get("seconds"), int | float):
                stages[str(line.get("stage"))] = float(line["seconds"])
        return stages
    return {}


def write_table(con: duckdb.DuckDBPyConnection, warehouse: Path, with_messages: bool = True) -> None:
    """Replace marts.runs by the runs so far. Grain: one row per run; the one that writes this is still running.

    What made a run fail may quote a row, so it can be left out.
    """
    import pyarrow as pa

    kinds = {"seconds": pa.float64(), "exit_code": pa.int64(), "warnings": pa.int64()}
    schema = pa.schema([(field.name, kinds.get(field.name, pa.string())) for field in fields(Ended)])
    con.execute("create schema if not exists marts")
    left_out = {} if with_messages else {"message": ""}
    con.register("runs_so_far", pa.Table.from_pylist([asdict(run) | left_out for run in history(warehouse)], schema))
    con.execute(
        f"create or replace table {TABLE} as select * replace (try_cast(started_at as timestamp) as"
        " started_at, try_cast(finished_at as timestamp) as finished_at) from runs_so_far order by run"
    )
    con.unregister("runs_so_far")


def _read(path: Path) -> Ended | None:
    """Read the first line and the last of a run; None when it cannot be read."""
    try:
        with path.open("rb") as stream:
            # Before its lines are read: a run that ends in between has its end among them, and was not killed.
            alive = not _is_free(stream.fileno())
            first = next(_lines(stream.readline()), {})
            lines = _last_lines(stream)
    except OSError:
        return None
    last = lines[-1] if lines else {}
    begun = Ended(path.stem, str(first.get("command", "")), str(first.get("begun_at") or _time_in(path.stem)))
    if last.get("event") != "end":
        stage = next((str(line["stage"]) for line in reversed(lines) if line.get("stage")), "")
        outcome = "running" if alive else "killed"
        told = f"in the stage {stage}" if stage else ""
        return Ended(begun.run, begun.command, begun.started_at, outcome=outcome, message=told)
    return Ended(
        run=begun.run,
        command=begun.command,
        started_at=begun.started_at,
        finished_at=str(last.get("at")),
        seconds=last.get("run_seconds"),
        outcome=str(last.get("outcome")),
        exit_code=last.get("exit_code"),
        build=str(last.get("build", "")),
        changed=str(last.get("changed", "")),
        warnings=len(last.get("warnings", ())),
        message=str(last.get("message", "")),
    )


def _last_lines(stream: BinaryIO) -> list[dict[str, Any]]:
    """Read the last lines of a file: those in its last bytes, or in more of them when its last line is longer."""
    size, tail = stream.seek(0, os.SEEK_END), TAIL
    while True:
        stream.seek(max(0, size - tail))
        lines = list(_lines(stream.read()))
        if lines or tail >= size:
            return lines
        tail *= 8


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


def _lines(data: bytes) -> Iterator[dict[str, Any]]:
    """The lines that are whole: a crash may have cut one short, and a tail begins in the middle of one."""
    for line in data.split(b"\n"):
        with suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict):
                yield said
