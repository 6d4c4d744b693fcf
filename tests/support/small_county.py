"""The marts of a county whose every figure is in order, small enough to break in one place and judge again.

    county = County()
    county.figure("nps_responses", "health", 2025)["value"] = -1
    county.failures(2025)        # {"counts_not_negative": "nps_responses health 2025 = -1", ...}

The figures are described by the project's own seeds, and what is judged is made by its own models. Everything but the
care paths and the days of the year is the same in 2023, 2024 and 2025: nothing changes unless a test changes it.
"""

from __future__ import annotations

import csv
from calendar import isleap
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from kpi.project.project import load_project
from kpi.validation.expectations import YearResult, validate
from kpi.validation.rule import Expectations, FeedExpectation, read_expectations
from once import county

ROOT = Path(__file__).parents[2]
SEEDS = ROOT / "seeds"
HEALTH_LINES = (
    "health_station",
    "maternity_and_child_clinic",
    "oral_health",
    "rehabilitation",
    "emergency_helpline",
    "mental_health_and_substance_abuse",
)
YEARS = (2023, 2024, 2025)
AFTER_THE_YEARS = date(2026, 5, 2)  # everything of 2025 that is missing is very late
FEEDBACK_BEGAN = date(2023, 6, 1)
COLUMNS = {
    "marts.indicators": "figure_id varchar, service varchar, report_year bigint, basis varchar, numerator double, "
    "denominator double, value double, event_count bigint",
    "marts.coverage": "feed varchar, report_year bigint, month bigint, row_count bigint, service_count bigint",
    "marts.reconciliation": "report_year bigint, figure_id varchar, service varchar, basis varchar, unit varchar, "
    "published_value double, qualifier varchar, decimals varchar, value double, status varchar, reason varchar, "
    "source_report bigint",
    "marts.monthly_series": "figure_id varchar, service varchar, report_year bigint, month bigint, value double",
    "marts.comparability_breaks": "figure_id varchar, service varchar, starts_on date, kind varchar, "
    "reason_fi varchar, reason_en varchar",
    "marts.indicator_origins": "figure_id varchar, service varchar, report_year bigint, basis varchar, origin varchar, "
    "kept_from varchar",
    "marts.deleted_deliveries": "feed varchar, file varchar, rows_loaded bigint, first_year bigint, last_year bigint, "
    "kept_from varchar",
    "marts.unfinished_years": "feed varchar, report_year bigint, state varchar, last_full_month bigint",
    "seeds.figure_expectations": "figure_id varchar, feed varchar, services varchar, volume varchar, "
    "value_from varchar, events varchar",
    "seeds.accepted_changes": "figure_id varchar, service varchar, report_year bigint, starts_on date, "
    "reason_fi varchar, reason_en varchar",
    "seeds.figures": "figure_id varchar, family varchar, name_fi varchar, definition_fi varchar, unit varchar, "
    "decimals varchar, basis varchar",
    "seeds.figure_services": "figure_id varchar, service varchar, service_name_fi varchar, since date",
    "seeds.targets": "report_year bigint, figure_id varchar, service varchar, target double, comparison varchar",
    "seeds.national_comparisons": "report_year bigint, figure_id varchar, service varchar, national_value double",
}
Row = dict[str, Any]

MONTHLY = {  # feeds with records all the year round, and how many a year
    "calls": 80_000,
    "callbacks": 8_000,
    "chats": 4_500,
    "helpline_contacts": 5_000,
    "nps_responses": 11_000,
    "nps_invitations": 36,
    "experience_answers": 7_000,
    "feedback": 2_000,
    "rescue_missions": 12_000,
    "safety_inspections": 6_000,
    "care_visits": 30_000,
    "housing_placements": 500,
    "decisions": 4_000,
    "ombudsman_contacts": 1_500,
    "safety_incidents": 9_000,
    "care_contacts": 336,
}
YEARLY = {"feedback_labels": 2_150, "care_queue": 12_400, "digital_users": 36, "manual_figures": 2}
FEEDS = (
    *(FeedExpectation(feed, "month", FEEDBACK_BEGAN if feed == "feedback" else None) for feed in MONTHLY),
    *(FeedExpectation(feed, "year") for feed in YEARLY),
    FeedExpectation("digital_care_paths", "once"),
    FeedExpectation("chat_services", "once"),
    FeedExpectation("never_delivered", "month"),
    FeedExpectation("never_delivered_either", "year"),
)
SOME_FEEDS = tuple(feed for feed in FEEDS if feed.feed in ("care_contacts", "feedback", "digital_users", "care_queue"))
PROCESSES = (
    ("disability_decisions_on_time_share", "disability_services", 900),
    ("child_welfare_notifications_on_time_share", "child_welfare", 980),
    ("income_support_on_time_share", "income_support", 990),
    ("service_needs_assessments_on_time_share", "service_needs_assessment", 950),
)


class County:
    """The rows of the tables that are judged, easy to change."""

    def __init__(self) -> None:
        self.tables: dict[str, list[Row]] = {
            "marts.indicators": [row for year in YEARS for row in _figures(year)],
            "marts.coverage": [row for year in YEARS for row in _coverage(year)],
            "marts.monthly_series": [row for year in YEARS for row in _series(year)],
            "marts.reconciliation": [
                *(printed(year, "safety_inspections", "rescue", 6_000) for year in YEARS),
                printed(2025, "elderly_housing_mean_wait_days", "elderly_housing", 80, basis="december", unit="days"),
            ],
            "marts.comparability_breaks": [
                {
                    "figure_id": "safety_incidents",
                    "service": "all_services",
                    "starts_on": date(2025, 1, 1),
                    "reason_fi": "Alue laajeni.",
                    "reason_en": "The county grew.",
                }
            ],
            **{
                f"seeds.{name}": _seed(name)
                for name in ("figures", "figure_services", "figure_expectations", "targets")
            },
            "seeds.national_comparisons": [],
        }

    def figure(self, figure_id: str, service: str, year: int, basis: str = "") -> Row:
        """Return one figure, to be changed."""
        for row in self.tables["marts.indicators"]:
            is_it = (row["figure_id"], row["service"], row["report_year"]) == (figure_id, service, year)
            if is_it and basis in ("", row["basis"]):
                return row
        raise KeyError((figure_id, service, year, basis))

    def keep(self, table: str, condition: Callable[[Row], bool]) -> None:
        """Drop the rows of a table that do not meet the condition."""
        self.tables[table] = [row for row in self.tables[table] if condition(row)]

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return an in-memory database with the tables, empty where the county has none, and the project's models."""
        con = duckdb.connect(config={"threads": "1"})  # a few hundred rows: handing them to two costs a fifth more
        con.execute("create schema marts; create schema seeds; create schema expectations")
        for table, columns in COLUMNS.items():
            con.execute(f"create table {table} ({columns})")
            if self.tables.get(table):
                names = [column.split()[0] for column in columns.split(", ")]
                delivered = pa.table({name: [row.get(name) for row in self.tables[table]] for name in names})
                con.register("delivered", delivered)
                con.execute(f"insert into {table} from delivered")
                con.unregister("delivered")
        for table, sql in models():
            con.execute(f"create table {table} as {sql}")
        return con

    def judge(
        self,
        only_year: int | None = None,
        as_of: date = AFTER_THE_YEARS,
        feeds: Sequence[FeedExpectation] = FEEDS,
        is_more_expected: bool = False,
    ) -> tuple[YearResult, ...]:
        """Judge the county, of which no more than its three years is expected unless a test says so."""
        with self.connect() as con:
            return validate(con, expectations(), feeds, as_of, only_year, is_more_expected)

    def failures(self, year: int) -> dict[str, str]:
        """Return what was observed of each expectation of a year that failed; of the feeds, a few are judged."""
        results = self.judge(year, feeds=SOME_FEEDS)
        return {result.expectation: result.observed for result in results if not result.success}


@cache
def expectations() -> Expectations:
    """Return what the project expects of its report years."""
    return read_expectations(load_project(ROOT))


@cache
def models() -> tuple[tuple[str, str], ...]:
    """Return name and compiled SQL of each model of models/expectations, in building order."""
    nodes = county().graph.built()
    return tuple((str(node.relation), node.sql) for node in nodes if node.relation.schema == "expectations")


@cache
def flows() -> frozenset[str]:
    """Return the figures of what happens all the year round."""
    return frozenset(row["figure_id"] for row in _seed("figure_expectations") if row["volume"] in ("main", "flow"))


def _seed(name: str) -> list[Row]:
    with (SEEDS / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return [{name: cell or None for name, cell in row.items()} for row in csv.DictReader(stream)]


def figure(
    year: int,
    figure_id: str,
    service: str,
    numerator: float | None,
    denominator: float | None = None,
    events: int | None = None,
    times: float = 1,
    **changes: object,
) -> Row:
    """Return a row of marts.indicators: a count, or `times` a quotient. `events` is the denominator unless told."""
    value = numerator if denominator is None else times * (numerator or 0) / denominator
    started = year == 2023 and (service == "social_advice" or figure_id.startswith("feedback_"))
    row = {
        "figure_id": figure_id,
        "service": service,
        "report_year": year,
        "basis": "partial_year" if started else "calendar_year",
        "numerator": numerator,
        "denominator": denominator,
        "value": value,
        "event_count": events if events is not None else int(denominator or numerator or 0),
    }
    return {**row, **changes}


def _share(year: int, figure_id: str, service: str, part: int, whole: int, **more: Any) -> Row:
    return figure(year, figure_id, service, part, whole, times=100, **more)


def _figures(year: int) -> Iterable[Row]:
    for service, lines in (*((line, 1) for line in HEALTH_LINES), ("health_lines", 6), ("social_advice", 2)):
        yield from _line(year, service, lines)
    yield _share(year, "chats_resolved_without_visit_share", "all_chats", 2_000, 4_000, events=4_500)
    helpline = (year, "emergency_helpline")
    yield _share(year, "helpline_resolved_at_first_contact_share", helpline[1], 2_500, 5_000)
    yield _share(year, "helpline_sent_to_emergency_share", helpline[1], 1_500, 5_000)
    yield _share(year, "helpline_sufficient_advice_share", helpline[1], 900, 1_000, events=5_000)
    yield from _nps(year, "health", 9_000)
    yield from _nps(year, "social_advice", 1_000)
    statements = [row["service"] for row in _seed("figure_services") if row["figure_id"] == "experience_statement_mean"]
    for statement in statements:
        yield figure(year, "experience_statement_mean", statement, 4_700, 1_000)
    yield figure(year, "experience_mean", "all_services", 32_900, 7_000)
    yield figure(year, "experience_answers", "all_services", 7_000)
    yield figure(year, "feedback_received", "all_services", 2_000)
    for area, items in (("health", 1_000), ("social", 200), ("rescue", 20), ("other", 780)):
        yield _share(year, "feedback_share", area, items, 2_000)
    for content, items in (("thanks", 600), ("suggestion", 400), ("criticism", 900), ("other", 250)):
        yield figure(year, "feedback_content", content, items)
    yield from _safety(year)
    yield from _access(year)
    yield from _digital(year)
    if year > 2023:
        yield from _changes(year)
    yield figure(year, "wellbeing_service_monthly_reach", "wellbeing_service", 2_400, events=1, basis="monthly_mean")
    yield figure(year, "volunteer_encounters", "olka", 26_000, events=1)


def _safety(year: int) -> Iterable[Row]:
    yield figure(year, "rescue_department_missions", "rescue", 12_000)
    yield figure(year, "rescue_missions", "rescue", 3_000)
    yield figure(year, "ems_missions", "rescue", 9_000)
    yield figure(year, "rescue_unit_alarms_per_day", "rescue", 12_000, 366 if isleap(year) else 365, 12_000)
    yield figure(year, "first_unit_response_seconds", "rescue", None, 2_000, 2_500, value=431)
    yield figure(year, "safety_inspections", "rescue", 6_000)
    yield figure(year, "safety_incidents", "all_services", 9_000)
    yield _share(year, "safety_incidents_moderate_or_severe_share", "all_services", 540, 9_000)


def _access(year: int) -> Iterable[Row]:
    queue = (year, "specialist_care")
    census: Row = {"basis": "census_december"}
    yield figure(year, "specialist_queue", queue[1], 3_000, events=3_100, **census)
    yield figure(year, "specialist_queue_over_180_days", queue[1], 60, **census)
    yield _share(year, "specialist_queue_over_180_days_share", queue[1], 60, 3_000, **census)
    yield _share(year, "specialist_queue_over_6_months_share", queue[1], 50, 3_000, **census)
    yield _share(year, "primary_care_within_14_days_share", "primary_care", 15_000, 20_000)
    yield _share(year, "care_guarantee_primary_care_23_and_over_share", "primary_care", 15_900, 16_000)
    yield _share(year, "care_guarantee_primary_care_under_23_share", "primary_care", 3_900, 4_000)
    yield _share(year, "oral_health_within_3_months_share", "oral_health", 8_000, 10_000)
    yield _share(year, "care_guarantee_oral_health_23_and_over_share", "oral_health", 7_900, 8_000)
    yield _share(year, "care_guarantee_oral_health_under_23_share", "oral_health", 1_900, 2_000)
    yield figure(year, "elderly_housing_mean_wait_days", "elderly_housing", 30_000, 500)
    yield figure(year, "elderly_housing_mean_wait_days", "elderly_housing", 3_200, 40, basis="december")
    for figure_id, service, on_time in PROCESSES:
        yield _share(year, figure_id, service, on_time, 1_000)
    shares = sum(on_time for *_, on_time in PROCESSES) / 10
    yield figure(year, "social_processes_on_time_share", "social_services", shares, 4, 4_000)
    yield figure(year, "ombudsman_contacts", "social", 300)
    yield figure(year, "ombudsman_contacts", "patient", 1_200)
    yield _share(year, "ombudsman_resolved_in_one_call_share", "ombudsman", 700, 1_400, events=1_500)


def _digital(year: int) -> Iterable[Row]:
    census: Row = {"basis": "census_december"}
    users = (year, "oma_kymenlaakso")
    yield figure(year, "digital_registered_users", users[1], 50_000, events=12, **census)
    yield figure(year, "digital_active_users", users[1], 15_000, events=12, **census)
    yield _share(year, "digital_users_over_70_share", users[1], 12_000, 50_000, events=12, **census)
    yield figure(year, "digital_care_paths", users[1], 10 + 2 * (year - 2023), basis="end_of_year")
    yield figure(year, "digital_self_care_paths", users[1], 4, basis="end_of_year")
    yield figure(year, "new_chat_services", "all_services", 2)
    yield _share(year, "remote_contact_share", "all_services", 200_000, 1_000_000, events=336)
    yield _share(year, "visit_replacing_remote_contact_share", "all_services", 70_000, 1_000_000, events=336)


def _changes(year: int) -> Iterable[Row]:
    change: Row = {"basis": "change_from_previous_year"}
    for service, answers in (("health", 9_000), ("social_advice", 1_000)):
        yield figure(year, "nps_change", service, 0, events=answers, **change)
        yield figure(year, "nps_responses_change", service, 0, events=answers, **change)
    yield figure(year, "feedback_received_change", "all_services", 0, events=2_000, **change)
    yield _share(year, "rescue_missions_change_pct", "rescue", 0, 3_000, **change)


def _line(year: int, service: str, lines: int) -> Iterable[Row]:
    yield figure(year, "calls_received", service, 10_000 * lines)
    yield figure(year, "call_mean_wait_seconds", service, 2_400_000 * lines, 8_000 * lines, 10_000 * lines)
    within = "calls_answered_within_5_minutes_share"
    yield _share(year, within, service, 6_000 * lines, 8_000 * lines, events=10_000 * lines)
    yield figure(year, "call_mean_handling_seconds", service, 2_800_000 * lines, 7_000 * lines, 10_000 * lines)
    yield figure(year, "callbacks_received", service, 1_000 * lines)
    yield figure(year, "callbacks_never_reached", service, 100 * lines, events=1_000 * lines)
    yield _share(year, "same_day_callback_share", service, 800 * lines, 900 * lines, events=1_000 * lines)
    yield figure(year, "callback_mean_seconds", service, 3_240_000 * lines, 900 * lines, 1_000 * lines)
    yield figure(year, "chats_received", service, 500 * lines if service != "social_advice" else 1_500)


def _nps(year: int, service: str, answers: int) -> Iterable[Row]:
    promoters, detractors = answers * 7 // 10, answers // 10
    yield _share(year, "nps", service, promoters - detractors, answers)
    yield _share(year, "nps_promoter_share", service, promoters, answers)
    yield _share(year, "nps_detractor_share", service, detractors, answers)
    yield figure(year, "nps_responses", service, answers)
    yield _share(year, "nps_response_rate", service, answers, 5 * answers, events=answers)


def _spread(total: int, first: int = 1) -> dict[int, int]:
    """Spread a year's records over its months from `first` on; nearly the same in each."""
    months = range(first, 13)
    return {month: total // len(months) + (place < total % len(months)) for place, month in enumerate(months)}


def _first(feed_or_service: str, year: int) -> int:
    return {"feedback": 6, "social_advice": 2}.get(feed_or_service, 1) if year == 2023 else 1


def _coverage(year: int) -> Iterable[Row]:
    def row(feed: str, month: int | None, rows: int) -> Row:
        return {"feed": feed, "report_year": year, "month": month, "row_count": rows, "service_count": 1}

    for feed, total in MONTHLY.items():
        yield from (row(feed, month, rows) for month, rows in _spread(total, _first(feed, year)).items())
    yield from (row(feed, None if feed == "manual_figures" else 12, total) for feed, total in YEARLY.items())
    yield row("digital_care_paths", 3, 10 if year == 2023 else 2)
    yield row("chat_services", 9, 2)


def _series(year: int) -> Iterable[Row]:
    for message in _figures(year):
        figure_id, service = message["figure_id"], message["service"]
        if figure_id in flows():
            first = _first("feedback" if figure_id == "feedback_received" else service, year)
            for month, value in _spread(int(message["value"]), first).items():
                key = {"figure_id": figure_id, "service": service, "report_year": year, "month": month}
                yield {**key, "value": value}


def printed(year: int, figure_id: str, service: str, in_print: float, **changes: object) -> Row:
    """Return a row of marts.reconciliation: a count that is reproduced."""
    row = {
        "report_year": year,
        "figure_id": figure_id,
        "service": service,
        "basis": "calendar_year",
        "unit": "count",
        "published_value": in_print,
        "qualifier": "exact",
        "decimals": "0",
        "value": in_print,
        "status": "reproduced",
        "source_report": year,
    }
    return {**row, **changes}
