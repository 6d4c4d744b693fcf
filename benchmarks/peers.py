"""The same thirty models and sixty tests over 1.6 million rows with kpi, dbt (1 and 2), SQLMesh, lea and bare DuckDB.

Run by `make bench`. Whole processes in turn, medians and CPU ratios to bare DuckDB of the same run. A tool whose
virtual environment is not there (make peers) is left out and told.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import thirty
from benchmarks.bench import Cost, run, rust_dbt

HERE = Path(__file__).resolve().parent
_SELECTED = ("--select", f"{thirty.CHANGED}+")
PEERS = {"dbt": "dbt", "SQLMesh": "sqlmesh", "lea": "lea"}


@dataclass(frozen=True, slots=True)
class Tool:
    """How a tool's project is written (with a condition that changes one model), built, and forgotten.

    `changed` are the arguments that build what changed, where the tool has to be told.
    """

    write: Callable[[Path, Path, str], None]
    command: list[str]
    leftovers: tuple[str, ...]
    changed: tuple[str, ...] = ()


def tools(dbt2: Path | None = None) -> dict[str, Tool]:
    """kpi and those peers that are installed; dbt's Rust core where its folder is named."""
    kpi = [sys.executable, "-m", "kpi.cli", "build"]
    found = {"kpi": Tool(thirty.write_dbt, kpi, ("warehouse",))}
    commands = {
        "dbt": (thirty.write_dbt, ["build", "--profiles-dir", "."], ("thirty.duckdb", "target", "logs")),
        "SQLMesh": (
            thirty.write_sqlmesh,
            ["plan", "--auto-apply", "--no-prompts"],
            ("thirty.duckdb", ".cache", "logs"),
        ),
        "lea": (
            thirty.write_lea,
            ["run", "--scripts", "scripts", "--dataset", "thirty", "--production"],
            ("lea.duckdb",),
        ),
    }
    for name, (write, arguments, leftovers) in commands.items():
        program = HERE.parent / f".venv-{PEERS[name]}/bin/{PEERS[name]}"
        if program.is_file():
            found[name] = Tool(write, [str(program), *arguments], leftovers, _SELECTED if name == "dbt" else ())
        else:
            print(f"{name} is left out: {program} is not there; make peers installs it.")
    if dbt2:
        write, arguments, leftovers = commands["dbt"]
        found["dbt 2"] = Tool(write, [*rust_dbt(dbt2.resolve()), *arguments], leftovers, _SELECTED)
    return found


class Race:
    """All tools on the same rows, each in a folder of its own."""

    def __init__(self, folder: Path, rows: int, dbt2: Path | None = None) -> None:
        self.folder, self.parquet = folder, folder / "raw.parquet"
        self.tools = tools(dbt2)
        thirty.write_rows(self.parquet, rows)

    def from_nothing(self, name: str) -> Cost:
        """Build all of it where nothing was built."""
        tool, root = self.tools[name], self.folder / name
        tool.write(root, self.parquet, "")
        for left in tool.leftovers:
            for path in root.glob(f"{left}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return self.again(name)

    def changed(self, name: str, turn: int) -> Cost:
        """Build after one model changed."""
        self.tools[name].write(self.folder / name, self.parquet, f"{turn} > 0")
        return run([*self.tools[name].command, *self.tools[name].changed], self.folder / name)

    def again(self, name: str) -> Cost:
        """Build as it stands."""
        return run(self.tools[name].command, self.folder / name)

    def bare(self, only: frozenset[str] | None = None) -> Cost:
        """Run the statements and counts in one process of bare DuckDB: on a new file, or on one that was built."""
        database, statements = self.folder / "bare.duckdb", self.folder / "statements.json"
        if only is None:
            database.unlink(missing_ok=True)
        statements.write_text(json.dumps(thirty.bare_statements(self.parquet, only)))
        return run([sys.executable, str(HERE / "bare.py"), str(database), str(statements)])

    def opening(self) -> Cost:
        """Open the built file with bare DuckDB, and no more."""
        code = "import duckdb, sys; duckdb.connect(sys.argv[1], read_only=True).execute('select 1').fetchall()"
        return run([sys.executable, "-c", code, str(self.folder / "bare.duckdb")])


def main() -> None:
    """Print a table for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help=f"share of {thirty.ROWS} rows")
    parser.add_argument("--dbt2", type=Path, help="a folder with dbt's Rust core and DuckDB's library")
    options = parser.parse_args()
    runs, rows = options.runs, round(thirty.ROWS * options.scale)
    with tempfile.TemporaryDirectory(prefix="kpi-peers-") as folder:
        race = Race(Path(folder), rows, options.dbt2)
        names = list(race.tools)
        title = f"30 models, 60 tests, {rows:,} rows; median of {runs}".replace(",", " ")
        print(f"{title:<58}{'CPU s':>7}{'wall':>7}{'ratio':>8}")
        _told("from nothing", "bare DuckDB", [_turn(race.bare, {n: _call(race.from_nothing, n) for n in names}, runs)])
        _told(
            "nothing changed", "opening the file", [_turn(race.opening, {n: _call(race.again, n) for n in names}, runs)]
        )
        below = thirty.descendants(thirty.CHANGED)
        turns = []
        for turn in range(1, runs + 1):
            ours = {name: _call(race.changed, name, turn) for name in names}
            turns.append(_turn(lambda: race.bare(below), ours, 1))
        _told(f"one model changed ({len(below)} to build)", "bare DuckDB", turns)


def _call(function: Callable[..., Cost], *arguments: object) -> Callable[[], Cost]:
    return lambda: function(*arguments)


def _turn(bare: Callable[[], Cost], ours: Mapping[str, Callable[[], Cost]], runs: int) -> dict[str, list[Cost]]:
    found: dict[str, list[Cost]] = {name: [] for name in ("bare", *ours)}
    for _ in range(runs):
        found["bare"].append(bare())
        for name, function in ours.items():
            found[name].append(function())
    return found


def _told(case: str, bare: str, turns: list[dict[str, list[Cost]]]) -> None:
    costs = {name: [cost for turn in turns for cost in turn[name]] for name in turns[0]}
    for name, found in costs.items():
        ratio = statistics.median(cost.cpu / plain.cpu for cost, plain in zip(found, costs["bare"], strict=True))
        cpu, wall = (statistics.median(getattr(cost, part) for cost in found) for part in ("cpu", "wall"))
        shown = bare if name == "bare" else name
        print(f"{case:<40}{shown:<18}{cpu:>7.2f}{wall:>7.2f}{ratio:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
