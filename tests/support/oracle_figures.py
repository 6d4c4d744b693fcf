"""The figures by hand: what each should be, from the rows in force, in exact fractions.

Written from the reference text of the feeds alone, as plainly as it can be said, to test the SQL models against.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from oracle_calendar import add_months, add_working_days, care_limit
from oracle_contracts import AREAS, CLIENTS, CONTENTS, Record
from oracle_read import FeedResult
from oracle_sheet import (
    CHANGE,
    DERIVED_FIGURES,
    MANUAL_BASIS,
    Key,
    Row,
    Rows,
    Sheet,
    day_of,
    median,
    round_half_away,
    rows_by_line,
    rows_by_year,
    rows_where,
    rows_with,
    seconds_between,
    whole_of,
)

# --- The families of figures


def _calls(sheet: Sheet, calls: Rows) -> None:
    for year, of_year in rows_by_year(calls, "arrived_at").items():
        for service, rows in rows_by_line(of_year):
            answered = rows_with(rows, "answered_at")
            waits = [seconds_between(row, "arrived_at", "answered_at") for row in answered]
            soon = [wait for wait in waits if wait < 300 or (wait == 300 and service == "social_advice")]
            handled = [seconds_between(row, "answered_at", "ended_at") for row in rows_with(answered, "ended_at")]
            here = sheet.at(service, year)
            here.count("calls_received", len(rows))
            here.mean("call_mean_wait_seconds", waits, len(rows))
            here.share("calls_answered_within_5_minutes_share", len(soon), len(waits), len(rows))
            here.mean("call_mean_handling_seconds", handled, len(rows))


def _callbacks(sheet: Sheet, callbacks: Rows) -> None:
    for year, of_year in rows_by_year(callbacks, "requested_at").items():
        for service, rows in rows_by_line(of_year):
            reached = rows_with(rows, "reached_at")
            same_day = [row for row in reached if day_of(row, "reached_at") == day_of(row, "requested_at")]
            delays = [seconds_between(row, "requested_at", "reached_at") for row in reached]
            never = len(rows) - len(reached)
            here = sheet.at(service, year)
            here.count("callbacks_received", len(rows))
            here.count("callbacks_never_reached", never, events=len(rows))
            here.share("same_day_callback_share", len(same_day), len(reached), len(rows))
            here.mean("callback_mean_seconds", delays, len(rows))


def _chats(sheet: Sheet, chats: Rows) -> None:
    for year, of_year in rows_by_year(chats, "started_at").items():
        for service, rows in rows_by_line(of_year):
            sheet.at(service, year).count("chats_received", len(rows))
        known = rows_with(of_year, "resolved_without_visit")
        resolved = rows_where(known, resolved_without_visit=True)
        figure = "chats_resolved_without_visit_share"
        sheet.at("all_chats", year).share(figure, len(resolved), len(known), len(of_year))


def _helpline(sheet: Sheet, contacts: Rows) -> None:
    service = "emergency_helpline"
    for year, rows in rows_by_year(contacts, "contacted_at").items():
        for figure, outcome in (
            ("helpline_resolved_at_first_contact_share", "resolved"),
            ("helpline_sent_to_emergency_share", "emergency_department"),
        ):
            sheet.at(service, year).share(figure, len(rows_where(rows, outcome=outcome)), len(rows), len(rows))
        known = rows_with(rows, "advice_sufficient")
        enough = rows_where(known, advice_sufficient=True)
        sheet.at(service, year).share("helpline_sufficient_advice_share", len(enough), len(known), len(rows))


def _nps(sheet: Sheet, responses: Rows, invitations: Rows) -> None:
    invited = rows_by_year(invitations, "month")
    for year, of_year in rows_by_year(responses, "responded_at").items():
        for survey in sorted({str(row["survey"]) for row in of_year}):
            scores = [whole_of(row, "score") for row in rows_where(of_year, survey=survey, channel="sms")]
            promoters = len([score for score in scores if score >= 9])
            detractors = len([score for score in scores if score <= 6])
            n, net = len(scores), promoters - detractors
            here = sheet.at(survey, year)
            here.emit("nps", net, n, Fraction(100 * net, n) if n else None, n)
            here.share("nps_promoter_share", promoters, n, n)
            here.share("nps_detractor_share", detractors, n, n)
            here.count("nps_responses", n)
            by_sms = rows_where(invited.get(year, []), survey=survey, channel="sms")
            sent = sum(whole_of(row, "invitations_sent") for row in by_sms)
            sheet.at(survey, year).share("nps_response_rate", n, sent, n)

    for service, year, events, this, before in sheet.series("nps"):
        change = round_half_away(this) - round_half_away(before)
        sheet.at(service, year, CHANGE).emit("nps_change", change, None, change, events)
    _difference(sheet, "nps_responses")


def _difference(sheet: Sheet, figure: str) -> None:
    for service, year, events, this, before in sheet.series(figure):
        sheet.at(service, year, CHANGE).emit(f"{figure}_change", this - before, None, this - before, events)


def _experience(sheet: Sheet, answers: Rows) -> None:
    for year, rows in rows_by_year(answers, "answered_at").items():
        for statement in sorted({str(row["statement"]) for row in rows}):
            scores = [whole_of(row, "score") for row in rows_where(rows, statement=statement)]
            sheet.at(statement, year).mean("experience_statement_mean", scores, len(scores))
        here = sheet.at("all_services", year)
        here.mean("experience_mean", [whole_of(row, "score") for row in rows], len(rows))
        here.count("experience_answers", len(rows))


def _feedback(sheet: Sheet, feedback: Rows, labels: Rows) -> None:
    for year, rows in rows_by_year(feedback, "received_at").items():
        sheet.at("all_services", year).count("feedback_received", len(rows))
        for area in AREAS:
            items = len(rows_where(rows, service_area=area))
            sheet.at(area, year).share("feedback_share", items, len(rows), len(rows))
    _difference(sheet, "feedback_received")

    items_year = {row["feedback_id"]: day_of(row, "received_at").year for row in feedback}
    years: dict[int, list[Record]] = defaultdict(list)
    for label in labels:
        if label["feedback_id"] in items_year:
            years[items_year[label["feedback_id"]]].append(label)
    for year, rows in years.items():
        for content in CONTENTS:
            sheet.at(content, year).count("feedback_content", len(rows_where(rows, content=content)))


def _rescue(sheet: Sheet, missions: Rows) -> None:
    for year, rows in rows_by_year(missions, "alarmed_at").items():
        days = (date(year + 1, 1, 1) - date(year, 1, 1)).days
        here = sheet.at("rescue", year)
        here.count("rescue_department_missions", len(rows))
        here.count("rescue_missions", len(rows_where(rows, mission_type="rescue")))
        here.count("ems_missions", len(rows_where(rows, mission_type="ems")))
        per_day = Fraction(len(rows), days)
        sheet.at("rescue", year).emit("rescue_unit_alarms_per_day", len(rows), days, per_day, len(rows))
        urgent = rows_where(rows, mission_type="rescue", urgency=("A", "B", "C"))
        times = [
            seconds_between(row, "alarmed_at", "first_unit_at_scene_at")
            for row in rows_with(urgent, "first_unit_at_scene_at")
        ]
        middle = median(times)
        sheet.at("rescue", year).emit("first_unit_response_seconds", middle, len(times), middle, len(urgent))
    for service, year, events, this, before in sheet.series("rescue_missions"):
        percent = 100 * (this - before) / before if before else None
        sheet.at(service, year, CHANGE).emit("rescue_missions_change_pct", this - before, before, percent, events)


def _inspections(sheet: Sheet, inspections: Rows) -> None:
    for year, rows in rows_by_year(inspections, "inspected_on").items():
        sheet.at("rescue", year).count("safety_inspections", len(rows))


def _queue(sheet: Sheet, queue: Rows) -> None:
    for year, of_year in rows_by_year(queue, "census_date").items():
        census = max(day_of(row, "census_date") for row in of_year)
        rows = rows_where(of_year, census_date=census)
        over_180 = [row for row in rows if (census - day_of(row, "need_confirmed_on")).days > 180]
        over_6_months = [row for row in rows if day_of(row, "need_confirmed_on") < add_months(census, -6)]
        queued, long, half_year = (
            len({row["patient_key"] for row in part}) for part in (rows, over_180, over_6_months)
        )
        here = sheet.at("specialist_care", year, "census_december" if census.month == 12 else "census")
        here.count("specialist_queue", queued, len(rows))
        here.count("specialist_queue_over_180_days", long, len(over_180))
        here.share("specialist_queue_over_180_days_share", long, queued, len(rows))
        here.share("specialist_queue_over_6_months_share", half_year, queued, len(rows))


def _is_within_guarantee(visit: Record) -> bool:
    limit = care_limit(str(visit["service"]), day_of(visit, "need_assessed_on"), whole_of(visit, "age_years"))
    return day_of(visit, "visited_on") <= limit


def _visits(sheet: Sheet, visits: Rows) -> None:
    soon: Mapping[str, tuple[str, Callable[[date], date]]] = {
        "primary_care": ("primary_care_within_14_days_share", lambda day: day + timedelta(days=14)),
        "oral_health": ("oral_health_within_3_months_share", lambda day: add_months(day, 3)),
    }
    for year, of_year in rows_by_year(visits, "visited_on").items():
        for service, (figure, last_day) in soon.items():
            rows = rows_where(of_year, service=service)
            if not rows:
                continue
            in_time = [row for row in rows if day_of(row, "visited_on") <= last_day(day_of(row, "need_assessed_on"))]
            here = sheet.at(service, year)
            here.share(figure, len(in_time), len(rows), len(rows))
            for group, is_young in (("23_and_over", False), ("under_23", True)):
                of_age = [row for row in rows if (whole_of(row, "age_years") < 23) == is_young]
                within = [row for row in of_age if _is_within_guarantee(row)]
                here.share(f"care_guarantee_{service}_{group}_share", len(within), len(of_age), len(of_age))


def _housing(sheet: Sheet, placements: Rows) -> None:
    for year, rows in rows_by_year(placements, "placed_on").items():
        december = [row for row in rows if day_of(row, "placed_on").month == 12]
        for basis, scope in (("calendar_year", rows), ("december", december)):
            waits = [(day_of(row, "placed_on") - day_of(row, "initiated_on")).days for row in scope]
            here = sheet.at("elderly_housing", year, basis)
            here.mean("elderly_housing_mean_wait_days", waits, len(scope))


PROCESS_FIGURES: Mapping[str, tuple[str, str, Callable[[date], date]]] = {
    "disability_service": (
        "disability_decisions_on_time_share",
        "disability_services",
        lambda day: add_months(day, 3),
    ),
    "child_welfare_notification": (
        "child_welfare_notifications_on_time_share",
        "child_welfare",
        lambda day: add_working_days(day, 7),
    ),
    "supplementary_income_support": (
        "income_support_on_time_share",
        "income_support",
        lambda day: add_working_days(day, 7),
    ),
    "service_needs_assessment": (
        "service_needs_assessments_on_time_share",
        "service_needs_assessment",
        lambda day: add_months(day, 3),
    ),
}


def _decisions(sheet: Sheet, decisions: Rows) -> None:
    for year, of_year in rows_by_year(decisions, "decided_on").items():
        shares: list[Fraction] = []
        for process, (figure, service, last_day) in PROCESS_FIGURES.items():
            rows = rows_where(of_year, process=process)
            if not rows:
                continue
            in_time = [
                row
                for row in rows
                if row["special_reason"] is True or day_of(row, "decided_on") <= last_day(day_of(row, "initiated_on"))
            ]
            sheet.at(service, year).share(figure, len(in_time), len(rows), len(rows))
            shares.append(Fraction(100 * len(in_time), len(rows)))
        total, count = sum(shares, Fraction(0)), len(shares)
        figure = "social_processes_on_time_share"
        sheet.at("social_services", year).emit(figure, total, count, total / count, len(of_year))


def _ombudsman(sheet: Sheet, contacts: Rows) -> None:
    for year, rows in rows_by_year(contacts, "contacted_on").items():
        for client in CLIENTS:
            sheet.at(client, year).count("ombudsman_contacts", len(rows_where(rows, client_type=client)))
        known = rows_with(rows, "resolved_in_one_call")
        resolved = rows_where(known, resolved_in_one_call=True)
        figure = "ombudsman_resolved_in_one_call_share"
        sheet.at("ombudsman", year).share(figure, len(resolved), len(known), len(rows))


def _incidents(sheet: Sheet, incidents: Rows) -> None:
    for year, rows in rows_by_year(incidents, "reported_on").items():
        harmful = rows_where(rows, harm=("moderate", "severe"))
        sheet.at("all_services", year).count("safety_incidents", len(rows))
        figure = "safety_incidents_moderate_or_severe_share"
        sheet.at("all_services", year).share(figure, len(harmful), len(rows), len(rows))


def _digital_users(sheet: Sheet, users: Rows) -> None:
    for year, of_year in rows_by_year(users, "census_date").items():
        rows = rows_where(of_year, census_date=max(day_of(row, "census_date") for row in of_year))
        registered = sum(whole_of(row, "registered_users") for row in rows)
        active = sum(whole_of(row, "active_users") for row in rows)
        old = sum(whole_of(row, "registered_users") for row in rows if whole_of(row, "age_from") >= 70)
        here = sheet.at("oma_kymenlaakso", year, "census_december")
        here.count("digital_registered_users", registered, len(rows))
        here.count("digital_active_users", active, len(rows))
        here.share("digital_users_over_70_share", old, registered, len(rows))


def _care_paths(sheet: Sheet, paths: Rows, latest_year: int) -> None:
    if not paths:
        return
    for year in range(min(day_of(row, "opened_on").year for row in paths), latest_year + 1):
        end = date(year, 12, 31)
        in_use = [
            row
            for row in paths
            if day_of(row, "opened_on") <= end and (row["closed_on"] is None or day_of(row, "closed_on") > end)
        ]
        here = sheet.at("oma_kymenlaakso", year, "end_of_year")
        here.count("digital_care_paths", len(in_use))
        here.count("digital_self_care_paths", len(rows_where(in_use, self_care=True)))


def _chat_services(sheet: Sheet, services: Rows) -> None:
    for year, rows in rows_by_year(services, "opened_on").items():
        sheet.at("all_services", year).count("new_chat_services", len(rows))


def _contacts(sheet: Sheet, contacts: Rows) -> None:
    for year, rows in rows_by_year(contacts, "month").items():
        remote = [row for row in rows if row["mode"] != "in_person"]
        all_of, far, instead = (
            sum(whole_of(row, "contacts") for row in part)
            for part in (rows, remote, rows_where(remote, replaces_visit=True))
        )
        here = sheet.at("all_services", year)
        here.share("remote_contact_share", far, all_of, len(rows))
        here.share("visit_replacing_remote_contact_share", instead, all_of, len(rows))


def _manual(sheet: Sheet, entered: Rows) -> None:
    for row in entered:
        figure, value = str(row["figure_id"]), row["value"]
        if figure in DERIVED_FIGURES:
            continue
        if not isinstance(value, Decimal):
            raise TypeError(f"value: {value!r}")
        basis = MANUAL_BASIS.get(figure, "calendar_year")
        here = sheet.at(str(row["service"]), whole_of(row, "report_year"), basis)
        here.emit(figure, Fraction(value), None, Fraction(value), 1)


YEAR_COLUMN = {
    "calls": "arrived_at",
    "callbacks": "requested_at",
    "chats": "started_at",
    "helpline_contacts": "contacted_at",
    "nps_responses": "responded_at",
    "nps_invitations": "month",
    "experience_answers": "answered_at",
    "feedback": "received_at",  # and of feedback_labels through their item
    "rescue_missions": "alarmed_at",
    "safety_inspections": "inspected_on",
    "care_queue": "census_date",
    "care_visits": "visited_on",
    "housing_placements": "placed_on",
    "decisions": "decided_on",
    "ombudsman_contacts": "contacted_on",
    "safety_incidents": "reported_on",
    "digital_users": "census_date",
    "digital_care_paths": "opened_on",
    "chat_services": "opened_on",
    "care_contacts": "month",
}


def figures(feeds: Mapping[str, FeedResult]) -> dict[Key, Row]:
    """Every figure of the feeds given; a feed that is not given has no rows."""

    def rows(feed: str) -> Rows:
        return feeds[feed].rows if feed in feeds else ()

    years = {year for feed, column in YEAR_COLUMN.items() for year in rows_by_year(rows(feed), column)}
    years |= {whole_of(row, "report_year") for row in rows("manual_figures")}

    sheet = Sheet()
    _calls(sheet, rows("calls"))
    _callbacks(sheet, rows("callbacks"))
    _chats(sheet, rows("chats"))
    _helpline(sheet, rows("helpline_contacts"))
    _nps(sheet, rows("nps_responses"), rows("nps_invitations"))
    _experience(sheet, rows("experience_answers"))
    _feedback(sheet, rows("feedback"), rows("feedback_labels"))
    _rescue(sheet, rows("rescue_missions"))
    _inspections(sheet, rows("safety_inspections"))
    _queue(sheet, rows("care_queue"))
    _visits(sheet, rows("care_visits"))
    _housing(sheet, rows("housing_placements"))
    _decisions(sheet, rows("decisions"))
    _ombudsman(sheet, rows("ombudsman_contacts"))
    _incidents(sheet, rows("safety_incidents"))
    _digital_users(sheet, rows("digital_users"))
    _care_paths(sheet, rows("digital_care_paths"), max(years, default=0))
    _chat_services(sheet, rows("chat_services"))
    _contacts(sheet, rows("care_contacts"))
    _manual(sheet, rows("manual_figures"))
    return sheet.rows
