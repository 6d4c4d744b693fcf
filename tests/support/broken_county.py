"""A county broken in one place each time, and the expectation that fails of it."""

from __future__ import annotations

from county_breaks import Break, add, count, drop, put, ratio, rows, together
from small_county import PROCESSES, figure, printed

FIGURES, COVERAGE, SERIES = "marts.indicators", "marts.coverage", "marts.monthly_series"


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
