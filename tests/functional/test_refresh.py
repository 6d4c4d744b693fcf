"""The life of a build: published only when checked, never half seen, whatever kills it."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

import kpi
from kpi.errors import BuildError, CheckFailed, CompileError, ConfigError, DeliveryError, LockHeld
from kpi.jobs.options import Options, Outcome
from kpi.jobs.refresh import refresh
from kpi.settings import WarehouseSettings
from kpi.warehouse.builds import Warehouse, writing
from kpi.warehouse.lifecycle import prune

TODAY = date(2026, 1, 15)
CONTRACT = """
sources:
  - name: raw
    tables:
      - name: visits
        config: {meta: {feed: {key: [visit_id], time_order: [came_at, left_at]}}}
        columns:
          - {name: visit_id, data_type: varchar, config: {meta: {required: true}}}
          - {name: came_at, data_type: timestamp, config: {meta: {required: true}}}
          - {name: left_at, data_type: timestamp}
models:
  - name: visits_by_year
    columns:
      - {name: report_year, data_tests: [not_null, unique]}
"""
MODEL = """
select year(came_at) as report_year, count(*) as visits
from {{ source('raw', 'visits') }}
where not _is_superseded
group by 1
"""


def deliver(root: Path, name: str, *lines: str) -> None:
    path = root / "warehouse/raw/visits" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(("visit_id,came_at,left_at", *lines)) + "\n", encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """One feed, one model, one delivery: a project that builds in well under a second."""
    (tmp_path / "models").mkdir()
    (tmp_path / "dbt_project.yml").write_text("name: small\nmodels: {small: {+materialized: table}}\n")
    (tmp_path / "models/visits.yml").write_text(CONTRACT)
    (tmp_path / "models/visits_by_year.sql").write_text(MODEL)
    deliver(tmp_path, "2024.csv", "a,2024-05-01 10:00,2024-05-01 10:30", "b,2024-05-02 10:00,")
    return tmp_path


def run(root: Path, **options: object) -> Outcome:
    return refresh(root, Options(as_of=TODAY, **options), lambda line: None)  # type: ignore[arg-type]


def visits(root: Path, build: str | None = None) -> list[tuple[int, int]]:
    with kpi.open(build, root) as con:
        return con.execute("select report_year, visits from main.visits_by_year order by 1").fetchall()


def test_a_refresh_publishes_and_a_second_one_has_nothing_to_do(project: Path) -> None:
    first = run(project)
    assert visits(project) == [(2024, 2)]
    second = run(project)
    assert second.nothing_to_do
    assert second.build == first.build


def test_a_changed_delivery_is_a_new_build(project: Path) -> None:
    run(project)
    deliver(project, "2025.csv", "c,2025-01-01 00:00,")
    assert not run(project).nothing_to_do
    assert visits(project) == [(2024, 2), (2025, 1)]


def test_a_comment_in_a_model_rebuilds_no_node(project: Path) -> None:
    first = run(project)
    (project / "models/visits_by_year.sql").write_text("-- a comment\n" + MODEL + "\n\n")
    second = run(project)
    record = Warehouse(project / "warehouse").record(project / "warehouse/builds" / second.build)
    assert {node.built_in for node in (record.nodes or {}).values() if node.built_in} == {first.build}


def test_a_failed_test_leaves_readers_on_the_old_build_and_keeps_the_candidate(project: Path) -> None:
    first = run(project)
    (project / "models/visits_by_year.sql").write_text(
        "select 2024 as report_year, 1 as visits union all select 2024, 2\n"
    )
    with pytest.raises(CheckFailed, match=r"unique_visits_by_year_report_year \(models/visits.yml:14\): 1 failing row"):
        run(project)
    assert visits(project) == [(2024, 2)]
    failed = [build for build in Warehouse(project / "warehouse").list_builds() if build.record.status == "failed"]
    assert len(failed) == 1
    assert visits(project, failed[0].id) == [(2024, 1), (2024, 2)]
    assert [(event.event, event.build) for event in Warehouse(project / "warehouse").ledger()] == [
        ("published", first.build),
        ("failed", failed[0].id),
    ]


def test_publishing_despite_checks_needs_a_reason_and_tells_it(project: Path) -> None:
    (project / "models/visits_by_year.sql").write_text("select cast(null as integer) as report_year, 1 as visits\n")
    with pytest.raises(CheckFailed):
        run(project)
    outcome = run(project, publish_despite_checks="the register is down, see ticket 12")
    assert outcome.published
    last = Warehouse(project / "warehouse").ledger()[-1]
    assert (last.event, last.reason) == ("published", "the register is down, see ticket 12")


def test_a_check_that_failed_still_fails_when_something_else_changes(project: Path) -> None:
    (project / "models/visits_by_year.sql").write_text("select cast(null as integer) as report_year, 1 as visits\n")
    run(project, publish_despite_checks="known")
    (project / "models/other.sql").write_text("select 1 as one\n")
    with pytest.raises(CheckFailed, match="not_null_visits_by_year_report_year"):
        run(project)


def test_too_many_rejects_fail_the_build_and_can_be_let_through(project: Path) -> None:
    run(project)
    deliver(project, "2025.csv", *[f"x{n},2025-13-01 10:00," for n in range(11)])
    with pytest.raises(
        DeliveryError, match=r"(?s)visits/2025.csv: 11 of 11 records rejected.*11 x came_at: not a date"
    ):
        run(project)
    assert visits(project) == [(2024, 2)]
    assert run(project, max_reject_share=1.0).published


def test_when_all_deliveries_are_gone_readers_keep_the_build_they_had(project: Path) -> None:
    run(project)
    shutil.rmtree(project / "warehouse/raw")
    contract = project / "models/visits.yml"
    contract.write_text(contract.read_text().replace("[visit_id]", "[visit_id, came_at]"))
    with pytest.raises(DeliveryError, match=r"All deliveries are gone from .*: is a disk not mounted"):
        run(project)
    assert visits(project) == [(2024, 2)]
    assert run(project, publish_despite_checks="the feed has ended").published
    assert visits(project) == []


def test_a_removed_file_and_a_folder_nobody_reads_are_told(project: Path) -> None:
    deliver(project, "2025.csv", "c,2025-01-01 00:00,")
    run(project)
    (project / "warehouse/raw/visits/2025.csv").unlink()
    (project / "warehouse/raw/visit").mkdir()
    (project / "warehouse/raw/visit/a.csv").write_text("x\n")
    message: list[str] = []
    refresh(project, Options(as_of=TODAY), message.append)
    assert "  warning: visits/2025.csv: no longer there, its rows are gone." in message
    assert "  warning: visit/: no feed has this name, its files are not read. Did you mean 'visits'?" in message


def _unreadable_name(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/k\xe4ynnit.csv")).write_text("visit_id,came_at,left_at\n")


@pytest.mark.parametrize(
    "deliver_unread",
    [
        _unreadable_name,
        lambda folder: os.mkfifo(folder / "x.csv"),
        lambda folder: (folder / "x.csv").mkdir(),
        lambda folder: (folder / "x.csv").symlink_to("x.csv"),
        lambda folder: (folder / "x.csv").symlink_to("gone.csv"),
        lambda folder: (folder / "x.zip").write_bytes(b"PK"),
        lambda folder: (folder.parent / "x.csv").write_text("visit_id,came_at,left_at\n"),
    ],
    ids=["name", "fifo", "folder", "loop", "dangling", "zip", "beside"],
)
def test_a_new_delivery_that_is_not_read_is_told_when_nothing_else_is_new(
    project: Path, deliver_unread: Callable[[Path], object]
) -> None:
    run(project)
    deliver_unread(project / "warehouse/raw/visits")
    outcome = run(project)
    assert not outcome.nothing_to_do
    assert "file.ignored" in [one.code for one in outcome.warnings]
    assert visits(project) == [(2024, 2)]
    assert run(project).nothing_to_do  # it was told


def test_a_misspelt_column_stops_before_anything_runs(project: Path) -> None:
    run(project)
    (project / "models/visits_by_year.sql").write_text(MODEL.replace("year(came_at)", "year(came_on)"))
    with pytest.raises(CompileError, match=r"models/visits_by_year.sql:2:13: .*came_on.*came_at"):
        run(project)
    assert len(Warehouse(project / "warehouse").list_builds()) == 1


def test_a_model_that_fails_while_it_runs_is_told_with_its_file(project: Path) -> None:
    run(project)
    (project / "models/visits_by_year.sql").write_text(MODEL.replace("year(came_at)", "cast(visit_id as integer)"))
    with pytest.raises(BuildError, match=r"visits_by_year \(models/visits_by_year.sql\): .*Could not convert"):
        run(project)
    assert visits(project) == [(2024, 2)]


def test_leaving_a_changed_node_out_holds_the_build_back(project: Path) -> None:
    (project / "models/other.sql").write_text("select 1 as one\n")
    run(project)
    (project / "models/other.sql").write_text("select 2 as one\n")
    (project / "models/visits_by_year.sql").write_text(MODEL.replace("count(*)", "count(*) + 1"))
    outcome = run(project, select=("other",))
    assert not outcome.published
    assert visits(project) == [(2024, 2)]
    with kpi.open(outcome.build, project) as con:
        assert con.execute("select one from main.other").fetchall() == [(2,)]
    run(project)
    assert visits(project) == [(2024, 3)]


def test_a_second_writer_is_told_who_holds_the_lock(project: Path) -> None:
    with (
        writing(Warehouse(project / "warehouse")),
        pytest.raises(LockHeld, match=rf"process {os.getpid()} on .* since 20"),
    ):
        run(project)


def test_a_reader_keeps_its_build_while_another_is_published(project: Path) -> None:
    run(project)
    with kpi.open(project_dir=project) as reader:
        deliver(project, "2025.csv", "c,2025-01-01 00:00,")
        run(project)
        assert reader.execute("select count(*) from main.visits_by_year").fetchall() == [(1,)]
    assert visits(project) == [(2024, 2), (2025, 1)]


def test_the_published_file_is_read_only_and_its_sql_reaches_no_file(project: Path) -> None:
    run(project)
    database = project / "warehouse/current/kpi.duckdb"
    assert database.stat().st_mode & 0o777 == 0o444
    with kpi.open(project_dir=project), kpi.open(project_dir=project) as con:
        for sql in (
            "select * from read_csv('/etc/passwd')",
            "copy (select 1) to '/tmp/kpi-should-not-exist.csv'",
            "attach '/tmp/kpi-should-not-exist.duckdb'",
            "set enable_external_access = true",
            "create table main.t as select 1",
            "install httpfs",
        ):
            with pytest.raises(Exception, match=r"(?i)disabled|locked|read-only|permission"):
                con.execute(sql)


def test_nothing_published_and_an_unknown_build_are_told(project: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape("nothing is published here yet. Run: kpi refresh")):
        kpi.open(project_dir=project)
    build = run(project).build
    with pytest.raises(ConfigError, match=re.escape(f"there is no build '{build[:-1]}x'. Did you mean '{build}'")):
        kpi.open(f"{build[:-1]}x", project)


def test_incremental_and_full_builds_hold_the_same_tables(project: Path) -> None:
    deliver(project, "2023.csv", "z,2023-01-01 00:00,", "a,2023-01-01 00:00,")
    run(project)
    deliver(project, "2025.csv", "c,2025-01-01 00:00,", "a,2025-01-01 00:00,")
    (project / "warehouse/raw/visits/2023.csv").unlink()
    run(project)
    incremental = contents(project)
    run(project, full_refresh=True)
    assert contents(project) == incremental
    assert visits(project) == [(2024, 1), (2025, 2)]


def contents(root: Path) -> dict[str, list[tuple[object, ...]]]:
    tables = ("raw.visits", "raw.deliveries", "raw.rejects", "main.visits_by_year")
    with kpi.open(project_dir=root) as con:
        return {table: con.execute(f"select * from {table} order by all").fetchall() for table in tables}


def test_old_builds_are_pruned_but_never_the_current_one(project: Path) -> None:
    warehouse = Warehouse(project / "warehouse")
    for year in range(2015, 2020):
        deliver(project, f"{year}.csv", f"y{year},{year}-01-01 00:00,")
        run(project)
    first = warehouse.list_builds()[0].id
    assert prune(warehouse, WarehouseSettings(keep_published=2, keep_failed=1, grace_hours=1)) == ()
    gone = prune(warehouse, WarehouseSettings(keep_published=2, keep_failed=1, grace_hours=-1))
    assert first in gone
    assert len(warehouse.list_builds()) == 2
    assert len(visits(project)) == 6


def test_a_ledger_line_cut_short_by_a_crash_costs_only_itself(project: Path) -> None:
    run(project)
    ledger = project / "warehouse/builds/ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-20])
    deliver(project, "2025.csv", "c,2025-01-01 00:00,")
    build = run(project).build
    events = Warehouse(project / "warehouse").ledger()
    assert [event.reason[:13] for event in events] == ["recorded late", ""]
    assert events[-1].build == build


def command(root: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "kpi.cli", *arguments, "--project-dir", str(root)]


def kill_at(root: Path, moment: Callable[[], bool], seconds: float) -> int:
    """Start a refresh, kill it with SIGKILL when `moment` says so or the time is up; return its exit code."""
    process = subprocess.Popen(command(root, "refresh"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline and not moment():
        time.sleep(0.002)
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    return process.wait()


@pytest.mark.long
def test_killed_at_any_moment_readers_see_a_whole_build_and_the_next_run_works(project: Path) -> None:
    rows = [f"k{n},2024-06-01 10:{n % 60:02},2024-06-01 11:00" for n in range(3000)]
    deliver(project, "kill.csv", *rows)
    run(project)
    seen = visits(project)
    moments = random.Random(7)
    killed = 0
    for attempt in range(12):
        deliver(project, "more.csv", f"m{attempt},2025-01-01 00:00,")
        killed += kill_at(project, lambda: False, moments.uniform(0.05, 0.9)) == -signal.SIGKILL
        assert visits(project) in (seen, [*seen, (2025, 1)])
    assert killed > 0
    run(project)
    assert visits(project) == [(2024, 3002), (2025, 1)]
    assert not list((project / "warehouse/builds").glob(".tmp-*"))


@pytest.mark.parametrize("step", ["folder", "database", "facts"])
def test_killed_at_a_step_the_next_run_works(project: Path, step: str) -> None:
    run(project)
    deliver(project, "2025.csv", *[f"n{n},2025-01-01 00:00," for n in range(20000)])
    patterns = {"folder": ".tmp-*", "database": ".tmp-*/kpi.duckdb", "facts": ".tmp-*/build.json"}
    builds = project / "warehouse/builds"
    kill_at(project, lambda: any(builds.glob(patterns[step])), 30)
    assert visits(project) in ([(2024, 2)], [(2024, 2), (2025, 20000)])
    run(project)
    assert visits(project) == [(2024, 2), (2025, 20000)]
    assert not list(builds.glob(".tmp-*"))


def test_exit_codes_of_the_command_line(project: Path) -> None:
    def code(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(command(project, *arguments), capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    assert code("refresh") == (0, "")
    assert code("refresh", "--as-of", "tomorrow")[0] == ConfigError.exit_code
    deliver(project, "bad.csv", *[f"x{n},no," for n in range(11)])
    assert code("refresh")[0] == DeliveryError.exit_code
    (project / "models/visits_by_year.sql").write_text("select x from {{ ref('nothing') }}")
    status, message = code("refresh")
    assert status == CompileError.exit_code
    assert message.startswith("kpi: models/visits_by_year.sql:1:23: ref('nothing'): there is no such model or seed.")


def test_what_made_a_build_is_written_beside_it(project: Path) -> None:
    build = run(project).build
    facts = json.loads((project / "warehouse/builds" / build / "build.json").read_text())
    assert facts["status"] == "published"
    assert facts["files"] == [
        {
            "feed": "visits",
            "file": "2024.csv",
            "content_hash": facts["files"][0]["content_hash"],
            "records": 2,
            "rows_loaded": 2,
            "rows_rejected": 0,
            "rows_superseded": 0,
            "superseded_by": None,
            "same_content_as": None,
            "delivered_at": None,
        }
    ]
    assert "group by 1" in facts["nodes"]["model.small.visits_by_year"]["sql"]
    assert {check["name"]: check["failures"] for check in facts["checks"]} == {
        "not_null_visits_by_year_report_year": 0,
        "unique_visits_by_year_report_year": 0,
    }
