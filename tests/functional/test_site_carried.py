"""Pages of the build before are carried over; those that show something else are as in a whole site."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from kpi.database import reading
from kpi.engine.compile import compiled
from kpi.jobs.build_site import write_beside
from kpi.provenance import outline
from kpi.site.model_pages import models_of
from kpi.site.site import EXPECTATIONS
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import DATABASE

pytestmark = pytest.mark.long
MODEL = "model-marts.indicators.html"
# What the page of a figure shows of it, from each table that has some.
CHANGES = {
    "nps": "update marts.indicators set value = value + 1 where figure_id = 'nps' and report_year = 2023",
    "calls_received": "update marts.monthly_series set value = value + 100 where figure_id = 'calls_received'",
    "callbacks_received": "update marts.indicator_changes set shown_change = shown_change + 100, direction = 'up'"
    " where figure_id = 'callbacks_received'",
    "experience_statement_mean": "update marts.reconciliation set published_value = published_value + 1"
    " where figure_id = 'experience_statement_mean'",
    "call_mean_wait_seconds": "update marts.comparability_breaks set reason_fi = 'Muu.', reason_sv = 'Annat.',"
    " reason_en = 'Other.' where figure_id = 'call_mean_wait_seconds'",
}


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class Sites:
    """A build of the small demo with its site, and folders for sites of builds after it."""

    def __init__(self, root: Path, folder: Path) -> None:
        warehouse = Warehouse(root / "warehouse")
        record = warehouse.current_record()
        assert record is not None
        self.record, self.build, self.root = record, warehouse.folder(), folder
        self.graph = compiled(root).graph
        self.before = self.candidate("before")
        with reading(self.build / DATABASE) as con:
            assert write_beside(con, self.graph, self.before, record, None)

    def candidate(self, name: str) -> Path:
        """Make the folder of a build that is validated."""
        folder = self.root / name
        folder.mkdir()
        shutil.copy(self.build / EXPECTATIONS, folder)
        return folder


@pytest.fixture(scope="module")
def sites(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Sites:
    return Sites(small_demo, tmp_path_factory.mktemp("sites"))


def test_a_model_of_other_sql_changes_its_own_pages_alone(sites: Sites) -> None:
    node = next(one for one in sites.graph.nodes.values() if str(one.relation) == "marts.indicators")
    changed = replace(sites.graph, nodes={**sites.graph.nodes, node.id: replace(node, sql=f"{node.sql}\n-- otherwise")})
    before, carried, whole = sites.before, sites.candidate("carried"), sites.candidate("whole")
    with reading(sites.build / DATABASE) as con:
        assert write_beside(con, changed, carried, sites.record, before) is None
        assert write_beside(con, changed, whole, sites.record, before / "none")
    assert filecmp.cmpfiles(carried, whole, files(whole), shallow=False) == (files(whole), [], [])
    assert files(before) == files(carried)
    _, other, _ = filecmp.cmpfiles(before, carried, files(before), shallow=False)
    assert other == [f"site/{code}/{MODEL}" for code in ("en", "fi")] + ["site/fingerprint", f"site/sv/{MODEL}"]


def test_another_value_changes_the_pages_that_show_it_alone(sites: Sites) -> None:
    before, carried, whole = sites.before, sites.candidate("carried by page"), sites.candidate("whole again")
    database = sites.root / DATABASE
    shutil.copy(sites.build / DATABASE, database)
    database.chmod(0o600)
    with duckdb.connect(database) as con:
        for statement in CHANGES.values():
            con.execute(statement)
    node = next(one.id for one in sites.graph.nodes.values() if str(one.relation) == "marts.indicators")
    nodes = sites.record.nodes or {}
    changed = replace(sites.record, nodes={**nodes, node: replace(nodes[node], version="other")})
    texts = {path: (before / path).read_bytes() for path in files(before)}
    with reading(database) as con:
        written = write_beside(con, sites.graph, carried, changed, before)
        assert write_beside(con, sites.graph, whole, changed, None)
    assert written
    assert written.pages - written.carried < 60
    assert filecmp.cmpfiles(carried, whole, files(whole), shallow=False) == (files(whole), [], [])
    same = [path for path in files(carried) if (carried / path).samefile(before / path)]
    assert len(same) == written.carried > 600
    assert not {f"site/fi/{name}.html" for name in (*(f"figure-{figure}" for figure in CHANGES), "report-2023")} & {
        *same
    }
    assert {path: (before / path).read_bytes() for path in files(before)} == texts


def test_a_page_that_the_build_before_lacks_is_worked_out(sites: Sites) -> None:
    before, carried = sites.candidate("with a page less"), sites.candidate("with all pages")
    shutil.copytree(sites.before / "site", before / "site", copy_function=os.link)
    gone, fingerprint = before / "site/fi/figure-nps.html", before / "site/fingerprint"
    gone.unlink()
    lines = fingerprint.read_text().splitlines()
    noted = json.loads(lines[2])
    noted[2]["sv/figure-nps.html"] = "damaged"
    fingerprint.unlink()
    fingerprint.write_text("\n".join(["other", lines[1], json.dumps(noted)]))
    with reading(sites.build / DATABASE) as con:
        written = write_beside(con, sites.graph, carried, sites.record, before)
    assert written
    assert written.pages - written.carried == 1
    assert filecmp.cmpfiles(sites.before, carried, files(sites.before), shallow=False)[1:] == ([], [])


def test_how_a_figure_is_computed_is_asked_again_where_a_model_of_its_own_is_other(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make = outline._outline

    def noted(*given: Any) -> Any:
        made.append(given[3])
        return make(*given)

    monkeypatch.setattr(outline, "_outline", noted)
    node = next(one for one in sites.graph.nodes.values() if one.name == "int_rescue_figures")
    nodes = {**sites.graph.nodes, node.id: replace(node, sql=f"{node.sql}\n-- otherwise")}
    with reading(sites.build / DATABASE) as con:
        found = models_of(replace(sites.graph, nodes=nodes), con).outlines
        again = set(made)
        monkeypatch.setattr("kpi.site.model_pages.CACHE", Path("no-cache"))
        assert models_of(replace(sites.graph, nodes=nodes), con).outlines == found
    assert "rescue_missions" in again
    assert "nps" not in again
    assert len(again) < len(made) / 4
