"""Deliveries past their retention go, and the figures made of them stay as published, whatever happens meanwhile."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kpi.cli.main import cli
from kpi.errors import CheckFailed, ConfigError
from kpi.ingest import release_files
from kpi.ingest.raw_files import hash_of, scan
from kpi.jobs.check_build import validate_build
from kpi.jobs.doctor import examine
from kpi.jobs.prune_raw import prune_raw
from kpi.jobs.refresh import refresh
from kpi.provenance.releases import Release, missing_deliveries, write_release
from kpi.validation.expectations import YearResult
from kpi.warehouse.builds import Warehouse
from retained import (
    DELIVERED,
    GONE,
    HEADER,
    MARKER,
    RUN,
    STEPS,
    TODAY,
    Killed,
    ask,
    deliver,
    figures,
    lying,
    project,
    prune,
    refreshed,
)


@pytest.fixture
def root(retained_project: Path, tmp_path: Path) -> Path:
    return shutil.copytree(retained_project, tmp_path / "project", symlinks=True)


def test_the_deliveries_go_and_every_figure_stays(root: Path) -> None:
    """To the last digit, and with what became of each record on record: rows in are rows loaded and rejected."""
    before, delivered = figures(root), ask(root, "select file, records, rows_loaded from raw.deliveries order by all")
    was = Warehouse(root / "warehouse").published()
    message = "\n".join(prune(root))
    assert figures(root) == before
    assert lying(root) == set(DELIVERED) - GONE
    assert "delete  calls/2020.csv: 2020, 3 rows loaded, 1 rejected" in message
    assert f"Builds that hold rows of deleted deliveries, or of those to be deleted: {was}." in message
    assert ask(root, "select distinct report_year, kept_from, kept_on from raw.kept_indicators") == [(2020, was, TODAY)]
    gone = ask(root, "select file, records, rows_loaded, rows_rejected, rows_superseded, first_year, last_year,"
                     " kept_from from marts.deleted_deliveries where feed = 'calls' order by file")  # fmt: skip
    assert gone == [("2020.csv", 4, 3, 1, 1, 2020, 2020, was), ("2020_correction.csv.gz", 1, 1, 0, 0, 2020, 2020, was)]
    still = ask(root, "select file, records, rows_loaded from raw.deliveries union all"
                      " select file, records, rows_loaded from raw.deleted_deliveries order by all")  # fmt: skip
    assert still == delivered
    assert ask(root, "select count(*) from raw.rejects") == [(0,)]
    events = [event for event in Warehouse(root / "warehouse").ledger() if event.event == "delivery deleted"]
    assert {event.reason.partition(",")[0] for event in events} == GONE
    assert refreshed(root)[-1].startswith("Nothing changed")
    assert "none" not in prune(root)[-1]


def test_no_byte_of_a_deleted_row_is_left_in_what_is_published(root: Path) -> None:
    """The file is made anew: a copy would have the rows in its free blocks."""
    database = root / "warehouse/current/kpi.duckdb"
    assert MARKER.encode() in database.read_bytes()
    prune(root)
    assert MARKER.encode() not in database.read_bytes()
    assert not any(MARKER.encode() in path.read_bytes() for path in (root / "warehouse/kept").rglob("*.*"))


def test_where_rows_are_for_stewards_the_same_holds(root: Path) -> None:
    """Neither the file for all readers nor the stewards' has a byte of it left."""
    settings = root / "dbt_project.yml"
    text = settings.read_text()
    settings.write_text(text.replace("vars:\n", "vars:\n  kpi_warehouse: {stewards_schemas: [raw, staging]}\n"))
    refreshed(root)
    before = figures(root)
    whole = Warehouse(root / "warehouse").builds / Warehouse(root / "warehouse").published() / "stewards/kpi.duckdb"
    assert MARKER.encode() in whole.read_bytes()
    prune(root)
    assert figures(root) == before
    current = root / "warehouse/current"
    for file in (current / "kpi.duckdb", current / "stewards/kpi.duckdb"):
        assert MARKER.encode() not in file.read_bytes()
    assert lying(root) == set(DELIVERED) - GONE
    assert "kept_as_published" not in {result.expectation for result in judge_failures(root)}


def judge_failures(root: Path) -> list[YearResult]:
    return [result for result in validate_build(root, None, None, None, None) if not result.success]


def test_without_the_flag_nothing_is_touched(root: Path) -> None:
    def state() -> dict[str, bytes]:
        # The lock tells who held it last, and what compiling found out is no part of the warehouse.
        paths = (
            path
            for path in (root / "warehouse").rglob("*")
            if path.is_file() and path.name not in (".lock", "compiled")
        )
        return {str(path): path.read_bytes() for path in paths}

    before = state()
    message = prune(root, delete=False)
    assert state() == before
    assert not (root / "warehouse/kept").exists()
    assert "  delete  calls/2020_correction.csv.gz: 2020, 1 row loaded, 0 rejected" in message
    assert any("3 of 2020" in line for line in message)
    assert message[-1] == "Nothing was deleted. To delete what is listed: kpi prune-raw --delete"


def test_a_refresh_tells_of_it_and_deletes_nothing(root: Path) -> None:
    deliver(root, {"calls/2025_more.csv": HEADER + "c2,health,1,2025-07-01,\n"})
    message = "\n".join(refreshed(root))
    assert "calls: 2 of its deliveries hold nothing after 2020, past retention. See: kpi prune-raw" in message
    assert lying(root) == {*DELIVERED, "calls/2025_more.csv"}


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_nothing_is_lost_and_running_it_again_finishes(root: Path, step: str) -> None:
    """Readers see the same figures at every moment, a night between changes none, and a file goes only in the end."""
    before = figures(root)
    with STEPS[step](), pytest.raises(Killed):
        prune(root)
    assert figures(root) == before
    message = refreshed(root)
    assert figures(root) == before
    assert not any("gone" in line for line in message)
    left = lying(root)
    prune(root)
    assert figures(root) == before
    assert lying(root) == set(DELIVERED) - GONE
    assert left >= lying(root)
    assert len(list((root / "warehouse/kept").iterdir())) == 1
    assert len(ask(root, "from raw.deleted_deliveries")) == 3


def test_a_file_that_comes_back_is_not_read(root: Path) -> None:
    """The same bytes: out of a backup, say. The run tells it, the figures stay, and the next deletion takes it."""
    before = figures(root)
    prune(root)
    deliver(root, {"calls/2020.csv": DELIVERED["calls/2020.csv"]})
    for change in ({"calls/2025_more.csv": HEADER}, {}):  # also when nothing else is new
        deliver(root, change)
        message = "\n".join(refreshed(root))
        assert "calls/2020.csv: deleted by retention, lies there and not read. See: kpi prune-raw" in message
        assert figures(root) == before
    assert "nothing to do" in message
    assert "  delete  calls/2020.csv: on record as deleted already, and not read" in prune(root, delete=False)
    prune(root)
    assert "calls/2020.csv" not in lying(root)
    assert len(list((root / "warehouse/kept").iterdir())) == 1


def test_a_period_delivered_again_changes_nothing_that_is_kept(root: Path) -> None:
    """A part of it, and otherwise: what was published stands. It is past retention, is told, and goes again."""
    before = figures(root)
    prune(root)
    deliver(root, {"calls/2020_again.csv": HEADER + "a1,health,99,2020-02-01,\n"})
    message = "\n".join(refreshed(root))
    assert "calls: 1 of its deliveries hold nothing after 2020, past retention" in message
    assert figures(root) == before
    message = "\n".join(prune(root))
    assert "none that is not kept already or can still be derived" in message
    assert figures(root) == before
    assert lying(root) == set(DELIVERED) - GONE
    assert len(ask(root, "from raw.deleted_deliveries where file = '2020_again.csv'")) == 1
    assert len(ask(root, "select distinct kept_from from raw.kept_indicators")) == 1


def test_what_a_later_file_still_holds_of_the_year_does_not_change_it(root: Path) -> None:
    """A correction that holds rows of 2020 and of 2025 stays: the figures of 2020 are kept, not made of that rest."""
    deliver(root, {"calls/2025_x.csv": HEADER + "a1,health,11,2020-02-01,\nc9,health,5,2025-09-01,\n"})
    refreshed(root)
    before = figures(root)
    message = "\n".join(prune(root))
    assert "stays   calls/2025_x.csv: 2020 to 2025, not all of it is past" in message
    assert "calls/2025_x.csv: holds rows of 2020, a year whose deliveries were deleted: they change no kept" in message
    assert figures(root) == before
    assert ask(root, "select count(*) from raw.calls where year(arrived_on) = 2020") == [(1,)]


def test_a_figure_that_nothing_of_the_deletion_touches_is_not_kept(root: Path) -> None:
    """What a later file holds the whole of can be derived for good: it is not frozen."""
    rows = "".join(line + "\n" for line in DELIVERED["calls/2020.csv"].splitlines()[1:4])
    deliver(
        root,
        {"calls/all_of_it.csv": HEADER + rows.replace("a2,health,20", "a2,health,25") + "c8,social,1,2025-01-01,\n"},
    )
    refreshed(root)
    before = figures(root)
    message = "\n".join(prune(root))
    assert "none that is not kept already or can still be derived" in message or "1 of 2020" in message
    assert figures(root) == before
    kept_ids = {row[0] for row in ask(root, "select figure_id from raw.kept_indicators")}
    assert not kept_ids & {"calls_received", "call_mean_wait_seconds"}


def test_a_superseded_row_of_a_later_year_would_come_back_so_it_is_refused(root: Path) -> None:
    """The file of 2021 holds a call that a file of 2020 alone corrected to 2020: without that, 2021 has it again."""
    deliver(root, {"calls/2021.csv": DELIVERED["calls/2021.csv"] + "a9,health,50,2021-01-01,\n"})
    deliver(root, {"calls/z_2020.csv": HEADER + "a9,health,50,2020-12-31,\n"})
    refreshed(root)
    before, delivered = figures(root), lying(root)
    with pytest.raises(CheckFailed, match=r"2021 calls_received health \(calendar_year\): 1.0 -> 2.0") as refused:
        prune(root)
    assert "longer raw_retention_years to the feed" in str(refused.value)
    assert (figures(root), lying(root)) == (before, delivered)
    assert not (root / "warehouse/kept").exists()
    assert refreshed(root)[-1].startswith("Nothing changed")


def test_figures_that_the_project_does_not_take_in_are_not_lost(root: Path) -> None:
    """A project whose indicators leave out what is kept: nothing is deleted."""
    (root / "models/marts/indicators.sql").write_text("select * from {{ ref('derived') }}\n")
    (root / "models/marts/unused.sql").write_text("select * from {{ source('raw', 'kept_indicators') }}\n")
    refreshed(root)
    with pytest.raises(CheckFailed, match=r"take in raw\.kept_indicators"):
        prune(root)
    assert lying(root) == set(DELIVERED)


def test_a_check_that_would_fail_afterwards_stops_it(root: Path) -> None:
    message = "select 1 as found where (select count(*) from {{ ref('stg_calls') }}) < 8\n"
    (root / "tests").mkdir(exist_ok=True)
    (root / "tests/assert_enough.sql").write_text(message)
    refreshed(root)
    with pytest.raises(CheckFailed, match="assert_enough"):
        prune(root)
    assert lying(root) == set(DELIVERED)


def test_on_the_command_line(root: Path) -> None:
    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, ["prune-raw", "--project-dir", str(root), *words])

    found = run("--as-of", str(TODAY), "--max-reject-share", "1")
    assert (found.exit_code, found.output.splitlines()[-1]) == (
        0,
        "Nothing was deleted. To delete what is listed: kpi prune-raw --delete",
    )
    assert isinstance(run("--delete", "--dry-run").exception, ConfigError)
    assert lying(root) == set(DELIVERED)
    found = run("--as-of", str(TODAY), "--max-reject-share", "1", "--delete")
    assert found.exit_code == 0
    assert "Deleted 3 deliveries." in found.output
    assert lying(root) == set(DELIVERED) - GONE


def test_readers_taken_back_to_deleted_rows_are_told_of(root: Path) -> None:
    first = Warehouse(root / "warehouse").published()
    prune(root)
    done = CliRunner().invoke(cli, ["rollback", first, "--project-dir", str(root)])
    assert done.exit_code == 0
    assert "made before deliveries were deleted, so readers see their rows again" in done.output
    assert any("may show their rows" in finding.what for finding in examine(Warehouse(root / "warehouse")))


def test_every_delivery_may_be_past(tmp_path: Path) -> None:
    """An empty raw folder is then as it should be; when the rest of it goes too it is not."""
    root = project(tmp_path, "raw_retention_years: 1, raw_retention_by: arrived_on")
    deliver(root, {"calls/2024.csv": HEADER + "a1,health,10,2024-02-01,\na2,health,20,2024-12-31,2025-01-01\n"})
    refreshed(root)
    before = figures(root)
    prune(root)
    assert lying(root) == set()
    assert figures(root) == before
    assert len(before) > 0


def test_a_damaged_build_is_not_what_figures_are_kept_from(root: Path) -> None:
    file = (root / "warehouse/current/kpi.duckdb").resolve()
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ConfigError, match="is not what was written"):
        prune(root)
    assert lying(root) == set(DELIVERED)


def test_each_year_after_the_other(root: Path) -> None:
    """A second deletion keeps what the first kept and adds its own; the builds they are from stay told."""
    before = figures(root)
    prune(root)
    deliver(root, {"calls/2026.csv": HEADER + "d1,health,3,2026-02-01,\n"})
    later = replace(RUN, as_of=date(2027, 1, 2), max_reject_share=1)
    refresh(root, later, lambda line: None)
    prune_raw(root, later, lambda line: None, True, date(2027, 1, 2), False)
    assert [row for row in figures(root) if row[2] < 2026] == before
    assert len(ask(root, "select distinct kept_from from raw.kept_indicators where report_year in (2020, 2021)")) == 2
    assert lying(root) == {"calls/between.csv", "calls/2025.csv", "calls/2026.csv"}


def test_what_is_kept_is_told_where_people_look(root: Path) -> None:
    """Its year is judged, with its rows neither missed nor passed over in silence."""
    prune(root)
    (line,) = ask(
        root, "select success, observed from marts.expectation_results where expectation = 'kept_as_published'"
    )
    assert line[0]
    assert line[1].startswith(
        f"kept from build {ask(root, 'select kept_from from raw.kept_indicators')[0][0]}: 3 figures"
    )
    assert "deliveries of calls deleted: 2" in line[1]


def test_deliveries_of_a_release_go_only_when_it_is_meant(root: Path) -> None:
    """A year that was released could never be built again: the dry run says so, and deleting refuses without a flag."""
    name = "calls/2020.csv"
    delivery = ("calls", "2020.csv", hash_of(root / "warehouse/raw" / name), 4, 3, 1, 1, None, 2020, 2020)
    fields = {"release": "2020-1", "report_year": 2020, "number": 1, "build": "b"}
    write_release(root, Release(fields, (), (), [delivery], ()))
    refreshed(root)
    warned = "  warning: release 2020-1 was made from 1 of these: it could never be built again."
    assert warned in prune(root, delete=False)
    with pytest.raises(ConfigError, match=r"deliveries of 2020-1 would go, .* --also-released"):
        prune(root)
    assert lying(root) == set(DELIVERED)
    message: list[str] = []
    meant = replace(RUN, max_reject_share=1, also_released=True)
    prune_raw(root, meant, message.append, delete=True, today=TODAY)
    assert warned in message
    assert lying(root) == set(DELIVERED) - GONE
    folder = release_files.releases_folder(root) / "2020-1"
    assert "2020.csv was deleted by its retention" in missing_deliveries(
        folder, root / "warehouse/raw", scan(root / "warehouse/raw")
    )[0]  # fmt: skip
