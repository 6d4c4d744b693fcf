"""This county's project with a retention on every feed but its registers: a year goes, and every figure of it stays.

Some 50 CPU seconds, of five refreshes of a fiftieth of the county: deleting cannot be undone, and only here are all
feeds, figures and printed values of the real project there when it happens.
"""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import kpi
from conftest import copy_project
from kpi import database
from kpi.errors import CheckFailed, ConfigError
from kpi.jobs.options import Options
from kpi.jobs.prune_raw import prune_raw
from kpi.jobs.refresh import refresh
from kpi.reader.figures import year_notes
from kpi.settings import ReportTables
from kpi.warehouse.builds import Warehouse
from once import copied

pytestmark = pytest.mark.xdist_group("prune")  # the county is built once

TODAY = date(2026, 11, 21)
RUN = Options(as_of=TODAY)
KEY = ("report_year", "figure_id", "service", "basis")
Rows = list[tuple[Any, ...]]


def with_retention(root: Path, years: int) -> None:
    """Give every feed whose rows are not a register's the same retention."""
    for path in (root / "models/staging").rglob("*.yml"):
        text = re.sub(r" +raw_retention_years: .*\n", "", path.read_text())
        if "expected_every: once" not in text:
            text = re.sub(r"(?m)^( +)(expected_every: .*)$", rf"\1\2\n\1raw_retention_years: {years}", text)
        path.write_text(text)


def without_rows(path: Path, keys: Sequence[tuple[str, ...]]) -> None:
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(row for row in rows if tuple(row[name] for name in KEY) not in keys)


def ask(root: Path, sql: str, build: str | None = None) -> Rows:
    with database.reading(Warehouse(root / "warehouse").folder(build) / "kpi.duckdb") as con:
        return con.execute(sql).fetchall()


@pytest.fixture(scope="module")
def county(tmp_path_factory: pytest.TempPathFactory, fiftieth_deliveries: Path) -> Path:
    """At a fiftieth of the volumes, with the printed figures that come out at that scale: 53 of 92."""
    root = copy_project(tmp_path_factory.mktemp("county"))
    with_retention(root, 2)
    copied(fiftieth_deliveries, root / "warehouse/raw")
    outcome = refresh(root, Options(as_of=TODAY, validate=False, kinds=("model", "seed")), lambda line: None)
    sql = f"select {', '.join(f'{name}::varchar' for name in KEY)} from marts.reconciliation where status = 'differs'"
    differing = ask(root, sql, outcome.build)
    for seed in ("published_figures", "documented_inconsistencies"):
        without_rows(root / f"seeds/{seed}.csv", differing)
    assert refresh(root, RUN, lambda line: None).published
    return root


TABLES = ("indicators", "reconciliation", "indicator_changes", "public_indicators")


def test_a_year_goes_and_nothing_that_was_told_of_it(county: Path, tmp_path: Path) -> None:
    """Every row of what is published of figures is the same, printed figures are reproduced, and it says it is kept."""
    root = shutil.copytree(county, tmp_path / "county", symlinks=True)
    before = {table: ask(root, f"from marts.{table} order by all") for table in TABLES}
    records = ask(root, "select sum(records), sum(rows_loaded + rows_rejected) from raw.deliveries")
    was, files = Warehouse(root / "warehouse").published(), list((root / "warehouse/raw").rglob("*2023*"))
    prune_raw(root, RUN, lambda line: None, delete=True)
    assert {table: ask(root, f"from marts.{table} order by all") for table in TABLES} == before
    left = [path.name for path in (root / "warehouse/raw").rglob("*2023*")]
    assert left == ["hoitopolut_2023.csv"]
    assert len(files) > 40
    counted = "select sum(records), sum(rows_loaded + rows_rejected) from (select records, rows_loaded, rows_rejected"
    both = " from raw.deliveries union all select records, rows_loaded, rows_rejected from marts.deleted_deliveries)"
    assert ask(root, counted + both) == records
    statuses: dict[str, int] = dict(
        ask(root, "select status, count(*) from marts.reconciliation where report_year = 2023 group by all")
    )
    assert statuses["reproduced"] > 10
    assert "differs" not in statuses
    origins = ask(root, "select distinct report_year, origin, kept_from from marts.indicator_origins order by all")
    assert [row for row in origins if row[1] == "kept"] == [(2023, "kept", was)]
    # Derived still of 2023 are the care paths: a register.
    derived = ask(root, "select distinct figure_id from marts.indicator_origins where report_year = 2023"
                        " and origin = 'derived' order by all")  # fmt: skip
    assert [row[0] for row in derived] == ["digital_care_paths", "digital_self_care_paths", "new_chat_services"]
    message = ask(root, "select report_year, success, observed from marts.expectation_results"
                     " where expectation = 'kept_as_published'")  # fmt: skip
    assert [row[:2] for row in message] == [(2023, True)]
    assert f"kept from build {was}: " in message[0][2]
    page = (Warehouse(root / "warehouse").folder() / "site/fi/figure-call_mean_wait_seconds.html").read_text()
    assert f"aineisto poistettu, luku koonnista {was}" in page
    with database.reading(Warehouse(root / "warehouse").folder() / "kpi.duckdb") as con:
        (line,) = year_notes(con, ReportTables())[2023]
    assert re.fullmatch(rf"kept from build {was}, deliveries deleted: \d+/\d+ figures", line)
    assert ask(root, "select count(*) from marts.coverage where report_year = 2023 and feed = 'calls'") == [(0,)]
    explanation = kpi.explain("calls_received", "health_lines", 2023, project_dir=root)
    assert (explanation.origin, explanation.kept_from) == ("kept", was)
    assert "Its deliveries were deleted" in explanation.text
    assert {one.is_deleted for one in explanation.deliveries if one.feed == "calls"} == {True}
    with pytest.raises(ConfigError, match="its deliveries were deleted"):
        explanation.rows("numerator")
    assert refresh(root, RUN, lambda line: None).nothing_to_do


def test_a_retention_too_short_for_a_visit_is_refused(county: Path, tmp_path: Path) -> None:
    """Counted from the need and not from the visit, a file of 2023 makes figures of 2024: those would change."""
    root = shutil.copytree(county, tmp_path / "county", symlinks=True)
    contract = root / "models/staging/access/care_visits.yml"
    contract.write_text(
        contract.read_text().replace("raw_retention_by: visited_on", "raw_retention_by: need_assessed_on")
    )
    late = "visit_id,service,need_assessed_on,visited_on,age_years\nlate1,primary_care,2023-12-28,2024-01-03,40\n"
    (root / "warehouse/raw/care_visits/hoitoonpaasy_2023-z.csv").write_text(late)
    # The rows that a refresh counts by that column are not those that the figures count: it says so first.
    with pytest.raises(CheckFailed, match="2024 counts_are_their_records: primary_care_within_14_days_share"):
        refresh(root, RUN, lambda line: None)
    refresh(root, replace(RUN, publish_despite_checks="to see what pruning says"), lambda line: None)
    with pytest.raises(CheckFailed, match="2024 primary_care_within_14_days_share"):
        prune_raw(root, RUN, lambda line: None, delete=True)
    assert (root / "warehouse/raw/calls/calls_2023-02.csv").is_file()
    assert not (root / "warehouse/kept").exists()
