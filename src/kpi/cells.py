"""From the text of a cell to a typed value, as SQL expressions; and from local wall-clock times to instants.

Both ways of loading a file use the same expressions, so they cannot disagree on a value. Patterns come first because
TRY_CAST alone is too kind: it reads '1.5' as the integer 2, and '1_000', '0x1F' and two-digit years as numbers.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from kpi.errors import ContractError
from kpi.feed import Feed, FeedColumn
from kpi.names import identifier, literal

MISSING = ("", "NULL", "-")
FIRST_YEAR, LAST_YEAR = 1990, 2099

_YEAR, _DAY, _MONTH = "(?:199[0-9]|20[0-9][0-9])", "(?:0?[1-9]|[12][0-9]|3[01])", "(?:0?[1-9]|1[0-2])"
_ISO_DATE, _FINNISH_DATE = rf"{_YEAR}-[0-9]{{2}}-[0-9]{{2}}", rf"{_DAY}\.{_MONTH}\.{_YEAR}"
_HH, _H, _MM = "(?:[01][0-9]|2[0-3])", "(?:[01]?[0-9]|2[0-3])", "[0-5][0-9]"
_ISO_TIME = rf"{_ISO_DATE}(?: {_HH}:{_MM}(?::{_MM})?|T{_HH}:{_MM}:{_MM})"
_FINNISH_TIME = rf"{_FINNISH_DATE} (?:{_H}:{_MM}(?::{_MM})?|klo {_H}\.{_MM}(?:\.{_MM})?)"
_FINNISH_FORMATS = ("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y klo %H.%M.%S", "%d.%m.%Y klo %H.%M")
_GROUP = "[\u00a0\u202f]"
_TRUE, _FALSE = ("true", "1", "kyllä", "k"), ("false", "0", "ei", "e")

KIND_NAMES = {
    "timestamp": "not a date and time",
    "date": "not a date",
    "integer": "not a whole number",
    "decimal": "not a decimal number",
    "boolean": "not true or false",
}


def _list(values: Iterable[str]) -> str:
    return ", ".join(literal(value) for value in values)


def typed(column: FeedColumn, text: str) -> str:
    """SQL of the value of a cell. `text` is SQL of its trimmed text, null when missing; null also when unreadable."""
    match column.kind:
        case "text":
            return text
        case "timestamp":
            return (
                f"case when regexp_full_match({text}, {literal(_ISO_TIME)}) then try_cast({text} as timestamp)"
                f" when regexp_full_match({text}, {literal(_FINNISH_TIME)})"
                f" then try_strptime({text}, [{_list(_FINNISH_FORMATS)}]) end"
            )
        case "date":
            return (
                f"case when regexp_full_match({text}, {literal(_ISO_DATE)}) then try_cast({text} as date)"
                f" when regexp_full_match({text}, {literal(_FINNISH_DATE)})"
                f" then try_cast(try_strptime({text}, '%d.%m.%Y') as date) end"
            )
        case "boolean":
            return f"case when lower({text}) in ({_list(_TRUE)}) then true when lower({text}) in ({_list(_FALSE)}) then false end"
        case "integer" | "decimal":
            whole = f"(?:[0-9]+|[0-9]{{1,3}}(?:{_GROUP}[0-9]{{3}})+)" if column.grouped_digits else "[0-9]+"
            digits = f"regexp_replace({text}, {literal(_GROUP)}, '', 'g')" if column.grouped_digits else text
            if column.kind == "integer":
                return f"case when regexp_full_match({text}, {literal('-?' + whole)}) then try_cast({digits} as bigint) end"
            return (
                f"case when regexp_full_match({text}, {literal(f'-?{whole}(?:[.,][0-9]+)?')})"
                f" then try_cast(replace({digits}, ',', '.') as decimal(24, 6)) end"
            )


def reasons(column: FeedColumn, text: str, value: str) -> list[tuple[str, str]]:
    """Pairs of reason and SQL condition under which a cell is a reject; no condition is ever null."""
    found = []
    if column.required:
        found.append(("missing", f"{text} is null"))
    if column.kind != "text":
        found.append((KIND_NAMES[column.kind], f"({text} is not null and {value} is null)"))
    if column.codes:
        found.append(("not one of its codes", f"coalesce({value} not in ({_list(column.codes)}), false)"))
    if column.minimum is not None:
        found.append((f"less than {column.minimum}", f"coalesce({value} < {column.minimum}, false)"))
    if column.maximum is not None:
        found.append((f"more than {column.maximum}", f"coalesce({value} > {column.maximum}, false)"))
    if column.first_of_month:
        found.append(("not the first day of a month", f"coalesce(day({value}) <> 1, false)"))
    return found


@dataclass(frozen=True, slots=True)
class Clock:
    """The clock changes of a time zone, as local times: `starts` and `ends` of summer time, one of each a year.

    A time before the start and within `shift_hours` of it does not exist; one that close before the end occurs twice.
    """

    winter_hours: int
    shift_hours: int
    starts: tuple[datetime.datetime, ...]
    ends: tuple[datetime.datetime, ...]


@cache
def clock_of(zone: str) -> Clock:
    """Work out the clock changes of a zone for every year a delivery may speak of. Raises ContractError."""
    try:
        rules = zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise ContractError(f"there is no time zone '{zone}'.") from None
    starts: list[datetime.datetime] = []
    ends: list[datetime.datetime] = []
    hour = datetime.timedelta(hours=1)
    winter = rules.utcoffset(datetime.datetime(FIRST_YEAR, 1, 1))
    shifts = {datetime.timedelta()}
    for year in range(FIRST_YEAR, LAST_YEAR + 1):
        day = datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)
        while day.year == year:
            if day.astimezone(rules).utcoffset() != (day + 24 * hour).astimezone(rules).utcoffset():
                before = day.astimezone(rules).utcoffset()
                at = next(
                    day + k * hour for k in range(1, 25) if (day + k * hour).astimezone(rules).utcoffset() != before
                )
                after = at.astimezone(rules).utcoffset()
                if before is None or after is None:
                    raise ContractError(f"the time zone '{zone}' has no offset from UTC.")
                (starts if after > before else ends).append((at + max(before, after)).replace(tzinfo=None))
                shifts.add(abs(after - before))
            day += 24 * hour
    years = list(range(FIRST_YEAR, LAST_YEAR + 1))
    regular = [moment.year for moment in starts] == years == [moment.year for moment in ends]
    if winter is None or winter % hour or shifts - {datetime.timedelta(), hour} or not (regular or not starts + ends):
        raise ContractError(f"the clock rules of '{zone}' are not supported: summer time must come and go every year.")
    return Clock(winter // hour, 1 if regular else 0, tuple(starts), tuple(ends))


def instants(feed: Feed, zone: str) -> list[tuple[str, str, str]]:
    """For each timestamp column its name, SQL of its instant in UTC, and SQL of its flag; in an order that works.

    The instant of a time may refer to `<name>_utc` of the time before it, so each needs a select of its own.
    """
    clock = clock_of(zone)
    found = []
    ordered = [column for column in feed.time_order if column in feed.instants]
    for column in ordered + [column for column in feed.instants if column not in ordered]:
        place = ordered.index(column) if column in ordered else 0
        earlier = [f"{identifier(before + '_utc')}" for before in reversed(ordered[:place])]
        found.append(
            (column, *_instant(identifier(column), f"coalesce({', '.join(earlier)})" if earlier else "", clock))
        )
    return found


def _instant(column: str, preceding: str, clock: Clock) -> tuple[str, str]:
    winter = f"{column} - interval {clock.winter_hours} hour"
    if not clock.shift_hours:
        return winter, "null"
    start, end = (f"{_moments(moments)}[year({column}) - {FIRST_YEAR - 1}]" for moments in (clock.starts, clock.ends))
    summer = f"{column} - interval {clock.winter_hours + clock.shift_hours} hour"
    shift = f"interval {clock.shift_hours} hour"
    is_summer = f"{column} >= {start} and {column} < {end}"
    repeats = f"{column} >= {end} - {shift} and {column} < {end}"
    if preceding:
        is_summer += f" and not ({repeats} and coalesce({summer} < {preceding}, false))"
    flag = (
        f"case when {repeats} then {literal(column.strip(chr(34)) + ' occurs twice')}"
        f" when {column} < {start} and {column} >= {start} - {shift} then {literal(column.strip(chr(34)) + ' does not exist')} end"
    )
    return f"case when {is_summer} then {summer} else {winter} end", flag


@cache
def _moments(moments: tuple[datetime.datetime, ...]) -> str:
    return "[" + ", ".join(f"timestamp '{moment}'" for moment in moments) + "]"


def disorder(feed: Feed) -> list[tuple[str, str, str]]:
    """Triples of column, reason and SQL condition for a time before the nearest earlier one of its row."""
    found = []
    is_timestamp = set(feed.instants)
    for place, column in enumerate(feed.time_order[1:], start=1):
        read = [identifier(n + "_utc" if n in is_timestamp else n) for n in feed.time_order[: place + 1]]
        before = f"coalesce({', '.join(reversed(read[:-1]))})"
        found.append((column, f"before {feed.time_order[place - 1]}", f"coalesce({read[-1]} < {before}, false)"))
    return found


def header_names(feed: Feed) -> Mapping[str, str]:
    """Map every header the contract accepts to its column."""
    return {header: column.name for column in feed.columns for header in (column.name, *column.aliases)}
