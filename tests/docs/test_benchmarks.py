"""The benchmarks run to their end at a small scale, so that they cannot rot. Nothing here compares a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
CASES = {
    "bench": (
        ["--scale", "0.01", "--runs", "1"],
        [
            "from nothing, no Great Expectations",
            "from nothing",
            "no change",
            "one model changed",
            "one file changed",
            "kpi export, all formats",
            "kpi show",
        ],
    ),
    "compiling": (["--models", "10", "--runs", "1"], ["this project", "10 generated models"]),
    "peers": (["--scale", "0.01", "--runs", "1"], ["from nothing", "nothing changed", "one model changed"]),
    "site": (["--scale", "0.01", "--runs", "1"], ["site: ", "public site: "]),
    "memory": (["--scale", "0.01"], ["memory limit 512MB, calls x 0.01: exit 0"]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_benchmark_runs_to_its_end_and_prints_every_case(name: str) -> None:
    arguments, cases = CASES[name]
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [case for case in cases if not any(line.startswith(case) for line in lines)] == []
