"""Figures worked out by hand, which the oracle must yield before anything is judged by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction

from oracle import (
    FeedResult,
    Row,
    figures,
)
from oracle_cases import HEADER, feed_of
from oracle_sheet import basis_of

# --- Figures


def row(
    numerator: int | Fraction | None, denominator: int | Fraction | None, value: int | Fraction | None, events: int
) -> Row:
    def exact(number: int | Fraction | None) -> Fraction | None:
        return None if number is None else Fraction(number)

    return Row(exact(numerator), exact(denominator), exact(value), events)


def test_calls() -> None:
    message = figures(
        feed_of(
            "calls",
            f"{HEADER}\n"
            "1,oral_health,2024-12-31 23:58:00,2025-01-01 00:03:00,2025-01-01 00:10:00\n"  # 300 s, handled 420 s
            "2,oral_health,2024-06-01 10:00:00,2024-06-01 10:04:59,\n"  # 299 s
            "3,oral_health,2024-06-01 10:00:00,,2024-06-01 10:01:00\n"  # never answered, though it ended
            "4,rehabilitation,2024-06-01 10:00:00,2024-06-01 10:00:00,2024-06-01 10:00:01\n"
            "5,social_advice,2024-06-01 10:00:00,2024-06-01 10:05:00,\n"
            "6,social_advice,2023-06-01 10:00:00,,\n",
        )
    )
    year = "calendar_year"
    assert message["calls_received", "oral_health", 2024, year] == row(3, None, 3, 3)
    assert message["call_mean_wait_seconds", "oral_health", 2024, year] == row(599, 2, Fraction(599, 2), 3)
    assert message["calls_answered_within_5_minutes_share", "oral_health", 2024, year] == row(1, 2, 50, 3)
    assert message["call_mean_handling_seconds", "oral_health", 2024, year] == row(420, 1, 420, 3)
    assert message["calls_received", "health_lines", 2024, year] == row(4, None, 4, 4)
    assert message["calls_answered_within_5_minutes_share", "health_lines", 2024, year] == row(
        2, 3, Fraction(200, 3), 4
    )
    assert message["call_mean_handling_seconds", "health_lines", 2024, year] == row(421, 2, Fraction(421, 2), 4)
    assert message["calls_answered_within_5_minutes_share", "social_advice", 2024, year] == row(1, 1, 100, 1)
    assert message["call_mean_handling_seconds", "social_advice", 2024, year] == row(0, 0, None, 1)
    assert message["calls_received", "social_advice", 2023, "partial_year"] == row(1, None, 1, 1)
    assert message["call_mean_wait_seconds", "social_advice", 2023, "partial_year"] == row(0, 0, None, 1)
    assert Counter(key[1:3] for key in message) == dict.fromkeys(
        [
            ("oral_health", 2024),
            ("rehabilitation", 2024),
            ("health_lines", 2024),
            ("social_advice", 2024),
            ("social_advice", 2023),
        ],
        4,
    )


def test_callbacks() -> None:
    message = figures(
        feed_of(
            "callbacks",
            "callback_id,service_line,requested_at,reached_at\n"
            "1,oral_health,2024-10-27 03:58,2024-10-27 03:02\n"
            "2,oral_health,2024-12-31 23:59,2025-01-01 00:01\n"
            "3,oral_health,2024-05-05 10:00,\n"
            "4,social_advice,2024-05-05 10:00,\n",
        )
    )
    year = "calendar_year"
    for service in ("oral_health", "health_lines"):
        assert message["callbacks_received", service, 2024, year] == row(3, None, 3, 3)
        assert message["callbacks_never_reached", service, 2024, year] == row(1, None, 1, 3)
        assert message["same_day_callback_share", service, 2024, year] == row(1, 2, 50, 3)
        assert message["callback_mean_seconds", service, 2024, year] == row(360, 2, 180, 3)
    assert message["same_day_callback_share", "social_advice", 2024, year] == row(0, 0, None, 1)
    assert len(message) == 12


def nps_of(counts: Mapping[tuple[int, str, str], str]) -> dict[str, FeedResult]:
    """Answers by year, survey and channel, each given as its scores one after another, a for 10."""
    lines = ["response_id,survey,channel,responded_at,score,comment"]
    for (year, survey, channel), scores in counts.items():
        lines += [
            f"{year}{survey}{channel}{n},{survey},{channel},{year}-05-05 10:00,{int(s, 16)},"
            for n, s in enumerate(scores)
        ]
    return feed_of("nps_responses", "\n".join(lines))


def test_nps_by_text_message_only() -> None:
    feeds = nps_of(
        {
            (2023, "health", "sms"): "a98607650",  # 2 promoters, 5 detractors of 9
            (2024, "health", "sms"): "99990777",  # 4 less 1 of 8: 37.5
            (2024, "health", "web"): "000000",
            (2025, "health", "sms"): "09",
            (2024, "social_advice", "qr"): "9a",
            (2023, "social_advice", "sms"): "9",
            (2022, "social_advice", "sms"): "7",
        }
    )
    feeds |= feed_of(
        "nps_invitations",
        "survey,channel,month,invitations_sent\n"
        "health,sms,2024-01-01,30\nhealth,sms,2024-12-01,10\nhealth,web,2024-12-01,1000\n"
        "social_advice,sms,2024-01-01,7\nhealth,sms,2021-01-01,5\n",
    )
    message = figures(feeds)
    year, change = "calendar_year", "change_from_previous_year"
    assert message["nps", "health", 2023, year] == row(-3, 9, Fraction(-300, 9), 9)
    assert message["nps", "health", 2024, year] == row(3, 8, Fraction(75, 2), 8)
    assert message["nps_promoter_share", "health", 2024, year] == row(4, 8, 50, 8)
    assert message["nps_detractor_share", "health", 2024, year] == row(1, 8, Fraction(25, 2), 8)
    assert message["nps_responses", "health", 2024, year] == row(8, None, 8, 8)
    assert message["nps_response_rate", "health", 2024, year] == row(8, 40, 20, 8)
    assert message["nps_response_rate", "health", 2025, year] == row(2, 0, None, 2)
    assert message["nps_change", "health", 2024, change] == row(38 + 33, None, 71, 8)
    assert message["nps_change", "health", 2025, change] == row(-38, None, -38, 2)
    assert message["nps_responses_change", "health", 2024, change] == row(-1, None, -1, 8)

    assert message["nps", "social_advice", 2024, year] == row(0, 0, None, 0)
    assert message["nps_promoter_share", "social_advice", 2024, year] == row(0, 0, None, 0)
    assert message["nps_responses", "social_advice", 2024, year] == row(0, None, 0, 0)
    assert message["nps_response_rate", "social_advice", 2024, year] == row(0, 7, 0, 0)
    assert ("nps_change", "social_advice", 2024, change) not in message
    assert message["nps_responses_change", "social_advice", 2024, change] == row(-1, None, -1, 0)
    assert message["nps_change", "social_advice", 2023, "partial_year"] == row(100, None, 100, 1)
    assert message["nps", "social_advice", 2023, "partial_year"] == row(1, 1, 100, 1)
    assert not [key for key in message if key[2] == 2021]


def test_rescue_missions() -> None:
    message = figures(
        feed_of(
            "rescue_missions",
            "mission_id,mission_type,urgency,alarmed_at,first_unit_at_scene_at\n"
            "1,rescue,A,2024-01-01 10:00:00,2024-01-01 10:05:00\n"
            "2,rescue,C,2024-12-31 23:59:00,2025-01-01 00:05:01\n"
            "3,rescue,D,2024-05-05 10:00:00,2024-05-05 11:00:00\n"
            "4,rescue,B,2024-05-05 10:00:00,\n"
            "5,ems,A,2024-05-05 10:00:00,2024-05-05 10:01:00\n"
            "6,ems,A,2023-05-05 10:00:00,2023-05-05 10:01:00\n"
            "7,rescue,D,2025-05-05 10:00:00,2025-05-05 10:01:00\n",
        )
    )
    year, change = "calendar_year", "change_from_previous_year"
    assert message["rescue_department_missions", "rescue", 2024, year] == row(5, None, 5, 5)
    assert message["rescue_missions", "rescue", 2024, year] == row(4, None, 4, 4)
    assert message["ems_missions", "rescue", 2024, year] == row(1, None, 1, 1)
    assert message["rescue_unit_alarms_per_day", "rescue", 2024, year] == row(5, 366, Fraction(5, 366), 5)
    assert message["rescue_unit_alarms_per_day", "rescue", 2023, year] == row(1, 365, Fraction(1, 365), 1)
    middle = Fraction(300 + 361, 2)
    assert message["first_unit_response_seconds", "rescue", 2024, year] == row(middle, 2, middle, 3)
    assert message["first_unit_response_seconds", "rescue", 2023, year] == row(None, 0, None, 0)
    assert message["rescue_missions", "rescue", 2023, year] == row(0, None, 0, 0)
    assert message["ems_missions", "rescue", 2025, year] == row(0, None, 0, 0)
    assert message["rescue_missions_change_pct", "rescue", 2024, change] == row(4, 0, None, 4)
    assert message["rescue_missions_change_pct", "rescue", 2025, change] == row(-3, 4, -75, 1)
    assert ("rescue_missions_change_pct", "rescue", 2023, change) not in message


def test_the_queue_counts_patients_of_the_years_last_census() -> None:
    message = figures(
        feed_of(
            "care_queue",
            "census_date,patient_key,specialty,need_confirmed_on\n"
            "2024-12-31,p,a,2024-07-04\n"  # 180 days: not over; under 6 months
            "2024-12-31,q,a,2024-07-03\n"  # 181 days; under 6 months
            "2024-12-31,q,b,2024-06-30\n"  # 184 days; 6 months to the day
            "2024-12-31,r,a,2024-06-29\n"  # 185 days; over 6 months
            "2024-06-30,p,a,2020-01-01\n"
            "2025-08-31,p,a,2025-02-28\n"  # 184 days; 6 months to the clamped day
            "2025-08-31,q,a,2025-02-27\n",
        )
    )
    december, census = "census_december", "census"
    assert message["specialist_queue", "specialist_care", 2024, december] == row(3, None, 3, 4)
    assert message["specialist_queue_over_180_days", "specialist_care", 2024, december] == row(2, None, 2, 3)
    share = message["specialist_queue_over_180_days_share", "specialist_care", 2024, december]
    assert share == row(2, 3, Fraction(200, 3), 4)
    share = message["specialist_queue_over_6_months_share", "specialist_care", 2024, december]
    assert share == row(1, 3, Fraction(100, 3), 4)
    assert message["specialist_queue_over_180_days", "specialist_care", 2025, census] == row(2, None, 2, 2)
    assert message["specialist_queue_over_6_months_share", "specialist_care", 2025, census] == row(1, 2, 50, 2)
    assert len(message) == 8


def test_chats_and_the_helpline() -> None:
    message = figures(
        feed_of(
            "chats",
            "chat_id,service_line,started_at,resolved_without_visit\n1,oral_health,2024-05-05 10:00,k\n"
            "2,social_advice,2024-05-05 10:00,\n3,social_advice,2024-05-05 10:00,ei\n4,oral_health,2023-05-05 10:00,\n",
        )
        | feed_of(
            "helpline_contacts",
            "contact_id,contacted_at,outcome,advice_sufficient\n1,2024-05-05 10:00,resolved,1\n"
            "2,2024-05-05 10:00,other_care,\n3,2024-05-05 10:00,emergency_department,0\n",
        )
    )
    year = "calendar_year"
    assert message["chats_received", "social_advice", 2024, year] == row(2, None, 2, 2)
    assert message["chats_received", "health_lines", 2024, year] == row(1, None, 1, 1)
    assert message["chats_resolved_without_visit_share", "all_chats", 2024, year] == row(1, 2, 50, 3)
    assert message["chats_resolved_without_visit_share", "all_chats", 2023, year] == row(0, 0, None, 1)
    helpline = "emergency_helpline"
    third = Fraction(100, 3)
    assert message["helpline_resolved_at_first_contact_share", helpline, 2024, year] == row(1, 3, third, 3)
    assert message["helpline_sent_to_emergency_share", helpline, 2024, year] == row(1, 3, third, 3)
    assert message["helpline_sufficient_advice_share", helpline, 2024, year] == row(1, 2, 50, 3)


def test_experience_and_feedback() -> None:
    message = figures(
        feed_of(
            "experience_answers",
            "answer_id,statement,answered_at,score\n1,felt_safe,2024-05-05 10:00,5\n"
            "2,felt_safe,2024-05-05 10:00,4\n3,care_was_useful,2024-05-05 10:00,1\n",
        )
        | feed_of(
            "feedback",
            "feedback_id,received_at,service_area\n1,2024-05-05 10:00,health\n2,2024-05-05 10:00,other\n"
            "3,2024-05-05 10:00,other\n4,2023-12-31 23:59,rescue\n5,2022-01-01 00:00,health\n",
        )
        | feed_of(
            "feedback_labels",
            "feedback_id,content\n1,thanks\n1,criticism\n2,thanks\n4,other\n99,thanks\n",
        )
    )
    year, change = "calendar_year", "change_from_previous_year"
    assert message["experience_statement_mean", "felt_safe", 2024, year] == row(9, 2, Fraction(9, 2), 2)
    assert message["experience_mean", "all_services", 2024, year] == row(10, 3, Fraction(10, 3), 3)
    assert message["experience_answers", "all_services", 2024, year] == row(3, None, 3, 3)
    assert ("experience_statement_mean", "knows_what_happens_next", 2024, year) not in message
    assert message["feedback_received", "all_services", 2024, year] == row(3, None, 3, 3)
    assert message["feedback_share", "other", 2024, year] == row(2, 3, Fraction(200, 3), 3)
    assert message["feedback_share", "social", 2024, year] == row(0, 3, 0, 3)
    assert message["feedback_received_change", "all_services", 2024, change] == row(2, None, 2, 3)
    assert message["feedback_received_change", "all_services", 2023, "partial_year"] == row(0, None, 0, 1)
    assert message["feedback_received", "all_services", 2023, "partial_year"] == row(1, None, 1, 1)
    assert message["feedback_content", "thanks", 2024, year] == row(2, None, 2, 2)
    assert message["feedback_content", "suggestion", 2024, year] == row(0, None, 0, 0)
    assert message["feedback_content", "other", 2023, "partial_year"] == row(1, None, 1, 1)
    assert not [key for key in message if key[0] == "feedback_content" and key[2] == 2022]


def test_visits_housing_and_decisions() -> None:
    message = figures(
        feed_of(
            "care_visits",
            "visit_id,service,need_assessed_on,visited_on,age_years\n1,primary_care,2024-12-31,2025-01-14,23\n"
            "2,primary_care,2025-01-01,2025-01-16,22\n3,primary_care,2025-01-01,,22\n"
            "4,oral_health,2024-11-30,2025-02-28,40\n5,oral_health,2024-11-30,2025-03-01,40\n",
        )
        | feed_of(
            "housing_placements",
            "application_id,initiated_on,placed_on\n1,2024-01-01,2024-01-11\n2,2024-12-01,2024-12-06\n"
            "3,2023-12-30,2024-01-01\n4,2023-01-01,2023-11-30\n5,2023-01-01,\n",
        )
        | feed_of(
            "decisions",
            "case_id,process,initiated_on,decided_on,special_reason\n"
            "1,disability_service,2024-11-30,2025-02-28,\n2,disability_service,2024-11-30,2025-03-01,\n"
            "3,disability_service,2024-11-30,2025-03-01,k\n"
            "4,child_welfare_notification,2025-12-19,2026-01-05,0\n"
            "5,supplementary_income_support,2025-04-17,2025-04-30,ei\n"
            "6,supplementary_income_support,2025-04-17,2025-05-02,ei\n7,service_needs_assessment,2025-01-01,,\n",
        )
    )
    year = "calendar_year"
    assert message["primary_care_within_14_days_share", "primary_care", 2025, year] == row(1, 2, 50, 2)
    assert message["care_guarantee_primary_care_23_and_over_share", "primary_care", 2025, year] == row(1, 1, 100, 1)
    assert message["care_guarantee_primary_care_under_23_share", "primary_care", 2025, year] == row(0, 1, 0, 1)
    assert message["oral_health_within_3_months_share", "oral_health", 2025, year] == row(1, 2, 50, 2)
    assert message["care_guarantee_oral_health_23_and_over_share", "oral_health", 2025, year] == row(1, 2, 50, 2)
    assert message["care_guarantee_oral_health_under_23_share", "oral_health", 2025, year] == row(0, 0, None, 0)
    wait = "elderly_housing_mean_wait_days"
    assert message[wait, "elderly_housing", 2024, year] == row(17, 3, Fraction(17, 3), 3)
    assert message[wait, "elderly_housing", 2024, "december"] == row(5, 1, 5, 1)
    assert message[wait, "elderly_housing", 2023, "december"] == row(0, 0, None, 0)
    assert message["disability_decisions_on_time_share", "disability_services", 2025, year] == row(
        2, 3, Fraction(200, 3), 3
    )
    assert message["income_support_on_time_share", "income_support", 2025, year] == row(1, 2, 50, 2)
    assert message["child_welfare_notifications_on_time_share", "child_welfare", 2026, year] == row(1, 1, 100, 1)
    total = Fraction(200, 3) + 50
    assert message["social_processes_on_time_share", "social_services", 2025, year] == row(total, 2, total / 2, 5)
    assert ("service_needs_assessments_on_time_share", "service_needs_assessment", 2025, year) not in message


def test_the_other_feeds() -> None:
    message = figures(
        feed_of(
            "ombudsman_contacts",
            "contact_id,contacted_on,client_type,resolved_in_one_call\n1,2024-05-05,patient,k\n2,2024-05-05,patient,\n",
        )
        | feed_of(
            "safety_incidents",
            "incident_id,reported_on,incident_type,harm\n1,2024-05-05,x,moderate\n2,2024-05-05,x,unknown\n"
            "3,2024-05-05,x,severe\n",
        )
        | feed_of("safety_inspections", "inspection_id,inspected_on,kind\n1,2024-05-05,x\n")
        | feed_of(
            "digital_users",
            "census_date,age_from,age_to,registered_users,active_users\n2024-11-30,0,69,30,3\n2024-11-30,70,,10,2\n"
            "2024-06-30,0,,1,1\n",
        )
        | feed_of(
            "digital_care_paths",
            "path_id,opened_on,closed_on,self_care\n1,2022-12-31,,ei\n2,2023-01-01,2023-12-31,k\n"
            "3,2022-01-01,2024-01-01,k\n",
        )
        | feed_of("chat_services", "service_id,opened_on,closed_on\n1,2023-01-01,2023-01-02\n2,2023-05-05,\n")
        | feed_of(
            "care_contacts",
            "month,sector,mode,replaces_visit,contacts\n2024-01-01,health,in_person,k,50\n"
            "2024-01-01,health,letter,ei,30\n1.2.2024,social,video,k,20\n2023-01-01,social,video,k,0\n",
        )
        | feed_of(
            "manual_figures",
            "report_year,figure_id,service,value,entered_on\n2025,volunteer_encounters,olka,26\u00a0000,2026-01-01\n"
            "2025,wellbeing_service_monthly_reach,wellbeing_service,2400,2026-01-01\n"
            '2025,nps,health,79,2026-01-01\n2025,oma,x,"-1,5",2026-01-01\n',
        )
    )
    year, december, end = "calendar_year", "census_december", "end_of_year"
    digital = "oma_kymenlaakso"
    expected = {
        ("ombudsman_contacts", "social", 2024, year): row(0, None, 0, 0),
        ("ombudsman_contacts", "patient", 2024, year): row(2, None, 2, 2),
        ("ombudsman_resolved_in_one_call_share", "ombudsman", 2024, year): row(1, 1, 100, 2),
        ("safety_incidents", "all_services", 2024, year): row(3, None, 3, 3),
        ("safety_incidents_moderate_or_severe_share", "all_services", 2024, year): row(2, 3, Fraction(200, 3), 3),
        ("safety_inspections", "rescue", 2024, year): row(1, None, 1, 1),
        ("digital_registered_users", digital, 2024, december): row(40, None, 40, 2),
        ("digital_active_users", digital, 2024, december): row(5, None, 5, 2),
        ("digital_users_over_70_share", digital, 2024, december): row(10, 40, 25, 2),
        ("digital_care_paths", digital, 2022, end): row(2, None, 2, 2),
        ("digital_care_paths", digital, 2023, end): row(2, None, 2, 2),
        ("digital_care_paths", digital, 2024, end): row(1, None, 1, 1),
        ("digital_care_paths", digital, 2025, end): row(1, None, 1, 1),
        ("digital_self_care_paths", digital, 2022, end): row(1, None, 1, 1),
        ("digital_self_care_paths", digital, 2023, end): row(1, None, 1, 1),
        ("digital_self_care_paths", digital, 2024, end): row(0, None, 0, 0),
        ("digital_self_care_paths", digital, 2025, end): row(0, None, 0, 0),
        ("new_chat_services", "all_services", 2023, year): row(2, None, 2, 2),
        ("remote_contact_share", "all_services", 2024, year): row(50, 100, 50, 3),
        ("visit_replacing_remote_contact_share", "all_services", 2024, year): row(20, 100, 20, 3),
        ("remote_contact_share", "all_services", 2023, year): row(0, 0, None, 1),
        ("visit_replacing_remote_contact_share", "all_services", 2023, year): row(0, 0, None, 1),
        ("volunteer_encounters", "olka", 2025, year): row(26_000, None, 26_000, 1),
        ("wellbeing_service_monthly_reach", "wellbeing_service", 2025, "monthly_mean"): row(2400, None, 2400, 1),
        ("oma", "x", 2025, year): row(Fraction(-3, 2), None, Fraction(-3, 2), 1),
    }
    assert message == expected


def test_the_basis_of_the_year_a_service_started() -> None:
    assert basis_of("nps_change", "social_advice", 2023, "change_from_previous_year") == "partial_year"
    assert basis_of("feedback_content", "thanks", 2023, "calendar_year") == "partial_year"
    assert basis_of("feedback_content", "thanks", 2024, "calendar_year") == "calendar_year"
    assert basis_of("ombudsman_contacts", "social", 2023, "calendar_year") == "calendar_year"
