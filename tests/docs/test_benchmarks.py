"""The benchmarks run to their end at a small scale, so that they cannot rot. Nothing here compares a time.

They cost some 80 CPU seconds, most of them for processes that start and build: that is what they measure. So they build
a county of few feeds where the feeds are not what is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import record
from benchmarks.record import Case

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
FEW = ("calls", "rescue_missions")  # what the benchmark changes: a file of the one, a model of the other
CASES = {
    "bench": (
        ["--scale", "0.001", "--runs", "1", "--volumes", "1", "--feeds", *FEW, "--write", "{folder}"],
        [
            "loading alone",
            "loading alone, one file changed",
            "from nothing, no Great Expectations",
            "from nothing",
            "no change",
            "one model changed, the same rows",
            "one model changed, other rows",
            "one file changed",
            "kpi export, all formats",
            "kpi show",
        ],
    ),
    "compiling": (["--models", "10", "--runs", "1"], ["this project", "10 generated models"]),
    "peers": (["--scale", "0.001", "--runs", "1"], ["from nothing", "nothing changed", "one model changed"]),
    # The cluster is left to who measures: a master, two workers and a driver take half a minute of CPU to start.
    "scale": (["--scales", "0.01", "--engines", "duckdb"], ["engine", "duckdb", "5 steps"]),
    "memory": (["--scale", "0.001", "--feeds"], ["wrote 1 feeds", "memory limit 512MB, calls x 0.001: exit 0"]),
}


def printed_by(name: str, *arguments: str) -> list[str]:
    """The lines that a benchmark prints."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def not_in(lines: list[str], cases: list[str]) -> list[str]:
    return [case for case in cases if not any(line.startswith(case) for line in lines)]


def test_the_benchmark_of_the_site_measures_all_pages_and_exports_of_a_build(small_demo: Path) -> None:
    lines = printed_by("site", "--project", str(small_demo), "--runs", "1")
    assert not_in(lines, ["site: ", "public site: ", "pages alone: ", "exports: "]) == []


@pytest.mark.parametrize("name", CASES)
def test_a_benchmark_runs_to_its_end_and_prints_every_case(name: str, tmp_path: Path) -> None:
    arguments, cases = CASES[name]
    lines = printed_by(name, *(argument.format(folder=tmp_path) for argument in arguments))
    assert not_in(lines, cases) == []
    if name == "bench":
        page, ratios = (tmp_path / "benchmarks.md").read_text(), json.loads((tmp_path / "benchmarks.json").read_text())
        assert [case for case in cases if f"| {case} |" not in page or case not in ratios["0.001"]] == []
        assert "<svg" in (tmp_path / "benchmarks.svg").read_text()


def test_a_ratio_stands_beside_the_one_recorded_before(tmp_path: Path) -> None:
    case = Case("no change", 0.2, 0.3, 0.1, 0.1, 2.0, 80, "import duckdb")
    record.write(tmp_path, 0.5, 3, {1000: [case], 10_000: [case]})
    assert "| 2.00 | – |" in (tmp_path / "benchmarks.md").read_text()
    assert "<polyline" in (tmp_path / "benchmarks.svg").read_text()
    record.write(tmp_path, 0.5, 3, {1000: [replace(case, ratio=2.5)]})
    assert "| 2.50 | 2.00 |" in (tmp_path / "benchmarks.md").read_text()
    assert record.ratios(tmp_path, 0.5) == {"no change": 2.5}
    assert record.ratios(tmp_path, 1) == {}
