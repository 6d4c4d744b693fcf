"""`kpi release`: a report year frozen as text, what it refuses, what stands afterwards, and built again years later."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from datetime import date
from pathlib import Path

import pytest

from kpi.build_record import BuildRecord
from kpi.errors import CheckFailed, ConfigError, exit_code_of
from kpi.ingest import release_files
from kpi.jobs.doctor import examine
from kpi.provenance.releases import releases_with
from kpi.reader.figures import open_build
from kpi.warehouse.builds import LedgerEvent, Warehouse
from kpi.warehouse.lifecycle import released_builds
from released import (
    TODAY,
    commit,
    copy_library,
    deliver,
    edit,
    git,
    kpi,
    release_2025,
    released_once,
    run,
    write,
)

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library whose 2025 is released and published. Tests must not change it, nor what lies in its folders."""
    return released_once(tmp_path_factory)


@pytest.fixture
def library(released: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return shutil.copytree(released, tmp_path / "library", symlinks=True)


def only_release(root: Path) -> Path:
    (folder,) = release_files.releases_folder(root).iterdir()
    return folder


# --- what is written -------------------------------------------------------------------------------------------------


def test_a_release_is_text_that_says_what_it_was_made_from(released: Path) -> None:
    folder = only_release(released)
    assert folder.name == "2025-1"
    assert (folder / "figures.csv").read_text().splitlines() == [
        "figure_id,service,report_year,basis,numerator,denominator,value,event_count,printed_value,decimals,unit,obs_status",
        "loans,main,2025,calendar_year,36.0,,36.0,36,36,0,count,A",
        "loans,riverside,2025,calendar_year,24.0,,24.0,24,24,0,count,A",
        "mean_loan_days,main,2025,calendar_year,348.0,24.0,14.5,36,14.5,1,days,A",
        "mean_loan_days,riverside,2025,calendar_year,348.0,24.0,14.5,24,14.5,1,days,A",
        "visits,main,2025,calendar_year,1200.0,,1200.0,12,1200,0,count,A",
        "visits,riverside,2025,calendar_year,1200.0,,1200.0,12,1200,0,count,A",
    ]
    assert "mean_loan_days,definition_en,Days of loans that came back.\n" in (folder / "definitions.csv").read_text()
    said = release_files.fields_of(folder)
    first_commit = git(released, "rev-list", "--max-parents=0", "HEAD")
    assert (said["released_by"], said["note"], said["code_revision"]) == ("Ada", "as printed", first_commit)
    assert (said["as_of"], said["code_changes"], said["despite"]) == (str(TODAY), None, None)
    rows = {f"{row['feed']}/{row['file']}": row for row in release_files.rows_of(folder, "deliveries.csv")}
    for name, row in rows.items():
        content = (released / "warehouse/raw" / name).read_bytes()
        assert row["content_hash"] == hashlib.sha256(content).hexdigest()
    assert [(row["first_year"], row["last_year"]) for row in rows.values()] == [("", "")] * 2 + [
        ("2024", "2024"), ("2025", "2025")
    ]  # fmt: skip
    assert (
        subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, check=False).returncode == 0
    )


def test_a_release_is_in_the_warehouse(released: Path) -> None:
    with open_build(project_dir=released) as con:
        rows = con.execute("select release, build, released_by, note from raw.releases").fetchall()
        first = Warehouse(released / "warehouse").build_folders()[0].name
        assert rows == [("2025-1", first, "Ada", "as printed")]
        for table, count in (("released_indicators", 6), ("released_deliveries", 4), ("acknowledged_revisions", 0)):
            assert con.execute(f"select count(*) from raw.{table}").fetchall() == [(count,)]
        assert con.execute("select count(*) from releases.differences_from_print").fetchall() == [(0,)]


def test_what_nobody_sees_in_a_note_is_written_out_and_read_back(library: Path) -> None:
    note = 'He said "so":\nyes\r\n\t\x1b[31mred\u202e # not: a comment\u2028'
    assert kpi(library, "release", "2025", "--note", note, "--by", "Ö\x00").exit_code == 0
    folder = release_files.releases_folder(library) / "2025-2"
    text = (folder / "release.yml").read_text(encoding="utf-8")
    assert all(sign.isprintable() or sign == "\n" for sign in text)
    assert len(text.splitlines()) == len(release_files.FIELDS)
    assert release_files.fields_of(folder)["note"] == note
    run(library)
    with open_build(project_dir=library) as con:
        assert con.execute("select note from raw.releases order by number").fetchall()[1] == (note,)


def test_a_second_release_has_a_number_and_is_what_is_compared_with(library: Path) -> None:
    deliver(library, "loans/late.csv", "loan_id,branch,lent_on,returned_on\nl,riverside,2025-12-31,2026-01-09\n")
    with pytest.raises(CheckFailed):
        run(library)
    result = kpi(library, "revisions", "acknowledge", "--all", "--reason", "late_data", "--note", "late")
    assert result.exit_code == 0, result.output
    run(library)
    before = (only_release(library) / "figures.csv").read_bytes()
    assert release_2025(library).name == "2025-2"
    assert (release_files.releases_folder(library) / "2025-1/figures.csv").read_bytes() == before
    run(library)
    with open_build(project_dir=library) as con:
        sql = (
            "select release, is_latest, value from releases.releases_of_figures where figure_id = 'loans' order by all"
        )
        assert con.execute(sql).fetchall() == [
            ("2025-1", False, 24.0), ("2025-1", False, 36.0), ("2025-2", True, 25.0), ("2025-2", True, 36.0)
        ]  # fmt: skip
        assert con.execute("select count(*) from releases.differences_from_print").fetchall() == [(0,)]


# --- what is refused -------------------------------------------------------------------------------------------------


def test_years_that_cannot_be_released_are_refused(tmp_path: Path) -> None:
    root = copy_library(tmp_path / "library")
    run(root, as_of=date(2025, 12, 20))
    for year, message in (("2031", "there are no figures of 2031"), ("2025", "2025 is not over")):
        result = kpi(root, "release", year, "--note", "x")
        assert message in str(result.exception)
    assert "--note must say" in str(kpi(root, "release", "2024", "--note", " ").exception)
    assert "'now' is no year" in kpi(root, "release", "now", "--note", "x").output
    assert not release_files.releases_folder(root).exists()
    result = kpi(root, "release", "2024", "--note", "without git")
    assert result.exit_code == 0
    assert "in no git repository" in result.output
    assert "it was released without git" in str(kpi(root, "release", "verify", "2024").exception)


def test_a_year_whose_checks_failed_is_released_only_with_a_reason(tmp_path: Path) -> None:
    root = copy_library(tmp_path / "library")
    edit(
        root / "seeds/printed_figures.csv",
        "2025,visits,riverside,calendar_year,1200",
        "2025,visits,riverside,calendar_year,9",
    )
    run(root, publish_despite_checks="the print is wrong")
    result = kpi(root, "release", "2025", "--note", "x")
    assert isinstance(result.exception, CheckFailed)
    assert "2025 print_is_reproduced" in str(result.exception)
    assert not release_files.releases_folder(root).exists()
    folder = release_2025(root, "--despite-failed-checks", "printed wrongly")
    assert release_files.fields_of(folder)["despite"] == "printed wrongly"


def test_what_readers_do_not_see_yet_is_not_released(library: Path) -> None:
    edit(library / "models/releases/statuses.sql", "else 'A'", "else 'B'")
    assert "Run first: kpi refresh" in str(kpi(library, "release", "2025", "--note", "x").exception)


def test_a_project_without_the_tables_is_told_what_it_takes(tmp_path: Path) -> None:
    root = copy_library(tmp_path / "library")
    shutil.rmtree(root / "models/releases")
    settings = root / "dbt_project.yml"
    text = settings.read_text()
    named = [line for line in text.splitlines() if "releases." not in line and "releases:" not in line]
    settings.write_text("\n".join(named) + "\n")
    run(root)
    message = str(kpi(root, "release", "2025", "--note", "x").exception)
    assert "marts.observation_status, marts.indicators_released, marts.revisions" in message
    assert "docs/guides/release-a-year.md" in message


# --- what becomes of its files ---------------------------------------------------------------------------------------


def test_a_release_that_was_edited_stops_a_refresh(library: Path) -> None:
    folder = only_release(library)
    edit(folder / "figures.csv", "loans,main,2025,calendar_year,36.0", "loans,main,2025,calendar_year,37.0")
    with pytest.raises(ConfigError, match=r"figures.csv was edited.*git checkout") as caught:
        run(library)
    assert exit_code_of(caught.value) == 3
    errors = [str(one.what) for one in examine(Warehouse(library / "warehouse")) if one.level == "error"]
    assert [text for text in errors if "release 2025-1" in text and "edited" in text]
    git(library, "checkout", "--", "seeds/releases")
    assert run(library).nothing_to_do


@pytest.mark.parametrize("name", ["SHA256SUMS", "release.yml", "figures.csv"])
def test_a_file_of_a_release_that_is_gone_is_told(library: Path, name: str) -> None:
    (only_release(library) / name).unlink()
    edit(library / "models/releases/statuses.sql", "else 'A'", "else 'B'")  # so that there is something to do
    with pytest.raises(ConfigError, match=r"was edited|is gone"):
        run(library)


def test_a_byte_order_mark_and_line_ends_are_no_edit(library: Path) -> None:
    deliver(library, "loans/late.csv", "loan_id,branch,lent_on,returned_on\nl,riverside,2025-12-31,2026-01-09\n")
    with pytest.raises(CheckFailed):
        run(library)
    kpi(library, "revisions", "acknowledge", "--all", "--reason", "late_data", "--note", 'so, "late"')
    for file in only_release(library).glob("*"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    run(library)
    with open_build(project_dir=library) as con:
        sql = "select count(*), sum(value), max(unit) from raw.released_indicators"
        assert con.execute(sql).fetchall() == [(6, 2489.0, "days")]
        assert con.execute("select note, acknowledged_by is null from raw.acknowledged_revisions").fetchall()[0] == (
            'so, "late"', False
        )  # fmt: skip


def test_the_doctor_knows_a_release_without_its_build_or_folder(library: Path) -> None:
    warehouse = Warehouse(library / "warehouse")
    shutil.rmtree(warehouse.build_folders()[0])
    found = [str(one.what) for one in examine(warehouse) if one.level == "warning" and "release" in one.what]
    assert len(found) == 1
    assert "release 2025-1 is of build 00001" in found[0]
    shutil.rmtree(only_release(library))
    found = [str(one.what) for one in examine(warehouse) if one.level == "error" and "release" in one.what]
    assert "release 2025-1 is gone" in found[0]


def test_builds_of_releases_are_named_by_the_ledger() -> None:
    events = [LedgerEvent("", f"0000{number}", "released", f"202{number}-1") for number in range(8)]
    assert released_builds([*events, LedgerEvent("", "00009", "published")], 2) == {
        "00006": "2026-1",
        "00007": "2027-1",
    }


def test_deliveries_of_a_released_year_are_found_by_content(released: Path) -> None:
    rows = release_files.rows_of(only_release(released), "deliveries.csv")
    hashes = {f"{row['feed']}/{row['file']}": row["content_hash"] for row in rows}
    assert releases_with(released, hashes.items()) == {
        # Of loans nobody knows the years: the contract names no column that gives them.
        "2025-1": ["loans/2024.csv", "loans/2025.csv", "visits/2025.csv"]
    }
    assert releases_with(released, [("visits/2025.csv", "other")]) == {}


# --- the build that readers saw --------------------------------------------------------------------------------------


def ledger(root: Path, *events: tuple[str, str, str]) -> None:
    lines = [json.dumps({"at": at, "event": event, "build": build, "reason": ""}) for at, event, build in events]
    (root / "warehouse/builds/ledger.jsonl").write_text("\n".join(lines) + "\n")


def test_the_build_of_a_day_is_the_one_that_readers_saw(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    first, second = (folder.name for folder in Warehouse(library / "warehouse").build_folders())
    ledger(
        library,
        ("2026-01-10T03:00:00Z", "published", first),
        ("2026-02-10T03:00:00Z", "published", "00009-gone"),
        ("2026-03-05T23:30:00Z", "published", second),
        ("2026-04-01T12:00:00Z", "rolled back to", first),
    )
    for day, build in (("2026-01-10", first), ("2026-02-09", first), (date(2026, 3, 5), second), ("2026-05-01", first)):
        with open_build(project_dir=library, as_of=day) as con:
            assert Path(str(con.execute("select path from duckdb_databases() where not internal").fetchall()[0][0])
                        ).resolve().parent.name == build  # fmt: skip
    with pytest.raises(ConfigError, match=f"saw build 00009-gone on 2026-02-12.*nearest that is kept is {first}"):
        open_build(project_dir=library, as_of="2026-02-12")
    with pytest.raises(ConfigError, match=f"nearest that is kept is {second}"):
        open_build(project_dir=library, as_of="2026-03-04")
    with pytest.raises(ConfigError, match=f"nothing was published yet on 2025-12-31. The nearest.* is {first}"):
        open_build(project_dir=library, as_of="2025-12-31")
    with pytest.raises(ConfigError, match="a day such as 2026-03-05, not 'March'"):
        open_build(project_dir=library, as_of="March")
    with pytest.raises(ConfigError, match="one or the other"):
        open_build(first, library, as_of="2026-03-05")
    assert kpi(library, "show", "--as-of", "2026-03-05", "--year", "2025").exit_code == 0
    assert (
        "2024"
        in kpi(library, "query", "select min(report_year) from reports.yearly_figures", "--as-of", "2026-03-05").output
    )


# --- years later -----------------------------------------------------------------------------------------------------


def test_a_release_is_verified_after_the_code_moved_on(library: Path) -> None:
    edit(library / "models/reports/loans_figures.sql", "count(days_lent) as denominator", "count(*) as denominator")
    commit(library)
    deliver(library, "visits/2026.csv", "branch,counted_on,visitors\nmain,2026-01-05,7\n")
    result = kpi(library, "release", "verify", "2025")
    assert result.exit_code == 0, str(result.exception)
    assert "all 6 figures come out as released" in result.output


def test_what_a_verification_misses_is_told_exactly(library: Path) -> None:
    altered, gone = library / "warehouse/raw/loans/2025.csv", library / "warehouse/raw/visits/2024.csv"
    altered.write_bytes(altered.read_bytes().replace(b"-14,", b"-1 ,", 1))
    gone.rename(gone.with_name("moved.csv"))
    git(library, "checkout", "-q", "--orphan", "elsewhere")
    git(library, "commit", "-q", "-m", "all anew")
    for branch in git(library, "branch", "--format=%(refname:short)").split():
        if branch != "elsewhere":
            git(library, "branch", "-D", branch)
    git(library, "reflog", "expire", "--expire=now", "--all")
    git(library, "gc", "-q", "--prune=now")
    result = kpi(library, "release", "verify", "2025-1")
    assert isinstance(result.exception, CheckFailed)
    message = str(result.exception)
    assert "is not in this clone" in message
    assert "loans/2025.csv was altered: released with sha256" in message
    assert "visits/2024.csv is gone" in message
    assert "visits/moved.csv has its content" in message
    assert "loans/2024.csv" not in message


def test_what_was_not_committed_is_said_when_it_is_released_and_when_it_is_verified(tmp_path: Path) -> None:
    root = copy_library(tmp_path / "library")
    commit(root)
    write(root, {"models/reports/more.sql": "select 1 as one"})
    run(root)
    result = kpi(root, "release", "2025", "--note", "x")
    assert "not committed, so nobody else can build it again: models/reports/more.sql" in result.output
    assert "were edited and not committed when it was released: models/reports/more.sql" in str(
        kpi(root, "release", "verify", "2025").exception
    )
    assert "there is no release '2024'" in str(kpi(root, "release", "verify", "2024").exception)


def test_a_figure_that_comes_out_otherwise_is_named(library: Path) -> None:
    folder = only_release(library)
    edit(
        folder / "figures.csv",
        "visits,main,2025,calendar_year,1200.0,,1200.0",
        "visits,main,2025,calendar_year,1200.0,,1201.0",
    )
    release_files.write_sums(folder)
    result = kpi(library, "release", "verify", "2025")
    assert isinstance(result.exception, CheckFailed)
    assert "1 of 6 figures differ" in str(result.exception)
    assert "visits main: released 1201.0, comes out 1200.0" in str(result.exception)


def test_a_release_says_who_made_it_when_nobody_is_named(library: Path) -> None:
    git(library, "config", "user.name", "Eve")
    git(library, "config", "user.email", "eve@example.org")
    assert kpi(library, "release", "2025", "--note", "again").exit_code == 0
    said = release_files.fields_of(release_files.releases_folder(library) / "2025-2")
    assert said["released_by"] == "Eve <eve@example.org>"
    assert os.listdir(release_files.releases_folder(library)) != []
    assert BuildRecord(str(said["build"])).id == said["build"]
