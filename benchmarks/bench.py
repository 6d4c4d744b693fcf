"""`make bench`: CPU and wall time of kpi, medians, and the ratio to bare DuckDB doing the same in the same run.

Whole processes are measured, each with what it is compared to in turn, because machines are shared and noisy; ratios of
CPU seconds are what to read. Bare DuckDB is one process that runs the same compiled statements and test counts, and
reads the same files with a typed read_csv (module plain). Beside each ratio stands the one that was recorded before at
the same volume, so that a slip shows; `--write` puts table, plot and ratios into the documentation (module record).
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from benchmarks import plain, record
from benchmarks.county import copy_county
from benchmarks.record import Case
from kpi.engine.compile import compiled
from kpi.engine.graph import Graph
from kpi.engine.selector import Selection, select
from kpi.ingest.raw_files import scan

HERE = Path(__file__).resolve().parent
TODAY = "2026-11-21"
CHANGED = "calls_2024-02.csv"
CHANGED_MODEL = "int_rescue_figures"
VOLUMES = (0.1, 0.3, 1.0)  # of the given scale: the cost is measured at 1, 3 and 10 times the smallest
HEADING = f"{'CPU s':>7}{'wall':>7}{'CPU s':>8}{'wall':>7}{'ratio':>8}{'before':>8}{'MB':>7}  compared with"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process cost, in seconds, and its peak memory in MB."""

    cpu: float
    wall: float
    memory: float


# As an installed kpi runs: Python keeps what it compiled of modules, which an environment may forbid.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run(command: list[str], folder: Path | None = None) -> Cost:
    """Run one process in a folder and measure it whole. Raises RuntimeError when it fails."""
    with tempfile.TemporaryFile() as message:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=message, stderr=message, cwd=folder, env=ENVIRONMENT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        if status:
            message.seek(0)
            raise RuntimeError(f"{' '.join(command)}\n{message.read().decode()}")
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024)


def rust_dbt(folder: Path) -> list[str]:
    """Return the command of dbt's Rust core, whose binary lies in a folder with DuckDB's library."""
    given = (f"LD_LIBRARY_PATH={folder}", "DO_NOT_TRACK=1", "DBT_SEND_ANONYMOUS_USAGE_STATS=false")
    return ["env", *given, str(folder / "dbt")]


def compare(name: str, ours: Callable[[], Cost], bare: Callable[[], Cost], runs: int, message: str) -> Case:
    """Measure two things in turn; returns their medians and the median of their CPU ratios."""
    pairs = [(ours(), bare()) for _ in range(runs)]
    figures = zip(*((a.cpu, a.wall, b.cpu, b.wall) for a, b in pairs), strict=True)
    cpu, wall, bare_cpu, bare_wall = (statistics.median(values) for values in figures)
    ratio = statistics.median(a.cpu / b.cpu for a, b in pairs)
    return Case(name, cpu, wall, bare_cpu, bare_wall, ratio, max(a.memory for a, _ in pairs), message)


def show(case: Case, before: float | None) -> None:
    """Print one line of the table."""
    recorded = f"{before:.2f}" if before else "-"
    figures = f"{case.cpu:>7.2f}{case.wall:>7.2f}{case.bare_cpu:>8.2f}{case.bare_wall:>7.2f}"
    print(f"{case.name:<38}{figures}{case.ratio:>8.2f}{recorded:>8}{case.memory:>7.0f}  {case.compared}", flush=True)


class Bench:
    """A project of its own in a temporary folder, with the demo's deliveries at full volume."""

    def __init__(self, folder: Path, scale: float, feeds: Sequence[str] = ()) -> None:
        self.root = copy_county(folder / "project")
        self.raw = self.root / "warehouse/raw"
        self.options = ["--publish-despite-checks", "a benchmark"]
        # In a process of its own: a process started by a large one reports that one's memory as its own.
        demo = [sys.executable, "-m", "demo", str(self.raw), "--scale", str(scale)]
        subprocess.run([*demo, *(("--feeds", *feeds) if feeds else ())], check=True, cwd=HERE.parent)
        subprocess.run(
            [sys.executable, "-m", "compileall", "-q", str(HERE.parent / "src")], check=True, env=ENVIRONMENT
        )
        self.records = sum(plain.records(file) for file in sorted(self.raw.rglob("*.csv*")))
        self.graph: Graph = compiled(self.root).graph
        self.statements = folder / "statements.json"
        self.database = folder / "bare.duckdb"
        self.saved = folder / "saved.duckdb"
        self.loaded = folder / "loaded.duckdb"
        self.feeds = folder / "feeds.pickle"
        self.feeds.write_bytes(pickle.dumps(self.graph.feeds))
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

    def load(self) -> Cost:
        """Measure the loader alone, on what it loaded before if that is there."""
        script = str(HERE / "load_once.py")
        return run([sys.executable, script, str(self.loaded), str(self.raw), str(self.feeds), TODAY])

    def reload(self) -> list[str]:
        """The plain statements that load the file of `change_file` again."""
        calls = next(feed for feed in self.graph.feeds if feed.name == "calls")
        file = next(file for file in scan(self.raw).files if file.name == CHANGED)
        delete = f"delete from raw.calls where _file = '{CHANGED}'"
        return [delete, plain.load_statement(calls, self.raw, file, self.copies)]

    def everything(self) -> list[str]:
        """The plain statements of the whole warehouse."""
        loads = plain.loads(self.graph, self.raw, scan(self.raw), self.copies)
        return plain.raw_tables(self.graph) + loads + plain.models(self.graph)

    def change_model(self, turn: list[int], other_rows: bool = False) -> None:
        """Change what CHANGED_MODEL means, and its rows when asked to."""
        (path,) = (self.root / "models").rglob(f"{CHANGED_MODEL}.sql")
        turn[0] += 1
        text = (HERE.parent / path.relative_to(self.root)).read_text()
        old, new = "    from missions\n", f"    from missions\n    where {turn[0]} > 0\n"
        if other_rows:
            old, new = "}} as response_seconds\n", f"}}}} + {turn[0]} as response_seconds\n"
        if old not in text:
            raise RuntimeError(f"{path} has no '{old.strip()}' any more: say what else to change.")
        path.write_text(text.replace(old, new, 1))

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
    """Measure at three volumes and print a table of each; write what was measured when asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the county's volumes, of the last table")
    parser.add_argument("--write", type=Path, help="the folder of benchmarks.md, for the table, plot and ratios")
    parser.add_argument("--volumes", type=float, nargs="*", default=VOLUMES, help="shares of the scale, smallest first")
    parser.add_argument("--feeds", nargs="*", default=(), help="those delivered, calls among them; all unless given")
    options = parser.parse_args()
    found: dict[int, list[Case]] = {}
    for volume in options.volumes:
        before = record.ratios(options.write or record.FOLDER, volume * options.scale)
        with tempfile.TemporaryDirectory(prefix="kpi-bench-") as folder:
            bench = Bench(Path(folder), volume * options.scale, options.feeds)
            print(f"{bench.records} records\n{'':<38}{'kpi':>7}{'':>7}{'bare':>8}")
            print(f"{f'median of {options.runs}':<38}{HEADING}")
            cases = found.setdefault(bench.records, [])
            for case in chain(measure_loading(bench, options.runs), measure(bench, options.runs)):
                show(case, before.get(case.name))
                cases.append(case)
        if options.write:
            record.write(options.write, volume * options.scale, options.runs, found)


def measure(bench: Bench, runs: int) -> Iterator[Case]:
    """Measure every case."""
    whole = bench.everything()

    def bare() -> Cost:
        return bench.bare(whole)

    message = f"bare DuckDB, {len(whole)} statements"
    yield compare(
        "from nothing, no Great Expectations", lambda: bench.from_nothing("--no-expectations"), bare, runs, message
    )
    yield compare("from nothing", bench.from_nothing, bare, runs, message)
    shutil.copy(bench.database, bench.saved)
    importing = [sys.executable, "-c", "import duckdb"]
    yield compare("no change", bench.refresh, lambda: run(importing), runs, "python -c 'import duckdb'")
    turn = [0]
    again = plain.models(bench.graph, bench.descendants(CHANGED_MODEL))
    message = f"{len(again)} statements"

    def with_model_changed(other_rows: bool) -> Cost:
        bench.change_model(turn, other_rows)
        return bench.refresh()

    for name, other_rows in (("one model changed, the same rows", False), ("one model changed, other rows", True)):
        yield compare(
            name, partial(with_model_changed, other_rows), lambda: bench.bare(again, bench.saved), runs, message
        )

    def with_file_changed() -> Cost:
        bench.change_file(turn)
        return bench.refresh()

    reload = bench.reload() + plain.models(bench.graph, bench.descendants("source:raw.calls"))
    message = f"{len(reload)} statements"
    yield compare("one file changed", with_file_changed, lambda: bench.bare(reload, bench.saved), runs, message)
    out, writing = str(bench.root.parent / "out"), [sys.executable, "-c", "import duckdb, xlsxwriter"]
    message = "import duckdb, xlsxwriter"
    yield compare("kpi export, all formats", lambda: bench.kpi("export", out), lambda: run(writing), runs, message)
    showing = [sys.executable, "-c", "import duckdb"]
    yield compare("kpi show", lambda: bench.kpi("show"), lambda: run(showing), runs, "import duckdb")
    importing = [sys.executable, "-c", "import click"]
    bench.kpi("compile")
    for name, words in (("kpi compile, no change", ["compile"]), ("kpi ls", ["ls"]), ("kpi --help", ["--help"])):
        ours = partial(run, [sys.executable, "-m", "kpi.cli", *words], bench.root)
        yield compare(name, ours, lambda: run(importing), runs, "import click")


def measure_loading(bench: Bench, runs: int) -> Iterator[Case]:
    """Measure the loader alone, without what is built of the rows: all deliveries, and one that changed."""
    loads = plain.raw_tables(bench.graph) + plain.loads(bench.graph, bench.raw, scan(bench.raw), bench.copies)
    turn = [0]

    def from_nothing() -> Cost:
        bench.loaded.unlink(missing_ok=True)
        return bench.load()

    def with_file_changed() -> Cost:
        bench.change_file(turn)
        return bench.load()

    message = f"bare DuckDB, {len(loads)} statements"
    yield compare("loading alone", from_nothing, lambda: bench.bare(loads), runs, message)
    shutil.copy(bench.database, bench.saved)
    again = bench.reload()
    message = f"{len(again)} statements"
    yield compare(
        "loading alone, one file changed", with_file_changed, lambda: bench.bare(again, bench.saved), runs, message
    )


if __name__ == "__main__":
    main()
