"""`make faults-cluster`: a worker of a cluster is killed in the middle of a build on Spark; then the driver is.

The cluster is Spark's own, on 127.0.0.1 (benchmarks/cluster.py). With one worker left the build must end as if nothing
had been, with DuckDB's tables; a killed driver must publish nothing, and the next run must mend it. It is none of CI's
tests, for it takes minutes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.cluster import PYTHON, Cluster, cluster, is_there
from small_project import write
from with_spark import DAY, differing, environment

HEADER = "call_id,line,waited_seconds,arrived_on\n"
TABLES = 8  # models one after the other, so that a build has a middle
PATIENCE = 600  # seconds of a run on a busy machine
WITHOUT = ("marts.runs", "raw.deliveries")


def main() -> int:
    """Do it and print what was seen. Returns 0 when all is as it must be."""
    if not is_there():
        sys.stderr.write("Spark is not there. Set it up: make spark\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="kpi-faults-cluster-") as name:
        folder = Path(name)
        wrong = _one_of_two(folder / "one") + _driver(folder / "driver")
    for line in wrong:
        sys.stdout.write(f"{line}\n")
    return 1 if wrong else 0


def _one_of_two(folder: Path) -> list[str]:
    root, other = _project(folder / "project"), _project(folder / "other")
    with cluster(folder / "cluster") as running:
        process = _started(root, running)
        _wait_for(root, "model_1")
        _kill(running, 0)
        code, said = _ended(process)
    if code:
        return [f"a worker of two was killed: exit code {code}: {said[-2000:]}"]
    _refreshed(other)
    found = differing(root / "warehouse/current/kpi.duckdb", other / "warehouse/current/kpi.duckdb", WITHOUT)
    sys.stdout.write(f"a worker of two killed: published, {len(found)} tables other than DuckDB's\n")
    return [f"{table}: {what}" for table, what in found.items()]


def _driver(folder: Path) -> list[str]:
    root, other = _project(folder / "project"), _project(folder / "other")
    with cluster(folder / "cluster") as running:
        process = _started(root, running)
        _wait_for(root, "model_1")
        process.kill()  # its JVM ends with it
        _, said = _ended(process)
        if (root / "warehouse/current").exists():
            return [f"the driver was killed and a build is published: {said[-2000:]}"]
        code, said = _ended(_started(root, running))
    if code:
        return [f"the run after the driver was killed: exit code {code}: {said[-2000:]}"]
    _refreshed(other)
    found = differing(root / "warehouse/current/kpi.duckdb", other / "warehouse/current/kpi.duckdb", WITHOUT)
    sys.stdout.write(f"the driver killed: not published; the next run: published, {len(found)} tables other\n")
    return [f"{table}: {what}" for table, what in found.items()]


def _project(root: Path) -> Path:
    """A small project with models one after the other, and a delivery."""
    models = {
        f"models/marts/model_{number}.sql": "select line, cast(sum(call_count) as bigint) as call_count"
        f" from {{{{ ref('{f'model_{number - 1}' if number else 'calls_by_line'}') }}}} group by line\n"
        for number in range(TABLES)
    }
    write(root, models)
    (root / "warehouse/raw/calls").mkdir(parents=True)
    rows = "".join(f"a{n},{('health', 'social')[n % 2]},{n % 900},2025-01-{n % 28 + 1:02}\n" for n in range(5000))
    (root / "warehouse/raw/calls/a.csv").write_text(HEADER + rows)
    return root


def _command(root: Path) -> list[str]:
    return ["-m", "kpi.cli", "refresh", "--as-of", DAY, "--no-expectations", "--project-dir", str(root)]


def _started(root: Path, running: Cluster) -> subprocess.Popen[str]:
    command = [str(PYTHON), *_command(root), "--master", running.address]
    return subprocess.Popen(
        command,
        env=environment() | {"SPARK_LOCAL_IP": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=root,
    )


def _refreshed(root: Path) -> None:
    subprocess.run([sys.executable, *_command(root)], check=True, capture_output=True, env=environment(), cwd=root)


def _wait_for(root: Path, node: str) -> None:
    """Wait until a run's log says that a node is being built."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        logs = [path.read_text(errors="replace") for path in (root / "warehouse/runs").glob("*.jsonl")]
        if any(f'"{node}"' in line for log in logs for line in log.splitlines()):
            return
        time.sleep(0.1)
    raise TimeoutError(f"no run in {root} came to {node}")


def _kill(running: Cluster, number: int) -> None:
    """Kill a worker with the executors it started."""
    worker = running.workers[number].pid
    children = Path(f"/proc/{worker}/task/{worker}/children")
    found = [int(pid) for task in children.parent.parent.iterdir() for pid in (task / "children").read_text().split()]
    for pid in (worker, *found):
        os.kill(pid, signal.SIGKILL)


def _ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        said, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        return -1, f"it did not end within {PATIENCE} s: {said}"
    return process.returncode, said


if __name__ == "__main__":
    sys.exit(main())
