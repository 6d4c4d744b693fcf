"""The parts that the yearly rules are made of: a check, a rule, and how often a feed is expected."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kpi.deliveries.cadence import GRACE, Cadence
from kpi.deliveries.calendar import PeriodState, period_state

Severity = Literal["error", "warn"]
Frame = Literal[
    "figures", "expected", "changes", "parts", "reconciliation", "series", "months", "deliveries", "years", "kept"
]


@dataclass(frozen=True, slots=True)
class Check:
    """An expectation of Great Expectations by its class name, with its arguments."""

    expectation: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Rule:
    """What one column of a frame must be like in every report year.

    `expects` and `because` make one English sentence and `finnish` is the same in Finnish; in both {low} and {high}
    stand for the limits of the check. `running_year` is the severity in the year that is not over yet, or 'skip'.
    `found` says what was seen when the rule fails; {rows} stands for the labels of the rows that break it.
    """

    name: str
    frame: Frame
    column: str
    check: Check
    severity: Severity
    running_year: Severity | Literal["skip"]
    expects: str
    finnish: str
    because: str = ""
    found: str = "{rows}"

    @property
    def description(self) -> str:
        """The sentence that says what is expected, with the limits of the check filled in."""
        return f"{self.expects}{', because ' if self.because else ''}{self.because}.".format(**self._limits())

    @property
    def description_fi(self) -> str:
        """The same sentence in Finnish."""
        limits = {name: _in_finnish(limit) for name, limit in self._limits().items()}
        return f"{self.finnish}.".format(**limits)

    def _limits(self) -> dict[str, object]:
        given = {"low": self.check.arguments.get("min_value"), "high": self.check.arguments.get("max_value")}
        return {name: limit for name, limit in given.items() if limit is not None}


@dataclass(frozen=True, slots=True)
class FeedExpectation:
    """How often a feed is expected once it has been delivered.

    `every` month: each month of each year from its first to the latest report year of any feed; year: each such year;
    once: a register, whose years may have no rows. `starts_on` is the day the service behind the feed began: the
    months before its month are not expected. By `cadence` one that is missing is awaited, late (a warning) or very
    late (`severity`); without one, it is by the usual days of a month or year.
    """

    feed: str
    every: Literal["month", "year", "once"]
    starts_on: datetime.date | None = None
    severity: Severity = "error"
    cadence: Cadence | None = None

    def state(self, end: datetime.date, day: datetime.date) -> PeriodState:
        """Return how a month or year that ends on a day stands when it is missing."""
        usual = Cadence(self.feed, self.every, *GRACE.get(self.every, (None, None)))
        return period_state(self.cadence or usual, end, day)


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
ZERO = Check("ExpectColumnValuesToBeBetween", {"min_value": -1e-6, "max_value": 1e-6})  # of quotients subtracted
OK = one_of("ok")


def _in_finnish(limit: object) -> str:
    text = f"{limit:,}" if isinstance(limit, int | float) else str(limit)
    return text.replace(",", "\u00a0").replace(".", ",").replace("-", "\u2212")
