"""One calendar of what is due: the months and years of a feed that are expected, awaited, late or finished; freshness.

A month or a year of a feed is *awaited* from its end until its contract calls it late (`late_after_days` after its
end), then *late*, then *very late*. Freshness, the expectations of the report years and the basis of the figures ask
this module and nothing else, so they cannot disagree (docs/decisions/0016-one-calendar.md). How many rows of each feed,
year and month are in force stands in `raw.feed_months`; every feed with a contract is counted, so no model has to list
the feeds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal

from kpi.build_record import FeedStatus
from kpi.cache import remembered
from kpi.errors import ContractError, Problem
from kpi.ingest.contract import Cadence
from kpi.ingest.retention import Limits, followed
from kpi.lazy import duckdb
from kpi.sql import identifier, literal, typed_columns

if TYPE_CHECKING:
    from kpi.ingest.contract import Feed


PeriodState = Literal["open", "awaited", "late", "very late"]
YearState = Literal["running", "awaited", "late", "future"]
Month = tuple[int, int]

# A feed with rows on most days of a month, and none in its last ten, was exported before the month was over.
_LAST_DAYS, _MANY_DAYS = 10, 5


@dataclass(frozen=True, slots=True)
class Delivered:
    """What is there of one month of a feed: its newest day, and on how many days it has rows."""

    newest: date
    days: int


@dataclass(frozen=True, slots=True)
class FeedMonths:
    """What is there of a feed up to `day`: its first month, and its months back to where nothing is open any more.

    `years` are the report years of a feed that tells no months; `later` those after the day. The days of a feed with
    `is_monthly_count` are the first of the month that a row counts.
    """

    feed: str
    every: str
    cadence: Cadence
    day: date
    first: Month | None
    months: Mapping[Month, Delivered]
    years: frozenset[int] = frozenset()
    later: frozenset[int] = frozenset()
    newest: date | None = None
    newest_file: str = ""
    takes_years_from: str = ""
    is_monthly_count: bool = False
    starts_on: date | None = None


@dataclass(frozen=True, slots=True)
class FeedYear:
    """A report year of a feed that is not finished. `last_full_month` is 0 when no month is full yet.

    It is None when nobody knows: the rows tell no months, or the year has not begun.
    """

    feed: str
    report_year: int
    state: YearState
    last_full_month: int | None
    expected_by: date | None
    very_late_by: date | None


def month_end(year: int, month: int) -> date:
    """Return the last day of a month."""
    return date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)


def next_month(month: Month) -> Month:
    """Return the month after."""
    return month[0] + month[1] // 12, month[1] % 12 + 1


def due_days(cadence: Cadence, end: date) -> tuple[date | None, date | None]:
    """Return the last day on which a month or year that ended is in time, and the last before it is very late."""
    late, very_late = cadence.late_after_days, cadence.very_late_after_days
    return (
        None if late is None else end + timedelta(days=late),
        None if very_late is None else end + timedelta(days=very_late),
    )


def period_state(cadence: Cadence, end: date, day: date) -> PeriodState:
    """Return how a month or year that ends on a day stands when nothing of it was delivered."""
    late_by, very_late_by = due_days(cadence, end)
    if day <= end:
        return "open"
    if very_late_by is not None and day > very_late_by:
        return "very late"
    return "late" if late_by is not None and day > late_by else "awaited"


def last_full_month(feed: FeedMonths, year: int) -> int:
    """Return up to which month a report year is delivered: 0 when not even its first is.

    A month is full when it is over and has rows, and is not cut short. Of a monthly feed the months before it are full
    too, back to the first it ever had; one that is missing and very late is waited for no more.
    """
    full = 0
    start = max(feed.first or (year, 13), (feed.starts_on.year, feed.starts_on.month) if feed.starts_on else (0, 0))
    for number in range(1, 13):
        month = (year, number)
        if month_end(*month) >= feed.day:
            break
        if _is_full(feed, month) or (feed.every == "once" and month >= start):
            full = number
        elif month >= start and feed.every == "month" and _is_waited_for(feed, month):
            break
    return full


def unfinished_years(feeds: Sequence[FeedMonths], day: date) -> list[FeedYear]:
    """Return every feed and report year of which the figures are not those of a whole year, in order.

    A year is finished when it is over and its December is delivered, or when nothing more of it is waited for: a
    monthly feed is very late, any other one late. The year of `day` is here for every feed that was ever delivered.
    """
    by_name = {feed.feed: feed for feed in feeds}
    found: list[FeedYear] = []
    for feed in sorted(feeds, key=lambda feed: feed.feed):
        if feed.first is None and not feed.years and not feed.later:
            continue
        known = {year for year, _ in feed.months} | feed.years
        over = [year for year in known if year < day.year and not _is_finished(feed, year)]
        for year in sorted({*over, day.year}):
            state = period_state(feed.cadence, date(year, 12, 31), day)
            name: YearState = "running" if year == day.year else "late" if state == "late" else "awaited"
            full = None if feed.first is None else last_full_month(feed, year)
            other = by_name.get(feed.takes_years_from)
            if full is not None and other is not None and not (year < day.year and _is_finished(other, year)):
                full = min(full, last_full_month(other, year))
            found.append(FeedYear(feed.feed, year, name, full, *due_days(feed.cadence, date(year, 12, 31))))
        for year in sorted(feed.later):
            found.append(FeedYear(feed.feed, year, "future", None, *due_days(feed.cadence, date(year, 12, 31))))
    return found


def expected_next(feed: FeedMonths) -> tuple[date | None, date | None]:
    """Return by when more of a feed is expected, and after which day it is very late; None is never.

    Counted from the end of the first month that is missing, or of the one after the newest that has rows, or of the
    year after it; by dbt's own freshness from the newest day itself.
    """
    if feed.newest is None or feed.every == "once":
        return None, None
    if feed.cadence.every == "dbt":
        return due_days(feed.cadence, feed.newest)
    month = (feed.newest.year, feed.newest.month)
    if feed.every == "year":
        return due_days(feed.cadence, date(max(feed.years, default=month[0]) + 1, 12, 31))
    gap = first_gap(feed)
    if gap:
        return due_days(feed.cadence, month_end(*gap))
    is_cut = month_end(*month) < feed.day and not _is_full(feed, month)
    return due_days(feed.cadence, month_end(*(month if is_cut else next_month(month))))


def first_gap(feed: FeedMonths) -> Month | None:
    """Return the first month of a monthly feed that is missing though a later one has rows; None when none is.

    Looked for in the months of `feed`, those of the running year and the last one.
    """
    if feed.every != "month" or feed.cadence.every == "dbt" or not feed.months:
        return None
    month, newest = min(feed.months), max(feed.months)
    while month < newest and (month in feed.months or _is_before_start(feed, month)):
        month = next_month(month)
    return month if month < newest else None


def unchanged_between(feeds: Iterable[FeedMonths], day: date) -> tuple[date, date]:
    """Return the days around `day`, the second not included, on which the same deliveries are judged alike."""
    turns = {day.replace(day=1), date(*next_month((day.year, day.month)), 1)}
    for feed in feeds:
        for end in _missing_ends(feed):
            turns |= {by + timedelta(days=1) for by in due_days(feed.cadence, end) if by is not None}
    return max(turn for turn in turns if turn <= day), min(turn for turn in turns if turn > day)


def _missing_ends(feed: FeedMonths) -> Iterator[date]:
    """Yield the last day of every month or year that is over and not delivered whole."""
    if feed.every == "year":
        yield from (date(year, 12, 31) for year in range(feed.day.year - 3, feed.day.year))
    if feed.first is None or feed.every != "month":
        return
    oldest = min(feed.months, default=feed.first)
    month = max(oldest, feed.first)
    while month_end(*month) < feed.day:
        if month not in feed.months or _is_cut(feed, month):
            yield month_end(*month)
        month = next_month(month)


def _is_full(feed: FeedMonths, month: Month) -> bool:
    """Tell whether a month is over and delivered, as far as its rows tell; one cut short is awaited as if missing."""
    if month not in feed.months or month_end(*month) >= feed.day:
        return False
    return not (_is_cut(feed, month) and _is_waited_for(feed, month))


def _is_cut(feed: FeedMonths, month: Month) -> bool:
    """Tell whether the newest month of a feed looks as if it was exported before it was over."""
    rows, last_day = feed.months[month], month_end(*month).day
    is_early = rows.newest.day <= last_day - _LAST_DAYS
    return month == max(feed.months) and is_early and rows.days >= max(_MANY_DAYS, rows.newest.day / 2)


def _is_before_start(feed: FeedMonths, month: Month) -> bool:
    return feed.starts_on is not None and month < (feed.starts_on.year, feed.starts_on.month)


def _is_waited_for(feed: FeedMonths, month: Month) -> bool:
    if feed.cadence.late_after_days is None and feed.cadence.very_late_after_days is None:
        return False
    return period_state(feed.cadence, month_end(*month), feed.day) != "very late"


def _is_finished(feed: FeedMonths, year: int) -> bool:
    never = feed.cadence.late_after_days is None and feed.cadence.very_late_after_days is None
    if feed.first is None or feed.every == "once" or never or last_full_month(feed, year) == 12:
        return True
    state = period_state(feed.cadence, date(year, 12, 31), feed.day)
    return state == "very late" or (state == "late" and feed.every != "month")


TABLE = "feed_calendar"
COLUMNS = typed_columns("""
    feed varchar, report_year bigint, state varchar, last_full_month bigint, expected_by date, very_late_by date
""")


def read_months(
    con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed], day: date, is_settled: bool = False
) -> list[FeedMonths]:
    """Look in the raw tables what is there of each feed, in name order. Rows after `day` do not count.

    Of tables that are `is_settled`, loaded and counted in `raw.deliveries`, those that are as they were are not read
    again inside `kpi.cache.caching`.
    """
    limits = {feed.name: feed.limits for feed in feeds}
    states = dict(con.execute(_STATE).fetchall()) if is_settled and feeds else {}
    return [_read(con, feed, limits, day, states) for feed in sorted(feeds, key=lambda feed: feed.name)]


# Which rows of a feed are in force hangs on its files, their order, and how many of their rows others supersede.
_STATE = (
    "select feed, md5(string_agg(concat_ws('|', file, content_hash, contract, delivery_number, rows_loaded,"
    " rows_superseded), '/' order by file)) from raw.deliveries group by feed"
)


def _read(
    con: duckdb.DuckDBPyConnection, feed: Feed, limits: Mapping[str, Limits], day: date, states: Mapping[str, str]
) -> FeedMonths:
    cadence, of, by = feed.cadence, feed.retention.of, feed.retention.by
    kinds = followed(limits[feed.name], limits).kinds if of else feed.limits.kinds
    if by and kinds[by] == "integer":
        years = {int(year) for (year,) in con.execute(f"select distinct year from ({_years(feed)})").fetchall()}
        later = frozenset(year for year in years if year > day.year)
        newest, file = _newest(_seen_days(con, feed, limits, "", states), day)
        message = FeedMonths(feed.name, feed.expected_every, cadence, day, None, {}, frozenset(years) - later, later)
        return replace(message, newest=newest, newest_file=file)
    seen = _seen_days(con, feed, limits, by, states)
    newest, file = _newest(seen, day)
    first = next((one for one, _ in seen if one and one <= day), None)
    longest = max(cadence.very_late_after_days or 0, cadence.late_after_days or 0)
    since = date(day.year - 1, 1, 1) - timedelta(days=longest)
    months: dict[Month, Delivered] = {}
    for one in (one for one, _ in seen if one and since <= one <= day):
        before = months.get((one.year, one.month))
        months[one.year, one.month] = Delivered(one, before.days + 1 if before else 1)
    return FeedMonths(
        feed=feed.name,
        every=feed.expected_every,
        cadence=cadence,
        day=day,
        first=(first.year, first.month) if first else None,
        months=months,
        later=frozenset(one.year for one, _ in seen if one and one.year > day.year),
        newest=newest,
        newest_file=file,
        takes_years_from=of,
        is_monthly_count=any(column.first_of_month for column in feed.columns),
        starts_on=feed.expected_from,
    )


_SeenDays = tuple[tuple[date | None, str], ...]


def _seen_days(
    con: duckdb.DuckDBPyConnection, feed: Feed, limits: Mapping[str, Limits], by: str, states: Mapping[str, str]
) -> _SeenDays:
    """Return each day of the rows in force with the last file that has it, in order; rows without a day come last."""
    sql = f"select day, max(_file) from ({_days(feed, limits, by)}) group by day order by day nulls last"

    def ask() -> _SeenDays:
        return tuple(con.execute(sql).fetchall())

    state = states.get(feed.name), states.get(feed.retention.of)
    return remembered(ask, "days", sql, state) if state[0] else ask()


def _years(feed: Feed) -> str:
    return f"select {identifier(feed.retention.by)} as year from raw.{identifier(feed.name)} where not _is_superseded"


def _newest(seen: _SeenDays, day: date) -> tuple[date | None, str]:
    """Return the newest day up to a day, and the file with it; without one, the last file."""
    upto = [(one, file) for one, file in seen if one and one <= day]
    return upto[-1] if upto else (None, max((file for _, file in seen), default=""))


def _days(feed: Feed, limits: Mapping[str, Limits], by: str) -> str:
    """SQL of `day` and `_file` of the rows in force: by the report year's column, else by the first date there is."""
    dates = [identifier(column.name) for column in feed.columns if column.kind in ("timestamp", "date")]
    table = f"raw.{identifier(feed.name)}"
    if by and feed.retention.of:
        other = followed(limits[feed.name], limits)
        keys = ", ".join(map(identifier, other.key))
        dated = (
            f"select {keys}, {identifier(by)}::date as day from raw.{identifier(other.feed)} where not _is_superseded"
        )
        return f"select day, _file from {table} inner join ({dated}) using ({keys}) where not _is_superseded"
    column = identifier(by) if by else dates[0] if dates else "null"
    return f"select {column}::date as day, _file from {table} where not _is_superseded"


def write_calendar(con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed], day: date) -> None:
    """Replace `raw.feed_calendar`. Grain: one row per feed and report year that is not finished on the day."""
    found = unfinished_years(read_months(con, feeds, day, is_settled=True), day)
    con.execute(f"delete from raw.{TABLE}")
    if found:
        marks = f"({', '.join('?' for _ in COLUMNS)})"
        values = [getattr(one, name) for one in found for name, _ in COLUMNS]
        con.execute(f"insert into raw.{TABLE} values {', '.join(marks for _ in found)}", values)


def measure(con: duckdb.DuckDBPyConnection, feeds: Sequence[FeedMonths]) -> list[FeedStatus]:
    """Return how far each feed has come, in their order, by what is there of it up to a day (`read_months`).

    When more is expected, and when it is very late, is said by `kpi.ingest.calendar`.
    """
    files = dict(con.execute("select feed, max(file) from raw.deliveries group by feed").fetchall())
    found = []
    for feed in feeds:
        newest, (late, very_late) = feed.newest, expected_next(feed)
        if newest and feed.is_monthly_count:
            newest = month_end(newest.year, newest.month)
        file = feed.newest_file or files.get(feed.feed, "")
        gap = first_gap(feed)
        message = f"{gap[0]}-{gap[1]:02}" if gap else ""
        found.append(FeedStatus(feed.feed, feed.cadence.every, newest, file, late, very_late, message))
    return found


LATE = {"late": "feed.late", "very late": "feed.very_late"}


def late_problems(dues: Iterable[FeedStatus], day: date) -> Iterator[Problem]:
    """Yield a problem for each feed that is late on a day; its code is one of LATE, its subject the feed."""
    for due in dues:
        state = due.state(day)
        if state in LATE:
            by = due.expected_by or due.very_late_by
            more = f"nothing of {due.gap} came, which" if due.gap else "more"
            message = f"{state}: its newest day is {due.newest}, {more} was expected by {by}."
            yield Problem(LATE[state], message, subject=due.feed)


def table(
    dues: Iterable[FeedStatus], day: date, is_more_expected: bool = True
) -> tuple[list[str], list[tuple[object, ...]]]:
    """Return the columns and rows that `kpi freshness` prints."""
    columns = ["feed", "every", "newest_day", "newest_file", "expected_by", "very_late_after", "state"]
    rows = [
        (due.feed, due.every, due.newest, due.newest_file, due.expected_by, due.very_late_by, due.state(day))
        if is_more_expected
        else (due.feed, due.every, due.newest, due.newest_file, "", "", "not expected")
        for due in dues
    ]
    return columns, [tuple("-" if cell in (None, "") else str(cell) for cell in row) for row in rows]


FEED_MONTHS = "feed_months"
FEED_MONTHS_COLUMNS = typed_columns("""
    feed varchar, report_year bigint, report_month bigint, row_count bigint, service_count bigint
""")
_FEED_MONTHS_COMMENT = (
    "select comment from duckdb_tables() where database_name = current_database() and schema_name = 'raw'"
    f" and table_name = {literal(FEED_MONTHS)}"
)


def check_report_years(feeds: Sequence[Feed]) -> list[ContractError]:
    """Return an error for every feed with several dates whose contract does not say which gives the report year."""
    mistakes = []
    for feed in feeds:
        dates = [column.name for column in feed.columns if column.kind in ("timestamp", "date")]
        if not feed.retention.by and len(dates) > 1:
            message = (
                f"raw.{FEED_MONTHS} counts the rows of '{feed.name}' by report year: say by 'raw_retention_by' which"
            )
            mistakes.append(ContractError(f"{message} column gives it: {', '.join(dates)}.", feed.retention.where))
    return mistakes


def definitions(feeds: Sequence[Feed]) -> dict[str, str]:
    """Return a hash of how the rows of each feed are counted, by its name."""
    by_name = {feed.name: feed for feed in feeds}
    return {
        feed.name: hashlib.blake2b(_months(feed, by_name).encode(), digest_size=8).hexdigest()
        for feed in sorted(feeds, key=lambda feed: feed.name)
    }


def count_months(con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed]) -> None:
    """Bring `raw.feed_months` up to the raw tables and `raw.deliveries`, counting only the feeds that changed.

    Grain: one row per feed, report_year and report_month with rows in force. The year is null where the date of a row
    is missing or its feed has none, the month also where the contract names the year alone. `service_count` is the
    number of different values of the contract's `services_by`, 1 without one.
    """
    by_name, how = {feed.name: feed for feed in feeds}, definitions(feeds)
    state = dict(con.execute(_STATE).fetchall())
    now = {name: [how[name], state.get(name), state.get(feed.retention.of)] for name, feed in by_name.items()}
    row = con.execute(_FEED_MONTHS_COMMENT).fetchone()
    # What each feed was counted of, and how, stands in the table's comment.
    counted: dict[str, list[str | None]] = json.loads(row[0]) if row and row[0] else {}
    if not counted:
        con.execute(f"delete from raw.{FEED_MONTHS}")
    changed = [name for name in sorted({*counted, *by_name}) if counted.get(name) != now.get(name)]
    if not changed:
        return
    con.execute(f"delete from raw.{FEED_MONTHS} where list_contains(?, feed)", [changed])
    for name in changed:
        if name in by_name:
            con.execute(f"insert into raw.{FEED_MONTHS} {_months(by_name[name], by_name)}")
    con.execute(f"comment on table raw.{FEED_MONTHS} is {literal(json.dumps(now))}")


def _months(feed: Feed, by_name: Mapping[str, Feed]) -> str:
    """SQL of the rows of raw.feed_months that are one feed's."""
    rows, by, kinds = f"raw.{identifier(feed.name)} as counted", feed.retention.by, feed.limits.kinds
    if feed.retention.of not in ("", *by_name):
        by = ""  # its years are not there to be had
    elif feed.retention.of:
        other = followed(feed.limits, {name: one.limits for name, one in by_name.items()})
        dated = f"(select * from raw.{identifier(other.feed)} where not _is_superseded) as dated"
        same = " and ".join(f"counted.{identifier(key)} = dated.{identifier(key)}" for key in other.key)
        rows, kinds = f"{rows} inner join {dated} on {same}", other.kinds
    column = f"{'dated' if feed.retention.of else 'counted'}.{identifier(by)}"
    if not by:
        year = month = "null"
    elif kinds[by] == "integer":
        year, month = column, "null"
    else:
        year, month = f"year({column})", f"month({column})"
    services = f"count(distinct counted.{identifier(feed.services_by)})" if feed.services_by else "1"
    return (
        f"select {literal(feed.name)}, cast({year} as bigint) as report_year, cast({month} as bigint) as report_month,"
        f" count(*), {services} from {rows} where not counted._is_superseded group by 2, 3 order by 2, 3"
    )
