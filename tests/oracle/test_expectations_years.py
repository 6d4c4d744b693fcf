"""Which years are judged, until when, and what is left of those whose deliveries were deleted."""

from __future__ import annotations

from datetime import date

import pytest

from broken_county import COVERAGE, FIGURES, SERIES
from county_breaks import add, count, put, rows
from kpi.validation.expectations import YearResult
from small_county import MONTHLY, YEARLY, YEARS, County, expectations, figure, printed

RULES = expectations().rules


# --- which years, and until when -------------------------------------------------------------------------------------


def test_a_feed_that_stops_fails_every_year_after(county: County) -> None:
    county.keep(COVERAGE, lambda row: row["feed"] != "care_contacts" or row["report_year"] == 2023)
    every = "missing months 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12"
    for year in (2024, 2025):
        assert county.failures(year) == {"every_month_present:care_contacts": every}


def test_the_first_year_of_a_feed_must_be_whole(county: County) -> None:
    before_july = {("care_contacts", 2023, month) for month in range(1, 7)}
    county.keep(COVERAGE, lambda row: (row["feed"], row["report_year"], row["month"]) not in before_july)
    assert county.failures(2023) == {"every_month_present:care_contacts": "missing months 1, 2, 3, 4, 5, 6"}


def test_a_year_with_nothing_between_others_fails_as_empty(county: County) -> None:
    for table in (FIGURES, COVERAGE, SERIES, "marts.reconciliation"):
        county.keep(table, lambda row: row["report_year"] != 2024)
    failures = {(result.report_year, result.expectation) for result in county.judge() if not result.success}
    assert (2024, "year_has_figures") in failures
    assert (2024, "delivered_in_year:care_queue") in failures
    assert {name for year, name in failures if year == 2025} <= {"care_paths_within_opened"}


def test_a_date_mistyped_into_the_past_makes_no_year_expected(county: County) -> None:
    add(COVERAGE, feed="calls", report_year=2005, month=3, row_count=1)(county)
    county.tables[FIGURES].append(figure(2005, "calls_received", "oral_health", 1))
    add(SERIES, figure_id="calls_received", service="oral_health", report_year=2005, month=3, value=1)(county)
    results = county.judge()
    assert {result.report_year for result in results} == {2005, *YEARS}
    failed = [(result.expectation, result.severity) for result in results if not result.success]
    assert failed == [("nothing_before_start", "warn")]


def test_many_mistyped_years_make_one_warning(county: County) -> None:
    county.tables[FIGURES] += [figure(year, "volunteer_encounters", "olka", 1) for year in range(2027, 2053)]
    add(COVERAGE, feed="calls", report_year=2052, month=3, row_count=1)(county)
    (later,) = [result for result in county.judge() if not result.success]
    assert (later.report_year, later.expectation, later.severity) == (2025, "no_later_years", "warn")
    assert later.description == "Nothing is dated after the year 2026."
    assert later.observed.startswith("2027, 2028, ")
    assert later.observed.endswith(", 2046 and 6 more")


def test_a_warehouse_of_later_years_only_has_the_warning_alone(county: County) -> None:
    (result,) = county.judge(as_of=date(2022, 12, 31))
    assert (result.report_year, result.success) == (2022, False)
    assert result.observed.startswith("2023 (callbacks and calls and ")


def test_only_one_year(county: County) -> None:
    assert {result.report_year for result in county.judge(2024)} == {2024}
    assert [(result.expectation, result.success) for result in county.judge(1999)] == [("year_has_figures", False)]


# --- the running year ------------------------------------------------------------------------------------------------


def _running(county: County, as_of: date) -> dict[str, YearResult]:
    results = [result for result in county.judge(as_of=as_of) if result.report_year == 2025]
    assert all(result.is_provisional for result in results)
    return {result.expectation: result for result in results}


def test_the_running_year_is_judged_up_to_its_last_full_month(county: County) -> None:
    for table in (COVERAGE, SERIES):
        county.keep(table, lambda row: row["report_year"] < 2025 or (row["month"] or 0) <= 3)
    in_march = _running(county, date(2025, 4, 30))
    assert {name for name, result in in_march.items() if not result.success} == {"counts_are_their_records"}
    # April is awaited until 15 May, late until 14 June, and then very late: a running year is no excuse.
    for day, severity in ((date(2025, 5, 15), ""), (date(2025, 5, 16), "warn"), (date(2025, 6, 14), "warn"),
                          (date(2025, 6, 15), "error")):  # fmt: skip
        found = {name: result for name, result in _running(county, day).items() if not result.success}
        asked = [result for name, result in found.items() if name.startswith("every_month_present:")]
        assert {result.severity for result in asked} == ({severity} if severity else set()), day
        assert {result.observed for result in asked} <= {"missing months 4", "missing months 4, 5"}
        assert found["services_in_every_month"].severity == "warn"


def test_nothing_is_required_of_january(county: County) -> None:
    for table in (FIGURES, SERIES, "marts.reconciliation"):
        county.keep(table, lambda row: row["report_year"] < 2025)
    county.keep(COVERAGE, lambda row: row["report_year"] < 2025 or (row["feed"], row["month"]) == ("feedback", 1))
    results = _running(county, date(2025, 1, 31))
    assert list(results) == ["no_later_years"]
    assert results["no_later_years"].success


@pytest.mark.parametrize(
    ("day", "severity"),
    [(date(2026, 2, 15), ""), (date(2026, 2, 16), "warn"), (date(2026, 3, 17), "warn"), (date(2026, 3, 18), "error")],
)
def test_a_year_of_which_nothing_came_is_late_like_any_other(county: County, day: date, severity: str) -> None:
    """January 2026 does not come of any feed. Nothing but the feeds is judged of the year, and nothing before it is."""
    failed = [result for result in county.judge(as_of=day, is_more_expected=True) if not result.success]
    assert {(one.report_year, one.severity) for one in failed} == ({(2026, severity)} if severity else set())
    assert {one.expectation for one in failed} == (
        {f"every_month_present:{feed}" for feed in MONTHLY} if severity else set()
    )
    assert [result for result in county.judge(as_of=day) if not result.success] == []  # of synthetic deliveries


def test_volumes_of_the_running_year_are_not_compared(county: County) -> None:
    count("safety_inspections", "rescue", 2025, 1)(county)
    rows("safety_inspections", 2025, 1)(county)
    put("first_unit_response_seconds", "rescue", 2025, value=2_156)(county)
    results = _running(county, date(2025, 1, 31))
    assert [name for name, result in results.items() if not result.success] == ["durations_change"]
    skipped = {rule.name for rule in RULES if rule.running_year == "skip"}
    assert not skipped & set(results)


def test_a_figure_of_the_running_year_that_differs_only_warns(county: County) -> None:
    county.tables["marts.reconciliation"].append(
        printed(2025, "ems_missions", "rescue", 9_001, value=9_000, status="differs")
    )
    assert _running(county, date(2025, 6, 1))["reconciliation_never_differs"].severity == "warn"
    (whole,) = [result for result in county.judge() if not result.success]
    assert (whole.expectation, whole.severity) == ("reconciliation_never_differs", "error")


# --- years whose deliveries were deleted by their retention ----------------------------------------------------------


def deleted(county: County, year: int, *feeds: str) -> None:
    """Take the rows of feeds in a year away, as their retention does; the figures of it are kept."""
    of_year = {(feed, year) for feed in feeds}
    county.keep(COVERAGE, lambda row: (row["feed"], row["report_year"]) not in of_year)
    county.tables["marts.deleted_deliveries"] = [
        {"feed": feed, "file": f"{year}.csv", "first_year": year, "last_year": year, "kept_from": "00012"}
        for feed in feeds
    ]
    county.tables["marts.indicator_origins"] = [
        {**row, "origin": "kept", "kept_from": "00012"} if row["report_year"] == year else {**row, "origin": "derived"}
        for row in county.tables[FIGURES]
    ]


def test_a_kept_year_neither_fails_nor_passes_in_silence(county: County) -> None:
    """In the middle, where every month of it would be missing: it is said to be kept, from where and of what."""
    deleted(county, 2024, *MONTHLY, *YEARLY)
    county.keep(SERIES, lambda row: row["report_year"] != 2024)
    results = county.judge()
    assert [(result.report_year, result.expectation) for result in results if not result.success] == []
    (message,) = (result for result in results if result.expectation == "kept_as_published")
    assert (message.report_year, message.is_provisional) == (2024, False)
    count_ = sum(row["report_year"] == 2024 for row in county.tables[FIGURES])
    assert message.observed.startswith(f"kept from build 00012: {count_} figures, deliveries of callbacks deleted: 1, ")
    assert len(message.rows) == 1 + len(MONTHLY) + len(YEARLY)
    asked = {result.expectation for result in results if result.report_year == 2024}
    assert not {name for name in asked if name.startswith(("every_month_present", "delivered_in_year"))}


def test_the_rest_of_a_deleted_year_is_not_taken_for_all_of_it(county: County) -> None:
    """A correction that stays holds 3 of its calls: 80 000 were received, which no sum of rows can say any more."""
    deleted(county, 2024, "calls")
    add(COVERAGE, feed="calls", report_year=2024, month=1, row_count=3)(county)
    assert set(county.failures(2024)) == set()
    assert county.failures(2023) == county.failures(2025) == {}


def test_a_kept_figure_of_which_no_deletion_is_recorded_fails(county: County) -> None:
    deleted(county, 2024, "calls")
    county.tables["marts.deleted_deliveries"][0]["kept_from"] = "00011"
    assert county.failures(2024)["kept_as_published"].startswith("kept from build 00012: ")


def test_what_was_never_deleted_is_not_told_as_kept(county: County) -> None:
    assert not any(result.expectation == "kept_as_published" for result in county.judge(2024))
