"""Whether the deliveries of each feed go on coming as its contract expects: fresh, late, very late."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from kpi.deliveries.calendar import FeedMonths, expected_next, first_gap, month_end

if TYPE_CHECKING:
    import duckdb

State = Literal["fresh", "late", "very late", "not expected", "not delivered", "no dates"]


@dataclass(frozen=True, slots=True)
class Due:
    """How far a feed has come. `newest` is the newest day in its rows, None when it has none; days are inclusive.

    `newest_file` is the file with that day, or the last by name when no row has a day.
    It is late from the day after `expected_by`, and very late from the day after `very_late_by`. `gap` is a month, as
    YYYY-MM, that is missing before the newest day, and what is expected then.
    """

    feed: str
    every: str
    newest: date | None
    newest_file: str
    expected_by: date | None
    very_late_by: date | None
    gap: str = ""

    def state(self, day: date) -> State:
        """Return how the feed stands on a day."""
        if self.newest is None:
            return "no dates" if self.newest_file else "not delivered"
        if self.very_late_by and day > self.very_late_by:
            return "very late"
        if self.expected_by and day > self.expected_by:
            return "late"
        return "fresh" if self.expected_by or self.very_late_by else "not expected"


def measure(con: duckdb.DuckDBPyConnection, feeds: Sequence[FeedMonths]) -> list[Due]:
    """Return how far each feed has come, in their order, by what is there of it up to a day (`read_months`).

    When more is expected, and when it is very late, is said by `kpi.deliveries.calendar`.
    """
    files = dict(con.execute("select feed, max(file) from raw.deliveries group by feed").fetchall())
    found = []
    for feed in feeds:
        newest, (late, very_late) = feed.newest, expected_next(feed)
        if newest and feed.is_monthly_count:
            newest = month_end(newest.year, newest.month)
        file = feed.newest_file or files.get(feed.feed, "")
        gap = first_gap(feed)
        told = f"{gap[0]}-{gap[1]:02}" if gap else ""
        found.append(Due(feed.feed, feed.cadence.every, newest, file, late, very_late, told))
    return found


def as_facts(dues: Iterable[Due]) -> list[dict[str, Any]]:
    """Return what a build keeps of it, from which later days can be judged without opening it."""
    return [
        {
            "feed": due.feed,
            "every": due.every,
            "newest": str(due.newest) if due.newest else None,
            "file": due.newest_file,
            "expected_by": str(due.expected_by) if due.expected_by else None,
            "very_late_by": str(due.very_late_by) if due.very_late_by else None,
            "gap": due.gap,
        }
        for due in dues
    ]


def from_facts(facts: Iterable[Mapping[str, Any]]) -> list[Due]:
    """Read what `as_facts` wrote."""

    def day(text: str | None) -> date | None:
        return date.fromisoformat(text) if text else None

    return [
        Due(
            feed=str(fact["feed"]),
            every=str(fact["every"]),
            newest=day(fact["newest"]),
            newest_file=str(fact["file"]),
            expected_by=day(fact["expected_by"]),
            very_late_by=day(fact["very_late_by"]),
            gap=str(fact.get("gap", "")),
        )
        for fact in facts
    ]


def late_lines(dues: Iterable[Due], day: date) -> Iterator[tuple[str, str]]:
    """Yield feed and sentence of each feed that is late on a day."""
    for due in dues:
        state = due.state(day)
        if state in ("late", "very late"):
            by = due.expected_by or due.very_late_by
            more = f"nothing of {due.gap} came, which" if due.gap else "more"
            yield due.feed, f"{state}: {due.feed}: its newest day is {due.newest}, {more} was expected by {by}."


def table(dues: Iterable[Due], day: date, is_more_expected: bool = True) -> tuple[list[str], list[tuple[object, ...]]]:
    """Return the columns and rows that `kpi freshness` prints."""
    columns = ["feed", "every", "newest_day", "newest_file", "expected_by", "very_late_after", "state"]
    rows = [
        (due.feed, due.every, due.newest, due.newest_file, due.expected_by, due.very_late_by, due.state(day))
        if is_more_expected
        else (due.feed, due.every, due.newest, due.newest_file, "", "", "not expected")
        for due in dues
    ]
    return columns, [tuple("-" if cell in (None, "") else str(cell) for cell in row) for row in rows]
