"""The families of figures that are published, as an attacker knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LINES = (
    *("health_station", "maternity_and_child_clinic", "oral_health", "rehabilitation", "emergency_helpline"),
    "mental_health_and_substance_abuse",
)
STATEMENTS = (
    *(
        "got_help_when_needed",
        "cared_for_as_a_whole",
        "decisions_made_together",
        "felt_safe",
        "knows_what_happens_next",
    ),
    *("information_was_understandable", "care_was_useful"),
)
AREAS = ("health", "social", "rescue", "other")
DECISIONS = {
    "disability_services": "disability_decisions",
    "child_welfare": "child_welfare_notifications",
    "income_support": "income_support",
    "service_needs_assessment": "service_needs_assessments",
}
DECEMBER = " december"  # after the name of a figure that is told of December beside the year
ANY = 1e12  # more than any count or sum of seconds

Key = tuple[str, str, int, int]  # figure, service, year, month; month 0 is the year
Variable = tuple[str, str, int, int]  # count, service, year, month


@dataclass(frozen=True)
class Value:
    """A published cell: its value, and whether it is hidden."""

    value: float | None
    is_suppressed: bool


@dataclass(frozen=True)
class Family:
    """What the figures of one family say of counts, and how these counts hang together.

    `figures` has kind and counts of each: `count n`, `share n d`, `mean total d`, `net n m d`, `per_day n`. A part
    whose name ends in `?` lacks an answer or a time, and tells nothing of a person. A `root` has a case in each row of
    a year.
    """

    figures: Mapping[str, tuple[str, ...]]
    splits: tuple[tuple[str, ...], ...] = ()
    sums: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    summed: tuple[str, ...] = ()
    root: str = ""
    is_census: bool = False
    at_least: tuple[tuple[str, float, str], ...] = ()  # total >= factor * count
    at_most: tuple[tuple[str, float, str], ...] = ()
    whole_service: Mapping[str, str] = field(default_factory=dict)  # of a share, where its whole is another service's


FAMILIES: dict[str, Family] = {
    "calls": Family(
        {
            "calls_received": ("count", "received"),
            "call_mean_wait_seconds": ("mean", "waited", "answered"),
            "calls_answered_within_5_minutes_share": ("share", "in_time", "answered"),
            "call_mean_handling_seconds": ("mean", "talked", "handled"),
        },
        (
            ("received", "answered", "abandoned"),
            ("answered", "in_time", "slow"),
            ("answered", "handled", "without_end?"),
        ),
        {"health_lines": LINES},
        ("received", "answered", "abandoned", "in_time", "slow", "handled", "waited", "talked"),
        "received",
        at_least=(("waited", 300, "slow"),),
    ),
    "callbacks": Family(
        {
            "callbacks_received": ("count", "requests"),
            "callbacks_never_reached": ("count", "never"),
            "same_day_callback_share": ("share", "same_day", "reached"),
            "callback_mean_seconds": ("mean", "seconds", "reached"),
        },
        (("requests", "reached", "never"), ("reached", "same_day", "later")),
        {"health_lines": LINES},
        ("requests", "reached", "never", "same_day", "later", "seconds"),
        "requests",
    ),
    "chats": Family({"chats_received": ("count", "chats")}, (), {"health_lines": LINES}, ("chats",), "chats"),
    "helpline": Family(
        {
            "helpline_resolved_at_first_contact_share": ("share", "resolved", "contacts"),
            "helpline_sent_to_emergency_share": ("share", "sent_on", "contacts"),
            "helpline_sufficient_advice_share": ("share", "sufficient", "asked"),
        },
        (
            ("contacts", "resolved", "sent_on", "other_end"),
            ("contacts", "asked", "not_asked?"),
            ("asked", "sufficient", "insufficient"),
        ),
        root="contacts",
    ),
    "nps": Family(
        {
            "nps": ("net", "promoters", "detractors", "responses"),
            "nps_promoter_share": ("share", "promoters", "responses"),
            "nps_detractor_share": ("share", "detractors", "responses"),
            "nps_responses": ("count", "responses"),
            "nps_response_rate": ("share", "responses", "invitations"),
        },
        (("responses", "promoters", "detractors", "passives"), ("invitations", "responses", "silent")),
        root="",
    ),
    "experience": Family(
        {
            "experience_statement_mean": ("mean", "score", "answers"),
            "experience_mean": ("mean", "score", "answers"),
            "experience_answers": ("count", "answers"),
        },
        (),
        {"all_services": STATEMENTS},
        ("score", "answers"),
        "answers",
        at_least=(("score", 1, "answers"),),
        at_most=(("score", 5, "answers"),),
    ),
    "feedback": Family(
        {"feedback_received": ("count", "items"), "feedback_share": ("share", "items", "items")},
        (),
        {"all_services": AREAS},
        ("items",),
        whole_service={"feedback_share": "all_services"},
    ),
    "content": Family({"feedback_content": ("count", "labels")}),
    "rescue": Family(
        {
            "rescue_department_missions": ("count", "missions"),
            "rescue_missions": ("count", "rescue"),
            "ems_missions": ("count", "ems"),
            "rescue_unit_alarms_per_day": ("per_day", "missions"),
        },
        (("missions", "rescue", "ems"),),
        root="missions",
    ),
    "queue": Family(
        {
            "specialist_queue": ("count", "queue"),
            "specialist_queue_over_180_days": ("count", "over_180"),
            "specialist_queue_over_180_days_share": ("share", "over_180", "queue"),
            "specialist_queue_over_6_months_share": ("share", "over_6", "queue"),
        },
        (("queue", "over_180", "shorter"), ("over_180", "over_6", "between")),
        root="queue",
        is_census=True,
    ),
    "visits": Family(
        {
            "primary_care_within_14_days_share": ("share", "soon", "visits"),
            "oral_health_within_3_months_share": ("share", "soon", "visits"),
            **{
                f"care_guarantee_{service}_{age}_share": ("share", f"{age}_in_time", age)
                for service in ("primary_care", "oral_health")
                for age in ("23_and_over", "under_23")
            },
        },
        (
            ("visits", "soon", "not_soon"),
            ("visits", "23_and_over", "under_23"),
            ("23_and_over", "23_and_over_in_time", "23_and_over_late"),
            ("under_23", "under_23_in_time", "under_23_late"),
        ),
        root="visits",
    ),
    "housing": Family(
        {
            "elderly_housing_mean_wait_days": ("mean", "days", "placements"),
            f"elderly_housing_mean_wait_days{DECEMBER}": ("mean", "days", "placements"),
        },
        root="placements",
    ),
    "decisions": Family(
        {f"{name}_on_time_share": ("share", "on_time", "cases") for name in DECISIONS.values()},
        (("cases", "on_time", "late"),),
        root="cases",
    ),
    "ombudsman": Family({"ombudsman_contacts": ("count", "contacts")}),
    "incidents": Family(
        {
            "safety_incidents": ("count", "incidents"),
            "safety_incidents_moderate_or_severe_share": ("share", "harmful", "incidents"),
        },
        (("incidents", "harmful", "harmless"),),
        root="incidents",
    ),
    "users": Family(
        {
            "digital_registered_users": ("count", "registered"),
            "digital_active_users": ("count", "active"),
            "digital_users_over_70_share": ("share", "over_70", "registered"),
        },
        (("registered", "active", "inactive"), ("registered", "over_70", "under_70")),
        is_census=True,
    ),
    "contacts": Family(
        {
            "remote_contact_share": ("share", "remote", "contacts"),
            "visit_replacing_remote_contact_share": ("share", "replacing", "contacts"),
        },
        (("contacts", "remote", "in_person"), ("remote", "replacing", "other")),
        root="contacts",
    ),
}
CHANGES = {"nps_responses_change": "nps_responses", "feedback_received_change": "feedback_received"}
