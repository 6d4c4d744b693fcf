"""The site of the build before is carried over; pages of models that are other now are those of a whole site."""

from __future__ import annotations

import filecmp
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kpi.database import reading
from kpi.engine.compile import compiled
from kpi.jobs.build_site import EXPECTATIONS, write_beside
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import DATABASE

pytestmark = pytest.mark.long
MODEL = "model-marts.indicators.html"


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_model_of_other_sql_changes_its_own_pages_alone(small_demo: Path, tmp_path: Path) -> None:
    warehouse = Warehouse(small_demo / "warehouse")
    folder, record, graph = warehouse.folder(), warehouse.current_record(), compiled(small_demo).graph
    assert record is not None
    node = next(one for one in graph.nodes.values() if str(one.relation) == "marts.indicators")
    changed = replace(graph, nodes={**graph.nodes, node.id: replace(node, sql=f"{node.sql}\n-- otherwise")})
    before, carried, whole = (tmp_path / name for name in ("before", "carried", "whole"))
    for candidate in (before, carried, whole):
        candidate.mkdir()
        shutil.copy(folder / EXPECTATIONS, candidate)
    with reading(folder / DATABASE) as con:
        assert write_beside(con, graph, before, record, None)
        assert write_beside(con, changed, carried, record, before) is None
        assert write_beside(con, changed, whole, record, before / "none")
    assert filecmp.cmpfiles(carried, whole, files(whole), shallow=False) == (files(whole), [], [])
    assert files(before) == files(carried)
    _, other, _ = filecmp.cmpfiles(before, carried, files(before), shallow=False)
    assert other == [f"site/{code}/{MODEL}" for code in ("en", "fi")] + ["site/fingerprint", f"site/sv/{MODEL}"]
