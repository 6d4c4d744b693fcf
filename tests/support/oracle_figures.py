"""The figures by hand: what each should be, from the rows in force, in exact fractions.

Written from the reference text of the feeds alone, as plainly as it can be said, to test the SQL models against.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from oracle_read import AREAS, CLIENTS, CONTENTS, HEALTH_LINES, FeedResult, Record

Key = tuple[str, str, int, str]  # figure_id, service, report_year, basis
Rows = Sequence[Record]
Number = int | Fraction | None


@dataclass(frozen=True, slots=True)
class Row:
    """A figure's row; None stands for null."""

    numerator: Fraction | None
    denominator: Fraction | None
    value: Fraction | None
    event_count: int

    def as_doubles(self) -> tuple[float | None, float | None, float | None, int]:
        """The row as the warehouse holds it; a fraction becomes the nearest double."""
        return _double(self.numerator), _double(self.denominator), _double(self.value), self.event_count


def _double(value: Fraction | None) -> float | None:
    return None if value is None else float(value)


CHANGE = "change_from_previous_year"
MANUAL_BASIS = {
    "wellbeing_service_monthly_reach": "monthly_mean",
    "volunteer_encounters": "calendar_year",
    "partner_violence_experienced": "survey",
}
DERIVED_FIGURES = frozenset(
    {
        "calls_received",
        "call_mean_wait_seconds",
        "calls_answered_within_5_minutes_share",
        "call_mean_handling_seconds",
        "callbacks_received",
        "callbacks_never_reached",
        "same_day_callback_share",
        "callback_mean_seconds",
        "chats_received",
        "chats_resolved_without_visit_share",
        "helpline_resolved_at_first_contact_share",
        "helpline_sent_to_emergency_share",
        "helpline_sufficient_advice_share",
        "nps",
        "nps_promoter_share",
        "nps_detractor_share",
        "nps_responses",
        "nps_response_rate",
        "nps_change",
        "nps_responses_change",
        "experience_statement_mean",
        "experience_mean",
        "experience_answers",
        "feedback_received",
        "feedback_share",
        "feedback_content",
        "feedback_received_change",
        "rescue_department_missions",
        "rescue_missions",
        "ems_missions",
        "rescue_unit_alarms_per_day",
        "first_unit_response_seconds",
        "rescue_missions_change_pct",
        "safety_inspections",
        "specialist_queue",
        "specialist_queue_over_180_days",
        "specialist_queue_over_180_days_share",
        "specialist_queue_over_6_months_share",
        "primary_care_within_14_days_share",
        "oral_health_within_3_months_share",
        "care_guarantee_primary_care_23_and_over_share",
        "care_guarantee_primary_care_under_23_share",
        "care_guarantee_oral_health_23_and_over_share",
        "care_guarantee_oral_health_under_23_share",
        "elderly_housing_mean_wait_days",
        "disability_decisions_on_time_share",
        "child_welfare_notifications_on_time_share",
        "income_support_on_time_share",
        "service_needs_assessments_on_time_share",
        "social_processes_on_time_share",
        "ombudsman_contacts",
        "ombudsman_resolved_in_one_call_share",
        "safety_incidents",
        "safety_incidents_moderate_or_severe_share",
        "digital_registered_users",
        "digital_active_users",
        "digital_users_over_70_share",
        "digital_care_paths",
        "digital_self_care_paths",
        "new_chat_services",
        "remote_contact_share",
        "visit_replacing_remote_contact_share",
    }
)
FEEDBACK_FIGURES = frozenset(figure for figure in DERIVED_FIGURES if figure.startswith("feedback_"))


def basis_of(figure: str, service: str, year: int, basis: str) -> str:
    """The basis a figure is told with: the year a service started is a partial year before all else."""
    started = year == 2023 and (service == "social_advice" or figure in FEEDBACK_FIGURES)
    return "partial_year" if started else basis


@dataclass(frozen=True, slots=True)
class _Place:
    """A service, year and basis on the sheet, to tell figures at."""

    rows: dict[Key, Row]
    service: str
    year: int
    basis: str

    def emit(self, figure: str, numerator: Number, denominator: Number, value: Number, events: int) -> None:
        basis = basis_of(figure, self.service, self.year, self.basis)
        key = (figure, self.service, self.year, basis)
        if key in self.rows:
            raise ValueError(f"told twice: {key}")
        self.rows[key] = Row(_fraction(numerator), _fraction(denominator), _fraction(value), events)

    def count(self, figure: str, count: int, events: int | None = None) -> None:
        self.emit(figure, count, None, count, count if events is None else events)

    def share(self, figure: str, part: int, whole: int, events: int) -> None:
        self.emit(figure, part, whole, Fraction(100 * part, whole) if whole else None, events)

    def mean(self, figure: str, values: Sequence[int], events: int) -> None:
        total, count = sum(values), len(values)
        self.emit(figure, total, count, Fraction(total, count) if count else None, events)


class _Sheet:
    """The figures told so far."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}

    def at(self, service: str, year: int, basis: str = "calendar_year") -> _Place:
        """Where the figures of a service and year are told."""
        return _Place(self.rows, service, year, basis)

    def series(self, figure: str) -> list[tuple[str, int, int, Fraction, Fraction]]:
        """Service, year, event count, value and the year before's value, where both years have values."""
        rows = {(service, year): row for (each, service, year, _), row in self.rows.items() if each == figure}
        found = []
        for (service, year), this in sorted(rows.items()):
            before = rows.get((service, year - 1))
            if this.value is not None and before is not None and before.value is not None:
                found.append((service, year, this.event_count, this.value, before.value))
        return found


def _fraction(value: Number) -> Fraction | None:
    return None if value is None else Fraction(value)


# --- Reading a row's values with their types


def _time(row: Record, name: str) -> datetime:
    value = row[name]
    if not isinstance(value, datetime):
        raise TypeError(f"{name}: {value!r}")
    return value


def _day(row: Record, name: str) -> date:
    """The local calendar day of a date or a timestamp as written."""
    value = row[name]
    if isinstance(value, datetime):
        return value.date()
    if not isinstance(value, date):
        raise TypeError(f"{name}: {value!r}")
    return value


def _whole(row: Record, name: str) -> int:
    value = row[name]
    if not isinstance(value, int):
        raise TypeError(f"{name}: {value!r}")
    return value


def _seconds(row: Record, start: str, end: str) -> int:
    """Elapsed seconds between two timestamps of a row, as instants."""
    return (_time(row, f"{end}_utc") - _time(row, f"{start}_utc")) // timedelta(seconds=1)


def _where(rows: Iterable[Record], **values: object) -> list[Record]:
    """The rows whose columns have these values; a tuple means any of them."""
    return [
        row
        for row in rows
        if all(row[name] in value if isinstance(value, tuple) else row[name] == value for name, value in values.items())
    ]


def _with(rows: Iterable[Record], *names: str) -> list[Record]:
    """The rows in which none of these columns is missing."""
    return [row for row in rows if all(row[name] is not None for name in names)]


def _by_year(rows: Iterable[Record], name: str) -> dict[int, list[Record]]:
    """The rows by the year of a date or timestamp as written; those in which it is missing are left out."""
    years: dict[int, list[Record]] = defaultdict(list)
    for row in _with(rows, name):
        years[_day(row, name).year].append(row)
    return years


def _lines(rows: Iterable[Record]) -> Iterable[tuple[str, list[Record]]]:
    """Each service line that has rows with its rows, then the health lines together."""
    lines: dict[str, list[Record]] = defaultdict(list)
    for row in rows:
        lines[str(row["service_line"])].append(row)
        if row["service_line"] in HEALTH_LINES:
            lines["health_lines"].append(row)
    return lines.items()


# --- The calendar


def add_months(day: date, months: int) -> date:
    """The same day some months later (or earlier), or the last day of that month when it has no such day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    following = date(year + month // 11, (month + 1) % 12 + 1, 1)
    last = (following - timedelta(days=1)).day
    return date(year, month + 1, min(day.day, last))


def easter_sunday(year: int) -> date:
    """Easter Sunday of the Gregorian calendar, by the golden number and the epact."""
    golden = year % 19 + 1
    century = year // 100 + 1
    skipped_leap_years = 3 * century // 4 - 12
    moon_correction = (8 * century + 5) // 25 - 5
    sunday = 5 * year // 4 - skipped_leap_years - 10
    epact = (11 * golden + 20 + moon_correction - skipped_leap_years) % 30
    if epact == 24 or (epact == 25 and golden > 11):
        epact += 1
    full_moon = 44 - epact
    if full_moon < 21:
        full_moon += 30
    march_day = full_moon + 7 - (sunday + full_moon) % 7
    return date(year, 3, 1) + timedelta(days=march_day - 1)


def is_working_day(day: date) -> bool:
    """Not a Saturday, Sunday or public holiday of Finland, nor Midsummer Eve or Christmas Eve."""
    if day.weekday() >= 5:  # All Saints' Day, Midsummer Day, Easter Sunday and Pentecost among them
        return False
    if (day.month, day.day) in {(1, 1), (1, 6), (5, 1), (12, 6), (12, 24), (12, 25), (12, 26)}:
        return False
    if day.month == 6 and 19 <= day.day <= 25 and day.weekday() == 4:  # Midsummer Eve
        return False
    easter = easter_sunday(day.year)
    return day not in {easter + timedelta(days=offset) for offset in (-2, 1, 39)}  # Good Friday, Monday, Ascension


def add_working_days(day: date, count: int) -> date:
    """The count-th working day after a day, which itself is not counted."""
    while count:
        day += timedelta(days=1)
        count -= is_working_day(day)
    return day


# --- The families of figures


def _calls(sheet: _Sheet, calls: Rows) -> None:
    for year, of_year in _by_year(calls, "arrived_at").items():
        for service, rows in _lines(of_year):
            answered = _with(rows, "answered_at")
            waits = [_seconds(row, "arrived_at", "answered_at") for row in answered]
            soon = [wait for wait in waits if wait < 300 or (wait == 300 and service == "social_advice")]
            handled = [_seconds(row, "answered_at", "ended_at") for row in _with(answered, "ended_at")]
            here = sheet.at(service, year)
            here.count("calls_received", len(rows))
            here.mean("call_mean_wait_seconds", waits, len(rows))
            here.share("calls_answered_within_5_minutes_share", len(soon), len(waits), len(rows))
            here.mean("call_mean_handling_seconds", handled, len(rows))


def _callbacks(sheet: _Sheet, callbacks: Rows) -> None:
    for year, of_year in _by_year(callbacks, "requested_at").items():
        for service, rows in _lines(of_year):
            reached = _with(rows, "reached_at")
            same_day = [row for row in reached if _day(row, "reached_at") == _day(row, "requested_at")]
            delays = [_seconds(row, "requested_at", "reached_at") for row in reached]
            never = len(rows) - len(reached)
            here = sheet.at(service, year)
            here.count("callbacks_received", len(rows))
            here.count("callbacks_never_reached", never, events=len(rows))
            here.share("same_day_callback_share", len(same_day), len(reached), len(rows))
            here.mean("callback_mean_seconds", delays, len(rows))


def _chats(sheet: _Sheet, chats: Rows) -> None:
    for year, of_year in _by_year(chats, "started_at").items():
        for service, rows in _lines(of_year):
            sheet.at(service, year).count("chats_received", len(rows))
        known = _with(of_year, "resolved_without_visit")
        resolved = _where(known, resolved_without_visit=True)
        figure = "chats_resolved_without_visit_share"
        sheet.at("all_chats", year).share(figure, len(resolved), len(known), len(of_year))


def _helpline(sheet: _Sheet, contacts: Rows) -> None:
    service = "emergency_helpline"
    for year, rows in _by_year(contacts, "contacted_at").items():
        for figure, outcome in (
            ("helpline_resolved_at_first_contact_share", "resolved"),
            ("helpline_sent_to_emergency_share", "emergency_department"),
        ):
            sheet.at(service, year).share(figure, len(_where(rows, outcome=outcome)), len(rows), len(rows))
        known = _with(rows, "advice_sufficient")
        enough = _where(known, advice_sufficient=True)
        sheet.at(service, year).share("helpline_sufficient_advice_share", len(enough), len(known), len(rows))


def round_half_away(value: Fraction) -> int:
    """The nearest whole number, a half away from zero."""
    size = int(abs(value) + Fraction(1, 2))
    return size if value >= 0 else -size


def _nps(sheet: _Sheet, responses: Rows, invitations: Rows) -> None:
    invited = _by_year(invitations, "month")
    for year, of_year in _by_year(responses, "responded_at").items():
        for survey in sorted({str(row["survey"]) for row in of_year}):
            scores = [_whole(row, "score") for row in _where(of_year, survey=survey, channel="sms")]
            promoters = len([score for score in scores if score >= 9])
            detractors = len([score for score in scores if score <= 6])
            n, net = len(scores), promoters - detractors
            here = sheet.at(survey, year)
            here.emit("nps", net, n, Fraction(100 * net, n) if n else None, n)
            here.share("nps_promoter_share", promoters, n, n)
            here.share("nps_detractor_share", detractors, n, n)
            here.count("nps_responses", n)
            by_sms = _where(invited.get(year, []), survey=survey, channel="sms")
            sent = sum(_whole(row, "invitations_sent") for row in by_sms)
            sheet.at(survey, year).share("nps_response_rate", n, sent, n)

    for service, year, events, this, before in sheet.series("nps"):
        change = round_half_away(this) - round_half_away(before)
        sheet.at(service, year, CHANGE).emit("nps_change", change, None, change, events)
    _difference(sheet, "nps_responses")


def _difference(sheet: _Sheet, figure: str) -> None:
    for service, year, events, this, before in sheet.series(figure):
        sheet.at(service, year, CHANGE).emit(f"{figure}_change", this - before, None, this - before, events)


def _experience(sheet: _Sheet, answers: Rows) -> None:
    for year, rows in _by_year(answers, "answered_at").items():
        for statement in sorted({str(row["statement"]) for row in rows}):
            scores = [_whole(row, "score") for row in _where(rows, statement=statement)]
            sheet.at(statement, year).mean("experience_statement_mean", scores, len(scores))
        here = sheet.at("all_services", year)
        here.mean("experience_mean", [_whole(row, "score") for row in rows], len(rows))
        here.count("experience_answers", len(rows))


def _feedback(sheet: _Sheet, feedback: Rows, labels: Rows) -> None:
    for year, rows in _by_year(feedback, "received_at").items():
        sheet.at("all_services", year).count("feedback_received", len(rows))
        for area in AREAS:
            items = len(_where(rows, service_area=area))
            sheet.at(area, year).share("feedback_share", items, len(rows), len(rows))
    _difference(sheet, "feedback_received")

    items_year = {row["feedback_id"]: _day(row, "received_at").year for row in feedback}
    years: dict[int, list[Record]] = defaultdict(list)
    for label in labels:
        if label["feedback_id"] in items_year:
            years[items_year[label["feedback_id"]]].append(label)
    for year, rows in years.items():
        for content in CONTENTS:
            sheet.at(content, year).count("feedback_content", len(_where(rows, content=content)))


def median(values: Sequence[int]) -> Fraction | None:
    """The middle value, or the mean of the middle two; None of no values."""
    if not values:
        return None
    ordered, half = sorted(values), len(values) // 2
    return Fraction(ordered[half]) if len(values) % 2 else Fraction(ordered[half - 1] + ordered[half], 2)


def _rescue(sheet: _Sheet, missions: Rows) -> None:
    for year, rows in _by_year(missions, "alarmed_at").items():
        days = (date(year + 1, 1, 1) - date(year, 1, 1)).days
        here = sheet.at("rescue", year)
        here.count("rescue_department_missions", len(rows))
        here.count("rescue_missions", len(_where(rows, mission_type="rescue")))
        here.count("ems_missions", len(_where(rows, mission_type="ems")))
        per_day = Fraction(len(rows), days)
        sheet.at("rescue", year).emit("rescue_unit_alarms_per_day", len(rows), days, per_day, len(rows))
        urgent = _where(rows, mission_type="rescue", urgency=("A", "B", "C"))
        times = [
            _seconds(row, "alarmed_at", "first_unit_at_scene_at") for row in _with(urgent, "first_unit_at_scene_at")
        ]
        middle = median(times)
        sheet.at("rescue", year).emit("first_unit_response_seconds", middle, len(times), middle, len(urgent))
    for service, year, events, this, before in sheet.series("rescue_missions"):
        percent = 100 * (this - before) / before if before else None
        sheet.at(service, year, CHANGE).emit("rescue_missions_change_pct", this - before, before, percent, events)


def _inspections(sheet: _Sheet, inspections: Rows) -> None:
    for year, rows in _by_year(inspections, "inspected_on").items():
        sheet.at("rescue", year).count("safety_inspections", len(rows))


def _queue(sheet: _Sheet, queue: Rows) -> None:
    for year, of_year in _by_year(queue, "census_date").items():
        census = max(_day(row, "census_date") for row in of_year)
        rows = _where(of_year, census_date=census)
        over_180 = [row for row in rows if (census - _day(row, "need_confirmed_on")).days > 180]
        over_6_months = [row for row in rows if _day(row, "need_confirmed_on") < add_months(census, -6)]
        queued, long, half_year = (
            len({row["patient_key"] for row in part}) for part in (rows, over_180, over_6_months)
        )
        here = sheet.at("specialist_care", year, "census_december" if census.month == 12 else "census")
        here.count("specialist_queue", queued, len(rows))
        here.count("specialist_queue_over_180_days", long, len(over_180))
        here.share("specialist_queue_over_180_days_share", long, queued, len(rows))
        here.share("specialist_queue_over_6_months_share", half_year, queued, len(rows))


CARE_LIMITS: Mapping[tuple[str, bool], tuple[tuple[date, Callable[[date], date]], ...]] = {
    # By service and whether under 23: the last day on which the need is assessed, and the limit from then.
    ("primary_care", False): (
        (date(2023, 8, 31), lambda day: add_months(day, 3)),
        (date(2024, 12, 31), lambda day: day + timedelta(days=14)),
        (date.max, lambda day: add_months(day, 3)),
    ),
    ("primary_care", True): (
        (date(2023, 8, 31), lambda day: add_months(day, 3)),
        (date.max, lambda day: day + timedelta(days=14)),
    ),
    ("oral_health", False): (
        (date(2023, 8, 31), lambda day: add_months(day, 6)),
        (date(2024, 10, 31), lambda day: add_months(day, 4)),
        (date(2024, 12, 31), lambda day: add_months(day, 3)),
        (date.max, lambda day: add_months(day, 6)),
    ),
    ("oral_health", True): (
        (date(2023, 8, 31), lambda day: add_months(day, 6)),
        (date(2024, 10, 31), lambda day: add_months(day, 4)),
        (date.max, lambda day: add_months(day, 3)),
    ),
}


def care_limit(service: str, assessed: date, age: int) -> date:
    """The last day of a first visit within the care guarantee in force when the need was assessed."""
    limits = CARE_LIMITS[service, age < 23]
    return next(limit(assessed) for until, limit in limits if assessed <= until)


def _is_within_guarantee(visit: Record) -> bool:
    limit = care_limit(str(visit["service"]), _day(visit, "need_assessed_on"), _whole(visit, "age_years"))
    return _day(visit, "visited_on") <= limit


def _visits(sheet: _Sheet, visits: Rows) -> None:
    soon: Mapping[str, tuple[str, Callable[[date], date]]] = {
        "primary_care": ("primary_care_within_14_days_share", lambda day: day + timedelta(days=14)),
        "oral_health": ("oral_health_within_3_months_share", lambda day: add_months(day, 3)),
    }
    for year, of_year in _by_year(visits, "visited_on").items():
        for service, (figure, last_day) in soon.items():
            rows = _where(of_year, service=service)
            if not rows:
                continue
            in_time = [row for row in rows if _day(row, "visited_on") <= last_day(_day(row, "need_assessed_on"))]
            here = sheet.at(service, year)
            here.share(figure, len(in_time), len(rows), len(rows))
            for group, is_young in (("23_and_over", False), ("under_23", True)):
                of_age = [row for row in rows if (_whole(row, "age_years") < 23) == is_young]
                within = [row for row in of_age if _is_within_guarantee(row)]
                here.share(f"care_guarantee_{service}_{group}_share", len(within), len(of_age), len(of_age))


def _housing(sheet: _Sheet, placements: Rows) -> None:
    for year, rows in _by_year(placements, "placed_on").items():
        december = [row for row in rows if _day(row, "placed_on").month == 12]
        for basis, scope in (("calendar_year", rows), ("december", december)):
            waits = [(_day(row, "placed_on") - _day(row, "initiated_on")).days for row in scope]
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


def _decisions(sheet: _Sheet, decisions: Rows) -> None:
    for year, of_year in _by_year(decisions, "decided_on").items():
        shares: list[Fraction] = []
        for process, (figure, service, last_day) in PROCESS_FIGURES.items():
            rows = _where(of_year, process=process)
            if not rows:
                continue
            in_time = [
                row
                for row in rows
                if row["special_reason"] is True or _day(row, "decided_on") <= last_day(_day(row, "initiated_on"))
            ]
            sheet.at(service, year).share(figure, len(in_time), len(rows), len(rows))
            shares.append(Fraction(100 * len(in_time), len(rows)))
        total, count = sum(shares, Fraction(0)), len(shares)
        figure = "social_processes_on_time_share"
        sheet.at("social_services", year).emit(figure, total, count, total / count, len(of_year))


def _ombudsman(sheet: _Sheet, contacts: Rows) -> None:
    for year, rows in _by_year(contacts, "contacted_on").items():
        for client in CLIENTS:
            sheet.at(client, year).count("ombudsman_contacts", len(_where(rows, client_type=client)))
        known = _with(rows, "resolved_in_one_call")
        resolved = _where(known, resolved_in_one_call=True)
        figure = "ombudsman_resolved_in_one_call_share"
        sheet.at("ombudsman", year).share(figure, len(resolved), len(known), len(rows))


def _incidents(sheet: _Sheet, incidents: Rows) -> None:
    for year, rows in _by_year(incidents, "reported_on").items():
        harmful = _where(rows, harm=("moderate", "severe"))
        sheet.at("all_services", year).count("safety_incidents", len(rows))
        figure = "safety_incidents_moderate_or_severe_share"
        sheet.at("all_services", year).share(figure, len(harmful), len(rows), len(rows))


def _digital_users(sheet: _Sheet, users: Rows) -> None:
    for year, of_year in _by_year(users, "census_date").items():
        rows = _where(of_year, census_date=max(_day(row, "census_date") for row in of_year))
        registered = sum(_whole(row, "registered_users") for row in rows)
        active = sum(_whole(row, "active_users") for row in rows)
        old = sum(_whole(row, "registered_users") for row in rows if _whole(row, "age_from") >= 70)
        here = sheet.at("oma_kymenlaakso", year, "census_december")
        here.count("digital_registered_users", registered, len(rows))
        here.count("digital_active_users", active, len(rows))
        here.share("digital_users_over_70_share", old, registered, len(rows))


def _care_paths(sheet: _Sheet, paths: Rows, latest_year: int) -> None:
    if not paths:
        return
    for year in range(min(_day(row, "opened_on").year for row in paths), latest_year + 1):
        end = date(year, 12, 31)
        in_use = [
            row
            for row in paths
            if _day(row, "opened_on") <= end and (row["closed_on"] is None or _day(row, "closed_on") > end)
        ]
        here = sheet.at("oma_kymenlaakso", year, "end_of_year")
        here.count("digital_care_paths", len(in_use))
        here.count("digital_self_care_paths", len(_where(in_use, self_care=True)))


def _chat_services(sheet: _Sheet, services: Rows) -> None:
    for year, rows in _by_year(services, "opened_on").items():
        sheet.at("all_services", year).count("new_chat_services", len(rows))


def _contacts(sheet: _Sheet, contacts: Rows) -> None:
    for year, rows in _by_year(contacts, "month").items():
        remote = [row for row in rows if row["mode"] != "in_person"]
        all_of, far, instead = (
            sum(_whole(row, "contacts") for row in part) for part in (rows, remote, _where(remote, replaces_visit=True))
        )
        here = sheet.at("all_services", year)
        here.share("remote_contact_share", far, all_of, len(rows))
        here.share("visit_replacing_remote_contact_share", instead, all_of, len(rows))


def _manual(sheet: _Sheet, entered: Rows) -> None:
    for row in entered:
        figure, value = str(row["figure_id"]), row["value"]
        if figure in DERIVED_FIGURES:
            continue
        if not isinstance(value, Decimal):
            raise TypeError(f"value: {value!r}")
        basis = MANUAL_BASIS.get(figure, "calendar_year")
        here = sheet.at(str(row["service"]), _whole(row, "report_year"), basis)
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

    years = {year for feed, column in YEAR_COLUMN.items() for year in _by_year(rows(feed), column)}
    years |= {_whole(row, "report_year") for row in rows("manual_figures")}

    sheet = _Sheet()
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
