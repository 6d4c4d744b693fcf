"""What is expected of a report year, as plain tables: read them, change them, and the next refresh judges by them.

A rule looks at one column of one frame: a small table with a row per figure, month or the like, made by the SQL in
`yearly_frames`. What is impossible or incomplete is an error and stops the publication; what is only implausible warns.
A rule that finds nothing to judge, as those of a feed that was never delivered, makes no result.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warn"]
Frame = Literal["figures", "changes", "parts", "reconciliation", "months", "deliveries", "years"]


@dataclass(frozen=True, slots=True)
class Check:
    """An expectation of Great Expectations by its class name, with its arguments."""

    expectation: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Rule:
    """What one column of a frame must be like in every report year.

    `expects` and `because` make one sentence, in which {low} and {high} stand for the limits of the check.
    `running_year` is the severity in the year that is not over yet, or 'skip'.
    `found` says what was seen when the rule fails; {rows} stands for the labels of the rows that break it.
    """

    name: str
    frame: Frame
    column: str
    check: Check
    severity: Severity
    running_year: Severity | Literal["skip"]
    expects: str
    because: str = ""
    found: str = "{rows}"

    @property
    def description(self) -> str:
        """The sentence that says what is expected, with the limits of the check filled in."""
        limits = {"low": self.check.arguments.get("min_value"), "high": self.check.arguments.get("max_value")}
        return f"{self.expects}{', because ' if self.because else ''}{self.because}.".format(**limits)


@dataclass(frozen=True, slots=True)
class FeedExpectation:
    """How often a feed is expected once it has been delivered.

    `every` month: each month of each year from its first to the latest report year of any feed; year: each such year.
    `starts_on` is the day the service behind the feed began: the months before its month are not expected.
    `severity` is that of a month or year that is missing.
    """

    feed: str
    every: Literal["month", "year"]
    starts_on: datetime.date | None = None
    severity: Severity = "error"


def between(low: float | None, high: float | None) -> Check:
    """Every value lies between the limits, themselves included. None is no limit. Missing values are not judged."""
    return Check("ExpectColumnValuesToBeBetween", {"min_value": low, "max_value": high})


def one_of(*values: str) -> Check:
    """Every value is one of these. Missing values are not judged."""
    return Check("ExpectColumnValuesToBeInSet", {"value_set": list(values)})


def none_of(*values: str) -> Check:
    """No value is one of these. Missing values are not judged."""
    return Check("ExpectColumnValuesToNotBeInSet", {"value_set": list(values)})


AT_LEAST_ONE_ROW = Check("ExpectTableRowCountToBeBetween", {"min_value": 1})
NOT_MISSING = Check("ExpectColumnValuesToNotBeNull", {})
UNIQUE = Check("ExpectColumnValuesToBeUnique", {})
ABOVE_ZERO = Check("ExpectColumnValuesToBeBetween", {"min_value": 0, "strict_min": True})
SOME_ABOVE_ZERO = Check("ExpectColumnMaxToBeBetween", {"min_value": 0, "strict_min": True})
ZERO = between(-0.000001, 0.000001)  # two figures are subtracted, each the result of one division

MAIN_VOLUMES: Mapping[str, str] = {  # counts that are above 0 wherever they are told, each with the feed it counts
    "calls_received": "calls",
    "callbacks_received": "callbacks",
    "chats_received": "chats",
    "experience_answers": "experience_answers",
    "feedback_received": "feedback",
    "rescue_department_missions": "rescue_missions",
    "safety_inspections": "safety_inspections",
    "safety_incidents": "safety_incidents",
    "specialist_queue": "care_queue",
}
HEALTH_LINES = (
    "health_station",
    "maternity_and_child_clinic",
    "oral_health",
    "rehabilitation",
    "emergency_helpline",
    "mental_health_and_substance_abuse",
)
ACCEPTED_CHANGES: Mapping[str, str] = {  # changes beyond their bounds that are real: figure, service and year, and why
    # "calls_received rehabilitation 2027": "2027-03-01: the line was closed and its calls go to the health stations",
}

# Each rule: name, frame, column, check, severity, severity in the running year, what is expected and why.
FIGURE_RULES = (
    Rule("year_has_figures", "figures", "", AT_LEAST_ONE_ROW, "error", "skip",
         "The year has figures", found="no figures"),
    Rule("figure_keys_complete", "figures", "figure_key", NOT_MISSING, "error", "error",
         "Every figure names its figure_id, service and basis"),
    Rule("figure_keys_unique", "figures", "figure_key", UNIQUE, "error", "error",
         "Every figure is told once for its service, year and basis"),
    Rule("figure_ids_known", "figures", "figure_id_is", one_of("known"), "warn", "warn",
         "Every figure_id is described in seeds/figures.csv",
         "a figure entered by hand may come without a description, but readers miss it"),
    Rule("values_present", "figures", "value_is", one_of("present"), "error", "error",
         "Every count has a value, and so has every other figure whose denominator is above 0"),
    Rule("main_volumes_positive", "figures", "main_volume", ABOVE_ZERO, "error", "error",
         "Every main volume is above 0", "it is only told for a service that has records in the year"),
    Rule("counts_not_negative", "figures", "count_value", between(0, None), "warn", "warn",
         "No count is below {low}", "only a figure entered by hand may be negative, and it seldom is meant to be"),
    Rule("counts_not_all_zero", "figures", "count_value", SOME_ABOVE_ZERO, "warn", "warn",
         "At least one count of the year is above 0"),
    Rule("shares_within_0_and_100", "figures", "share", between(0, 100), "error", "error",
         "Every share lies between {low} and {high} percent"),
    Rule("response_rates_within_0_and_100", "figures", "response_rate", between(0, 100), "warn", "warn",
         "Every response rate lies between {low} and {high} percent",
         "answers to invitations of another year, or invitations not delivered, can bring it above"),
    Rule("nps_within_100_of_0", "figures", "nps", between(-100, 100), "error", "error",
         "Every NPS lies between {low} and {high}"),
    Rule("scores_within_1_and_5", "figures", "score", between(1, 5), "error", "error",
         "Every mean score lies between {low} and {high}"),
    Rule("durations_not_negative", "figures", "duration", between(0, None), "error", "error",
         "No duration is below {low}", "records whose times are in the wrong order are rejected at the load"),
)  # fmt: skip

PLAUSIBLE_MAXIMA: tuple[tuple[str, int, str], ...] = (  # figure, highest plausible value in its unit, and why
    ("call_mean_wait_seconds", 7_200, "nobody holds the line for 2 hours on average"),
    ("call_mean_handling_seconds", 7_200, "a call of 2 hours on average is a line that was not hung up"),
    ("callback_mean_seconds", 1_209_600, "a callback after 14 days on average is a time written wrong"),
    ("first_unit_response_seconds", 3_600, "every place of the county is reached within the hour"),
    ("elderly_housing_mean_wait_days", 730, "the law gives 3 months, and 2 years would be a date written wrong"),
)
DURATION_RULES = tuple(
    Rule(f"plausible:{figure_id}", "figures", figure_id, between(None, maximum), "warn", "warn",
         f"{figure_id} is at most {{high}}", reason)
    for figure_id, maximum, reason in PLAUSIBLE_MAXIMA
)  # fmt: skip

# Bounds of the change from the year before, one row a unit. A ratio is this year's value divided by last year's (by 1
# when that is less), a difference this year's less last year's. Not judged: a service's first year, a partial year on
# either side, another basis, and the volumes of the running year. A change that is real goes to ACCEPTED_CHANGES.
CHANGE_RULES = (
    Rule("main_volumes_change", "changes", "main_volume_ratio", between(0.2, 5), "error", "skip",
         "A main volume of 1000 or more the year before changes to between {low} and {high} times of it",
         "beyond that a delivery is incomplete or doubled"),
    Rule("counts_change", "changes", "count_ratio", between(0.2, 5), "warn", "skip",
         "Any other count of 100 or more in either year changes to between {low} and {high} times the year before",
         "new services grow fast, but seldom faster"),
    Rule("durations_change", "changes", "duration_ratio", between(0.2, 5), "warn", "warn",
         "A mean or median time over 100 cases or more changes to between {low} and {high} times the year before",
         "beyond that a unit or a time zone was mistaken"),
    Rule("shares_change", "changes", "share_difference", between(-40, 40), "warn", "warn",
         "A share of 100 cases or more changes by {low} to {high} percentage points from the year before",
         "beyond that a code or a limit in law has changed its meaning"),
    Rule("nps_change", "changes", "nps_difference", between(-30, 30), "warn", "warn",
         "An NPS over 100 answers or more changes by {low} to {high} points from the year before",
         "the NPS of a whole county moves by a few points a year"),
    Rule("scores_change", "changes", "score_difference", between(-0.5, 0.5), "warn", "warn",
         "A mean score over 100 answers or more changes by {low} to {high} from the year before",
         "beyond that the scale or the question has changed"),
)  # fmt: skip

SUM_RULES = (
    Rule("missions_are_rescue_and_ems", "parts", "missions_gap", ZERO, "error", "error",
         "Rescue missions and EMS missions add up to the missions of the rescue department"),
    Rule("health_lines_are_their_lines", "parts", "lines_gap", ZERO, "error", "error",
         "The six health lines add up to health_lines, for calls, callbacks and chats"),
    Rule("nps_is_promoters_less_detractors", "parts", "nps_gap", ZERO, "error", "error",
         "The NPS is the share of promoters less the share of detractors"),
    Rule("reconciliation_never_differs", "reconciliation", "status", none_of("differs"), "error", "warn",
         "No figure differs from what was published"),
)  # fmt: skip

RULES = FIGURE_RULES + DURATION_RULES + CHANGE_RULES + SUM_RULES


def feed_rule(feed: FeedExpectation) -> Rule:
    """Return the rule of one delivered feed. In the running year the last month may still be on its way: it warns."""
    if feed.every == "month":
        return Rule(f"every_month_present:{feed.feed}", "months", feed.feed, between(1, None), feed.severity, "warn",
                    f"The feed {feed.feed} has records in every full month of the year",
                    found="missing months {rows}")  # fmt: skip
    return Rule(f"delivered_in_year:{feed.feed}", "deliveries", feed.feed, between(1, None), feed.severity, "skip",
                f"The feed {feed.feed} has records in the year", found="no records")  # fmt: skip


def years_rule(last_year: int) -> Rule:
    """Return the rule on the years themselves. One mistyped year must not fail all the years up to it."""
    return Rule("no_later_years", "years", "report_year", between(None, last_year), "warn", "warn",
                "Nothing is dated after the year {high}")  # fmt: skip
