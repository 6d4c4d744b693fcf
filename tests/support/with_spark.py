"""kpi with Spark: in an environment of its own, as a process, at a server of Spark Connect on this machine.

The server is Sail, which starts in a second and needs no Java.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from once import ROOT

SAIL = Path(os.environ.get("KPI_SAIL") or ROOT / ".venv-sail/bin/python")
SPARK = Path(os.environ.get("KPI_SPARK") or ROOT / ".venv-spark/bin/python")
DAY = "2026-11-21"
# A Java that lives for a minute and holds few rows: no second compiler, no threads that collect garbage.
FRUGAL = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
_SERVE = """
import sys
from pysail.spark import SparkConnectServer
SparkConnectServer("127.0.0.1", int(sys.argv[1])).start(background=False)
"""


def needed(python: Path) -> Path:
    """Return the Python of an environment; without it a test fails in CI, and is skipped elsewhere."""
    if not python.is_file():
        message = f"{python} is not there. Set it up: make spark"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return python


@dataclass(frozen=True)
class Server:
    """A server of Spark Connect on loopback."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def address(self) -> str:
        """Where it is."""
        return f"sc://127.0.0.1:{self.port}"


def free_port() -> int:
    """Return a port of loopback that nobody listens at, not one of those that Linux gives to whoever asks for any."""
    while True:
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", random.randrange(15_000, 32_000)))
            return int(probe.getsockname()[1])


@contextmanager
def serving(port: int = 0) -> Iterator[Server]:
    """Start Sail, wait until it answers, and end it."""
    python, port = needed(SAIL), port or free_port()
    process = subprocess.Popen([python, "-c", _SERVE, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=60).close()
                break
            except OSError:
                assert process.poll() is None, "Sail ended before it answered"
                time.sleep(0.05)
        yield Server(process, port)
    finally:
        process.kill()
        process.wait()


def kpi(root: Path, *words: str, python: Path = SAIL) -> subprocess.CompletedProcess[str]:
    """Run a command of kpi on a project, in an environment that has Spark."""
    command = [str(needed(python)), "-m", "kpi.cli", *words]
    return subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, check=False)


def environment() -> dict[str, str]:
    """Return the variables of a process that imports kpi from here, whatever its environment has."""
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    return {"SPARK_SUBMIT_OPTS": FRUGAL, **os.environ, "PYTHONPATH": path}


def refreshed(root: Path, server: Server, *words: str) -> str:
    """Refresh a project with Spark. Returns what it printed."""
    done = kpi(root, "refresh", "--as-of", DAY, "--remote", server.address, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def differing(one: Path, other: Path, without: Sequence[str] = (), build: Sequence[str] = ("", "")) -> dict[str, str]:
    """Return how the tables and views of two build files differ: their columns, or how many rows only one has.

    `without` are tables that are not compared; the ids of the two builds count as the same text.
    """
    found = {}
    with duckdb.connect() as con:
        for name, path in (("one", one), ("other", other)):
            con.execute(f"attach '{path}' as {name} (read_only)")
        tables = {
            name: dict(
                con.execute(
                    "select table_schema || '.' || table_name, table_type from information_schema.tables"
                    " where table_catalog = ?",
                    [name],
                ).fetchall()
            )
            for name in ("one", "other")
        }
        for table in sorted({*tables["one"], *tables["other"]} - set(without)):
            if tables["one"].get(table) != tables["other"].get(table):
                found[table] = f"{tables['one'].get(table)} and {tables['other'].get(table)}"
                continue
            found |= _difference(con, table, build)
    return found


def _difference(con: duckdb.DuckDBPyConnection, table: str, build: Sequence[str]) -> dict[str, str]:
    columns = [con.execute(f"describe {name}.{table}").fetchall() for name in ("one", "other")]
    if columns[0] != columns[1]:
        return {table: f"columns {columns[0]} and {columns[1]}"}
    texts = ", ".join(f"replace({row[0]}, ?, 'BUILD') as {row[0]}" for row in columns[0] if row[1] == "VARCHAR")
    rows = {name: f"select * {f'replace ({texts})' if texts else ''} from {name}.{table}" for name in ("one", "other")}
    number = texts.count("?")
    counts = []
    for first, second in (("one", "other"), ("other", "one")):
        ids = {"one": build[0] or "-", "other": build[1] or "-"}
        parameters = [ids[first]] * number + [ids[second]] * number
        query = f"select count(*) from (({rows[first]}) except all ({rows[second]}))"
        row = con.execute(query, parameters).fetchone()
        counts.append(row[0] if row else None)
    return {table: f"{counts[0]} and {counts[1]} rows of their own"} if any(counts) else {}
