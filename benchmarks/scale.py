"""`python -m benchmarks.scale`: the chain of calls at 1, 10 and 50 counties' volume, on DuckDB and on a cluster.

A county has 1.6 million calls. SQL multiplies the calls of a small demo, which kpi loaded, into Parquet as the lake has
it; then the models between the raw calls and their figures, and the data tests of the staged calls, run

- in DuckDB with 2 GB and two threads, with the raw rows in its file as a build has them,
- on Spark, a master and two workers on 127.0.0.1 with a core and 1 GB each, from the Parquet.

Printed are time, CPU and memory of all processes, and what was spilled. Both must come to the same figures. Each run is
bounded by --minutes; with --write the tables go into the page.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.cluster import PYTHON, cluster, end_group, is_there
from benchmarks.county import ROOT, copy_county
from benchmarks.memory import size_of
from benchmarks.record import replace_between
from demo.deliver import write_demo
from demo.feeds import FEEDS
from kpi.database import columns_of
from kpi.engine.compile import compiled
from kpi.engine.graph import Node
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.sql import literal

TODAY = date(2026, 11, 21)
RAW, STAGED = "raw.calls", "staging.stg_calls"
MODELS = ("intermediate.int_calls_monthly", "intermediate.int_calls_figures")
COUNTY = 1_600_000  # calls
NATION = 117_000_000  # calls: 22 areas like a county, ten years instead of three
MEMORY, THREADS = "2GB", 2
DISK_BYTES = 250  # a call: Parquet, the file of a build and what is spilled
PAGE = "docs/guides/more-than-one-machine.md"
BEGIN, END = "<!-- written by python -m benchmarks.scale --write -->", "<!-- end of what benchmarks.scale wrote -->"


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the chain in DuckDB's SQL: a `view`, a `table` of a name with its columns, or a `test`."""

    kind: str
    name: str
    sql: str
    columns: Mapping[str, str]
    reads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run took: seconds of wall and CPU, most memory and spilled bytes. `figures` hashes what it came to."""

    engine: str
    rows: int
    wall: float
    cpu: float
    memory: int
    spilled: int
    ended: str = ""
    figures: str = ""
    load: float = 0  # of the machine before the run: processes that would run

    def __str__(self) -> str:
        numbers = f"{self.wall:8.1f} {self.cpu:8.1f} {self.memory / 1e6:9.0f} {self.spilled / 1e6:9.0f}"
        return f"{self.engine:<16} {self.rows:>12,} {numbers}  {self.ended or self.figures}".replace(",", " ")


def main() -> int:
    """Generate, run and print. Returns 0 when every run that ended has the same figures as the others of its size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scales", default="1,10,50", help="counties, as 1,10,50")
    parser.add_argument("--engines", default="duckdb,cluster", help="of duckdb, cluster, local")
    parser.add_argument("--minutes", type=float, default=15, help="after which a run is ended")
    parser.add_argument("--write", type=Path, metavar="PAGE", help=f"also write the table into a page, as {PAGE}")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        return _run(json.loads(given.run))
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # what was started is ended too
    with tempfile.TemporaryDirectory(prefix="kpi-scale-") as name:
        found, steps = measure_all(Path(name), given)
    print(f"{len(steps)} steps: {', '.join(step.name for step in steps)}")
    if wrong := [rows for rows, runs in found.items() if len({run.figures for run in runs if not run.ended}) > 1]:
        print(f"the figures of {wrong} calls are not the same; nothing is written")
        return 1
    if given.write:
        replace_between(given.write, BEGIN, END, page_lines(found))
    return 0


def measure_all(folder: Path, given: argparse.Namespace) -> tuple[dict[int, list[Measured]], list[Step]]:
    """Run all engines at all scales, printing each. One that was ended at a scale is not run at a greater one."""
    steps, demo_rows = prepare(folder)
    print(f"{'engine':<16} {'calls':>12} {'wall s':>8} {'CPU s':>8} {'memory MB':>9} {'spilled MB':>9}  figures")
    engines, found = given.engines.split(","), dict[int, list[Measured]]()
    for scale in sorted(float(text) for text in given.scales.split(",")):
        needed = int(COUNTY * scale * DISK_BYTES)
        if shutil.disk_usage(folder).free < needed:
            print(f"{scale:g} counties: not measured, they need {needed / 1e9:.0f} GB of disk in {folder}")
            break
        rows = generate(folder, max(1, round(COUNTY * scale / demo_rows)))
        found[rows] = []
        for engine in list(engines):
            if measured := measure(folder, engine, rows, given.minutes):
                print(measured, flush=True)
                found[rows].append(measured)
            if not measured or measured.ended:
                engines.remove(engine)
    return found, steps


def page_lines(found: Mapping[int, Sequence[Measured]]) -> list[str]:
    """The tables of the page: what was measured, and what a nation would need by it, on paper."""
    load = max((run.load for runs in found.values() for run in runs), default=0)
    where = f"{datetime.now(UTC):%Y-%m-%d} on {os.cpu_count()} cores; the load of the machine was {load:.1f} at most"
    table = [_row(run, run is runs[0]) for runs in found.values() for run in runs]
    return [
        "| calls | engine | wall s | CPU s | peak memory | spilled |",
        "|---|---|---|---|---|---|",
        *table,
        "",
        f"Measured on {where}. CPU and memory are those of all processes of a run,",
        "Spark's driver, master, two workers and their executors together, their first seconds too.",
        "What ended had the same figures on both; what was ended at one size was not run at a greater one.",
        "",
        *_on_paper(found),
    ]


def _row(run: Measured, is_first: bool) -> str:
    engine = {"duckdb": "DuckDB", "cluster": "Spark, cluster", "local": "Spark, local"}[run.engine]
    wall, cpu = (run.ended, f"{run.cpu:.0f} by then") if run.ended else (f"{run.wall:.0f}", f"{run.cpu:.0f}")
    sizes = [f"{size / 1e9:.1f} GB" if size >= 5e7 else "0" for size in (run.memory, run.spilled)]
    return f"| {' | '.join([_millions(run.rows) if is_first else '', engine, wall, cpu, *sizes])} |"


def _millions(rows: float) -> str:
    return f"{rows / 1e6:.{0 if rows >= 1e7 else 1}f} million"


def _on_paper(found: Mapping[int, Sequence[Measured]]) -> list[str]:
    """A table of what each engine would take for a nation: the CPU seconds of a million calls more, times its calls."""
    lines = [
        f"| the chain of calls | CPU s a million | {_millions(NATION)}, the nation | on 16 cores |",
        "|---|---|---|---|",
    ]
    for engine, name in (("duckdb", "DuckDB"), ("cluster", "Spark, cluster")):
        runs = [run for runs in found.values() for run in runs if run.engine == engine and not run.ended]
        if len(runs) > 1:
            first, last = runs[0], runs[-1]
            each = (last.cpu - first.cpu) / (last.rows - first.rows) * 1e6
            total = each * NATION / 1e6
            lines.append(
                f"| {name}, from {_millions(last.rows)} | {each:.1f} | {total:.0f} CPU s | {total / 16:.0f} s |"
            )
    return lines


def prepare(folder: Path) -> tuple[list[Step], int]:
    """Build a small demo of calls alone. Returns the steps of their chain, and how many calls there are."""
    root = copy_county(folder / "project")
    write_demo(root / "warehouse/raw", scale=0.01, feeds=[feed for feed in FEEDS if feed.name == "calls"])
    despite = "only calls are delivered"
    options = Options(as_of=TODAY, validate=False, publish_despite_checks=despite)
    outcome = refresh(root, options, lambda line: None)
    graph = compiled(root, {}, "").graph
    database = folder / "small.duckdb"
    shutil.copy(root / "warehouse/builds" / outcome.build / "kpi.duckdb", database)
    database.chmod(0o644)
    relations = {str(node.relation): node for node in graph.nodes.values() if node.kind in ("model", "source", "seed")}
    staged = relations[STAGED]
    tests = [node for node in graph.nodes.values() if node.kind == "test" and node.depends_on == (staged.id,)]
    chain = [staged, *tests, *(relations[name] for name in MODELS)]
    (folder / "lake").mkdir()
    with duckdb.connect() as con:
        con.execute(f"attach {literal(str(database))} as kpi (read_only)")
        con.execute("use kpi")
        steps = [_step(con, node, graph.nodes) for node in chain]
        made = {RAW, *(step.name for step in steps)}
        for name in sorted({read for step in steps for read in step.reads} - made):
            con.execute(f"copy (from {name}) to {literal(str(folder / 'lake' / f'{name}.parquet'))} (format parquet)")
        rows = int(con.execute(f"select count(*) from {RAW}").fetchall()[0][0])
    (folder / "steps.json").write_text(json.dumps([asdict(step) for step in steps]), encoding="utf-8")
    return steps, rows


def _step(con: duckdb.DuckDBPyConnection, node: Node, nodes: Mapping[str, Node]) -> Step:
    kind = "test" if node.kind == "test" else "view" if node.materialized == "view" else "table"
    reads = tuple(str(nodes[parent].relation) for parent in node.depends_on)
    name = node.name if kind == "test" else str(node.relation)
    return Step(kind, name, node.sql, dict(columns_of(con, node.sql)), reads)


def generate(folder: Path, copies: int) -> int:
    """Write the calls of so many demos, each with its own keys, as one Parquet file. Returns the number of rows."""
    file = folder / "lake" / f"{RAW}.parquet"
    with duckdb.connect(config={"memory_limit": MEMORY, "threads": THREADS}) as con:
        con.execute("set preserve_insertion_order = false")
        con.execute(f"attach {literal(str(folder / 'small.duckdb'))} as kpi (read_only)")
        con.execute(
            f"copy (select calls.* replace (call_id || '-' || copy as call_id) from kpi.{RAW} as calls"
            f" cross join range({copies}) as copies (copy)) to {literal(str(file))} (format parquet, compression zstd)"
        )
        return int(con.execute(f"select count(*) from read_parquet({literal(str(file))})").fetchall()[0][0])


def measure(folder: Path, engine: str, rows: int, minutes: float) -> Measured | None:
    """Run the chain in a process of its own, watching it and what belongs to it."""
    if engine != "duckdb" and not is_there():
        print(f"{engine}: not measured, Spark is not there. Set it up: make spark")
        return None
    work, load = folder / engine, os.getloadavg()[0]
    shutil.rmtree(work, ignore_errors=True)
    (work / "spill").mkdir(parents=True)
    with cluster(work / "cluster") if engine == "cluster" else nullcontext() as running:
        asked = {
            "engine": engine,
            "folder": str(folder),
            "work": str(work),
            "master": running.address if running else "",
        }
        python = sys.executable if engine == "duckdb" else str(PYTHON)
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        with (work / "log").open("wb") as log:
            process = subprocess.Popen(
                [python, "-m", "benchmarks.scale", "--run", json.dumps(asked)],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": path, "SPARK_LOCAL_IP": "127.0.0.1"},
                start_new_session=True,
            )
            try:
                wall, cpu, memory, spilled, ended = watch(process, running.processes if running else [], work, minutes)
            finally:
                end_group(process)
    answer = work / "answer.json"
    if not ended and not answer.is_file():
        ended = f"failed: {(work / 'log').read_text(errors='replace').strip()[-300:]}"
    figures = json.loads(answer.read_text())["figures"] if answer.is_file() else ""
    if engine != "duckdb":
        spilled = spilled_by_spark(work / "events")
    shutil.rmtree(work / "spill", ignore_errors=True)
    (work / "kpi.duckdb").unlink(missing_ok=True)
    return Measured(engine, rows, wall, cpu, memory, spilled, ended, figures, load)


def watch(
    process: subprocess.Popen[bytes], others: Sequence[int], work: Path, minutes: float
) -> tuple[float, float, int, int, str]:
    """Return wall, CPU, most memory and most spilled of a process, the others and all their children."""
    began, most, spilled, ended = time.monotonic(), 0, 0, ""
    used: dict[int, float] = {}
    before = {pid: cpu for pid, cpu, _ in _tree(others)}
    while process.poll() is None:
        held = 0
        for pid, cpu, memory in _tree([process.pid, *others]):
            used[pid] = max(cpu, used.get(pid, 0.0))
            held += memory
        most, spilled = max(most, held), max(spilled, size_of(work / "spill"))
        if time.monotonic() - began > minutes * 60:
            ended = f"ended after {minutes:g} minutes"
            process.kill()
            process.wait()
        time.sleep(0.2)
    return time.monotonic() - began, sum(used.values()) - sum(before.values()), most, spilled, ended


def _tree(roots: Sequence[int]) -> Iterator[tuple[int, float, int]]:
    """The id, CPU seconds and resident bytes of processes and what they started, as Linux tells of them."""
    found: dict[int, tuple[int, float, int]] = {}
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            found[int(entry.name)] = (
                int(fields[1]),
                (int(fields[11]) + int(fields[12])) / tick,
                int(fields[21]) * page,
            )
    wanted = set(roots)
    for _ in range(4):  # a worker's executor is a child's child at most
        wanted |= {pid for pid, (parent, _, _) in found.items() if parent in wanted}
    yield from ((pid, found[pid][1], found[pid][2]) for pid in wanted if pid in found)


def spilled_by_spark(folder: Path) -> int:
    """Return the bytes that tasks spilled to disk, by Spark's own log of events."""
    total = 0
    for file in folder.rglob("*"):
        for line in file.read_text(errors="replace").splitlines() if file.is_file() else ():
            if line.startswith('{"Event":"SparkListenerTaskEnd"'):
                total += json.loads(line).get("Task Metrics", {}).get("Disk Bytes Spilled", 0)
    return total


def _run(asked: Mapping[str, str]) -> int:
    """The process that is measured: run the chain on one engine, and write a hash of the figures."""
    folder, work = Path(asked["folder"]), Path(asked["work"])
    steps = [Step(**step) for step in json.loads((folder / "steps.json").read_text())]
    rows = (
        _on_duckdb(folder, work, steps)
        if asked["engine"] == "duckdb"
        else _on_spark(folder, work, steps, asked["master"])
    )
    with duckdb.connect() as con:
        con.register("figures", rows)
        kinds = ", ".join(f'cast("{name}" as {kind}) as "{name}"' for name, kind in steps[-1].columns.items())
        hashed = f"select count(*), sum(hash(held)::hugeint) from (select {kinds} from figures) as held"
        count, total = con.execute(hashed).fetchall()[0]
    (work / "answer.json").write_text(json.dumps({"figures": f"{count} rows, {int(total or 0) % 16**8:08x}"}))
    return 0


def _on_duckdb(folder: Path, work: Path, steps: Sequence[Step]) -> Any:
    """The raw rows go into the build's file first, as a load leaves them there."""
    shutil.copy(folder / "small.duckdb", work / "kpi.duckdb")
    con = duckdb.connect(config={"memory_limit": MEMORY, "threads": THREADS, "temp_directory": str(work / "spill")})
    con.execute(f"attach {literal(str(work / 'kpi.duckdb'))} as kpi (recovery_mode no_wal_writes)")
    con.execute("use kpi")
    con.execute(f"truncate {RAW}")
    con.execute(f"insert into {RAW} from read_parquet({literal(str(folder / 'lake' / f'{RAW}.parquet'))})")
    for step in steps:
        if step.kind == "test":
            con.execute(f"select count(*) from ({step.sql})").fetchall()
        else:
            con.execute(f"create or replace {step.kind} {step.name} as {step.sql}")
    con.execute("checkpoint")
    return con.execute(f"from {steps[-1].name}").to_arrow_table()


def _on_spark(folder: Path, work: Path, steps: Sequence[Step], master: str) -> Any:
    """Views and tables as the engine makes them: what is a table is written as Parquet."""
    from kpi.engine.adapter import reading
    from kpi.engine.spark import open_spark
    from kpi.engine.spark_sql import SETTINGS, to_spark
    from kpi.settings import EngineSettings

    (work / "events").mkdir()
    config = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": f"file:{work / 'events'}",
        "spark.eventLog.compress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.executor.memory": "1g",
        "spark.local.dir": str(work / "spill"),
        "spark.sql.shuffle.partitions": "16",
    }
    spark = open_spark(EngineSettings("spark", master or f"local[{THREADS}]", "", config), work, SETTINGS)
    places: dict[tuple[str, str], str] = {}
    for file in sorted((folder / "lake").glob("*.parquet")):
        schema, _, name = file.stem.partition(".")
        places[schema, name] = f"{schema}_{name}"
        spark.read_parquet(places[schema, name], str(file))
    for step in steps:
        sql = to_spark(reading(step.sql, places), step.columns)
        if step.kind == "test":
            spark.fetch(f"select count(*) as failing from ({sql})")
            continue
        schema, _, name = step.name.partition(".")
        places[schema, name] = f"{schema}_{name}"
        (spark.create_view if step.kind == "view" else spark.create_table)(places[schema, name], sql)
    rows = spark.fetch(f"select * from {places[schema, name]}")
    spark.close()
    return rows


if __name__ == "__main__":
    sys.exit(main())
