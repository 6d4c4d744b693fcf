"""Ask both engines everything of the demo, and print how much is equal: `make parity`, `make parity-cluster`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import nullcontext
from datetime import date
from pathlib import Path

from benchmarks.cluster import cluster
from conftest import copy_project
from demo.deliver import write_demo
from kpi.engine.compile import compiled
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh

from .parity import Asker

DAY = date(2026, 11, 21)


def main() -> int:
    """Print the table of each engine; the exit code says whether anything was other than on DuckDB, or refused."""
    asked = argparse.ArgumentParser(prog="spark", description=__doc__)
    asked.add_argument(
        "engines", nargs="*", default=["local[2]"], help="sail, local[2], cluster or a master of Spark's"
    )
    asked.add_argument("--scale", type=float, default=0.01, help="share of the county's volumes")
    asked.add_argument("--kinds", default="odd_values,models,data_tests,unit_tests")
    given = asked.parse_args()
    is_equal = True
    with tempfile.TemporaryDirectory() as name:
        root = copy_project(Path(name) / "project")
        write_demo(root / "warehouse/raw", scale=given.scale)
        refresh(root, Options(as_of=DAY, publish_despite_checks="less than the county's volumes"), lambda line: None)
        for number, engine in enumerate(given.engines):
            asker = Asker(Path(name) / f"parity-{number}")
            asker.read_build(root, compiled(root))
            questions = [one for kind in given.kinds.split(",") for one in getattr(asker, kind)()]
            with cluster(Path(name) / "cluster") if engine == "cluster" else nullcontext() as running:
                answers = asker.ask(running.address if running else engine, questions)
            print(answers.table, answers.message, sep="\n", flush=True)
            is_equal = is_equal and not answers.other and not answers.refused
    return 0 if is_equal else 1


if __name__ == "__main__":
    sys.exit(main())
