"""The process that things are done to: kpi's own command line, with a fault planned for one of its steps.

It is forked from a server that has imported everything, so that hundreds of runs cost little more than their work.
A step is an event of the run, a file operation below the project (by Python's audit events), or a call of one of the
functions that write a build. Steps are counted; the plan says at which of them to die.
"""

from __future__ import annotations

import functools
import hashlib
import multiprocessing
import os
import random
import re
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

TODAY = "2026-03-05"
WATCHED = (
    *(f"warehouse.builds.{name}" for name in ("begin", "finalize", "publish")),
    *(f"warehouse.builds.{name}" for name in ("record", "_clean", "_catch_up")),
    *("warehouse.lifecycle.prune", "warehouse.run_log.write_table", "engine.artifacts.write_artifacts"),
    *("database.row_counts", "database.read_all", "database.copy_without"),
    *("jobs.pipeline.write_readers_file", "warehouse.lifecycle.close_earlier"),
    *("warehouse.permissions.make_place", "warehouse.permissions.close", "warehouse.permissions.open_up"),
)
AUDITED = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.symlink", "os.truncate", "shutil.copyfile"}
# The steps of a run whose feeds are loaded at once: those of each feed come from its own thread.
LOADING = (
    *("ingest.raw_table.bring_up", "ingest.raw_table.run_statement", "ingest.raw_table._compare_files"),
    *("ingest.raw_table._count_rows", "ingest.raw_table.read_delivery", "ingest.ledger.write_lines"),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen to a run, besides its command.

    `die_at` is the number of a step, 1-based; `flip` seeds the place of a bit; `meddle` is what happens to the delivery
    b.csv and when; `file_bytes` the size no file may pass; `clock` shifts the time; `user` is who runs it; `pause` are
    seconds before the first step whose name begins so; `gate` is such a step and a pipe, read to its end. With
    `at_once` feeds load beside each other however little they have, and steps are those of loading alone.
    """

    command: tuple[str, ...] = ("refresh", "--as-of", TODAY, "--log-format", "plain")
    die_at: int = 0
    list_steps: str = ""
    flip: int | None = None
    meddle: tuple[str, bytes, str] | None = None
    file_bytes: int = 0
    clock: timedelta = timedelta(0)
    user: int = 0
    pause: tuple[str, float] = ("", 0.0)
    gate: tuple[str, str] = ("", "")
    keep: int = 4
    at_once: bool = False


class Steps:
    """Counts the steps of a run and does at one of them what the plan says."""

    def __init__(self, root: Path, plan: Plan) -> None:
        self.root, self.plan, self.count, self.paused = str(root), plan, 0, False
        self.busy = False
        self.turn = threading.Lock()

    def of_thread(self, name: str) -> None:
        """Come to a step in one of several threads."""
        with self.turn:
            self(f"{name} in {threading.current_thread().name.partition('_')[0]}")

    def __call__(self, name: str) -> None:
        """Come to a step."""
        if self.busy:
            return
        self.count += 1
        self.busy = True
        try:
            if self.plan.list_steps:
                with open(self.plan.list_steps, "a", encoding="utf-8") as stream:
                    stream.write(f"{name}\n")
            if self.plan.pause[0] and name.startswith(self.plan.pause[0]) and not self.paused:
                self.paused = True
                time.sleep(self.plan.pause[1])
            if self.plan.gate[0] and name.startswith(self.plan.gate[0]) and not self.paused:
                self.paused = True
                Path(self.plan.gate[1]).read_bytes()
        finally:
            self.busy = False
        if self.count == self.plan.die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Hear of a file operation, just before it is done."""
        if self.busy or (event != "open" and event not in AUDITED):
            return
        if event == "open" and not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            return
        at = args[1] if event == "os.symlink" else args[0]
        path = os.fsdecode(at) if isinstance(at, str | bytes | os.PathLike) else ""
        is_below = event in ("os.remove", "os.rmdir") and not path.startswith("/")
        if path.startswith(self.root) or is_below:
            name = path.removeprefix(self.root).lstrip("/")
            self(f"{'write' if event == 'open' else event.partition('.')[2]} {plain_name(name)}")


def plain_name(name: str) -> str:
    """A file's name without what is different in each run."""
    name = re.sub(r"\d{5,6}-\d{8}T\d{6}Z", "ID", name)
    return re.sub(r"[0-9a-f]{16,}|\d{3,}", "N", name)


def start(root: Path, plan: Plan) -> BaseProcess:
    """Start a run. Its output goes to `victim.log` beside the project."""
    return fork(run, root, plan)


def finish(process: BaseProcess, seconds: float = 120) -> int:
    """Wait for a run to end and return its exit code, negative for a signal. A run that hangs is a failure."""
    process.join(seconds)
    if process.is_alive():
        process.kill()
        raise AssertionError(f"a refresh did not end within {seconds:.0f} s")
    return process.exitcode or 0


@contextmanager
def at_gate(process: BaseProcess, gate: Path) -> Iterator[None]:
    """Wait until a run has come to the gate of its plan, and hold it there as long as this lasts."""
    handle = None
    while handle is None:
        try:
            handle = os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # as long as nobody reads from it
            assert process.is_alive(), "the run ended before it came to its gate"
            time.sleep(0.02)
    yield
    os.close(handle)


def run(root: Path, plan: Plan) -> None:
    """Run kpi's command line with what the plan says going wrong."""
    log = os.open(log_of(root), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(log, stream)
    _prepare(root, plan)
    from kpi.cli.main import main

    sys.argv = ["kpi", *plan.command, "--project-dir", str(root)]
    try:
        main()
    except SystemExit as error:
        sys.stdout.flush()
        os._exit(error.code if isinstance(error.code, int) else 1)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)
    os._exit(0)


def log_of(root: Path) -> Path:
    """Where the output of the runs in a project is."""
    return root.with_name(f"{root.name}.log")


def _prepare(root: Path, plan: Plan) -> None:
    from kpi.events import Emit, silent
    from kpi.settings import WarehouseSettings
    from kpi.warehouse import lifecycle, run_log
    from kpi.warehouse.builds import Warehouse

    few = WarehouseSettings(keep_published=plan.keep, keep_failed=2, grace_hours=0, keep_of_a_day=0)
    prune = lifecycle.prune

    def prune_to_few(
        warehouse: Warehouse, warehouse_settings: WarehouseSettings, emit: Emit = silent
    ) -> tuple[str, ...]:
        return prune(warehouse, few, emit)

    lifecycle.prune = prune_to_few
    steps = Steps(root, plan)
    if plan.at_once:
        _set(sys.modules["kpi.ingest.loader"], "_FEW", 0)
        for name in LOADING:
            _watch(name, steps.of_thread)
    elif plan.die_at or plan.list_steps or plan.pause[0] or plan.gate[0]:
        for name in WATCHED:
            _watch(name, steps)
        on_event, fsync = run_log.RunLog.on_event, os.fsync

        def heard(log: run_log.RunLog, event: Any) -> None:
            steps(f"event {event.event} {event.name}".strip())
            on_event(log, event)

        def synced(descriptor: int) -> None:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            steps(f"fsync {plain_name(path.removeprefix(str(root)).lstrip('/'))}")
            fsync(descriptor)

        _set(run_log.RunLog, "on_event", heard)
        _set(os, "fsync", synced)
        sys.addaudithook(steps.audit)
    if plan.flip is not None:
        _flip_before_verifying(plan.flip)
    if plan.meddle:
        _meddle(root / "warehouse/raw/calls/b.csv", *plan.meddle)
    if plan.clock:
        _shift_clock(plan.clock)
    if plan.file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (plan.file_bytes, plan.file_bytes))
    if plan.user:
        os.setgroups([])
        os.setgid(plan.user)
        os.setuid(plan.user)


def _set(holder: Any, name: str, value: Any) -> None:
    """Put something in the place of what kpi calls; nothing undoes it, for the process ends with the run."""
    setattr(holder, name, value)


def _modules() -> list[Any]:
    return [module for name, module in sys.modules.items() if name.startswith("kpi.") and module is not None]


def _watch(name: str, steps: Callable[[str], None]) -> None:
    """Make a step of the beginning and of the end of a function, under whatever name a module knows it."""
    module, _, function = name.rpartition(".")
    original = getattr(sys.modules[f"kpi.{module}"], function)

    @functools.wraps(original)
    def stepped(*args: Any, **options: Any) -> Any:
        steps(f"before {name}")
        result = original(*args, **options)
        steps(f"after {name}")
        return result

    _replace(original, stepped)


def _replace(original: Any, new: Any) -> None:
    for module in _modules():
        for name in [name for name, value in vars(module).items() if value is original]:
            setattr(module, name, new)


def _flip_before_verifying(seed: int) -> None:
    """Flip one bit of the finished candidate, before it is looked at."""
    from kpi.jobs.candidate import Run
    from kpi.warehouse.permissions import DATABASE, database_folder

    verify = Run._verify

    def flipped(run: Run) -> None:
        flip(database_folder(run.candidate) / DATABASE, random.Random(seed))
        verify(run)

    _set(Run, "_verify", flipped)


def flip(path: Path, chosen: random.Random) -> int:
    """Flip one bit of a file and return where."""
    data = bytearray(path.read_bytes())
    place = chosen.randrange(len(data))
    data[place] ^= 1 << chosen.randrange(8)
    path.write_bytes(data)
    return place


def _meddle(delivery: Path, when: str, content: bytes, how: str) -> None:
    """Change a delivery while it is looked at: when it is hashed or loaded, whole, or half of it under the reader."""

    def change() -> None:
        if how == "truncate":
            os.truncate(delivery, len(content))
        else:
            new = delivery.with_name(".b.new")
            new.write_bytes(content)
            os.replace(new, delivery)

    from kpi.files import read_regular as read
    from kpi.ingest import raw_table

    digest = hashlib.file_digest

    def file_digest(stream: Any, kind: str) -> Any:
        if when == "while hashed" and stream.name == str(delivery):
            os.read(stream.fileno(), 1024)  # the reader is in the file already
            os.lseek(stream.fileno(), 0, os.SEEK_SET)
            change()
        found = digest(stream, kind)
        if when == "after hashing" and stream.name == str(delivery):
            change()
        return found

    def read_bytes(path: Path) -> bytes:
        if path != delivery or when not in ("while loaded", "swap and back"):
            return read(path)
        if when == "swap and back":
            was = read(path)
            change()
            seen = read(path)
            path.write_bytes(was)
            return seen
        with path.open("rb") as stream:
            head = stream.read(1024)
            change()
            return head + stream.read()

    _set(hashlib, "file_digest", file_digest)
    _set(raw_table, "read_regular", read_bytes)


def _shift_clock(shift: timedelta) -> None:
    """Make every module of kpi, and what asks `time.time`, believe in another time."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) + shift

    _replace(datetime, Shifted)
    clock = time.time
    _set(time, "time", lambda: clock() + shift.total_seconds())


@functools.cache
def _server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([f"{__package__}.warm"])
    tests = Path(__file__).parents[1]
    paths = (str(tests), str(tests / "support"), os.environ.get("PYTHONPATH", ""))
    with patch.dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, paths))):
        forkserver.ensure_running()
    return context


def fork(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a process that has everything imported."""
    process: BaseProcess = _server().Process(target=target, args=arguments)
    process.start()
    return process
