"""Ask both engines everything of the demo, and print how much is equal: `make parity`, `make parity-cluster`."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import NoReturn

from benchmarks.cluster import cluster
from conftest import copy_project
from demo.deliver import write_demo
from kpi.engine.compile import compiled
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh

from .parity import KINDS, MINUTES, Asker, Question

DAY = date(2026, 11, 21)


def main() -> int:
    """Print the table of each engine; the exit code says whether anything was other, refused or not answered."""
    asked = argparse.ArgumentParser(prog="spark", description=__doc__)
    asked.add_argument(
        "engines", nargs="*", default=["local[2]"], help="sail, local[2], cluster or a master of Spark's"
    )
    asked.add_argument("--scale", type=float, default=0.01, help="share of the county's volumes")
    asked.add_argument("--kinds", default=",".join(KINDS), help="what is asked, all unless named")
    asked.add_argument("--minutes", type=float, default=MINUTES, help="for the answers of an engine, at most")
    given = asked.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    is_equal = True
    with tempfile.TemporaryDirectory(prefix="kpi-parity-") as name:
        root = copy_project(Path(name) / "project")
        write_demo(root / "warehouse/raw", scale=given.scale)
        refresh(root, Options(as_of=DAY, publish_despite_checks="less than the county's volumes"), lambda line: None)
        asker = Asker(Path(name) / "parity")
        asker.read_build(root, compiled(root))
        questions = list[Question]()
        for kind in given.kinds.split(","):
            questions += getattr(asker, kind)()
            _say(f"DuckDB: {len(questions)} answers, with {kind.replace('_', ' ')}")
        for engine in given.engines:
            with cluster(Path(name) / "cluster") if engine == "cluster" else nullcontext() as running:
                address = running.address if running else engine
                answers = asker.ask(address, questions, given.minutes, emit=_say)
            _say("\n".join([answers.table, answers.message]).rstrip())
            is_equal = is_equal and not answers.other and not answers.refused
    return 0 if is_equal else 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _end(number: int, frame: object) -> NoReturn:
    """End as an exception does, so that what was started is ended too."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
