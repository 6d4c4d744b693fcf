"""The contract of every feed as the oracle has it, written from docs and not from the project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal

Value = str | int | bool | Decimal | date | datetime | None
Record = dict[str, Value]


# --- The contracts


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a feed: its name, its type and what narrows it."""

    name: str
    type: str
    required: bool = True
    codes: frozenset[str] | None = None  # None: an open list
    lowest: int | None = None
    highest: int | None = None
    is_grouped: bool = False  # a no-break space may stand between groups of three digits
    is_first_of_month: bool = False
    is_free_text: bool = False  # what people write; any other text is an identifier or a code


@dataclass(frozen=True, slots=True)
class Contract:
    """What a feed's files must look like; `order` names the times of a row from first to last."""

    feed: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    order: tuple[str, ...] = ()
    census: str | None = None  # the column that names the census when the feed comes a whole census at a time
    aliases: Mapping[str, str] = field(default_factory=dict)  # alias to column name

    def column(self, name: str) -> Column:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)

    def with_aliases(self, aliases: Mapping[str, str]) -> Contract:
        """The same contract with header aliases, given as alias to column name."""
        return replace(self, aliases=dict(aliases))


def _text(name: str, required: bool = True) -> Column:
    return Column(name, "text", required)


def _free_text(name: str) -> Column:
    return Column(name, "text", required=False, is_free_text=True)


def _code(name: str, *codes: str) -> Column:
    return Column(name, "code", True, frozenset(codes) if codes else None)


def _time(name: str, required: bool = True) -> Column:
    return Column(name, "timestamp", required)


def _day(name: str, required: bool = True) -> Column:
    return Column(name, "date", required)


def _month(name: str) -> Column:
    return Column(name, "date", is_first_of_month=True)


def _integer(name: str, lowest: int = 0, highest: int | None = None, required: bool = True) -> Column:
    return Column(name, "integer", required, None, lowest, highest)


def _count(name: str) -> Column:
    return Column(name, "integer", True, None, 0, None, is_grouped=True)


def _flag(name: str, required: bool = True) -> Column:
    return Column(name, "boolean", required)


HEALTH_LINES = (
    "health_station",
    "maternity_and_child_clinic",
    "oral_health",
    "rehabilitation",
    "emergency_helpline",
    "mental_health_and_substance_abuse",
)
LINES = (*HEALTH_LINES, "social_advice")
SURVEYS = ("health", "social_advice")
CHANNELS = ("sms", "qr", "web", "tablet", "paper")
STATEMENTS = (
    "got_help_when_needed",
    "cared_for_as_a_whole",
    "decisions_made_together",
    "felt_safe",
    "knows_what_happens_next",
    "information_was_understandable",
    "care_was_useful",
)
AREAS = ("health", "social", "rescue", "other")
CONTENTS = ("thanks", "suggestion", "criticism", "other")
PROCESSES = (
    "disability_service",
    "child_welfare_notification",
    "supplementary_income_support",
    "service_needs_assessment",
)
CLIENTS = ("social", "patient")

CONTRACTS: Mapping[str, Contract] = {
    contract.feed: contract
    for contract in (
        Contract(
            "calls",
            (
                _text("call_id"),
                _code("service_line", *LINES),
                _time("arrived_at"),
                _time("answered_at", required=False),
                _time("ended_at", required=False),
            ),
            key=("call_id",),
            order=("arrived_at", "answered_at", "ended_at"),
        ),
        Contract(
            "callbacks",
            (
                _text("callback_id"),
                _code("service_line", *LINES),
                _time("requested_at"),
                _time("reached_at", required=False),
            ),
            key=("callback_id",),
            order=("requested_at", "reached_at"),
        ),
        Contract(
            "chats",
            (
                _text("chat_id"),
                _code("service_line", *LINES),
                _time("started_at"),
                _flag("resolved_without_visit", required=False),
            ),
            key=("chat_id",),
        ),
        Contract(
            "helpline_contacts",
            (
                _text("contact_id"),
                _time("contacted_at"),
                _code("outcome", "resolved", "emergency_department", "other_care"),
                _flag("advice_sufficient", required=False),
            ),
            key=("contact_id",),
        ),
        Contract(
            "nps_responses",
            (
                _text("response_id"),
                _code("survey", *SURVEYS),
                _code("channel", *CHANNELS),
                _time("responded_at"),
                _integer("score", 0, 10),
                _free_text("comment"),
            ),
            key=("response_id",),
        ),
        Contract(
            "nps_invitations",
            (
                _code("survey", *SURVEYS),
                _code("channel", *CHANNELS),
                _month("month"),
                _count("invitations_sent"),
            ),
            key=("survey", "channel", "month"),
        ),
        Contract(
            "experience_answers",
            (
                _text("answer_id"),
                _code("statement", *STATEMENTS),
                _time("answered_at"),
                _integer("score", 1, 5),
            ),
            key=("answer_id",),
        ),
        Contract(
            "feedback",
            (_text("feedback_id"), _time("received_at"), _code("service_area", *AREAS)),
            key=("feedback_id",),
        ),
        Contract(
            "feedback_labels",
            (_text("feedback_id"), _code("content", *CONTENTS)),
            key=("feedback_id", "content"),
        ),
        Contract(
            "rescue_missions",
            (
                _text("mission_id"),
                _code("mission_type", "rescue", "ems"),
                _code("urgency", "A", "B", "C", "D"),
                _time("alarmed_at"),
                _time("first_unit_at_scene_at", required=False),
            ),
            key=("mission_id",),
            order=("alarmed_at", "first_unit_at_scene_at"),
        ),
        Contract(
            "safety_inspections",
            (_text("inspection_id"), _day("inspected_on"), _code("kind")),
            key=("inspection_id",),
        ),
        Contract(
            "care_queue",
            (_day("census_date"), _text("patient_key"), _code("specialty"), _day("need_confirmed_on")),
            key=("census_date", "patient_key", "specialty"),
            order=("need_confirmed_on", "census_date"),
            census="census_date",
        ),
        Contract(
            "care_visits",
            (
                _text("visit_id"),
                _code("service", "primary_care", "oral_health"),
                _day("need_assessed_on"),
                _day("visited_on", required=False),
                _integer("age_years"),
            ),
            key=("visit_id",),
            order=("need_assessed_on", "visited_on"),
        ),
        Contract(
            "housing_placements",
            (_text("application_id"), _day("initiated_on"), _day("placed_on", required=False)),
            key=("application_id",),
            order=("initiated_on", "placed_on"),
        ),
        Contract(
            "decisions",
            (
                _text("case_id"),
                _code("process", *PROCESSES),
                _day("initiated_on"),
                _day("decided_on", required=False),
                _flag("special_reason", required=False),
            ),
            key=("case_id",),
            order=("initiated_on", "decided_on"),
        ),
        Contract(
            "ombudsman_contacts",
            (
                _text("contact_id"),
                _day("contacted_on"),
                _code("client_type", *CLIENTS),
                _flag("resolved_in_one_call", required=False),
            ),
            key=("contact_id",),
        ),
        Contract(
            "safety_incidents",
            (
                _text("incident_id"),
                _day("reported_on"),
                _code("incident_type"),
                _code("harm", "none", "minor", "moderate", "severe", "unknown"),
            ),
            key=("incident_id",),
        ),
        Contract(
            "digital_users",
            (
                _day("census_date"),
                _integer("age_from"),
                _integer("age_to", required=False),
                _count("registered_users"),
                _count("active_users"),
            ),
            key=("census_date", "age_from"),
            census="census_date",
        ),
        Contract(
            "digital_care_paths",
            (_text("path_id"), _day("opened_on"), _day("closed_on", required=False), _flag("self_care")),
            key=("path_id",),
            order=("opened_on", "closed_on"),
        ),
        Contract(
            "chat_services",
            (_text("service_id"), _day("opened_on"), _day("closed_on", required=False)),
            key=("service_id",),
            order=("opened_on", "closed_on"),
        ),
        Contract(
            "care_contacts",
            (
                _month("month"),
                _code("sector", "health", "hospital", "social"),
                _code("mode", "in_person", "phone", "video", "chat", "letter"),
                _flag("replaces_visit"),
                _count("contacts"),
            ),
            key=("month", "sector", "mode", "replaces_visit"),
        ),
        Contract(
            "manual_figures",
            (
                _integer("report_year", 1990, 2099),
                _code("figure_id"),
                _code("service"),
                Column("value", "decimal", is_grouped=True),
                _day("entered_on"),
                _free_text("source_note"),
            ),
            key=("report_year", "figure_id", "service"),
        ),
    )
}
SIX_FEEDS = ("calls", "callbacks", "nps_responses", "nps_invitations", "rescue_missions", "care_queue")
