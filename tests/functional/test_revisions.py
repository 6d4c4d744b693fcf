"""Revisions: a released figure that comes to differ holds the build back, with its cause, until it is accounted for."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from kpi.errors import CheckFailed, ConfigError, exit_code_of
from kpi.ingest import release_files
from kpi.jobs.candidate import MOST_REVISIONS
from kpi.jobs.notifications import affected_figures
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh, retry
from kpi.reader.figures import open_build
from kpi.warehouse.builds import Warehouse
from released import LOANS, TODAY, VISITS, deliver, edit, kpi, release_2025, released_once, run

pytestmark = pytest.mark.long
LATE = f"{LOANS}late,riverside,2025-12-31,2026-01-09\n"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library whose 2025 is released and published. Tests must not change it."""
    return released_once(tmp_path_factory)


@pytest.fixture
def library(released: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return shutil.copytree(released, tmp_path / "library", symlinks=True)


def revisions(root: Path, *words: str) -> list[dict[str, Any]]:
    """What `kpi revisions --json` tells."""
    result = kpi(root, "revisions", "--json", *words)
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.output)
    return found


def acknowledge(root: Path, *words: str) -> str:
    result = kpi(root, "revisions", "acknowledge", *words, "--by", "Ada")
    return result.output + str(result.exception or "")


def test_an_open_revision_holds_the_build_back_like_a_failed_check(library: Path) -> None:
    before = Warehouse(library / "warehouse").published()
    deliver(library, "loans/late.csv", LATE)
    with pytest.raises(CheckFailed) as caught:
        run(library)
    assert exit_code_of(caught.value) == 7
    assert [(one.code, one.subject) for one in caught.value.problems] == [
        ("revision.open", "2025 loans riverside"), ("revision.open", "2025 mean_loan_days riverside")
    ]  # fmt: skip
    told, public = str(caught.value.problems[0]), str(caught.value.problems[0].public())
    assert "24 -> 25, released as 2025-1: late_delivery loans/late.csv" in told
    assert public == "2025 loans riverside: differs from release 2025-1, and nobody accounted for it"
    warehouse = Warehouse(library / "warehouse")
    assert warehouse.published() == before
    figures = affected_figures(warehouse, caught.value, warehouse.build_folders()[-1].name)
    assert {name.partition(" ")[0] for name in figures} >= {"loans", "mean_loan_days"}
    found = revisions(library)
    assert [(one["figure_id"], one["released_value"], one["value"], one["status"]) for one in found] == [
        ("loans", 24, 25, "open"), ("mean_loan_days", 14.5, 14.28, "open")
    ]  # fmt: skip
    assert found[0]["causes"] == [{"kind": "late_delivery", "subject": "loans/late.csv", "change": 1}]
    assert revisions(library, "--build", before) == []


def test_what_is_acknowledged_is_published_and_stands(library: Path) -> None:
    deliver(library, "loans/late.csv", LATE)
    with pytest.raises(CheckFailed):
        run(library)
    first, second = (one["revision_id"] for one in revisions(library))
    assert "There is: late_data" in acknowledge(library, first, "--reason", "l", "--note", "x")
    assert "Did you mean 'late_data'" in acknowledge(library, first, "--reason", "late_date", "--note", "x")
    assert "--note must say" in acknowledge(library, first, "--reason", "late_data", "--note", " ")
    assert "no open revision 'f00'" in acknowledge(library, "f00", "--reason", "late_data", "--note", "x")
    assert "name the revisions" in acknowledge(library, "--reason", "late_data", "--note", "x")
    note = 'came\n"late"\x1b[31m; =1+1'
    assert "Accounted for 1 in" in acknowledge(library, first, "--reason", "late_data", "--note", note)
    again = acknowledge(library, first, "--reason", "new_rule", "--note", "again")
    assert "all of that is accounted for in seeds/releases/2025-1/acknowledged.csv already" in again
    with pytest.raises(CheckFailed) as caught:
        run(library)
    assert [one.subject for one in caught.value.problems] == ["2025 mean_loan_days riverside"]
    acknowledge(library, second, "--reason", "new_rule", "--note", "decided in May")
    assert run(library).published
    assert run(library).nothing_to_do
    by_figure = {one["figure_id"]: one for one in revisions(library)}
    assert [(one["reason"], one["is_planned"], one["acknowledged_by"]) for one in by_figure.values()] == [
        ("late_data", False, "Ada"), ("new_rule", True, "Ada")
    ]  # fmt: skip
    assert by_figure["loans"]["note"] == 'came\\n"late"\\u001b[31m; =1+1'
    assert revisions(library, "--open") == []
    file = release_files.releases_folder(library) / "2025-1/acknowledged.csv"
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("revision_id,figure_id,service")
    assert len(lines) == 3
    listed = kpi(library, "revisions").output
    assert re.search(r"loans riverside +24 -> 25 +late_delivery loans/late.csv +late_data\n", listed)
    assert "2 released figures differ, 0 not accounted for." in listed


def test_a_figure_that_moves_on_is_another_revision_and_one_that_comes_back_is_none(library: Path) -> None:
    deliver(library, "loans/late.csv", LATE)
    with pytest.raises(CheckFailed):
        run(library)
    first = {one["revision_id"] for one in revisions(library)}
    acknowledge(library, "--all", "--reason", "late_data", "--note", "late")
    assert run(library).published
    deliver(library, "loans/later.csv", LATE.replace("late", "later"))
    with pytest.raises(CheckFailed, match=r"24 -> 26, released as 2025-1: late_delivery loans/late.csv; late_delivery"):
        run(library)
    assert not first & {one["revision_id"] for one in revisions(library)}
    for name in ("late", "later"):
        (library / f"warehouse/raw/loans/{name}.csv").unlink()
    assert run(library).published
    assert revisions(library) == []
    assert "nothing to account for" in acknowledge(library, "--all", "--reason", "late_data", "--note", "x")


def test_a_retry_after_acknowledging_publishes(library: Path) -> None:
    deliver(library, "loans/late.csv", LATE)
    with pytest.raises(CheckFailed):
        run(library)
    acknowledge(library, "--all", "--reason", "late_data", "--note", "late")
    assert retry(library, Options(as_of=TODAY), lambda line: None).published


def test_another_year_and_a_new_figure_of_the_year_are_no_revision(library: Path) -> None:
    deliver(library, "loans/2026.csv", f"{LOANS}n,main,2026-01-05,\n")
    deliver(library, "visits/2024b.csv", f"{VISITS}main,2024-12-30,5\n")
    edit(
        library / "models/reports/visits_figures.sql",
        "group by branch, report_year",
        """group by branch, report_year

union all

select 'visit_days', branch, report_year, count(*), null, count(*)
from {{ ref('stg_visits') }}
group by branch, report_year""",
    )
    assert run(library).published
    assert revisions(library) == []


def change_model(root: Path) -> None:
    edit(root / "models/reports/visits_figures.sql", "sum(visitors) as numerator", "sum(visitors) + 1 as numerator")


def change_register(root: Path) -> None:
    edit(root / "seeds/figure_register.csv", "days,1,Library", "days,0,Library")


def retire(root: Path) -> None:
    edit(root / "models/reports/loans_figures.sql", "'mean_loan_days' as", "'old_mean' as")
    edit(root / "seeds/figure_register.csv", "mean_loan_days,loans,", "old_mean,loans,")
    edit(root / "expectations/rules.yml", "figures: [mean_loan_days]", "figures: [loans]")
    edit(root / "expectations/sums.yml", "      - mean_loan_days.denominator <= loans\n", "")
    printed = root / "seeds/printed_figures.csv"
    edit(printed, "2025,mean_loan_days,main,calendar_year,14.5\n", "")


def rename_service(root: Path) -> None:
    edit(
        root / "models/staging/stg_visits.sql",
        "branch,",
        "case branch when 'main' then 'central' else branch end as branch,",
    )


CHANGES = {
    "a corrected delivery": (
        lambda root: edit(root / "warehouse/raw/visits/2025.csv", "main,2025-03-31,100", "main,2025-03-31,90"),
        {("visits", "main"): (1190.0, "corrected_delivery visits/2025.csv")},
    ),
    "a delivery that replaces rows": (
        lambda root: deliver(root, "visits/2025_fixed.csv", f"{VISITS}main,2025-03-31,90\n"),
        {("visits", "main"): (1190.0, "corrected_delivery visits/2025_fixed.csv")},
    ),
    "a model": (
        change_model,
        {("visits", "main"): (1201.0, "code model visits_figures"),
         ("visits", "riverside"): (1201.0, "code model visits_figures")},
    ),
    "a precision": (
        change_register,
        {("mean_loan_days", "main"): (14.5, "definition seed figure_register"),
         ("mean_loan_days", "riverside"): (14.5, "definition seed figure_register")},
    ),
    "a figure that was retired": (
        retire,
        {("mean_loan_days", "main"): (None, "code model loans_figures"),
         ("mean_loan_days", "riverside"): (None, "code model loans_figures")},
    ),
    "a service that was renamed": (
        rename_service,
        {("visits", "main"): (None, "code model stg_visits")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_the_cause_of_a_change_is_told(library: Path, name: str) -> None:
    change, expected = CHANGES[name]
    change(library)  # type: ignore[no-untyped-call]
    with pytest.raises(CheckFailed):
        run(library)
    found = {
        (one["figure_id"], one["service"]): (
            one["value"], "; ".join(f"{cause['kind']} {cause['subject']}" for cause in one["causes"])
        )
        for one in revisions(library)
    }  # fmt: skip
    assert found == expected


def test_many_revisions_are_summed_up(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpi.jobs.candidate.MOST_REVISIONS", 1)
    change_model(library)
    with pytest.raises(CheckFailed, match=r"1 more released figures differ, .* See: kpi revisions"):
        run(library)
    assert MOST_REVISIONS == 20


def test_a_second_release_takes_the_place_of_the_first_with_its_revisions(library: Path) -> None:
    deliver(library, "loans/late.csv", LATE)
    with pytest.raises(CheckFailed):
        run(library)
    acknowledge(library, "--all", "--reason", "late_data", "--note", "late")
    run(library)
    release_2025(library)
    run(library)
    assert revisions(library) == []
    (library / "warehouse/raw/loans/late.csv").unlink()
    with pytest.raises(CheckFailed, match=r"25 -> 24, released as 2025-2: removed_delivery loans/late.csv"):
        run(library)


def test_a_project_without_revisions_says_what_it_takes(library: Path) -> None:
    with open_build(project_dir=library) as con:
        assert con.execute("select count(*) from marts.revision_causes").fetchall() == [(0,)]
    warehouse = Warehouse(library / "warehouse")
    record = warehouse.folder("latest") / "build.json"
    record.chmod(0o644)
    record.write_text(record.read_text().replace("releases.differences_from_print", "releases.nowhere"))
    with pytest.raises(ConfigError, match=r"has no releases.nowhere: see docs/guides/release-a-year.md"):
        raise kpi(library, "revisions").exception or AssertionError


def vintages(root: Path) -> list[tuple[Any, ...]]:
    """The values that the loans of 2025 at Riverside had, with the numbers of the builds they stood in."""
    sql = """
        select value, left(valid_from, 5), left(valid_to, 5) from releases.values_over_time
        where figure_id = 'loans' and service = 'riverside' and report_year = 2025 order by valid_from
    """
    with open_build(project_dir=root) as con:
        return con.execute(sql).fetchall()


def test_every_value_is_kept_with_the_builds_it_stood_in(library: Path) -> None:
    assert vintages(library) == [(24, "00001", None)]
    deliver(library, "loans/late.csv", LATE)
    with pytest.raises(CheckFailed):
        run(library)
    assert vintages(library) == [(24, "00001", None)]  # what failed was never published
    acknowledge(library, "--all", "--reason", "late_data", "--note", "late")
    assert run(library).published
    assert vintages(library) == [(24, "00001", "00004"), (25, "00004", None)]
    deliver(library, "loans/later.csv", LATE.replace("late", "later"))
    with pytest.raises(CheckFailed):
        run(library)
    acknowledge(library, "--all", "--reason", "late_data", "--note", "later")
    assert retry(library, Options(as_of=TODAY), lambda line: None).published
    now = [(24, "00001", "00004"), (25, "00004", "00006"), (26, "00006", None)]
    assert vintages(library) == now  # not the failed 00005 that was gone on with
    refresh(library, Options(as_of=TODAY, full_refresh=True), lambda line: None)
    assert vintages(library) == now


def test_several_causes_of_one_change_have_each_their_size(library: Path) -> None:
    edit(library / "warehouse/raw/visits/2025.csv", "main,2025-03-31,100", "main,2025-03-31,90")
    deliver(library, "visits/2025_late.csv", f"{VISITS}main,2025-07-04,7\n")
    change_model(library)
    with pytest.raises(CheckFailed):
        run(library)
    (found,) = (one for one in revisions(library) if one["service"] == "main")
    sizes = {cause["subject"]: (cause["kind"], cause["change"]) for cause in found["causes"]}
    assert sizes == {
        "visits/2025.csv": ("corrected_delivery", -10), "visits/2025_late.csv": ("late_delivery", 7),
        "model visits_figures": ("code", 1),
    }  # fmt: skip
    assert sum(size for _, size in sizes.values()) == found["change"]
