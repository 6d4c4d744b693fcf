"""The calendar of the oracle: months, holidays, working days and the limits of the care guarantee."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta

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
