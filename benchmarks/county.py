"""The county's project for benchmarks, in a folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

from kpi.engine.compile import CACHE

ROOT = Path(__file__).resolve().parents[1]


def copy_county(root: Path, is_known: bool = True) -> Path:
    """Copy the project without deliveries and builds into a folder, and return that.

    With `is_known` it brings what was found out when the project itself was compiled: compiling is measured elsewhere.
    """
    for name in ("models", "seeds", "macros", "expectations", "report", "tests/sql"):
        shutil.copytree(ROOT / name, root / name)
    shutil.copy(ROOT / "dbt_project.yml", root)
    if is_known and (ROOT / CACHE).is_file():
        (root / CACHE).parent.mkdir(parents=True)
        shutil.copy(ROOT / CACHE, root / CACHE)
    return root
