"""`make bench`: CPU and wall time of kpi, medians of five, and the ratio to bare DuckDB doing the same in the same run.

Whole processes are measured, each with what it is compared to in turn, because machines are shared and noisy; ratios of
CPU seconds are what to read. Bare DuckDB is one process that runs the same compiled statements and test counts, and
reads the same files with a typed read_csv (module plain).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import plain
from kpi.engine.graph import Graph, compile_project
from kpi.engine.selector import Selection, select
from kpi.ingest.raw_files import scan
from kpi.project.project import load_project

HERE = Path(__file__).resolve().parent
TODAY = "2026-11-21"
CHANGED = "calls_2024-02.csv"
CHANGED_MODEL = "int_rescue_figures"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process cost, in seconds, and its peak memory in MB."""

    cpu: float
    wall: float
    memory: float


def run(command: list[str], folder: Path | None = None) -> Cost:
    """Run one process in a folder and measure it whole. Raises RuntimeError when it fails."""
    with tempfile.TemporaryFile() as message:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=message, stderr=message, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        if status:
            message.seek(0)
            raise RuntimeError(f"{' '.join(command)}\n{message.read().decode()}")
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024)


def compare(name: str, ours: Callable[[], Cost], bare: Callable[[], Cost], runs: int, message: str) -> None:
    """Measure two things in turn and print their medians and the median of their CPU ratios."""
    pairs = [(ours(), bare()) for _ in range(runs)]
    figures = zip(*((a.cpu, a.wall, b.cpu, b.wall) for a, b in pairs), strict=True)
    middle = [statistics.median(values) for values in figures]
    ratio = statistics.median(a.cpu / b.cpu for a, b in pairs)
    peak = max(a.memory for a, _ in pairs)
    ours_and_bare = f"{middle[0]:>7.2f}{middle[1]:>7.2f}{middle[2]:>8.2f}{middle[3]:>7.2f}"
    print(f"{name:<38}{ours_and_bare}{ratio:>8.2f}{peak:>7.0f}  {message}", flush=True)


class Bench:
    """A project of its own in a temporary folder, with the demo's deliveries at full volume."""

    def __init__(self, folder: Path, scale: float) -> None:
        self.root = folder / "project"
        self.root.mkdir()
        for name in ("models", "seeds", "macros", "expectations", "tests"):
            shutil.copytree(HERE.parent / name, self.root / name, ignore=shutil.ignore_patterns("data", "*.py"))
        shutil.copy(HERE.parent / "dbt_project.yml", self.root)
        self.raw = self.root / "warehouse/raw"
        self.options = [] if scale == 1 else ["--publish-despite-checks", "scaled down"]
        # In a process of its own: a process started by a large one reports that one's memory as its own.
        subprocess.run(
            [sys.executable, "-m", "demo", str(self.raw), "--scale", str(scale)], check=True, cwd=HERE.parent
        )
        self.graph: Graph = compile_project(load_project(self.root))
        self.statements = folder / "statements.json"
        self.database = folder / "bare.duckdb"
        self.saved = folder / "saved.duckdb"
        self.copies = folder / "copies"
        self.copies.mkdir()

    def kpi(self, *arguments: str) -> Cost:
        """Measure a command of kpi."""
        return run([sys.executable, "-m", "kpi.cli", *arguments, "--project-dir", str(self.root)])

    def refresh(self, *arguments: str) -> Cost:
        """Measure `kpi refresh`."""
        return self.kpi("refresh", "--as-of", TODAY, *self.options, *arguments)

    def from_nothing(self, *arguments: str) -> Cost:
        """Measure a refresh of a warehouse that has deliveries and nothing else."""
        shutil.rmtree(self.root / "warehouse/builds", ignore_errors=True)
        (self.root / "warehouse/current").unlink(missing_ok=True)
        return self.refresh(*arguments)

    def bare(self, statements: list[str], start: Path | None = None) -> Cost:
        """Measure bare DuckDB on the statements, on a copy of a database or on none; the copying is not counted."""
        self.database.unlink(missing_ok=True)
        if start:
            shutil.copy(start, self.database)
        self.statements.write_text(json.dumps(statements))
        return run([sys.executable, str(HERE / "bare.py"), str(self.database), str(self.statements)])

    def everything(self) -> list[str]:
        """The plain statements of the whole warehouse."""
        loads = plain.loads(self.graph, self.raw, scan(self.raw), self.copies)
        return plain.raw_tables(self.graph) + loads + plain.models(self.graph)

    def change_model(self, turn: list[int]) -> None:
        """Change what CHANGED_MODEL means, though not its rows."""
        (path,) = (self.root / "models").rglob(f"{CHANGED_MODEL}.sql")
        turn[0] += 1
        before, found, after = (HERE.parent / path.relative_to(self.root)).read_text().partition("    from missions\n")
        if not found:
            raise RuntimeError(f"{path} reads no missions any more: say what else to change.")
        path.write_text(f"{before}{found}    where {turn[0]} > 0\n{after}")

    def change_file(self, turn: list[int]) -> None:
        """Append one call to a plain monthly file."""
        turn[0] += 1
        path = self.raw / "calls" / CHANGED
        first = path.read_text(encoding="utf-8-sig").splitlines()[1]
        separator = next(mark for mark in ",;\t" if mark in first)
        cells = first.split(separator)
        cells[0] = f"added{turn[0]}"
        with path.open("a", encoding="utf-8") as stream:
            stream.write(separator.join(cells) + "\n")

    def descendants(self, name: str) -> frozenset[str]:
        """The ids of a node's descendants and itself."""
        return select(self.graph, Selection((f"{name}+",)))


def main() -> None:
    """Print the table of measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the county's volumes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kpi-bench-") as folder:
        bench = Bench(Path(folder), options.scale)
        columns = f"{'CPU s':>7}{'wall':>7}{'CPU s':>8}{'wall':>7}{'ratio':>8}{'MB':>7}  compared with"
        print(f"{'':<38}{'kpi':>7}{'':>7}{'bare':>8}\n{f'median of {options.runs}':<38}{columns}")
        measure(bench, options.runs)


def measure(bench: Bench, runs: int) -> None:
    """Measure every case."""
    whole = bench.everything()

    def bare() -> Cost:
        return bench.bare(whole)

    message = f"bare DuckDB, {len(whole)} statements"
    compare("from nothing, no Great Expectations", lambda: bench.from_nothing("--no-expectations"), bare, runs, message)
    compare("from nothing", bench.from_nothing, bare, runs, message)
    shutil.copy(bench.database, bench.saved)
    importing = [sys.executable, "-c", "import duckdb"]
    compare("no change", bench.refresh, lambda: run(importing), runs, "python -c 'import duckdb'")
    turn = [0]

    def with_model_changed() -> Cost:
        bench.change_model(turn)
        return bench.refresh()

    again = plain.models(bench.graph, bench.descendants(CHANGED_MODEL))
    compare(
        "one model changed",
        with_model_changed,
        lambda: bench.bare(again, bench.saved),
        runs,
        f"{len(again)} statements",
    )

    def with_file_changed() -> Cost:
        bench.change_file(turn)
        return bench.refresh()

    calls = next(feed for feed in bench.graph.feeds if feed.name == "calls")
    file = next(file for file in scan(bench.raw).files if file.name == CHANGED)
    reload = [
        f"delete from raw.calls where _file = '{CHANGED}'",
        plain.load_statement(calls, bench.raw, file, bench.copies),
    ]
    reload += plain.models(bench.graph, bench.descendants("source:raw.calls"))
    compare(
        "one file changed",
        with_file_changed,
        lambda: bench.bare(reload, bench.saved),
        runs,
        f"{len(reload)} statements",
    )
    out = bench.root.parent / "out"
    written = [sys.executable, "-c", "import duckdb, xlsxwriter"]
    compare(
        "kpi export, all formats",
        lambda: bench.kpi("export", str(out)),
        lambda: run(written),
        runs,
        "import duckdb, xlsxwriter",
    )
    compare("kpi show", lambda: bench.kpi("show"), lambda: run(importing), runs, "python -c 'import duckdb'")
    helped = [sys.executable, "-c", "import click"]
    compare(
        "kpi --help",
        lambda: run([sys.executable, "-m", "kpi.cli", "--help"]),
        lambda: run(helped),
        runs,
        "import click",
    )


if __name__ == "__main__":
    main()
