"""One calendar of what is due: freshness, what is expected of report years, and the basis of figures never disagree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import pytest

from kpi.build_record import FeedStatus
from kpi.ingest.calendar import (
    Delivered,
    FeedMonths,
    FeedYear,
    Month,
    expected_next,
    first_gap,
    last_full_month,
    late_problems,
    month_end,
    unchanged_between,
    unfinished_years,
)
from kpi.ingest.contract import Cadence
from kpi.validation.datasets import Frames
from kpi.validation.rule import FeedExpectation

MONTHLY = Cadence("calls", "month", 15, 45)
YEARLY = Cadence("queue", "year", 60, 120)
REGISTER = Cadence("paths", "once", None, None)
YEARS = (2024, 2025, 2026)  # the winters before them; 2024 is a leap year


def days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=number) for number in range((last - first).days + 1))


def months_until(newest: date, first: Month) -> dict[Month, Delivered]:
    """Every month from the first to that of the newest day, with rows on every day."""
    found = {}
    month = first
    while month <= (newest.year, newest.month):
        last = min(newest, month_end(*month))
        found[month] = Delivered(last, last.day)
        month = (month[0] + month[1] // 12, month[1] % 12 + 1)
    return found


def feed(cadence: Cadence, day: date, months: dict[Month, Delivered]) -> FeedMonths:
    """A feed as it is on a day: what comes later has not come."""
    there = {
        month: Delivered(
            min(rows.newest, day), min(rows.days, day.day) if month == (day.year, day.month) else rows.days
        )
        for month, rows in months.items()
        if date(*month, 1) <= day
    }
    newest = max((rows.newest for rows in there.values()), default=None)
    return FeedMonths(cadence.feed, cadence.every, cadence, day, min(there, default=None), there, newest=newest)


def judged(one: FeedMonths, year: int) -> str:
    """What is expected of a feed in a year: an empty text when nothing fails, else warn or error."""
    expected = FeedExpectation(one.feed, "month" if one.every == "month" else "year", cadence=one.cadence)
    rows: dict[int, dict[int | None, int]] = {}
    for (year_, month), delivered in one.months.items():
        rows.setdefault(year_, {})[month] = delivered.days
    unfinished = {(found.feed, found.report_year): found.last_full_month for found in unfinished_years([one], one.day)}
    frames = Frames(one.day.year, date(2020, 1, 1), {}, {one.feed: rows}, frozenset(), unfinished)
    table = (frames.months if one.every == "month" else frames.deliveries)([expected], year, one.day)
    fails = 0 in table[one.feed].present
    return frames.as_severe_as_late(expected, year, one.day).severity if fails else ""


def due(one: FeedMonths) -> FeedStatus:
    """What is expected of a feed next."""
    gap = first_gap(one)
    message = f"{gap[0]}-{gap[1]:02}" if gap else ""
    return FeedStatus(one.feed, one.every, one.newest, "a.csv", *expected_next(one), message)


def state(one: FeedMonths) -> str:
    """How fresh a feed is."""
    return due(one).state(one.day)


def year_of(one: FeedMonths, year: int) -> FeedYear | None:
    found = [found for found in unfinished_years([one], one.day) if found.report_year == year]
    return found[0] if found else None


SAME = {"fresh": "", "late": "warn", "very late": "error"}


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.parametrize("last", [(11, 30), (11, 20), (10, 31), (12, 31), (12, 9)])
def test_freshness_expectations_and_basis_agree_on_every_day_of_a_winter(year: int, last: tuple[int, int]) -> None:
    """A monthly feed that stops: each day from 1 December to 31 March, whatever day its newest row is of."""
    newest = date(year - 1, *last)
    for day in days(date(year - 1, 12, 1), date(year, 3, 31)):
        one = feed(MONTHLY, day, months_until(newest, (year - 2, 1)))
        worst = max((judged(one, report_year) for report_year in (year - 1, year)), key=["", "warn", "error"].index)
        assert worst == SAME[state(one)], day
        message = year_of(one, year - 1)
        if day.year < year:
            assert message
            assert (message.state, message.last_full_month) == ("running", last_full_month(one, year - 1))
        elif message:
            # December is not there, but it may still come: what is told is told as of the months before it.
            assert day <= month_end(year - 1, 12) + timedelta(days=45)
            assert last_full_month(one, year - 1) < 12
        else:
            # All is there, or what is not is an error; of a December cut short nothing more is waited for.
            assert "error" in (judged(one, year - 1), state(one)) or last_full_month(one, year - 1) == 12


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.parametrize("census", [None, (11, 30), (12, 31)])
def test_a_yearly_feed_is_awaited_late_and_very_late(year: int, census: tuple[int, int] | None) -> None:
    """A census: each day from 1 December to the end of June, when the last census of the year is that or none."""
    there = {(year - 2, 12): Delivered(date(year - 2, 12, 31), 1)}
    if census:
        there[year - 1, census[0]] = Delivered(date(year - 1, *census), 1)
    due, very_late = date(year - 1, 12, 31) + timedelta(days=60), date(year - 1, 12, 31) + timedelta(days=120)
    for day in days(date(year - 1, 12, 1), date(year, 6, 30)):
        one = feed(YEARLY, day, there)
        expected = "" if census or day <= due else "warn" if day <= very_late else "error"
        if day.year == year:
            assert (judged(one, year - 1), SAME[state(one)]) == (expected, expected), day
        message = year_of(one, year - 1)
        is_december = census == (12, 31)
        # Another census may come until it is late; that of December is the last one at once.
        assert (message is None) == (day.year == year and (census is None or is_december or day > due)), day


def test_the_days_on_which_it_turns() -> None:
    """December 2026 does not come: awaited, late from 16 January, very late from 15 February."""
    message: list[tuple[str, object]] = []
    for day in days(date(2026, 12, 30), date(2027, 3, 31)):
        one = feed(MONTHLY, day, months_until(date(2026, 11, 30), (2025, 1)))
        found = year_of(one, 2026)
        now = (state(one), judged(one, 2026), found and (found.state, found.last_full_month))
        if not message or message[-1][1] != now:
            message.append((str(day), now))
    assert message == [
        ("2026-12-30", ("fresh", "", ("running", 11))),
        ("2027-01-01", ("fresh", "", ("awaited", 11))),
        ("2027-01-16", ("late", "warn", ("late", 11))),
        ("2027-02-15", ("very late", "error", None)),
    ]


@pytest.mark.parametrize(
    ("months", "day", "full"),
    [
        ({1: 31, 2: 28, 3: 5}, date(2026, 3, 10), 2),  # March is not over
        ({1: 31}, date(2026, 1, 31), 0),  # nor is January on its last day
        ({1: 31}, date(2026, 2, 1), 1),
        ({1: 31, 3: 31}, date(2026, 4, 1), 1),  # February is awaited
        ({1: 31, 3: 31}, date(2026, 4, 15), 3),  # it is very late, and waited for no more
        ({1: 31, 2: 12}, date(2026, 3, 5), 1),  # February was exported on the 12th
        ({1: 31, 2: 12, 3: 2}, date(2026, 4, 1), 3),  # but something came after it
        ({1: 31, 2: 12}, date(2026, 4, 15), 2),
        ({}, date(2026, 3, 5), 0),
    ],
)
def test_the_last_full_month(months: dict[int, int], day: date, full: int) -> None:
    there = {(2026, month): Delivered(date(2026, month, last), last) for month, last in months.items()}
    assert last_full_month(feed(MONTHLY, day, there), 2026) == full


@pytest.mark.parametrize(
    ("day", "expected"),
    [(date(2026, 3, 15), ""), (date(2026, 3, 16), "warn"), (date(2026, 4, 14), "warn"), (date(2026, 4, 15), "error")],
)
def test_a_gap_before_the_newest_month_is_late_in_freshness_too(day: date, expected: str) -> None:
    """February does not come though March does: freshness and expectations say the same on the same day."""
    months = {month: there for month, there in months_until(date(2026, 3, 31), (2025, 1)).items() if month != (2026, 2)}
    one = feed(MONTHLY, day, months)
    assert (judged(one, 2026), SAME[state(one)]) == (expected, expected)
    assert first_gap(one) == (2026, 2)
    assert first_gap(replace(one, starts_on=date(2026, 3, 1))) is None
    (message,) = [str(one) for one in late_problems([due(one)], date(2026, 5, 20))]
    assert "its newest day is 2026-03-" in message
    assert message.endswith(", nothing of 2026-02 came, which was expected by 2026-03-15.")


def test_few_rows_do_not_make_a_month_cut_short() -> None:
    """Of a feed with a row now and then nobody knows whether there will be more."""
    there = {(2026, 1): Delivered(date(2026, 1, 12), 3)}
    assert last_full_month(feed(MONTHLY, date(2026, 2, 5), there), 2026) == 1


def test_a_register_has_the_months_that_are_over() -> None:
    there = {(2023, 5): Delivered(date(2023, 5, 2), 1)}
    assert [last_full_month(feed(REGISTER, day, there), 2026) for day in (date(2026, 1, 31), date(2026, 3, 1))] == [
        0,
        2,
    ]
    assert year_of(feed(REGISTER, date(2026, 1, 1), there), 2025) is None
    assert state(feed(REGISTER, date(2026, 1, 1), there)) == "not expected"


def test_between_two_turns_nothing_changes() -> None:
    """The days on which the same deliveries are judged alike: a run on one of them has nothing to do."""
    for day in days(date(2025, 12, 1), date(2026, 6, 30)):
        one = feed(MONTHLY, day, months_until(date(2025, 11, 20), (2024, 1)))
        first, end = unchanged_between([one], day)
        assert first <= day < end
        for other in (first, end - timedelta(days=1)):
            there = feed(MONTHLY, other, months_until(date(2025, 11, 20), (2024, 1)))
            assert unfinished_years([there], other) == unfinished_years([one], day)
            assert [judged(there, year) for year in (2025, 2026)] == [judged(one, year) for year in (2025, 2026)]


def test_a_calendar_is_empty_without_deliveries() -> None:
    assert unfinished_years([feed(MONTHLY, date(2026, 2, 5), {})], date(2026, 2, 5)) == []
