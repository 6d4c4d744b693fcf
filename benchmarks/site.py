"""What the pages and exports of a build cost: CPU seconds, bytes, the largest page of each type, and what they may.

`python -m benchmarks.site [--scale 0.02 | --project FOLDER] [--runs 3]`
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from datetime import date
from pathlib import Path

from benchmarks.bench import run
from benchmarks.county import copy_county
from demo.deliver import write_demo
from kpi.database import reading
from kpi.engine.compile import compiled
from kpi.jobs.build_site import write_copy
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.site.model_pages import models_of
from kpi.site.pages import About
from kpi.site.site import EXPECTATIONS, ProjectFiles, read_results, write_site
from kpi.warehouse.permissions import DATABASE

TODAY = date(2026, 11, 21)
LARGEST = {"report": 150, "figure": 100, "quality": 200}  # kB


def main() -> None:
    """Build a demo, write its site some times, and print what it costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.02)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--project", type=Path, help="whose published build has the pages, instead of a demo")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = given.project or _published(Path(folder) / "project", given.scale)
        for public in (False, True):
            _measure(root, Path(folder) / f"site-{public}", given.runs, public)
        _measure_pages(root, Path(folder) / "pages", given.runs)
        _measure_exports(root, Path(folder) / "exports", given.runs)


def _published(root: Path, scale: float) -> Path:
    copy_county(root)
    write_demo(root / "warehouse/raw", scale=scale)
    refresh(root, Options(as_of=TODAY, publish_despite_checks="a benchmark"), lambda line: None)
    return root


def _measure(root: Path, target: Path, runs: int, is_public: bool) -> None:
    best = float("inf")
    for _ in range(runs):
        before = _cpu()
        written = write_copy(root, None, target, is_public)
        best = min(best, _cpu() - before)
    name = "public site" if is_public else "site"
    print(f"{name}: {written.pages} pages, {written.bytes / 1e6:.1f} MB, {best:.2f} CPU s with compiling the project")
    largest: dict[str, int] = defaultdict(int)
    for path in target.rglob("*.html"):
        kind = path.stem.split("-")[0]
        largest[kind] = max(largest[kind], path.stat().st_size)
    for kind, size in sorted(largest.items()):
        wanted = f" (at most {LARGEST[kind]})" if kind in LARGEST else ""
        print(f"  largest {kind}: {size / 1000:.0f} kB{wanted}")


def _measure_pages(root: Path, target: Path, runs: int) -> None:
    """Write the pages of the build with all it takes but compiling: reading, how figures are computed, rendering."""
    graph, build = compiled(root).graph, (root / "warehouse/current").resolve()
    about, best = About(build.name, TODAY, True), float("inf")
    with reading(build / DATABASE) as con:
        models_of(graph, con)  # what it finds is remembered, as it is on any night without a change of SQL
        for _ in range(runs):
            shutil.rmtree(target, ignore_errors=True)
            before = _cpu()
            project = ProjectFiles(root, graph.project.report_tables, models_of(graph, con))
            write_site(target, con, project, about, read_results(build, EXPECTATIONS))
            best = min(best, _cpu() - before)
    print(f"pages alone: {best:.2f} CPU s (at most 2; and 12 MB)")


def _measure_exports(root: Path, target: Path, runs: int) -> None:
    """Export all formats, in a process of its own as a reader does."""
    command = [sys.executable, "-m", "kpi.cli", "export", str(target), "--project-dir", str(root)]
    best = min(run(command, root).cpu for _ in range(runs))
    print(f"exports: {best:.2f} CPU s with starting Python (at most 1.5)")


def _cpu() -> float:
    times = os.times()
    return times.user + times.system


if __name__ == "__main__":
    main()
