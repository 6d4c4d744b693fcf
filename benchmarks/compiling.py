"""What compiling costs: this project, and generated projects of 250, 500 and 1 000 models of 50 lines.

Each figure is the CPU time of a process of its own, imports and all: from nothing (no cache), with nothing changed, and
with one model changed; and once more from nothing without binding any column, which nothing is kept of. Modules are
taken from Python's own cache of bytecode, as where kpi is installed.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import run, rust_dbt
from benchmarks.county import copy_county
from benchmarks.generated import write_project

# The collector of garbage looks as rarely as it does in kpi's own commands, and not at all at the end.
END = "; gc.freeze()"
START = "import gc, sys; gc.set_threshold(50_000, 20, 20); from pathlib import Path; root = Path(sys.argv[1]); "
CODE = START + "from kpi.engine.compile import compiled; compiled(root)" + END
UNBOUND = (
    START + "from kpi.engine.nodes import compile_project; from kpi.project.project import load_project; "
    "compile_project(load_project(root))" + END
)


def compiling(root: Path) -> float:
    """CPU seconds of one process that compiles the project."""
    return run([sys.executable, "-c", CODE, str(root)]).cpu


def not_binding(root: Path) -> float:
    """CPU seconds of one process that renders and parses the project and asks DuckDB nothing of its columns."""
    return run([sys.executable, "-c", UNBOUND, str(root)]).cpu


def compiling_by_dbt(folder: Path) -> Callable[[Path], float]:
    """Return what measures dbt's Rust core, which lies in a folder with DuckDB's library."""
    words = ["compile", "--profiles-dir", str(Path(__file__).resolve().parent / "dbt2"), "--profile", "bench"]
    return lambda root: run([*rust_dbt(folder), *words, "--project-dir", str(root)], root).cpu


def measure(
    root: Path, changed: Path, runs: int, once: Callable[[Path], float], cache: str
) -> tuple[float, float, float]:
    """Median CPU seconds from nothing, with nothing changed, and with one model changed."""
    from_nothing, unchanged, one = [], [], []
    text = changed.read_text()
    once(root)  # writes the bytecode of modules
    for turn in range(runs):
        shutil.rmtree(root / cache, ignore_errors=True)
        from_nothing.append(once(root))
        unchanged.append(once(root))
        changed.write_text(f"{text.rstrip()}\n-- changed {turn}\n")
        one.append(once(root))
        changed.write_text(text)
    return statistics.median(from_nothing), statistics.median(unchanged), statistics.median(one)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--models", type=int, nargs="*", default=[250, 500, 1000])
    parser.add_argument("--dbt2", type=Path, help="a folder with dbt's Rust core and DuckDB's library")
    options = parser.parse_args()
    tools: dict[str, tuple[Callable[[Path], float], str]] = {"": (compiling, "warehouse/.cache")}
    if options.dbt2:
        tools[", dbt 2"] = (compiling_by_dbt(options.dbt2.resolve()), "target")
    print(
        f"{'CPU s, median of ' + str(options.runs):<32}{'from nothing':>14}{'no change':>12}{'one changed':>13}"
        f"{'not bound':>12}"
    )
    with tempfile.TemporaryDirectory(prefix="kpi-compiling-") as folder:
        own = copy_county(Path(folder) / "own", is_known=False)
        cases = [("this project", own, own / "models/intermediate/rescue/int_rescue_figures.sql")]
        for models in options.models:
            root = write_project(Path(folder) / str(models), models)
            cases.append((f"{models} generated models", root, root / f"models/m_{models - 1:05}.sql"))
        for name, root, changed in cases:
            for tool, (once, cache) in tools.items():
                found = measure(root, changed, options.runs, once, cache)
                print(f"{name + tool:<32}{{:>14.2f}}{{:>12.2f}}{{:>13.2f}}".format(*found), end="", flush=True)
                print("" if tool else f"{statistics.median(not_binding(root) for _ in range(options.runs)):>12.2f}")


if __name__ == "__main__":
    main()
