"""A county in order is judged, then broken in one place: exactly that expectation must fail."""

from __future__ import annotations

import json
import random
import re
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import pytest

from kpi.validation.expectations import YearResult, results_as_json, validate, write_results
from kpi.validation.rule import Check, Rule, read_formula
from small_county import (
    AFTER_THE_YEARS,
    FEEDS,
    HEALTH_LINES,
    MONTHLY,
    PROCESSES,
    YEARLY,
    YEARS,
    Break,
    County,
    add,
    count,
    drop,
    expectations,
    figure,
    printed,
    put,
    ratio,
    rows,
    together,
)

RULES = expectations().rules
SUMS = expectations().sums
FIGURES, COVERAGE, SERIES = "marts.indicators", "marts.coverage", "marts.monthly_series"


@pytest.fixture
def county() -> County:
    return County()


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
    assert (shares.lowest, shares.highest) == (1, 99.375)
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


# --- one thing broken ------------------------------------------------------------------------------------------------

Case = tuple[Break, int, str, str]
YEAR = {"report_year": 2025}
NEW_MANUAL = {"figure_id": "volunteer_encounters", "basis": "calendar_year", "event_count": 1}
EXPERIENCE = "experience_statement_mean"

BREAKS: dict[str, Case] = {
    # figures
    "a year without figures": (
        drop(FIGURES, report_year=2024),
        2024, "year_has_figures", "no figures",
    ),
    "a figure without a service": (
        add(FIGURES, **NEW_MANUAL, **YEAR, value=5, numerator=5),
        2025, "figure_keys_complete", "volunteer_encounters 2025 = 5",
    ),
    "a figure twice": (
        add(FIGURES, **NEW_MANUAL, **YEAR, service="olka", value=26_000, numerator=26_000),
        2025, "figure_keys_unique", "volunteer_encounters olka 2025 = 26000, volunteer_encounters olka 2025 = 26000",
    ),
    "a figure nobody described": (
        add(FIGURES, **{**NEW_MANUAL, "figure_id": "coffee_breaks"}, **YEAR, service="olka", value=-5, numerator=-5),
        2025, "figures_described", "coffee_breaks olka 2025 = -5",
    ),
    "a service nobody described": (
        add(FIGURES, **NEW_MANUAL, **YEAR, service="canteen", value=5, numerator=5),
        2025, "figures_described", "volunteer_encounters canteen 2025 = 5",
    ),
    "another basis than is described": (
        put("digital_active_users", "oma_kymenlaakso", 2025, basis="calendar_year"),
        2025, "bases_as_described", "digital_active_users oma_kymenlaakso 2025 = 15000",
    ),
    "the first year of a service told as a whole one": (
        put("nps", "social_advice", 2023, basis="calendar_year"),
        2023, "bases_as_described", "nps social_advice 2023 = 60",
    ),
    "a count without a value": (
        put("callbacks_never_reached", "social_advice", 2025, value=None),
        2025, "values_present", "callbacks_never_reached social_advice 2025 = no value",
    ),
    "a share without a value though there are cases": (
        put("same_day_callback_share", "health_lines", 2025, value=None),
        2025, "values_present", "same_day_callback_share health_lines 2025 = no value",
    ),
    "an infinite value": (
        put("same_day_callback_share", "health_lines", 2025, value=float("inf")),
        2025, "values_present", "same_day_callback_share health_lines 2025 = no value",
    ),
    "a value typed in": (
        put("same_day_callback_share", "health_lines", 2025, value=87),
        2025, "values_are_their_parts", "same_day_callback_share health_lines 2025 = 87",
    ),
    "more cases than records": (
        put("safety_incidents_moderate_or_severe_share", "all_services", 2025, event_count=8_999),
        2025, "cases_within_events", "safety_incidents_moderate_or_severe_share all_services 2025 = 6",
    ),
    "a main volume of 0": (
        together(drop(COVERAGE, feed="safety_inspections"), drop(SERIES, figure_id="safety_inspections"),
                 count("safety_inspections", "rescue", 2023, 0)),
        2023, "main_volumes_positive", "safety_inspections rescue 2023 = 0",
    ),
    "half a chat service": (
        together(drop(COVERAGE, feed="chat_services"), count("new_chat_services", "all_services", 2025, 2.5)),
        2025, "counts_whole", "new_chat_services all_services 2025 = 2.5",
    ),
    "a negative count": (
        put("volunteer_encounters", "olka", 2023, value=-1, numerator=-1),
        2023, "counts_not_negative", "volunteer_encounters olka 2023 = -1",
    ),
    "counts that are all 0": (
        together(*(lambda c, t=table: c.keep(t, lambda row: row.get("feed") == "manual_figures")
                   for table in (FIGURES, COVERAGE, SERIES, "marts.reconciliation")),
                 add(FIGURES, **NEW_MANUAL, report_year=2023, service="olka", value=0, numerator=0)),
        2023, "counts_not_all_zero", "1 value: 0",
    ),
    "a share above 100": (
        ratio("primary_care_within_14_days_share", "primary_care", 2023, 20_100, 20_000, 100),
        2023, "shares_within_0_and_100", "primary_care_within_14_days_share primary_care 2023 = 100.5",
    ),
    "a share below 0": (
        ratio("primary_care_within_14_days_share", "primary_care", 2023, -200, 20_000, 100),
        2023, "shares_within_0_and_100", "primary_care_within_14_days_share primary_care 2023 = -1",
    ),
    "more answers than invitations": (
        ratio("nps_response_rate", "social_advice", 2023, 1_000, 800, 100),
        2023, "response_rates_within_0_and_100", "nps_response_rate social_advice 2023 (partial_year) = 125",
    ),
    "an NPS below -100": (
        together(add("seeds.figure_services", figure_id="nps", service="pharmacy", since="2023-01-01"),
                 lambda c: c.tables[FIGURES].append(figure(2023, "nps", "pharmacy", -101, 100, times=100))),
        2023, "nps_within_100_of_0", "nps pharmacy 2023 = -101",
    ),
    "a mean score above 5": (
        together(ratio(EXPERIENCE, "felt_safe", 2023, 5_100, 1_000),
                 ratio("experience_mean", "all_services", 2023, 33_300, 7_000)),
        2023, "scores_within_1_and_5", f"{EXPERIENCE} felt_safe 2023 = 5.1",
    ),
    "a negative duration": (
        put("first_unit_response_seconds", "rescue", 2023, value=-1),
        2023, "durations_not_negative", "first_unit_response_seconds rescue 2023 = -1",
    ),
    "a wait that nobody would hold": (
        ratio("call_mean_wait_seconds", "social_advice", 2023, 7_201 * 16_000, 16_000),
        2023, "plausible:call_mean_wait_seconds", "call_mean_wait_seconds social_advice 2023 (partial_year) = 7201",
    ),
    "a call of hours": (
        ratio("call_mean_handling_seconds", "social_advice", 2023, 7_201 * 14_000, 14_000),
        2023, "plausible:call_mean_handling_seconds",
        "call_mean_handling_seconds social_advice 2023 (partial_year) = 7201",
    ),
    "a callback after weeks": (
        ratio("callback_mean_seconds", "social_advice", 2023, 1_209_601 * 1_800, 1_800),
        2023, "plausible:callback_mean_seconds", "callback_mean_seconds social_advice 2023 (partial_year) = 1209601",
    ),
    "a first unit after an hour": (
        put("first_unit_response_seconds", "rescue", 2023, value=3_601),
        2023, "plausible:first_unit_response_seconds", "first_unit_response_seconds rescue 2023 = 3601",
    ),
    "a housing wait of years": (
        ratio("elderly_housing_mean_wait_days", "elderly_housing", 2023, 731 * 500, 500),
        2023, "plausible:elderly_housing_mean_wait_days", "elderly_housing_mean_wait_days elderly_housing 2023 = 731",
    ),
    # what must be told
    "one figure of a service that is not told": (
        drop(FIGURES, figure_id="call_mean_handling_seconds", service="social_advice", report_year=2025),
        2025, "described_figures_told", "call_mean_handling_seconds social_advice 2025",
    ),
    "a figure of a feed with records that is not told": (
        drop(FIGURES, figure_id="digital_self_care_paths", report_year=2025),
        2025, "described_figures_told", "digital_self_care_paths oma_kymenlaakso 2025",
    ),
    "a main volume that is not told any more": (
        together(drop(FIGURES, figure_id="chats_received", service="social_advice", report_year=2025),
                 put("chats_resolved_without_visit_share", "all_chats", 2025, event_count=3_000, denominator=2_500,
                     numerator=1_250, value=50), rows("chats", 2025, 3_000)),
        2025, "main_volumes_told_again", "chats_received social_advice 2025",
    ),
    "another figure that is not told any more": (
        together(drop(FIGURES, figure_id=PROCESSES[1][0], report_year=2025), rows("decisions", 2025, 3_000),
                 ratio("social_processes_on_time_share", "social_services", 2025, 284, 3)),
        2025, "figures_told_again", "child_welfare_notifications_on_time_share child_welfare 2025",
    ),
    "a target without its figure": (
        add("seeds.targets", report_year="2025", figure_id="partner_violence_experienced", service="elderly_survey"),
        2025, "targets_told", "partner_violence_experienced elderly_survey 2025",
    ),
    "a printed figure that is not told": (
        lambda c: c.tables["marts.reconciliation"].append(
            printed(2025, "partner_violence_experienced", "elderly_survey", 68, basis="survey", unit="persons",
                    status="not_delivered", value=None)),
        2025, "printed_figures_told", "partner_violence_experienced elderly_survey 2025 = no value (published 68)",
    ),
    # changes
    "a main volume that fell": (
        together(count("safety_inspections", "rescue", 2025, 1_199), rows("safety_inspections", 2025, 1_199)),
        2025, "main_volumes_change", "safety_inspections rescue 2025 = 1199 (the year before 6000)",
    ),
    "a main volume that grew": (
        together(count("safety_inspections", "rescue", 2025, 30_001), rows("safety_inspections", 2025, 30_001)),
        2025, "main_volumes_change", "safety_inspections rescue 2025 = 30001 (the year before 6000)",
    ),
    "a main volume that fell where its series breaks": (
        together(count("safety_incidents", "all_services", 2025, 1_000), rows("safety_incidents", 2025, 1_000),
                 ratio("safety_incidents_moderate_or_severe_share", "all_services", 2025, 60, 1_000, 100)),
        2025, "main_volumes_change_at_break",
        "safety_incidents all_services 2025 = 1000 (the year before 9000) [2025-01-01: The county grew.]",
    ),
    "another count that fell": (
        count("digital_active_users", "oma_kymenlaakso", 2025, 2_999),
        2025, "counts_change", "digital_active_users oma_kymenlaakso 2025 = 2999 (the year before 15000)",
    ),
    "another count that grew from 0": (
        together(put("volunteer_encounters", "olka", 2024, value=0, numerator=0),
                 put("volunteer_encounters", "olka", 2025, value=100, numerator=100)),
        2025, "counts_change", "volunteer_encounters olka 2025 = 100 (the year before 0)",
    ),
    "registered users that vanish": (
        together(count("digital_registered_users", "oma_kymenlaakso", 2025, 44_999),
                 ratio("digital_users_over_70_share", "oma_kymenlaakso", 2025, 12_000, 44_999, 100)),
        2025, "registered_users_kept", "digital_registered_users oma_kymenlaakso 2025 = 44999 (the year before 50000)",
    ),
    "a median time that grew": (
        put("first_unit_response_seconds", "rescue", 2025, value=2_156),
        2025, "durations_change", "first_unit_response_seconds rescue 2025 = 2156 (the year before 431)",
    ),
    "a share that grew": (
        ratio("remote_contact_share", "all_services", 2025, 601_000, 1_000_000, 100),
        2025, "shares_change", "remote_contact_share all_services 2025 = 60.1 (the year before 20)",
    ),
    "an NPS that fell": (
        together(ratio("nps", "health", 2025, 2_610, 9_000, 100), put("nps_change", "health", 2025, value=-31,
                                                                      numerator=-31),
                 ratio("nps_promoter_share", "health", 2025, 3_510, 9_000, 100)),
        2025, "nps_change", "nps health 2025 = 29 (the year before 60)",
    ),
    "a mean score that fell": (
        together(ratio(EXPERIENCE, "felt_safe", 2025, 4_100, 1_000),
                 ratio("experience_mean", "all_services", 2025, 32_300, 7_000)),
        2025, "scores_change", f"{EXPERIENCE} felt_safe 2025 = 4.1 (the year before 4.7)",
    ),
    # parts and wholes
    "lines that do not add up": (
        ratio("callback_mean_seconds", "rehabilitation", 2025, 3_240_900, 900),
        2025, "health_lines_are_their_lines",
        "callback_mean_seconds.numerator@health_lines = callback_mean_seconds.numerator@lines, 2025: "
        "19440000 and 19440900",
    ),
    "more calls timed than answered": (
        ratio("call_mean_handling_seconds", "social_advice", 2025, 5_600_000, 16_001),
        2025, "answered_calls_within_calls",
        "call_mean_handling_seconds.denominator <= call_mean_wait_seconds.denominator, social_advice 2025: "
        "16001 and 16000",
    ),
    "a callback request neither reached nor never reached": (
        ratio("callback_mean_seconds", "social_advice", 2025, 6_480_000, 1_799),
        2025, "callbacks_are_reached_or_never",
        "callback_mean_seconds.denominator = same_day_callback_share.denominator, social_advice 2025: 1799 and 1800",
    ),
    "more outcomes than contacts": (
        ratio("helpline_sent_to_emergency_share", "emergency_helpline", 2025, 2_501, 5_000, 100),
        2025, "helpline_outcomes_within_contacts",
        "helpline_resolved_at_first_contact_share.numerator + helpline_sent_to_emergency_share.numerator <= "
        "helpline_resolved_at_first_contact_share.denominator, emergency_helpline 2025: 5001 and 5000",
    ),
    "an NPS that is not the difference of its shares": (
        ratio("nps", "health", 2025, 5_310, 9_000, 100),
        2025, "nps_is_promoters_less_detractors",
        "nps = nps_promoter_share - nps_detractor_share, health 2025: 59 and 60",
    ),
    "a response rate of other answers": (
        ratio("nps_response_rate", "health", 2025, 8_999, 45_000, 100),
        2025, "nps_answers_agree", "nps_response_rate.numerator = nps_responses, health 2025: 8999 and 9000",
    ),
    "a mean of other answers than the statements'": (
        ratio("experience_mean", "all_services", 2025, 32_901, 7_000),
        2025, "experience_is_its_statements",
        "experience_mean.numerator = experience_statement_mean.numerator, 2025: 32901 and 32900",
    ),
    "areas that are not all feedback": (
        ratio("feedback_share", "other", 2025, 781, 2_000, 100),
        2025, "feedback_shares_make_100",
        "feedback_share = 100, 2025: 100.05 and 100, feedback_share.numerator = feedback_received, 2025: 2001 and 2000",
    ),
    "more labels than items": (
        together(count("feedback_content", "criticism", 2025, 2_001), rows("feedback_labels", 2025, 3_251)),
        2025, "feedback_labels_within_feedback", "feedback_content@criticism <= feedback_received, 2025: 2001 and 2000",
    ),
    "missions that do not add up": (
        count("ems_missions", "rescue", 2025, 8_999),
        2025, "missions_are_rescue_and_ems",
        "rescue_department_missions = rescue_missions + ems_missions, rescue 2025: 12000 and 11999",
    ),
    "more over 6 months than over 180 days": (
        ratio("specialist_queue_over_6_months_share", "specialist_care", 2025, 61, 3_000, 100),
        2025, "queue_parts_within_queue",
        "specialist_queue_over_6_months_share.numerator <= specialist_queue_over_180_days, specialist_care 2025: "
        "61 and 60",
    ),
    "ages that are not all visits": (
        ratio("care_guarantee_primary_care_under_23_share", "primary_care", 2025, 3_900, 3_999, 100),
        2025, "care_guarantee_ages_are_all_visits",
        "primary_care_within_14_days_share.denominator = care_guarantee_primary_care_23_and_over_share.denominator + "
        "care_guarantee_primary_care_under_23_share.denominator, primary_care 2025: 20000 and 19999",
    ),
    "a December longer than its year": (
        put("elderly_housing_mean_wait_days", "elderly_housing", 2025, "december", denominator=501, numerator=40_080,
            event_count=501),
        2025, "december_within_year",
        "elderly_housing_mean_wait_days.denominator#december <= "
        "elderly_housing_mean_wait_days.denominator#calendar_year, elderly_housing 2025: 501 and 500",
    ),
    "a mean of other processes": (
        ratio("social_processes_on_time_share", "social_services", 2025, 380, 4),
        2025, "social_processes_are_the_mean",
        "social_processes_on_time_share.numerator = disability_decisions_on_time_share? + "
        "child_welfare_notifications_on_time_share? + income_support_on_time_share? + "
        "service_needs_assessments_on_time_share?, 2025: 380 and 382",
    ),
    "calls of more contacts than there were": (
        put("ombudsman_resolved_in_one_call_share", "ombudsman", 2025, event_count=1_501),
        2025, "ombudsman_answers_within_contacts",
        "ombudsman_resolved_in_one_call_share.event_count = ombudsman_contacts, 2025: 1501 and 1500",
    ),
    "a share of other incidents": (
        ratio("safety_incidents_moderate_or_severe_share", "all_services", 2025, 540, 8_999, 100),
        2025, "incident_shares_are_of_incidents",
        "safety_incidents_moderate_or_severe_share.denominator = safety_incidents, all_services 2025: 8999 and 9000",
    ),
    "more active users than registered": (
        count("digital_active_users", "oma_kymenlaakso", 2025, 50_001),
        2025, "active_users_within_registered",
        "digital_active_users <= digital_registered_users, oma_kymenlaakso 2025: 50001 and 50000",
    ),
    "more care paths than were opened": (
        count("digital_care_paths", "oma_kymenlaakso", 2025, 15),
        2025, "care_paths_within_opened",
        "digital_care_paths <= rows_until:digital_care_paths, 2025: 15 and 14, digital_care_paths <= "
        "before:digital_care_paths + rows:digital_care_paths, 2025: 15 and 14",
    ),
    "more contacts replacing visits than remote ones": (
        ratio("visit_replacing_remote_contact_share", "all_services", 2025, 200_001, 1_000_000, 100),
        2025, "contacts_replacing_visits_are_remote",
        "visit_replacing_remote_contact_share.numerator <= remote_contact_share.numerator, all_services 2025: "
        "200001 and 200000",
    ),
    "a change that is no difference": (
        ratio("rescue_missions_change_pct", "rescue", 2025, -1, 3_000, 100),
        2025, "changes_are_differences",
        "rescue_missions_change_pct.numerator = rescue_missions - before:rescue_missions, rescue 2025: -1 and 0",
    ),
    "an NPS change of another NPS": (
        put("nps_change", "health", 2025, value=2, numerator=2),
        2025, "changes_are_differences", "nps_change <= nps - before:nps + 1, health 2025: 2 and 1",
    ),
    "a record that no figure counts": (
        rows("safety_inspections", 2025, 6_001),
        2025, "counts_are_their_records", "safety_inspections = rows:safety_inspections, 2025: 6000 and 6001",
    ),
    # what was printed
    "a figure that differs from the printed one": (
        lambda c: c.tables["marts.reconciliation"].append(
            printed(2024, "ems_missions", "rescue", 9_001, value=9_000, status="differs")),
        2024, "reconciliation_never_differs", "ems_missions rescue 2024 = 9000 (published 9001). When a later delivery"
        " corrected the year, or the printed figure is the wrong one, say so with the reason in"
        " seeds/documented_inconsistencies.csv, as kind value",
    ),
    "a figure printed in another unit": (
        lambda c: c.tables["marts.reconciliation"].append(
            printed(2024, "ems_missions", "rescue", 9_000, unit="percent")),
        2024, "printed_units_described", "ems_missions rescue 2024 = 9000 (published 9000)",
    ),
    # months
    "a month of one service missing": (
        drop(SERIES, figure_id="calls_received", service="oral_health", report_year=2025, month=7),
        2025, "services_in_every_month", "calls_received oral_health 2025-07 = 0",
    ),
    "a month twice": (
        lambda c: [row.update(value=5.1 * row["value"]) for row in c.tables[SERIES]
                   if (row["figure_id"], row["report_year"], row["month"]) == ("safety_inspections", 2025, 7)],
        2025, "months_alike", "safety_inspections rescue 2025-07 = 2550",
    ),
    "calls before the service started": (
        add(SERIES, figure_id="calls_received", service="social_advice", report_year=2023, month=1, value=2_000),
        2023, "nothing_before_start", "calls_received social_advice 2023-01 = 2000",
    ),
    "months of a feed missing": (
        lambda c: c.keep(COVERAGE, lambda row: (row["feed"], row["month"]) not in {("care_contacts", 7),
                                                                                   ("care_contacts", 8)}),
        2024, "every_month_present:care_contacts", "missing months 7, 8",
    ),
    "a month with no row in it": (
        lambda c: [row.update(row_count=0) for row in c.tables[COVERAGE]
                   if (row["feed"], row["report_year"], row["month"]) == ("care_contacts", 2025, 1)],
        2025, "every_month_present:care_contacts", "missing months 1",
    ),
    "the first month of a service missing": (
        together(drop(COVERAGE, feed="feedback", report_year=2023, month=6),
                 put("feedback_received", "all_services", 2023, value=1_714, numerator=1_714),
                 *(ratio("feedback_share", area, 2023, items, 1_714, 100)
                   for area, items in (("health", 714), ("social", 200), ("rescue", 20), ("other", 780)))),
        2023, "every_month_present:feedback", "missing months 6",
    ),
    "a yearly feed that stops": (
        together(drop(COVERAGE, feed="digital_users", report_year=2025)),
        2025, "delivered_in_year:digital_users", "no records",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("break_it", "year", "expectation", "observed"), BREAKS.values(), ids=BREAKS.keys())
def test_exactly_the_broken_expectation_fails(
    county: County, break_it: Break, year: int, expectation: str, observed: str
) -> None:
    break_it(county)
    assert county.failures(year) == {expectation: observed}


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


# --- formulas --------------------------------------------------------------------------------------------------------


def test_a_formula_is_read_term_by_term() -> None:
    formula = read_formula(
        "nps - before:nps - 1 <= calls_received.denominator@lines? + rows:calls#december", {"lines": HEALTH_LINES}
    )
    assert not formula.is_equal
    message = [
        (t.side, t.sign, t.name, t.amount, t.services, t.basis, t.years_back, t.is_optional) for t in formula.terms
    ]
    assert message == [
        ("left", 1, "nps", "value", (), "", 0, False),
        ("left", -1, "nps", "value", (), "", 1, False),
        ("left", -1, "", "1", (), "", 0, False),
        ("right", 1, "calls_received", "denominator", HEALTH_LINES, "", 0, True),
        ("right", 1, "calls", "rows", (), "december", 0, False),
    ]


@pytest.mark.parametrize("text", ["nps", "nps = a = b", "nps == 1", "nps = A", "nps = a.b.c", "nps=1"])
def test_what_is_no_formula_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        read_formula(text)


def test_every_figure_of_a_formula_is_described(county: County) -> None:
    known = {row["figure_id"] for row in county.tables["seeds.figures"]}
    feeds = {expectation.feed for expectation in FEEDS}
    for sum_ in SUMS:
        for formula in sum_.formulas:
            for term in formula.terms:
                assert not term.name or term.name in (feeds if term.amount.startswith("rows") else known)


# --- the results -----------------------------------------------------------------------------------------------------


def test_results_do_not_depend_on_the_order_of_the_rows(county: County) -> None:
    put("volunteer_encounters", "olka", 2025, value=-9, numerator=-9)(county)
    first = results_as_json(county.judge(2025))
    for table_rows in county.tables.values():
        random.Random(7).shuffle(table_rows)
    assert results_as_json(county.judge(2025)) == first


def test_what_the_order_of_adding_leaves_behind_is_not_told(county: County) -> None:
    areas = ("health", "social", "rescue", "other")
    for items in ((666, 1, 51, 1282), (1, 666, 1282, 51), (1282, 51, 666, 1), (51, 666, 1, 1282)):
        for area, number in zip(areas, items, strict=True):
            ratio("feedback_share", area, 2025, number, 2_000, 100)(county)
        (found,) = (result for result in county.judge(2025) if result.expectation == "feedback_shares_make_100")
        assert found.observed == "2 values: 0"


def test_results_are_written_as_a_table_and_as_json(county: County) -> None:
    count("ems_missions", "rescue", 2025, 8_999)(county)
    with county.connect() as con:
        results = validate(con, expectations(), FEEDS, AFTER_THE_YEARS, 2025)
        write_results(con, results)
        write_results(con, results)
        described = con.execute("describe marts.expectation_results").fetchall()
        written = con.execute("from marts.expectation_results").fetchall()
        write_results(con, ())
        assert con.execute("select count(*) from marts.expectation_results").fetchall() == [(0,)]
    assert [(name, kind) for name, kind, *_ in described] == [
        ("report_year", "INTEGER"),
        ("expectation", "VARCHAR"),
        ("description", "VARCHAR"),
        ("description_fi", "VARCHAR"),
        ("severity", "VARCHAR"),
        ("success", "BOOLEAN"),
        ("observed", "VARCHAR"),
        ("is_provisional", "BOOLEAN"),
    ]
    message = json.loads(results_as_json(results))
    assert [tuple(one[name] for name, *_ in described) for one in message] == written
    assert [one["rows"] for one in message if not one["success"]] == [
        [
            {
                "figure_id": "rescue_department_missions",
                "service": "rescue",
                "value": 12_000,
                "compared": 11_999,
                "note": "rescue_department_missions = rescue_missions + ems_missions",
            }
        ]
    ]
    assert all(one["rows"] == [] for one in message if one["success"])


def test_it_is_silent_and_touches_neither_network_nor_disk(
    county: County, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for variable in ("HOME", "TMPDIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    ratio("nps", "health", 2025, 5_310, 9_000, 100)(county)
    county.judge(2025)
    assert list(tmp_path.rglob("*")) == []
    assert capfd.readouterr() == ("", "")


def test_the_documentation_names_every_expectation_with_its_severities() -> None:
    text = (Path(__file__).parents[2] / "docs/reference/validation.md").read_text(encoding="utf-8")
    letters = {"error": "E", "warn": "w", "skip": "-"}
    message: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("| `") and line.count("|") == 4:
            names, severities, _ = (cell.strip() for cell in line.strip("|").split("|"))
            each = [part.strip() for part in severities.split("/")]
            for place, name in enumerate(re.findall(r"`([\w:<>]+)`", names)):
                message[name] = each[place] if len(each) > 1 else each[0]
    expected = {rule.name: f"{letters[rule.severity]} {letters[rule.running_year]}" for rule in RULES}
    plausible = {name for name in expected if name.startswith("plausible:")}
    assert {message["plausible:<figure>"]} == {expected.pop(name) for name in plausible}
    assert expected.items() <= message.items()
    others = {"plausible:<figure>", "every_month_present:<feed>", "delivered_in_year:<feed>", "no_later_years"}
    assert set(message) == set(expected) | others


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
