"""`make faults-cluster`: what is done to builds on a Spark cluster: full disks, no memory, and parts of it killed.

The cluster is Spark's own, on 127.0.0.1 (benchmarks/cluster.py), and one project goes through all of it. After each
fault readers have the build they had; then a run that nothing disturbs publishes DuckDB's tables. It is none of CI's
tests, for it takes minutes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cluster import PYTHON, Cluster, cluster, connect_server, is_there
from faults.scenarios import can_mount
from kpi.errors import ENGINE_LOST
from small_project import FILES, write
from with_spark import DAY, differing, environment, kpi

HEADER = "call_id,line,waited_seconds,arrived_on\n"
CALLS = 5000
TABLES = 8  # models one after the other, so that a build has a middle
PATIENCE = 900  # seconds of a run on a busy machine
WITHOUT = ("marts.runs", "raw.deliveries")
DONE, FAILED, DISK_FULL, KILLED = 0, 6, 9, -9
# A worker has 1 GB for one executor; what fails is tried twice.
ENGINE = """\
vars:
  kpi_warehouse:
    engine:
      type: spark
      lake: {lake}
      lost_after: 15
      config: {{spark.executor.memory: 512m, spark.task.maxFailures: 2}}
"""
# Rows that do not fit on the disk between kpi and Spark, and a text that does not fit into an executor's memory.
BIG = {
    "models/marts/big.sql": "select md5(a.call_id || b.call_id) as hashed, md5(b.call_id || a.call_id) as other"
    " from {{ ref('stg_calls') }} as a cross join {{ ref('stg_calls') }} as b where b.waited_seconds < 10\n"
}
_LONG = "call_id || 'a'"
for _ in range(9):  # a text of a gigabyte, of one expression
    _LONG = f"replace({_LONG}, 'a', 'aaaaaaaaaa')"
GREEDY = {"models/marts/greedy.sql": f"select max(length({_LONG})) as characters from {{{{ ref('stg_calls') }}}}\n"}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: its exit code, and what it said."""

    code: int
    said: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A project that is built on a cluster, with its lake in a folder of its own."""

    root: Path
    running: Cluster

    @property
    def lake(self) -> Path:
        """The folder of the lake."""
        return self.root.parent / "lake"

    @property
    def published(self) -> str | None:
        """What readers have."""
        current = self.root / "warehouse/current"
        return current.resolve().name if current.exists() else None

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a run on the cluster."""
        return subprocess.Popen(
            [str(PYTHON), *_command(self.root), *words, "--master", self.running.address],
            env=environment() | {"SPARK_LOCAL_IP": "127.0.0.1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.root,
        )

    def start_to(self, node: str, *words: str) -> subprocess.Popen[str]:
        """Start a run, and wait until its log says that a node is being built."""
        before = set(self._logs())
        process, deadline = self.start(*words), time.monotonic() + PATIENCE
        while time.monotonic() < deadline and process.poll() is None:
            if any(f'"{node}"' in path.read_text(errors="replace") for path in set(self._logs()) - before):
                return process
            time.sleep(0.1)
        raise TimeoutError(f"a run in {self.root} did not come to {node}: {_ended(process)}")

    def _logs(self) -> Iterator[Path]:
        return (self.root / "warehouse/runs").glob("*.jsonl")

    @contextmanager
    def models(self, files: Mapping[str, str]) -> Iterator[None]:
        """Let the project have more models."""
        for name, text in files.items():
            (self.root / name).write_text(text)
        try:
            yield
        finally:
            for name in files:
                (self.root / name).unlink()


def main() -> int:
    """Do all of it, or what is named, and print what was seen. Returns 0 when all is as it must be."""
    if not is_there():
        sys.stderr.write("Spark is not there. Set it up: make spark\n")
        return 2
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # disks and cluster are let go of
    wrong = list[str]()
    with tempfile.TemporaryDirectory(prefix="kpi-faults-cluster-") as name, cluster(Path(name) / "cluster") as running:
        stage = Stage(_project(Path(name)), running)
        for fault in [one for one in FAULTS if one.__name__ in (sys.argv[1:] or (one.__name__,))]:
            began, before = time.monotonic(), stage.published
            found = fault(stage)
            if (stage.published != before) != (fault in PUBLISHES):
                found += ": readers have another build" if stage.published != before else ": nothing is published"
            if found:
                wrong.append(found)
            _say(f"{fault.__doc__} {found or 'As it must be.'} ({time.monotonic() - began:.0f} s)")
    return 1 if wrong else 0


def a_full_disk_of_the_lake(stage: Stage) -> str:
    """The disk of the lake is full."""
    with _disk(stage.lake, "24k"):
        found = _unless(_ended(stage.start()), DISK_FULL)
        left = list(stage.lake.glob("**/.tmp-*"))
    return found or (f"left in the lake: {left}" if left else "")


def a_full_disk_between(stage: Stage) -> str:
    """The disk is full where executors write what comes back."""
    exchange = stage.root / "warehouse/builds/.tmp-spark"
    with stage.models(BIG), _disk(exchange, "1m"):
        return _unless(_ended(stage.start()), DISK_FULL)


def an_executor_without_memory(stage: Stage) -> str:
    """An executor runs out of memory, and so does the next."""
    with stage.models(GREEDY):
        ended = _ended(stage.start())
    return _unless(ended, FAILED) or ("" if "greedy" in ended.said else f"the model is not named: {ended.said}")


def the_driver_killed(stage: Stage) -> str:
    """The driver is killed in the middle: kpi with it."""
    process = stage.start_to("model_1")
    process.kill()  # its JVM ends with it
    return _unless(_ended(process), KILLED)


def the_java_of_the_driver_killed(stage: Stage) -> str:
    """The driver's Java is killed in the middle: kpi lives on."""
    process = stage.start_to("model_1")
    children = Path(f"/proc/{process.pid}/task").glob("*/children")
    for pid in (int(pid) for path in children for pid in path.read_text().split()):
        os.kill(pid, signal.SIGKILL)
    return _unless(_ended(process), ENGINE_LOST)


def undisturbed(stage: Stage) -> str:
    """Nothing is done to the next run."""
    return _unless(_ended(stage.start()), DONE) or _other(stage)


def a_worker_killed(stage: Stage) -> str:
    """One of two workers is killed in the middle."""
    process = stage.start_to("model_1", "--full-refresh")
    stage.running.kill_worker(0)
    return _unless(_ended(process), DONE) or _other(stage)


def all_workers_killed(stage: Stage) -> str:
    """The last worker is killed in the middle: nobody is left to compute."""
    process = stage.start_to("model_1", "--full-refresh")
    stage.running.kill_worker(1)
    ended = _ended(process)
    said = "" if "for 15 s nobody has computed" in ended.said else f"it does not say why: {ended.said}"
    return _unless(ended, ENGINE_LOST) or said


def a_server_without_workers(stage: Stage) -> str:
    """A server of Spark Connect is there, and nobody computes for it."""
    for number, worker in enumerate(stage.running.workers):
        if worker.poll() is None:
            stage.running.kill_worker(number)
    settings = {"spark.executor.memory": "512m", "spark.task.maxFailures": "2"}
    with connect_server(stage.running, settings) as address:
        done = kpi(stage.root, *_command(stage.root)[2:], "--full-refresh", "--remote", address)
    ended = Ended(done.returncode, done.stdout + done.stderr)
    said = "" if "for 15 s nobody has computed" in ended.said else f"it does not say why: {ended.said}"
    return _unless(ended, ENGINE_LOST) or said


def workers_again(stage: Stage) -> str:
    """There are workers again, and the next run does what is missing."""
    stage.running.add_worker()
    return _unless(_ended(stage.start("--full-refresh")), DONE) or _other(stage)


FAULTS = (
    a_full_disk_of_the_lake,
    a_full_disk_between,
    an_executor_without_memory,
    the_java_of_the_driver_killed,
    the_driver_killed,
    undisturbed,
    a_worker_killed,
    all_workers_killed,
    a_server_without_workers,
    workers_again,
)
PUBLISHES = (undisturbed, a_worker_killed, workers_again)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _project(folder: Path) -> Path:
    """A small project with models one after the other, a delivery, and what DuckDB makes of them beside it."""
    models = {
        f"models/marts/model_{number}.sql": "select line, cast(sum(call_count) as bigint) as call_count"
        f" from {{{{ ref('{f'model_{number - 1}' if number else 'calls_by_line'}') }}}} group by line\n"
        for number in range(TABLES)
    }
    rows = "".join(f"a{n},{('health', 'social')[n % 2]},{n % 900},2025-01-{n % 28 + 1:02}\n" for n in range(CALLS))
    settings = FILES["dbt_project.yml"].replace("vars:\n", ENGINE.format(lake=folder / "lake"))
    (folder / "lake").mkdir()
    for name in ("project", "other"):
        root = write(folder / name, {**models, "dbt_project.yml": settings})
        (root / "warehouse/raw/calls").mkdir(parents=True)
        (root / "warehouse/raw/calls/a.csv").write_text(HEADER + rows)
    command = [sys.executable, *_command(folder / "other"), "--engine", "duckdb"]
    subprocess.run(command, check=True, capture_output=True, env=environment(), cwd=folder / "other")
    return folder / "project"


def _command(root: Path) -> list[str]:
    return ["-m", "kpi.cli", "refresh", "--as-of", DAY, "--no-expectations", "--project-dir", str(root)]


@contextmanager
def _disk(place: Path, size: str) -> Iterator[None]:
    """Let a folder be a small disk of its own."""
    if not can_mount():
        raise SystemExit("no disk can be mounted here: be root")
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _ended(process: subprocess.Popen[str]) -> Ended:
    try:
        said, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        return Ended(-1, f"it did not end within {PATIENCE} s: {said}")
    return Ended(process.returncode, said)


def _unless(ended: Ended, code: int) -> str:
    """What is wrong with how a run ended: nothing when it is this code, and no trace of an error that nobody caught."""
    is_right = ended.code == code and "Traceback" not in ended.said
    return "" if is_right else f"exit code {ended.code} and not {code}: {ended.said[-2000:]}"


def _other(stage: Stage) -> str:
    """The tables that are other than DuckDB's."""
    one, other = (root / "warehouse/current/kpi.duckdb" for root in (stage.root, stage.root.with_name("other")))
    return "; ".join(f"{table}: {what}" for table, what in differing(one, other, WITHOUT).items())


if __name__ == "__main__":
    sys.exit(main())
