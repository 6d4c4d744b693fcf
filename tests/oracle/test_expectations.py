"""A county in order is judged, then broken in one place: exactly that expectation must fail."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import date

import duckdb
import pytest

from broken_county import BREAKS, COVERAGE, FIGURES, SERIES
from broken_together import TOGETHER
from county_breaks import Break, add, count, drop, put, ratio, rows, together
from kpi.validation.expectations import validate
from kpi.validation.rule import Check, Rule
from sampled import sampled
from small_county import AFTER_THE_YEARS, FEEDS, MONTHLY, YEARLY, YEARS, County, expectations, printed

RULES = expectations().rules
ALONE = [(name,) for name in BREAKS if not any(name in names for names in TOGETHER)]


# --- a county in order -----------------------------------------------------------------------------------------------


def test_a_county_in_order_meets_every_expectation(county: County) -> None:
    results = county.judge()
    assert [(result.report_year, result.expectation) for result in results if not result.success] == []
    assert {result.report_year for result in results} == set(YEARS)
    assert not any(result.is_provisional for result in results)


def test_every_rule_has_something_to_judge_in_a_county_in_order(county: County) -> None:
    judged = {result.expectation for result in county.judge()}
    feeds = {f"every_month_present:{feed}" for feed in MONTHLY} | {f"delivered_in_year:{feed}" for feed in YEARLY}
    assert judged == {rule.name for rule in RULES} | feeds | {"no_later_years"}


def test_results_say_what_was_seen(county: County) -> None:
    results = {result.expectation: result for result in county.judge(2025)}
    message = len([row for row in county.tables[FIGURES] if row["report_year"] == 2025])
    assert results["year_has_figures"].observed == f"{message} rows"
    assert results["every_month_present:safety_inspections"].observed == "12 values: 500"
    assert results["every_month_present:calls"].observed == "12 values: 6666 to 6667"
    assert results["figures_described"].observed == f"{message} values"
    shares = results["shares_within_0_and_100"]
    assert shares.description == "Every share lies between 0 and 100 percent."
    assert shares.description_fi == "Jokainen osuus on 0–100 prosenttia."
    assert shares.description_sv == "Varje andel är 0–100 procent."
    assert (shares.lowest, shares.highest, shares.unit) == (1, 99.375, "percent")
    assert [results[name].unit for name in ("plausible:call_mean_wait_seconds", "durations_not_negative")] == [
        "seconds",
        None,  # seconds and days
    ]
    assert (results["no_later_years"].unit, results["counts_change"].unit) == ("year", "")
    assert shares.judged == len(shares.rows)
    assert results["nps_change"].description == (
        "An NPS over 100 answers or more changes by -30 to 30 points from the year before, "
        "because the NPS of a whole county moves by a few points a year."
    )
    assert results["nps_change"].description_fi.startswith("Vähintään 100 vastauksen suositteluindeksi muuttuu −30…30")


def test_results_name_the_rows_they_come_from(county: County) -> None:
    results = {result.expectation: result for result in county.judge(2025)}
    (months,) = {row.feed for row in results["every_month_present:calls"].rows}
    assert months == "calls"
    assert [row.month for row in results["every_month_present:calls"].rows] == list(range(1, 13))
    change = next(row for row in results["main_volumes_change_at_break"].rows)
    assert (change.figure_id, change.service) == ("safety_incidents", "all_services")
    assert (change.value, change.compared, change.note) == (9000, 9000, "1.1.2025: Alue laajeni.")
    (missions, *_) = results["missions_are_rescue_and_ems"].rows
    assert missions.note == "rescue_department_missions = rescue_missions + ems_missions"
    assert (missions.value, missions.compared) == (12_000, 12_000)


def _group(names: tuple[str, ...]) -> str:
    return names[0] + f" and {len(names) - 1} more" * (len(names) > 1)


@pytest.mark.parametrize("names", sampled((*TOGETHER, *ALONE), [(name,) for name in BREAKS]), ids=_group)
def test_exactly_the_broken_expectations_fail(county: County, names: tuple[str, ...]) -> None:
    cases = [BREAKS[name] for name in names]
    for break_it, *_ in cases:
        break_it(county)
    (year,) = {year for _, year, _, _ in cases}
    assert county.failures(year) == {expectation: observed for _, _, expectation, observed in cases}


def test_no_case_is_left_out_and_those_of_a_group_break_other_expectations() -> None:
    assert sorted(name for names in (*TOGETHER, *ALONE) for name in names) == sorted(BREAKS)
    assert all(len({BREAKS[name][2] for name in names}) == len(names) for names in TOGETHER)


def test_every_rule_has_a_case_that_makes_it_fail() -> None:
    assert {rule.name for rule in RULES} - {expectation for _, _, expectation, _ in BREAKS.values()} == set()


def test_a_mistyped_year_warns(county: County) -> None:
    add(COVERAGE, feed="calls", report_year=2052, month=3, row_count=1)(county)
    failed = [result for result in county.judge() if not result.success]
    assert [(result.report_year, result.expectation, result.severity, result.observed) for result in failed] == [
        (2025, "no_later_years", "warn", "2052 (calls)")
    ]


def test_the_rows_that_break_an_expectation_stand_by_themselves(county: County) -> None:
    count("ems_missions", "rescue", 2025, 8_999)(county)
    broken = next(result for result in county.judge(2025) if not result.success)
    (row,) = broken.rows
    assert (row.figure_id, row.service, row.value, row.compared) == (
        "rescue_department_missions",
        "rescue",
        12_000,
        11_999,
    )
    assert broken.judged > 1


# --- what is not a failure -------------------------------------------------------------------------------------------

FINE: dict[str, tuple[Break, int]] = {
    "a value that cannot be computed": (
        put("helpline_sufficient_advice_share", "emergency_helpline", 2025, value=None, denominator=0, numerator=0),
        2025),
    "a small count that leaps": (
        together(put("volunteer_encounters", "olka", 2024, value=1, numerator=1),
                 put("volunteer_encounters", "olka", 2025, value=99, numerator=99)), 2025),
    "a share of few cases that leaps": (
        ratio("helpline_sufficient_advice_share", "emergency_helpline", 2025, 1, 99, 100), 2025),
    "a feed that is not delivered any more": (
        together(drop(COVERAGE, feed="helpline_contacts"),
                 lambda c: c.keep(FIGURES, lambda row: not row["figure_id"].startswith("helpline"))), 2025),
    "a leap from a partial year": (ratio("call_mean_handling_seconds", "social_advice", 2023, 14, 14), 2024),
    "a feed that starts later": (drop(COVERAGE, feed="digital_users", report_year=2023), 2023),
    "a year of a register without rows": (
        together(drop(COVERAGE, feed="digital_care_paths", report_year=2025),
                 count("digital_care_paths", "oma_kymenlaakso", 2025, 12)), 2025),
    "a chat line that opens in autumn": (
        lambda c: c.keep(SERIES, lambda row: (row["figure_id"], row["service"]) != ("chats_received", "oral_health")
                         or 12 * row["report_year"] + row["month"] >= 12 * 2023 + 9), 2023),
    "a printed figure of a feed that never came": (
        together(drop(COVERAGE, feed="manual_figures"),
                 lambda c: c.keep(FIGURES, lambda row: row["event_count"] != 1),
                 lambda c: c.tables["marts.reconciliation"].append(
                     printed(2025, "volunteer_encounters", "olka", 26_000, status="not_delivered", value=None))), 2025),
    "a printed figure that lacks another feed": (
        together(put("nps_response_rate", "health", 2025, value=None, denominator=0),
                 lambda c: c.tables["marts.reconciliation"].append(
                     printed(2025, "nps_response_rate", "health", 20, unit="percent", status="not_delivered",
                             value=None))), 2025),
}  # fmt: skip


@pytest.mark.parametrize(("change", "year"), FINE.values(), ids=FINE.keys())
def test_nothing_fails(county: County, change: Break, year: int) -> None:
    change(county)
    assert county.failures(year) == {}


def accept(county: County, figure_id: str, service: str, starts_on: date, reason: str) -> None:
    change = {"figure_id": figure_id, "service": service, "report_year": 2025, "starts_on": starts_on}
    county.tables["seeds.accepted_changes"] = [{**change, "reason_en": reason, "reason_fi": f"{reason}, suomeksi"}]


def test_an_accepted_change_is_a_warning_with_its_reason(county: County) -> None:
    together(count("safety_inspections", "rescue", 2025, 1_000), rows("safety_inspections", 2025, 1_000))(county)
    accept(county, "safety_inspections", "rescue", date(2025, 2, 1), "done by another county")
    (failed,) = [result for result in county.judge(2025) if not result.success]
    assert (failed.expectation, failed.severity) == ("main_volumes_change_at_break", "warn")
    assert failed.observed.endswith("[2025-02-01: done by another county]")
    assert [row.note for row in failed.rows] == ["1.2.2025: done by another county, suomeksi"]


def test_an_accepted_end_of_a_service_does_not_fail(county: County) -> None:
    break_it, year, expectation, _ = BREAKS["a main volume that is not told any more"]
    break_it(county)
    assert set(county.failures(year)) == {expectation}
    accept(county, "chats_received", "social_advice", date(2025, 1, 1), "closed")
    assert county.failures(year) == {}


@pytest.mark.parametrize(("starts_on", "basis", "explains"), [
    (date(2025, 12, 31), "calendar_year", True),
    (date(2024, 6, 1), "calendar_year", True),
    (date(2024, 1, 1), "calendar_year", False),
    (date(2026, 1, 1), "calendar_year", False),
    (date(2024, 6, 1), "census_december", False),
    (date(2025, 6, 1), "census_december", True),
])  # fmt: skip
def test_a_break_explains_a_change_when_it_lies_between_what_is_compared(
    county: County, starts_on: date, basis: str, explains: bool
) -> None:
    name = ("specialist_queue", "specialist_care") if basis == "census_december" else ("safety_incidents",
                                                                                       "all_services")  # fmt: skip
    county.tables["marts.comparability_breaks"] = [
        {"figure_id": name[0], "service": name[1], "starts_on": starts_on, "reason_en": "R", "reason_fi": "S"}
    ]
    count(*name, 2025, 100)(county)
    expected = "main_volumes_change_at_break" if explains else "main_volumes_change"
    assert {"main_volumes_change", "main_volumes_change_at_break"} & set(county.failures(2025)) == {expected}


# --- warehouses that lack something ----------------------------------------------------------------------------------


def test_a_warehouse_without_any_table_has_nothing_to_judge() -> None:
    with duckdb.connect() as con:
        assert validate(con, expectations(), FEEDS, AFTER_THE_YEARS) == ()


@pytest.mark.parametrize("table", [COVERAGE, SERIES, "marts.reconciliation", "marts.comparability_breaks",
                                   "seeds.figure_services", "seeds.targets"])  # fmt: skip
def test_a_table_that_was_not_built_is_not_judged(county: County, table: str) -> None:
    if table == "marts.reconciliation":  # which tells that housing has figures of December
        drop(FIGURES, basis="december")(county)
    del county.tables[table]
    assert county.failures(2025) == {}


@pytest.mark.parametrize("name", ["figures", "expected", "changes", "parts", "reconciliation", "series"])
def test_a_topic_whose_table_was_not_built_is_not_judged(county: County, name: str) -> None:
    (topic,) = (topic for topic in expectations().topics if topic.name == name)
    with county.connect() as con:
        con.execute(f"drop table {topic.table}")
        results = validate(con, expectations(), FEEDS, AFTER_THE_YEARS, 2025)
    assert [result.expectation for result in results if not result.success] == []
    assert topic.name not in {result.topic for result in results}


def test_an_older_warehouse_may_lack_columns(county: County) -> None:
    with county.connect() as con:
        con.execute("alter table expectations.exp_figures drop column uncounted")
        con.execute("alter table expectations.exp_changes drop column ratio")
        con.execute("alter table expectations.exp_completeness drop column reason")
        failed = [
            result.expectation
            for result in validate(con, expectations(), FEEDS, AFTER_THE_YEARS, 2025)
            if not result.success
        ]
    assert failed == []


def test_a_crash_inside_great_expectations_fails_the_rule_that_crashed(
    county: County, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = Check("ExpectColumnValuesToMatchRegex", {"regex": "("})
    odd = Rule("odd", "figures", "share", crash, "error", "error", "Odd", "Outo")
    figures, *others = expectations().topics
    changed = replace(expectations(), topics=(replace(figures, rules=(*figures.rules, odd)), *others))
    monkeypatch.setattr("small_county.expectations", lambda: changed)
    failures = county.failures(2025)
    assert set(failures) == {"odd"}
    assert failures["odd"].startswith("could not be applied: ")


def test_importing_the_module_does_not_import_great_expectations() -> None:
    program = (
        "import sys, kpi.validation.expectations; "
        "sys.exit('great_expectations' in sys.modules or 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
