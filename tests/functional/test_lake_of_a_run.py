"""A run whose models are computed by Spark puts its deliveries into the lake, and Spark reads them there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from kpi.warehouse.builds import Warehouse
from kpi.warehouse.lake import damaged, lake_of, manifest_of, open_with_lake
from small_project import FILES, write
from with_spark import Server, refreshed, serving

HEADER = "call_id,line,waited_seconds,arrived_on\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.mark.long
def test_deliveries_land_in_the_lake_and_models_are_computed_from_it(tmp_path: Path, server: Server) -> None:
    # A lake elsewhere, as machines of a cluster share it.
    place = f"engine: {{type: spark, lake: '{tmp_path}/shared'}}"
    settings = FILES["dbt_project.yml"].replace("vars:\n", f"vars:\n  kpi_warehouse:\n    {place}\n")
    root = write(tmp_path / "project", {"dbt_project.yml": settings})
    raw = root / "warehouse/raw/calls"
    raw.mkdir(parents=True)
    (raw / "a.csv").write_text(HEADER + "1,health,60,2025-01-02\n2,health,400,2025-01-03\n")
    said = refreshed(root, server)
    assert "written, the others are as they were" in said
    warehouse = Warehouse(root / "warehouse")
    first = warehouse.published()
    (raw / "b.csv").write_text(HEADER + "1,health,90,2025-01-02\n3,social,10,2025-01-04\n")
    refreshed(root, server)
    second = warehouse.published()
    before, after = (manifest_of(warehouse, build) for build in (first, second))
    assert after.location == str(tmp_path / "shared")
    assert before.table("raw.rejects") == after.table("raw.rejects")
    assert before.table("raw.calls").files != after.table("raw.calls").files
    lake = lake_of(warehouse, warehouse.record(warehouse.folder()).warehouse_settings, after.location)
    assert damaged(lake, after) == {}
    with open_with_lake(warehouse) as opened:
        counts = "select line, call_count from marts.calls_by_line order by line"
        assert opened.execute(counts).fetchall() == [("health", 2), ("social", 1)]
    with duckdb.connect() as con:
        parquet = f"select count(*) from read_parquet({lake.paths(after.table('raw.calls'))})"
        assert con.execute(parquet).fetchall() == [(4,)]
    # What is gone from the lake is written again by the next run from the build's own tables.
    shutil.rmtree(lake.uri(after.table("raw.calls")))
    (raw / "c.csv").write_text(HEADER + "4,social,20,2025-01-05\n")
    refreshed(root, server)
    assert damaged(lake, manifest_of(warehouse, warehouse.published())) == {}
