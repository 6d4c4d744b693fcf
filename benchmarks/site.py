"""What the pages of a build cost: CPU seconds, bytes, the largest page of each type.

`python -m benchmarks.site [--scale 0.02] [--runs 3]`
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections import defaultdict
from datetime import date
from pathlib import Path

from demo.deliver import write_demo
from kpi.jobs.build_site import write_copy
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Build a demo, write its site some times, and print what it costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.02)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("models", "seeds", "macros", "expectations", "report"):
            shutil.copytree(ROOT / name, root / name)
        shutil.copytree(ROOT / "tests/sql", root / "tests/sql")
        shutil.copy(ROOT / "dbt_project.yml", root)
        write_demo(root / "warehouse/raw", scale=given.scale)
        refresh(root, Options(as_of=date(2026, 11, 21), publish_despite_checks="a benchmark"), lambda line: None)
        for public in (False, True):
            _measure(root, root / f"site-{public}", given.runs, public)


def _measure(root: Path, target: Path, runs: int, is_public: bool) -> None:
    best = float("inf")
    for _ in range(runs):
        before = os.times()
        written = write_copy(root, None, target, is_public)
        after = os.times()
        best = min(best, after.user + after.system - before.user - before.system)
    name = "public site" if is_public else "site"
    print(f"{name}: {written.pages} pages, {written.bytes / 1e6:.1f} MB, {best:.2f} CPU s with compiling the project")
    largest: dict[str, int] = defaultdict(int)
    for path in target.rglob("*.html"):
        kind = path.stem.split("-")[0]
        largest[kind] = max(largest[kind], path.stat().st_size)
    for kind, size in sorted(largest.items()):
        print(f"  largest {kind}: {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
