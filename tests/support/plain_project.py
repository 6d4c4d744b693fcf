"""A dbt project of one model, and what compiling it with other files says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from kpi.engine.compile import check_project
from kpi.engine.graph import Graph
from kpi.errors import KpiError
from kpi.project.project import load_project

PLAIN = {"dbt_project.yml": "name: own\n", "models/one.sql": "select 1 as id, 'a' as Name"}


def compiled(root: Path, files: Mapping[str, str]) -> Graph:
    for name, text in {**PLAIN, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return check_project(load_project(root))


def told(root: Path, files: Mapping[str, str]) -> str:
    with pytest.raises(KpiError) as caught:
        compiled(root, files)
    return str(caught.value)
