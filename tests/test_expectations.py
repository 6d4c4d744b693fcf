"""A valid warehouse of three years is judged, then broken in one place: exactly that expectation must fail."""

from __future__ import annotations

import datetime
import json
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from kpi import yearly_frames, yearly_rules
from kpi.expectations import FeedExpectation, YearResult, results_as_json, validate, write_results
from kpi.yearly_rules import HEALTH_LINES, RULES, Check, Rule

YEARS = (2023, 2024, 2025)
AFTER_THE_YEARS = datetime.date(2026, 2, 1)
FEEDS = (
    FeedExpectation("calls", "month"),
    FeedExpectation("feedback", "month", starts_on=datetime.date(2023, 6, 1)),
    FeedExpectation("care_queue", "year"),
    FeedExpectation("never_delivered", "month"),
    FeedExpectation("never_delivered_either", "year"),
)
UNITS = {
    "calls_received": "count",
    "call_mean_wait_seconds": "seconds",
    "same_day_callback_share": "percent",
    "nps": "points",
    "nps_promoter_share": "percent",
    "nps_detractor_share": "percent",
    "nps_responses": "count",
    "nps_response_rate": "percent",
    "nps_change": "points",
    "rescue_department_missions": "count",
    "rescue_missions": "count",
    "ems_missions": "count",
    "rescue_missions_change_pct": "percent",
    "experience_mean": "score_1_to_5",
    "elderly_housing_mean_wait_days": "days",
    "safety_inspections": "count",
    "volunteer_encounters": "count",
}
SAME_FORM = {  # rules that differ from another rule that is tested in their figure and number only
    "plausible:call_mean_handling_seconds",
    "plausible:callback_mean_seconds",
    "plausible:first_unit_response_seconds",
}
Row = dict[str, Any]


class Warehouse:
    """The rows of the four tables that are judged, easy to change; `judge` puts them into a database."""

    def __init__(self) -> None:
        self.tables: dict[str, list[Row]] = {
            "marts.indicators": [row for year in YEARS for row in _figures(year)],
            "marts.coverage": [row for year in YEARS for row in _coverage(year)],
            "marts.reconciliation": [_published(2023), _published(2025)],
            "seeds.figures": [{"figure_id": figure_id, "unit": unit} for figure_id, unit in UNITS.items()],
        }

    def figure(self, figure_id: str, service: str, year: int) -> Row:
        """Return one figure, to be changed."""
        key = (figure_id, service, year)
        rows = self.tables["marts.indicators"]
        return next(row for row in rows if (row["figure_id"], row["service"], row["report_year"]) == key)

    def keep(self, table: str, condition: Callable[[Row], bool]) -> None:
        """Drop the rows of a table that do not meet the condition."""
        self.tables[table] = [row for row in self.tables[table] if condition(row)]

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return an in-memory database with the tables."""
        con = duckdb.connect()
        con.execute("create schema marts; create schema seeds")
        for table, columns in COLUMNS.items():
            if table in self.tables:
                con.execute(f"create table {table} ({columns})")
                names = [column.split()[0] for column in columns.split(", ")]
                rows = self.tables[table]
                marks = ", ".join(f"({', '.join('?' for _ in names)})" for _ in rows)
                if rows:
                    con.execute(
                        f"insert into {table} values {marks}", [row.get(name) for row in rows for name in names]
                    )
        return con

    def judge(self, as_of: datetime.date = AFTER_THE_YEARS, only_year: int | None = None) -> tuple[YearResult, ...]:
        """Judge the warehouse."""
        with self.connect() as con:
            return validate(con, FEEDS, as_of, only_year)

    def failures(self, only_year: int | None = None) -> dict[tuple[int, str], str]:
        """Return what was observed of each expectation that failed, by year and expectation."""
        results = self.judge(only_year=only_year)
        return {(result.report_year, result.expectation): result.observed for result in results if not result.success}


COLUMNS = {
    "marts.indicators": "figure_id varchar, service varchar, report_year bigint, basis varchar, numerator double, "
    "denominator double, value double, event_count bigint",
    "marts.coverage": "feed varchar, report_year bigint, month bigint, row_count bigint, service_count bigint",
    "marts.reconciliation": "report_year bigint, figure_id varchar, service varchar, basis varchar, unit varchar, "
    "published_value decimal(24,6), value double, status varchar",
    "seeds.figures": "figure_id varchar, family varchar, unit varchar",
}


def _figure(year: int, figure_id: str, service: str, value: float, denominator: float | None = None) -> Row:
    basis = "partial_year" if (service, year) == ("social_advice", 2023) else "calendar_year"
    return {
        "figure_id": figure_id,
        "service": service,
        "report_year": year,
        "basis": basis,
        "numerator": value,
        "denominator": denominator,
        "value": value,
        "event_count": 1000,
    }


def _figures(year: int) -> list[Row]:
    lines = [_figure(year, "calls_received", line, 10_000) for line in HEALTH_LINES]
    return [
        *lines,
        _figure(year, "calls_received", "health_lines", 60_000),
        _figure(year, "calls_received", "social_advice", 20_000),
        _figure(year, "call_mean_wait_seconds", "health_lines", 500, 50_000),
        _figure(year, "same_day_callback_share", "health_lines", 100, 1_000),
        _figure(year, "nps", "health", 79, 900),
        _figure(year, "nps_promoter_share", "health", 85, 900),
        _figure(year, "nps_detractor_share", "health", 6, 900),
        _figure(year, "nps_responses", "health", 900),
        _figure(year, "nps_response_rate", "health", 17.6, 5_000),
        _figure(year, "nps_change", "health", -101),  # a change is bound by no limit of its unit
        _figure(year, "rescue_department_missions", "rescue", 12_000),
        _figure(year, "rescue_missions", "rescue", 3_000),
        _figure(year, "ems_missions", "rescue", 9_000),
        _figure(year, "rescue_missions_change_pct", "rescue", -8.5, 3_000),
        _figure(year, "experience_mean", "all_services", 4.7, 40_000),
        _figure(year, "elderly_housing_mean_wait_days", "elderly_housing", 60, 200),
        {**_figure(year, "elderly_housing_mean_wait_days", "elderly_housing", 300, 200), "basis": "december"},
        _figure(year, "safety_inspections", "rescue", 500),
        _figure(year, "volunteer_encounters", "olka", 20),
    ]


def _coverage(year: int) -> list[Row]:
    def row(feed: str, month: int) -> Row:
        return {"feed": feed, "report_year": year, "month": month, "row_count": 100 + month, "service_count": 1}

    first = 6 if year == 2023 else 1  # the feedback service opened in June 2023
    calls = [row("calls", month) for month in range(1, 13)]
    return [*calls, *(row("feedback", month) for month in range(first, 13)), row("care_queue", 12)]


def _published(year: int) -> Row:
    return {
        "report_year": year,
        "figure_id": "calls_received",
        "service": "health_lines",
        "basis": "calendar_year",
        "published_value": 60_000,
        "value": 60_000,
        "status": "reproduced",
    }


@pytest.fixture
def warehouse() -> Warehouse:
    return Warehouse()


# --- the valid warehouse ---------------------------------------------------------------------------------------------


def test_a_valid_warehouse_passes_every_expectation(warehouse: Warehouse) -> None:
    results = warehouse.judge()
    assert [result for result in results if not result.success] == []
    assert {result.report_year for result in results} == set(YEARS)
    assert not any(result.is_provisional for result in results)


def test_every_rule_has_something_to_judge_in_the_valid_warehouse(warehouse: Warehouse) -> None:
    judged = {result.expectation for result in warehouse.judge(only_year=2025)}
    feeds = {"every_month_present:calls", "every_month_present:feedback", "delivered_in_year:care_queue"}
    assert judged == {rule.name for rule in RULES} - SAME_FORM | feeds | {"no_later_years"}


def test_results_say_what_was_seen(warehouse: Warehouse) -> None:
    results = {result.expectation: result for result in warehouse.judge(only_year=2025)}
    assert results["year_has_figures"].observed == "25 rows"
    assert results["every_month_present:calls"].observed == "12 values: 101 to 112"
    assert results["figure_ids_known"].observed == "25 values"
    assert results["shares_within_0_and_100"].description == "Every share lies between 0 and 100 percent."
    assert results["nps_change"].description == (
        "An NPS over 100 answers or more changes by -30 to 30 points from the year before, "
        "because the NPS of a whole county moves by a few points a year."
    )


# --- one thing broken ------------------------------------------------------------------------------------------------

Break = Callable[[Warehouse], object]


def _set(figure_id: str, service: str, year: int, **values: object) -> Break:
    return lambda warehouse: warehouse.figure(figure_id, service, year).update(values)


def _add(**values: object) -> Break:
    row = {**_figure(2025, "safety_inspections", "rescue", 500), **values}
    return lambda warehouse: warehouse.tables["marts.indicators"].append(row)


def _drop(figure_id: str, service: str, year: int) -> Break:
    return lambda warehouse: warehouse.tables["marts.indicators"].remove(warehouse.figure(figure_id, service, year))


def _all(*changes: Break) -> Break:
    return lambda warehouse: [change(warehouse) for change in changes]


def _all_counts_zero(warehouse: Warehouse) -> None:
    counts = {figure_id for figure_id, unit in UNITS.items() if unit == "count"}
    mains = set(yearly_rules.MAIN_VOLUMES)
    kept = {"nps_responses", "nps", "nps_promoter_share", "nps_detractor_share"}
    warehouse.keep("marts.indicators", lambda row: row["figure_id"] in kept)
    for row in warehouse.tables["marts.indicators"]:
        if row["figure_id"] in counts - mains:
            row["value"] = 0


BREAKS: dict[str, tuple[Break, int, str, str]] = {
    "a year without figures": (
        lambda w: w.keep("marts.indicators", lambda row: row["report_year"] != 2024),
        2024, "year_has_figures", "no figures",
    ),
    "a figure without a service": (
        _add(service=None),
        2025, "figure_keys_complete", "safety_inspections 2025 = 500",
    ),
    "a figure twice": (
        _add(),
        2025, "figure_keys_unique", "safety_inspections rescue 2025 = 500, safety_inspections rescue 2025 = 500",
    ),
    "a figure nobody described": (
        _add(figure_id="coffee_breaks", value=-5),
        2025, "figure_ids_known", "coffee_breaks rescue 2025 = -5",
    ),
    "a count without a value": (
        _set("nps_responses", "health", 2025, value=None),
        2025, "values_present", "nps_responses health 2025 = no value",
    ),
    "a share without a value though there are cases": (
        _set("same_day_callback_share", "health_lines", 2025, value=None),
        2025, "values_present", "same_day_callback_share health_lines 2025 = no value",
    ),
    "an infinite value": (
        _set("same_day_callback_share", "health_lines", 2025, value=float("inf")),
        2025, "values_present", "same_day_callback_share health_lines 2025 = no value",
    ),
    "a main volume of 0": (
        _set("calls_received", "social_advice", 2023, value=0),
        2023, "main_volumes_positive", "calls_received social_advice 2023 (partial_year) = 0",
    ),
    "a negative count": (
        _set("volunteer_encounters", "olka", 2025, value=-1),
        2025, "counts_not_negative", "volunteer_encounters olka 2025 = -1",
    ),
    "a share above 100": (
        _set("same_day_callback_share", "health_lines", 2025, value=100.5),
        2025, "shares_within_0_and_100", "same_day_callback_share health_lines 2025 = 100.5",
    ),
    "a share below 0": (
        _set("same_day_callback_share", "health_lines", 2025, value=-1, denominator=99),
        2025, "shares_within_0_and_100", "same_day_callback_share health_lines 2025 = -1",
    ),
    "a response rate above 100": (
        _set("nps_response_rate", "health", 2025, value=101, denominator=99),
        2025, "response_rates_within_0_and_100", "nps_response_rate health 2025 = 101",
    ),
    "an NPS below -100": (
        _add(figure_id="nps", service="social_advice", value=-101, denominator=900),
        2025, "nps_within_100_of_0", "nps social_advice 2025 = -101",
    ),
    "a mean score above 5": (
        _set("experience_mean", "all_services", 2025, value=5.1),
        2025, "scores_within_1_and_5", "experience_mean all_services 2025 = 5.1",
    ),
    "a negative duration": (
        _set("call_mean_wait_seconds", "health_lines", 2025, value=-1, denominator=99),
        2025, "durations_not_negative", "call_mean_wait_seconds health_lines 2025 = -1",
    ),
    "a wait that nobody would hold": (
        _set("call_mean_wait_seconds", "health_lines", 2025, value=7201, denominator=99),
        2025, "plausible:call_mean_wait_seconds", "call_mean_wait_seconds health_lines 2025 = 7201",
    ),
    "a housing wait of years": (
        _set("elderly_housing_mean_wait_days", "elderly_housing", 2025, value=731, denominator=99),
        2025, "plausible:elderly_housing_mean_wait_days",
        "elderly_housing_mean_wait_days elderly_housing 2025 = 731",
    ),
    "a main volume that fell": (
        _set("calls_received", "social_advice", 2025, value=3_999),
        2025, "main_volumes_change", "calls_received social_advice 2025 = 3999 (the year before 20000)",
    ),
    "a main volume that grew": (
        _set("calls_received", "social_advice", 2025, value=100_001),
        2025, "main_volumes_change", "calls_received social_advice 2025 = 100001 (the year before 20000)",
    ),
    "a main volume that is not told any more": (
        _drop("calls_received", "social_advice", 2025),
        2025, "main_volumes_change", "calls_received social_advice 2025 = 0 (the year before 20000)",
    ),
    "another count that fell": (
        _set("nps_responses", "health", 2025, value=179),
        2025, "counts_change", "nps_responses health 2025 = 179 (the year before 900)",
    ),
    "another count that grew from 0": (
        _all(_set("volunteer_encounters", "olka", 2024, value=0),
             _set("volunteer_encounters", "olka", 2025, value=100)),
        2025, "counts_change", "volunteer_encounters olka 2025 = 100 (the year before 0)",
    ),
    "a mean time that grew": (
        _set("call_mean_wait_seconds", "health_lines", 2025, value=2501),
        2025, "durations_change", "call_mean_wait_seconds health_lines 2025 = 2501 (the year before 500)",
    ),
    "a share that fell": (
        _set("same_day_callback_share", "health_lines", 2025, value=59),
        2025, "shares_change", "same_day_callback_share health_lines 2025 = 59 (the year before 100)",
    ),
    "an NPS that fell": (
        _all(_set("nps", "health", 2025, value=48), _set("nps_promoter_share", "health", 2025, value=60),
             _set("nps_detractor_share", "health", 2025, value=12)),
        2025, "nps_change", "nps health 2025 = 48 (the year before 79)",
    ),
    "a mean score that fell": (
        _set("experience_mean", "all_services", 2025, value=4.1),
        2025, "scores_change", "experience_mean all_services 2025 = 4.1 (the year before 4.7)",
    ),
    "missions that do not add up": (
        _set("ems_missions", "rescue", 2025, value=8_999),
        2025, "missions_are_rescue_and_ems",
        "rescue_department_missions rescue 2025 = 12000 but its parts make 11999",
    ),
    "lines that do not add up": (
        _set("calls_received", "rehabilitation", 2025, value=9_000),
        2025, "health_lines_are_their_lines", "calls_received health_lines 2025 = 60000 but its parts make 59000",
    ),
    "an NPS that is not the difference of its shares": (
        _set("nps", "health", 2025, value=78),
        2025, "nps_is_promoters_less_detractors", "nps health 2025 = 78 but its parts make 79",
    ),
    "a figure that differs from the published one": (
        lambda w: w.tables["marts.reconciliation"].append({**_published(2024), "value": 59_999, "status": "differs"}),
        2024, "reconciliation_never_differs", "calls_received health_lines 2024 = 59999 (published 60000)",
    ),
    "months missing": (
        lambda w: w.keep("marts.coverage", lambda r: (r["feed"], r["month"]) not in {("calls", 7), ("calls", 8)}
                         or r["report_year"] != 2024),
        2024, "every_month_present:calls", "missing months 7, 8",
    ),
    "a month with no row in it": (
        lambda w: [row.update(row_count=0) for row in w.tables["marts.coverage"]
                   if (row["feed"], row["report_year"], row["month"]) == ("feedback", 2023, 6)],
        2023, "every_month_present:feedback", "missing months 6",
    ),
    "a yearly feed that stops": (
        lambda w: w.keep("marts.coverage", lambda r: r["feed"] != "care_queue" or r["report_year"] < 2025),
        2025, "delivered_in_year:care_queue", "no records",
    ),
    "a mistyped year": (
        lambda w: w.tables["marts.coverage"].append({"feed": "calls", "report_year": 2052, "month": 3, "row_count": 1}),
        2025, "no_later_years", "2052 (calls)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("break_it", "year", "expectation", "observed"), BREAKS.values(), ids=BREAKS.keys())
def test_exactly_the_broken_expectation_fails(
    warehouse: Warehouse, break_it: Break, year: int, expectation: str, observed: str
) -> None:
    break_it(warehouse)
    # A rule looks at its own year and the year before: what is broken in the last year cannot fail an earlier one.
    only_year = year if year == YEARS[-1] else None
    assert warehouse.failures(only_year) == {(year, expectation): observed}


def test_a_year_whose_counts_are_all_zero_warns(warehouse: Warehouse) -> None:
    _all_counts_zero(warehouse)
    failures = warehouse.failures()
    assert failures == {(year, "counts_not_all_zero"): "1 value: 0" for year in YEARS}


def test_every_rule_has_a_case_that_makes_it_fail() -> None:
    shown = {expectation for _, _, expectation, _ in BREAKS.values()} | {"counts_not_all_zero"}
    assert {rule.name for rule in RULES} - shown == SAME_FORM


# --- what is not a failure -------------------------------------------------------------------------------------------

FINE: dict[str, tuple[Break, int]] = {
    "a value that cannot be computed": (
        _set("same_day_callback_share", "health_lines", 2025, value=None, denominator=0), 2025),
    "a mean of nothing": (_set("call_mean_wait_seconds", "health_lines", 2025, value=None, denominator=0), 2025),
    "the same figure on another basis": (_add(basis="december"), 2025),
    "a small count that leaps": (
        _all(_set("volunteer_encounters", "olka", 2024, value=1),
             _set("volunteer_encounters", "olka", 2025, value=99)), 2025),
    "a share of few cases that leaps": (
        _set("same_day_callback_share", "health_lines", 2025, value=0, denominator=99), 2025),
    "a count whose feed is not delivered any more": (
        _all(_set("safety_inspections", "rescue", 2024, value=5_000),
             _drop("safety_inspections", "rescue", 2025)), 2025),
    "a leap from a partial year": (_set("calls_received", "social_advice", 2023, value=900_000), 2024),
    "a leap to a partial year": (
        _set("calls_received", "social_advice", 2025, value=900, basis="partial_year"), 2025),
    "a feed that starts later": (
        lambda w: w.keep("marts.coverage", lambda r: r["feed"] != "care_queue" or r["report_year"] > 2023), 2023),
}  # fmt: skip


@pytest.mark.parametrize(("change", "year"), FINE.values(), ids=FINE.keys())
def test_nothing_fails(warehouse: Warehouse, change: Break, year: int) -> None:
    change(warehouse)
    assert warehouse.failures(year) == {}


def test_an_accepted_change_does_not_fail(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse.figure("calls_received", "social_advice", 2025)["value"] = 1
    accepted = {"calls_received social_advice 2025": "2026-01-15: moved to another county"}
    monkeypatch.setattr(yearly_frames, "ACCEPTED_CHANGES", accepted)
    assert warehouse.failures() == {}


# --- which years, and until when -------------------------------------------------------------------------------------


def test_a_feed_that_stops_fails_every_year_after(warehouse: Warehouse) -> None:
    warehouse.keep("marts.coverage", lambda row: row["feed"] != "calls" or row["report_year"] == 2023)
    every = "missing months 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12"
    expectation = "every_month_present:calls"
    assert warehouse.failures() == {(2024, expectation): every, (2025, expectation): every}


def test_the_first_year_of_a_feed_must_be_whole(warehouse: Warehouse) -> None:
    before_july = {("calls", 2023, month) for month in range(1, 7)}
    warehouse.keep("marts.coverage", lambda r: (r["feed"], r["report_year"], r["month"]) not in before_july)
    assert warehouse.failures() == {(2023, "every_month_present:calls"): "missing months 1, 2, 3, 4, 5, 6"}


def test_a_year_with_nothing_between_others_fails_as_empty(warehouse: Warehouse) -> None:
    for table in ("marts.indicators", "marts.coverage", "marts.reconciliation"):
        warehouse.keep(table, lambda row: row["report_year"] != 2024)
    failures = warehouse.failures()
    assert {year for year, _ in failures} == {2024}
    assert failures[2024, "year_has_figures"] == "no figures"
    assert failures[2024, "delivered_in_year:care_queue"] == "no records"


def test_a_feed_is_judged_from_its_own_first_year(warehouse: Warehouse) -> None:
    warehouse.tables["marts.indicators"].append(_figure(2022, "safety_inspections", "rescue", 500))
    for month in range(1, 13):
        warehouse.tables["marts.coverage"].append(
            {"feed": "calls", "report_year": 2022, "month": month, "row_count": 5}
        )
    assert warehouse.failures() == {}
    assert {result.report_year for result in warehouse.judge()} == {2022, *YEARS}


def test_many_mistyped_years_make_one_warning(warehouse: Warehouse) -> None:
    warehouse.tables["marts.indicators"] += [_figure(year, "nps", "health", 1) for year in range(2027, 2053)]
    warehouse.tables["marts.coverage"].append({"feed": "calls", "report_year": 2052, "month": 3, "row_count": 1})
    (later,) = [result for result in warehouse.judge() if not result.success]
    assert (later.report_year, later.expectation, later.severity) == (2025, "no_later_years", "warn")
    assert later.description == "Nothing is dated after the year 2026."
    assert later.observed.startswith("2027, 2028, ")
    assert later.observed.endswith(", 2046 and 6 more")


def test_a_warehouse_of_later_years_only_has_the_warning_alone(warehouse: Warehouse) -> None:
    (result,) = warehouse.judge(datetime.date(2022, 12, 31))
    years = "2023 (calls and care_queue and feedback), 2024 (calls and care_queue and feedback)"
    assert (result.report_year, result.success) == (2022, False)
    assert result.observed.startswith(years)


def test_only_one_year(warehouse: Warehouse) -> None:
    assert {result.report_year for result in warehouse.judge(only_year=2024)} == {2024}
    assert [(r.expectation, r.success) for r in warehouse.judge(only_year=1999)] == [("year_has_figures", False)]


# --- the running year ------------------------------------------------------------------------------------------------


def _running(warehouse: Warehouse, as_of: datetime.date) -> dict[str, YearResult]:
    results = [result for result in warehouse.judge(as_of) if result.report_year == 2025]
    assert all(result.is_provisional for result in results)
    return {result.expectation: result for result in results}


def test_the_running_year_is_judged_up_to_its_last_full_month(warehouse: Warehouse) -> None:
    warehouse.keep("marts.coverage", lambda row: row["report_year"] < 2025 or row["month"] <= 3)
    march, april = datetime.date(2025, 4, 30), datetime.date(2025, 5, 1)
    assert all(result.success for result in _running(warehouse, march).values())
    late = _running(warehouse, april)["every_month_present:calls"]
    assert (late.success, late.severity, late.observed) == (False, "warn", "missing months 4")


def test_nothing_is_required_of_january(warehouse: Warehouse) -> None:
    for table in ("marts.indicators", "marts.reconciliation"):
        warehouse.keep(table, lambda row: row["report_year"] < 2025)
    warehouse.keep("marts.coverage", lambda row: row["report_year"] < 2025 or row["month"] == 1)
    warehouse.keep("marts.coverage", lambda row: row["report_year"] < 2025 or row["feed"] == "feedback")
    results = _running(warehouse, datetime.date(2025, 1, 31))
    assert list(results) == ["no_later_years"]
    assert results["no_later_years"].success


def test_volumes_of_the_running_year_are_not_compared(warehouse: Warehouse) -> None:
    warehouse.figure("calls_received", "social_advice", 2025)["value"] = 1
    warehouse.figure("call_mean_wait_seconds", "health_lines", 2025)["value"] = 2501
    results = _running(warehouse, datetime.date(2025, 12, 31))
    assert [name for name, result in results.items() if not result.success] == ["durations_change"]
    assert not {"main_volumes_change", "counts_change", "delivered_in_year:care_queue"} & set(results)


def test_a_figure_of_the_running_year_that_differs_only_warns(warehouse: Warehouse) -> None:
    warehouse.tables["marts.reconciliation"][1]["status"] = "differs"
    assert _running(warehouse, datetime.date(2025, 6, 1))["reconciliation_never_differs"].severity == "warn"
    (whole,) = [result for result in warehouse.judge() if not result.success]
    assert (whole.expectation, whole.severity) == ("reconciliation_never_differs", "error")


# --- warehouses that lack something ----------------------------------------------------------------------------------


def test_a_warehouse_without_any_table_has_nothing_to_judge() -> None:
    with duckdb.connect() as con:
        assert validate(con, FEEDS, AFTER_THE_YEARS) == ()


@pytest.mark.parametrize("table", ["marts.coverage", "marts.reconciliation"])
def test_a_table_that_was_not_built_is_not_judged(warehouse: Warehouse, table: str) -> None:
    del warehouse.tables[table]
    assert warehouse.failures() == {}


def test_only_the_rules_of_what_was_delivered_make_results(warehouse: Warehouse) -> None:
    warehouse.keep("marts.indicators", lambda row: row["figure_id"] == "safety_inspections")
    warehouse.keep("marts.coverage", lambda row: row["feed"] == "care_queue")
    warehouse.keep("marts.reconciliation", lambda row: False)
    results = warehouse.judge(only_year=2025)
    assert all(result.success for result in results)
    assert [result.expectation for result in results] == [
        "year_has_figures",
        "figure_keys_complete",
        "figure_keys_unique",
        "figure_ids_known",
        "values_present",
        "main_volumes_positive",
        "counts_not_negative",
        "counts_not_all_zero",
        "counts_change",
        "delivered_in_year:care_queue",
        "no_later_years",
    ]


def test_a_crash_inside_great_expectations_fails_the_rule_that_crashed(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = Rule(
        "odd", "figures", "share", Check("ExpectColumnValuesToMatchRegex", {"regex": "("}), "error", "error", "Odd"
    )
    monkeypatch.setattr("kpi.expectations.RULES", (*RULES, odd))
    failures = warehouse.failures()
    assert {expectation for _, expectation in failures} == {"odd"}
    assert failures[2025, "odd"].startswith("could not be judged: ")


def test_importing_the_module_does_not_import_great_expectations() -> None:
    program = "import sys, kpi.expectations; sys.exit('great_expectations' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# --- the results -----------------------------------------------------------------------------------------------------


def test_results_do_not_depend_on_the_order_of_the_rows(warehouse: Warehouse) -> None:
    warehouse.figure("calls_received", "rehabilitation", 2025)["value"] = -9
    first = results_as_json(warehouse.judge())
    for rows in warehouse.tables.values():
        random.Random(7).shuffle(rows)
    assert results_as_json(warehouse.judge()) == first


def test_results_are_written_as_a_table_and_as_json(warehouse: Warehouse) -> None:
    with warehouse.connect() as con:
        results = validate(con, FEEDS, AFTER_THE_YEARS, 2025)
        write_results(con, results)
        write_results(con, results)
        described = con.execute("describe marts.expectation_results").fetchall()
        rows = con.execute("from marts.expectation_results").fetchall()
        write_results(con, ())
        assert con.execute("select count(*) from marts.expectation_results").fetchall() == [(0,)]
    assert [(name, kind) for name, kind, *_ in described] == [
        ("report_year", "INTEGER"),
        ("expectation", "VARCHAR"),
        ("description", "VARCHAR"),
        ("severity", "VARCHAR"),
        ("success", "BOOLEAN"),
        ("observed", "VARCHAR"),
        ("is_provisional", "BOOLEAN"),
    ]
    assert [row[1] for row in rows] == [result.expectation for result in results]
    assert [list(row.values()) for row in json.loads(results_as_json(results))] == [list(row) for row in rows]


def test_it_is_silent_and_touches_neither_network_nor_disk(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for variable in ("HOME", "TMPDIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    warehouse.figure("nps", "health", 2025)["value"] = 78
    warehouse.judge()
    assert list(tmp_path.rglob("*")) == []
    assert capfd.readouterr() == ("", "")
