"""Whether the deliveries of each feed go on coming as its contract expects: fresh, late, very late."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal

from kpi.base.names import identifier
from kpi.deliveries.cadence import Cadence
from kpi.deliveries.feed import Feed

if TYPE_CHECKING:
    import duckdb

State = Literal["fresh", "late", "very late", "not expected", "not delivered", "no dates"]


@dataclass(frozen=True, slots=True)
class Due:
    """How far a feed has come. `newest` is the newest day in its rows, None when it has none; days are inclusive.

    `newest_file` is the file with that day, or the last by name when no row has a day.
    It is late from the day after `expected_by`, and very late from the day after `very_late_by`.
    """

    feed: str
    every: str
    newest: date | None
    newest_file: str
    expected_by: date | None
    very_late_by: date | None

    def state(self, day: date) -> State:
        """Return how the feed stands on a day."""
        if self.newest is None:
            return "no dates" if self.newest_file else "not delivered"
        if self.very_late_by and day > self.very_late_by:
            return "very late"
        if self.expected_by and day > self.expected_by:
            return "late"
        return "fresh" if self.expected_by or self.very_late_by else "not expected"


def measure(con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed], as_of: date) -> list[Due]:
    """Look in the raw tables how far each feed has come, in name order. Days after `as_of` do not count."""
    newest: dict[str, tuple[date | None, str]] = {
        feed: (day, file)
        for feed, day, file in con.execute(
            "select feed, max(latest_date), coalesce(arg_max(file, latest_date), max(file))"
            " from raw.deliveries group by feed"
        ).fetchall()
    }
    found = []
    for feed in sorted(feeds, key=lambda feed: feed.name):
        cadence = feed.cadence
        day, file = newest.get(feed.name, (None, ""))
        if day and day > as_of:
            day = _newest_until(con, feed, as_of)
        if day and any(column.first_of_month for column in feed.columns):
            day = _months_later(day.replace(day=1), 1) - timedelta(days=1)
        late, very_late = (
            _after(cadence, day, days) for days in (cadence.late_after_days, cadence.very_late_after_days)
        )
        found.append(Due(feed.name, cadence.every, day, file or "", late, very_late))
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
        )
        for fact in facts
    ]


def late_lines(dues: Iterable[Due], day: date) -> Iterator[tuple[str, str]]:
    """Yield feed and sentence of each feed that is late on a day."""
    for due in dues:
        state = due.state(day)
        if state in ("late", "very late"):
            by = due.expected_by or due.very_late_by
            yield due.feed, f"{state}: {due.feed}: its newest day is {due.newest}, more was expected by {by}."


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


def _newest_until(con: duckdb.DuckDBPyConnection, feed: Feed, as_of: date) -> date | None:
    dated = [identifier(column.name) for column in feed.columns if column.kind in ("timestamp", "date")]
    newest = ", ".join(f"max({column}) filter (where {column}::date <= $day)::date" for column in dated)
    row = con.execute(f"select greatest({newest}) from raw.{identifier(feed.name)}", {"day": as_of}).fetchone()
    return row[0] if row else None


def _after(cadence: Cadence, newest: date | None, days: int | None) -> date | None:
    if newest is None or days is None:
        return None
    return _months_later(newest, {"month": 1, "year": 12}.get(cadence.every, 0)) + timedelta(days=days)


def _months_later(day: date, months: int) -> date:
    """The same day so many months later, or the last one of that month when it has no such day."""
    month = day.year * 12 + day.month - 1 + months
    first = date(month // 12, month % 12 + 1, 1)
    following = date((month + 1) // 12, (month + 1) % 12 + 1, 1)
    last = (following - first).days
    # The end of a month is followed by the end of the next: 30 April by 31 May.
    is_last = months > 0 and (day + timedelta(days=1)).day == 1
    return first.replace(day=last if is_last else min(day.day, last))
