"""What the oracle writes figures down on, and reads the values of rows with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction

from oracle_contracts import HEALTH_LINES, Record

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
class Place:
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
        self.rows[key] = Row(fraction_of(numerator), fraction_of(denominator), fraction_of(value), events)

    def count(self, figure: str, count: int, events: int | None = None) -> None:
        self.emit(figure, count, None, count, count if events is None else events)

    def share(self, figure: str, part: int, whole: int, events: int) -> None:
        self.emit(figure, part, whole, Fraction(100 * part, whole) if whole else None, events)

    def mean(self, figure: str, values: Sequence[int], events: int) -> None:
        total, count = sum(values), len(values)
        self.emit(figure, total, count, Fraction(total, count) if count else None, events)


class Sheet:
    """The figures told so far."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}

    def at(self, service: str, year: int, basis: str = "calendar_year") -> Place:
        """Where the figures of a service and year are told."""
        return Place(self.rows, service, year, basis)

    def series(self, figure: str) -> list[tuple[str, int, int, Fraction, Fraction]]:
        """Service, year, event count, value and the year before's value, where both years have values."""
        rows = {(service, year): row for (each, service, year, _), row in self.rows.items() if each == figure}
        found = []
        for (service, year), this in sorted(rows.items()):
            before = rows.get((service, year - 1))
            if this.value is not None and before is not None and before.value is not None:
                found.append((service, year, this.event_count, this.value, before.value))
        return found


def fraction_of(value: Number) -> Fraction | None:
    return None if value is None else Fraction(value)


# --- Reading a row's values with their types


def time_of(row: Record, name: str) -> datetime:
    value = row[name]
    if not isinstance(value, datetime):
        raise TypeError(f"{name}: {value!r}")
    return value


def day_of(row: Record, name: str) -> date:
    """The local calendar day of a date or a timestamp as written."""
    value = row[name]
    if isinstance(value, datetime):
        return value.date()
    if not isinstance(value, date):
        raise TypeError(f"{name}: {value!r}")
    return value


def whole_of(row: Record, name: str) -> int:
    value = row[name]
    if not isinstance(value, int):
        raise TypeError(f"{name}: {value!r}")
    return value


def seconds_between(row: Record, start: str, end: str) -> int:
    """Elapsed seconds between two timestamps of a row, as instants."""
    return (time_of(row, f"{end}_utc") - time_of(row, f"{start}_utc")) // timedelta(seconds=1)


def rows_where(rows: Iterable[Record], **values: object) -> list[Record]:
    """The rows whose columns have these values; a tuple means any of them."""
    return [
        row
        for row in rows
        if all(row[name] in value if isinstance(value, tuple) else row[name] == value for name, value in values.items())
    ]


def rows_with(rows: Iterable[Record], *names: str) -> list[Record]:
    """The rows in which none of these columns is missing."""
    return [row for row in rows if all(row[name] is not None for name in names)]


def rows_by_year(rows: Iterable[Record], name: str) -> dict[int, list[Record]]:
    """The rows by the year of a date or timestamp as written; those in which it is missing are left out."""
    years: dict[int, list[Record]] = defaultdict(list)
    for row in rows_with(rows, name):
        years[day_of(row, name).year].append(row)
    return years


def rows_by_line(rows: Iterable[Record]) -> Iterable[tuple[str, list[Record]]]:
    """Each service line that has rows with its rows, then the health lines together."""
    lines: dict[str, list[Record]] = defaultdict(list)
    for row in rows:
        lines[str(row["service_line"])].append(row)
        if row["service_line"] in HEALTH_LINES:
            lines["health_lines"].append(row)
    return lines.items()


def round_half_away(value: Fraction) -> int:
    """The nearest whole number, a half away from zero."""
    size = int(abs(value) + Fraction(1, 2))
    return size if value >= 0 else -size


def median(values: Sequence[int]) -> Fraction | None:
    """The middle value, or the mean of the middle two; None of no values."""
    if not values:
        return None
    ordered, half = sorted(values), len(values) // 2
    return Fraction(ordered[half]) if len(values) % 2 else Fraction(ordered[half - 1] + ordered[half], 2)
