"""Bad deliveries of every kind at once fail the expectations they should, and no others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from conftest import copy_project
from kpi.cli.main import cli
from kpi.errors import CheckFailed
from kpi.jobs.options import Options, Outcome
from kpi.jobs.refresh import refresh
from kpi.warehouse.builds import Warehouse
from once import copied
from page import Page

TODAY = date(2026, 1, 15)


def run(root: Path, **options: object) -> Outcome:
    return refresh(root, Options(as_of=TODAY, **options), lambda line: None)  # type: ignore[arg-type]


def built(root: Path) -> Path:
    """The folder of the latest build."""
    builds = Warehouse(root / "warehouse").builds.iterdir()
    return max((path for path in builds if path.is_dir()), key=lambda path: path.name)


def validate(root: Path, *arguments: str) -> tuple[str, Exception | None]:
    result = CliRunner().invoke(cli, ["validate", "--project-dir", str(root), *arguments])
    return result.output, result.exception if isinstance(result.exception, Exception) else None


def lines(header: str, rows: Iterable[str]) -> str:
    return "\n".join((header, *rows)) + "\n"


def _long_call() -> str:
    return "bad-1,social_advice,2024-03-01 10:00:00,2024-07-01 10:00:00,2024-07-01 10:05:00"


def _many_calls() -> Iterable[str]:
    for number in range(5_000):
        moment = datetime(2025, 7, 1, 8) + timedelta(seconds=number)
        yield f"many-{number},rehabilitation,{moment},{moment + timedelta(seconds=60)},"


SCRIPT = "<script>alert(1)</script>"
BAD: dict[str, tuple[Callable[[], str], str]] = {
    "calls": (
        lambda: lines("call_id,service_line,arrived_at,answered_at,ended_at", [
            _long_call(), "bad-2,social_advice,2023-01-10 10:00:00,2023-01-10 10:01:00,", *_many_calls()]),
        "a wait of months, a call before the service started, a file of July ten times over",
    ),
    "chats": (
        lambda: lines("chat_id,service_line,started_at,resolved_without_visit", [
            "bad-1,oral_health,2052-03-01 10:00:00,"]),
        "a mistyped year",
    ),
    "nps_invitations": (
        lambda: lines("survey,channel,month,invitations_sent", [
            f"social_advice,sms,2025-{month:02}-01,1" for month in range(1, 13)]),
        "fewer invitations than answers",
    ),
    "digital_users": (
        lambda: lines("census_date,age_from,age_to,registered_users,active_users", [
            "2025-12-31,0,,900,901"]),
        "a last census with more active than registered users, and with fewer than the year before",
    ),
    "manual_figures": (
        lambda: lines("report_year,figure_id,service,value,entered_on,source_note", [
            f"2025,volunteer_encounters,{SCRIPT},-3,2026-01-10,", "2025,coffee_breaks,olka,5,2026-01-10,"]),
        "a figure nobody described, a service nobody described, a negative count",
    ),
}  # fmt: skip
GONE = ("care_contacts/kontaktit_2024.csv", "manual_figures/kasin_syotetyt_2024.csv")
PUBLISHED = """\
report_year,figure_id,service,value,unit,decimals,qualifier,basis,source_report,section,note
2025,elderly_housing_mean_wait_days,elderly_housing,0,days,0,more_than,december,2025,Asuminen,
2025,partner_violence_experienced,elderly_survey,68,persons,0,exact,survey,2025,Turvallisuus,
2025,safety_inspections,rescue,1,count,0,exact,calendar_year,2025,Turvallisuus,
2025,rescue_missions,rescue,5,percent,0,more_than,calendar_year,2025,Turvallisuus,
"""
FAILS = {
    # what the calls do
    (2023, "nothing_before_start"): "calls_received social_advice 2023-01 = ",
    (2024, "plausible:call_mean_wait_seconds"): "call_mean_wait_seconds social_advice 2024 = ",
    (2025, "durations_change"): "call_mean_wait_seconds social_advice 2025 = ",
    (2025, "counts_change"): "calls_received rehabilitation 2025 = ",
    (2025, "months_alike"): "calls_received rehabilitation 2025-07 = ",
    # the others, in order
    # of 2026, which has no full month yet, nothing is told; the care paths are told of the years up to 2052
    (2025, "no_later_years"): "2027, 2028, ",
    (2025, "response_rates_within_0_and_100"): "nps_response_rate social_advice 2025 = ",
    (2025, "active_users_within_registered"): "digital_active_users <= digital_registered_users, oma_kymenlaakso 2025",
    (2025, "registered_users_kept"): "digital_registered_users oma_kymenlaakso 2025 = 900 (the year before",
    (2025, "figures_described"): "coffee_breaks olka 2025 = 5, volunteer_encounters <script>alert(1)</script> 2025",
    (2025, "counts_not_negative"): "volunteer_encounters <script>alert(1)</script> 2025 = -3",
    (2024, "every_month_present:care_contacts"): "missing months 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12",
    (2024, "delivered_in_year:manual_figures"): "no records",
    (2025, "printed_figures_told"): "partner_violence_experienced elderly_survey 2025 = no value (published 68)",
    (2025, "reconciliation_never_differs"): "safety_inspections rescue 2025 = ",
    (2025, "printed_units_described"): "rescue_missions rescue 2025 = ",
}


@pytest.fixture(scope="module")
def bad_county(tmp_path_factory: pytest.TempPathFactory, fiftieth_deliveries: Path) -> Path:
    """The whole project with a fiftieth of the synthetic deliveries, and bad ones among them, refreshed in vain."""
    root = copy_project(tmp_path_factory.mktemp("bad"))
    (root / "seeds/published_figures.csv").write_text(PUBLISHED, encoding="utf-8")
    documented = root / "seeds/documented_inconsistencies.csv"
    documented.write_text(documented.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    raw = copied(fiftieth_deliveries, root / "warehouse/raw")
    for name in GONE:
        (raw / name).unlink()
    for feed, (text, _) in BAD.items():
        (raw / feed / "zz_bad.csv").write_text(text(), encoding="utf-8")
    with pytest.raises(CheckFailed):
        run(root)
    return root


def test_bad_deliveries_fail_the_expectations_they_should_and_no_others(bad_county: Path) -> None:
    results = json.loads((built(bad_county) / "expectations.json").read_text(encoding="utf-8"))
    failed = {(one["report_year"], one["expectation"]): one["observed"] for one in results if not one["success"]}
    assert set(failed) == set(FAILS)
    assert {key: observed for key, observed in failed.items() if FAILS[key] not in observed} == {}


def test_validate_tells_the_same_of_the_candidate(bad_county: Path, tmp_path: Path) -> None:
    output, error = validate(bad_county, "--build", built(bad_county).name, "--html", str(tmp_path))
    assert isinstance(error, CheckFailed)
    assert max(map(len, output.splitlines())) <= 100
    for _, expectation in FAILS:
        assert expectation in output
    assert {"index.html", "quality-2025.html"} <= {page.name for page in (tmp_path / "fi").iterdir()}


def test_a_hostile_service_is_shown_on_the_page_and_not_run(bad_county: Path) -> None:
    for page in (built(bad_county) / "site").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert text.count("<script") == (page.name == "figures.html"), page
    html = (built(bad_county) / "site/fi/quality-2025.html").read_text(encoding="utf-8")
    assert SCRIPT in Page(html).text()
    assert "SYNTEETTISTÄ AINEISTOA" in html
