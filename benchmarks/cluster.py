"""A standalone Spark cluster on loopback: a master and workers as processes of this machine, ended by their ids.

The jars are those of the pyspark that is in .venv-spark (make spark); nothing listens but on 127.0.0.1.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PYTHON = Path(os.environ.get("KPI_SPARK") or ROOT / ".venv-spark/bin/python")
LOOPBACK = "127.0.0.1"
_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
START_SECONDS = 90  # a busy machine takes a third of it


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster. `address` is its master's; what it and its executors write is below `folder`.

    Each worker has `cores` and `memory` for executors.
    """

    address: str
    folder: Path
    master: subprocess.Popen[bytes]
    cores: int
    memory: str
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def processes(self) -> list[int]:
        """The ids of the master and the workers; executors are children of these."""
        return [self.master.pid, *(worker.pid for worker in self.workers)]

    def add_worker(self) -> None:
        """Start a worker, and wait until the master knows it."""
        place = self.folder / f"worker-{len(self.workers)}"
        given = ("--host", LOOPBACK, "--cores", str(self.cores), "--memory", self.memory)
        worker = _start(place, "worker.Worker", *given, "--work-dir", str(place / "work"), self.address)
        self.workers.append(worker)
        _waited(place / "log", "Successfully registered with master", worker)

    def kill_worker(self, number: int) -> None:
        """Kill a worker with the executors it started."""
        worker = self.workers[number].pid
        tasks = Path(f"/proc/{worker}/task").iterdir()
        for pid in (worker, *(int(pid) for task in tasks for pid in (task / "children").read_text().split())):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def connect_server(running: Cluster, settings: Mapping[str, str]) -> Iterator[str]:
    """Start a server of Spark Connect whose driver asks the cluster for executors. Yields its address."""
    home, folder = _spark_home(), running.folder / "connect"
    folder.mkdir()
    given = {
        **settings,
        "spark.connect.grpc.binding.address": LOOPBACK,
        "spark.connect.grpc.binding.port": "0",
        "spark.driver.host": LOOPBACK,
        "spark.ui.enabled": "false",
    }
    words = [word for name, value in given.items() for word in ("--conf", f"{name}={value}")]
    name = "org.apache.spark.sql.connect.service.SparkConnectServer"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [home / "bin/spark-submit", "--master", running.address, *words, "--class", name, "spark-internal"],
            stdout=log,
            stderr=log,
            env={**os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": LOOPBACK},
            start_new_session=True,
            preexec_fn=end_with_parent,  # noqa: PLW1509  one call of the C library, and no thread holds a lock of it
        )
    try:
        port = _waited(folder / "log", r"Spark Connect server started at: \S+:(\d+)", server)
        yield f"sc://{LOOPBACK}:{port}"
    finally:
        end_group(server)


@contextmanager
def cluster(folder: Path, workers: int = 2, cores: int = 1, memory: str = "1g") -> Iterator[Cluster]:
    """Start a master and workers, each with so many cores and so much memory for executors, and end them after."""
    folder.mkdir(parents=True, exist_ok=True)
    master = _start(folder / "master", "master.Master", "--host", LOOPBACK, "--port", "0")
    started = [master]
    try:
        address = _waited(folder / "master/log", r"Starting Spark master at (spark://\S+)", master)
        running = Cluster(address, folder, master, cores, memory)
        try:
            for _ in range(workers):
                running.add_worker()
            yield running
        finally:
            started += running.workers
    finally:
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            end_group(process)


def end_group(process: subprocess.Popen[Any]) -> None:
    """Kill what is left of a process that was started as a session of its own, and of all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end_with_parent() -> None:
    """Let a process be killed when the one that starts it is: what is called between fork and exec (Linux)."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def is_there() -> bool:
    """Tell whether a cluster can be started: Spark's environment and Java are there."""
    return PYTHON.is_file() and shutil.which("java") is not None


@cache
def _spark_home() -> Path:
    ask = "import importlib.util; print(importlib.util.find_spec('pyspark').submodule_search_locations[0])"
    done = subprocess.run([PYTHON, "-c", ask], check=True, capture_output=True, text=True)
    return Path(done.stdout.strip())


def _start(folder: Path, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
    home = _spark_home()
    folder.mkdir(parents=True, exist_ok=True)
    command = ["java", "-Xmx256m", "-cp", f"{home}/jars/*", f"org.apache.spark.deploy.{kind}"]
    environment = {**os.environ, "SPARK_HOME": str(home), "SPARK_SCALA_VERSION": "2.13"}  # of all Spark 4
    environment |= {"SPARK_LOCAL_IP": LOOPBACK, "SPARK_LOCAL_DIRS": str(folder)}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [*command, "--webui-port", "0", *arguments],
            stdout=log,
            stderr=log,
            env=environment,
            cwd=folder,
            start_new_session=True,
            preexec_fn=end_with_parent,  # noqa: PLW1509  one call of the C library, and no thread holds a lock of it
        )


def _waited(log: Path, pattern: str, process: subprocess.Popen[bytes]) -> str:
    """Return what the log says once it does. Raises RuntimeError when the process ends, or says nothing."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if found := re.search(pattern, text):
            return found[found.lastindex or 0]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"a part of the cluster did not start: {log.read_text(errors='replace')[-1000:]}")
