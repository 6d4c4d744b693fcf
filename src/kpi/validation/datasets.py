"""The small tables that the rules of a report year read, one SQL query each over the marts.

Every frame has `report_year` and `label`, which names the row where a rule breaks, and a column for each rule. A
column is null where its rule does not apply. What a reader wants to see of a row stands in further columns: figure_id,
service, basis, month, value, compared (the value it is judged against) and note_fi.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import duckdb

from kpi.ingest.calendar import PeriodState, month_end
from kpi.validation.rule import (
    ACCEPTED_CHANGES,
    COUNTED_ELSEWHERE,
    FAMILIES_BY_SERVICE,
    FEED_OF_FAMILY,
    FEED_OF_FIGURE,
    FLOWS,
    KEPT_RULE,
    MAIN_VOLUMES,
    MEANS_OF_SHARES,
    MEDIANS,
    RULES,
    SUMS,
    FeedExpectation,
    Frame,
    Rule,
    feed_rule,
)

if TYPE_CHECKING:
    import pandas as pd


SQL = Path(__file__).parent / "sql"


def import_ctes(con: duckdb.DuckDBPyConnection, inputs: Mapping[str, Mapping[str, str]]) -> str:
    """Return a CTE `schema_table` for each table, with the columns and types given; null or empty if not built."""
    built: dict[str, set[str]] = {}
    for table, column in con.execute(
        "select table_schema || '.' || table_name, column_name from information_schema.columns"
        " where table_catalog = current_database()"
    ).fetchall():
        built.setdefault(table, set()).add(column)
    ctes = []
    for table, columns in inputs.items():
        there = built.get(table, set())
        select = ", ".join(
            f"cast({name if name in there else 'null'} as {type_}) as {name}" for name, type_ in columns.items()
        )
        ctes.append(f"{table.replace('.', '_')} as (select {select} {f'from {table}' if there else 'where false'})")
    return ",\n".join(ctes)


def run(
    con: duckdb.DuckDBPyConnection,
    imports: str,
    names: tuple[str, ...],
    values: Mapping[str, object],
    fragments: Mapping[str, str] = MappingProxyType({}),
) -> duckdb.DuckDBPyConnection:
    """Run the last of the named queries after the import CTEs and the CTEs of those before it.

    Each query is given those of the values that it names; `{name}` in it stands for the SQL fragment of that name.
    Every file but the last holds nothing but CTEs.
    """
    sql = f"with {imports}"
    for name in names:
        text = _without_head((SQL / f"{name}.sql").read_text(encoding="utf-8"))
        for key, fragment in fragments.items():
            text = text.replace(f"{{{key}}}", fragment)
        sql += f",\n{text.removeprefix('with ')}" if text.startswith("with ") else f"\n{text}"
    return con.execute(sql, {key: value for key, value in values.items() if f"${key}" in sql})


def _without_head(text: str) -> str:
    """Return a query without the comment lines at its head."""
    lines = text.splitlines()
    return "\n".join(lines[next(place for place, line in enumerate(lines) if line and line[:2] != "--") :])


# The tables read, with the columns used. A table or column that was not built counts as empty.
INPUTS: Mapping[str, Mapping[str, str]] = {
    "marts.indicators": {"figure_id": "varchar", "service": "varchar", "report_year": "integer", "basis": "varchar",
                         "numerator": "double", "denominator": "double", "value": "double", "event_count": "bigint"},
    "marts.coverage": {"feed": "varchar", "report_year": "integer", "month": "integer", "row_count": "bigint"},
    "marts.reconciliation": {"figure_id": "varchar", "service": "varchar", "report_year": "integer",
                             "basis": "varchar", "unit": "varchar", "published_value": "double", "value": "double",
                             "status": "varchar"},
    "marts.comparability_breaks": {"figure_id": "varchar", "service": "varchar", "starts_on": "date",
                                   "reason_en": "varchar", "reason_fi": "varchar"},
    "marts.monthly_series": {"figure_id": "varchar", "service": "varchar", "report_year": "integer",
                             "month": "integer", "value": "double"},
    "marts.indicator_origins": {"report_year": "integer", "origin": "varchar", "kept_from": "varchar"},
    "marts.deleted_deliveries": {"feed": "varchar", "file": "varchar", "rows_loaded": "bigint",
                                 "first_year": "integer", "last_year": "integer", "kept_from": "varchar"},
    "marts.unfinished_years": {"feed": "varchar", "report_year": "integer", "state": "varchar",
                               "last_full_month": "integer"},
    "seeds.figures": {"figure_id": "varchar", "family": "varchar", "unit": "varchar", "basis": "varchar"},
    "seeds.figure_services": {"figure_id": "varchar", "service": "varchar", "since": "date"},
    "seeds.targets": {"report_year": "integer", "figure_id": "varchar", "service": "varchar"},
}  # fmt: skip
_NOT_DUE = ("open", "awaited")
FRAMES: tuple[Frame, ...] = ("figures", "expected", "changes", "parts", "reconciliation", "series", "kept", "years")


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of all years up to `last_year`, and for each feed the rows of each year and month delivered.

    `began_on` is the first day any figure tells of: a mistyped date before it makes no year or month expected.
    `deleted` are the feeds and years of which deliveries were deleted by their retention: their rows are not expected.
    `unfinished` are those not finished when the build was made, with their last full month. Feeds are expected until
    the latest year of any of them, or until `expected_until` when that is later.
    """

    last_year: int
    began_on: date
    by_name: Mapping[Frame, pd.DataFrame]
    rows: Mapping[str, Mapping[int, Mapping[int | None, int]]]
    deleted: frozenset[tuple[str, int]] = frozenset()
    unfinished: Mapping[tuple[str, int], int | None] = field(default_factory=dict)
    expected_until: int = 0

    def of_year(self, name: Frame, year: int) -> pd.DataFrame:
        """Return the rows of one year, numbered from 0."""
        frame = self.by_name[name]
        return frame[frame["report_year"] == year].reset_index(drop=True)

    def years(self) -> tuple[int, ...]:
        """Return every year that has a figure or a record, and since all began the empty ones between too."""
        found = {int(year) for year in self.by_name["years"]["report_year"] if year <= self.last_year}
        first = max(min(found, default=0), self.began_on.year)
        return tuple(sorted(found.union(range(first, max(found) + 1)))) if found else ()

    def empty_years(self) -> tuple[int, ...]:
        """Return the years after the last with a figure or a record in which feeds are expected all the same."""
        found = self.years()
        return tuple(range(found[-1] + 1, self.expected_until + 1)) if found else ()

    def suites(
        self, feeds: Sequence[FeedExpectation], year: int, as_of: date
    ) -> Iterator[tuple[Frame, pd.DataFrame, tuple[Rule, ...]]]:
        """Yield each frame of a year with the rules on it; only of the feeds when nothing of the year came."""
        expected = self.expected(feeds, year)
        monthly = tuple(feed for feed in expected if feed.every == "month")
        yearly = tuple(feed for feed in expected if feed.every == "year")
        if year not in self.empty_years():
            for name in FRAMES[:-2]:
                # In a year without figures everything would seem to be missing: that it is empty says it all.
                if name not in ("expected", "series") or len(self.of_year("figures", year)):
                    yield name, self.of_year(name, year), tuple(rule for rule in RULES if rule.frame == name)
            yield "kept", self.of_year("kept", year), (KEPT_RULE,)
        rules = {feed: feed_rule(self.as_severe_as_late(feed, year, as_of)) for feed in (*monthly, *yearly)}
        yield "months", self.months(monthly, year, as_of), tuple(rules[feed] for feed in monthly)
        yield "deliveries", self.deliveries(yearly, year, as_of), tuple(rules[feed] for feed in yearly)

    def months(self, feeds: Sequence[FeedExpectation], year: int, day: date) -> pd.DataFrame:
        """Return a row for each month that is over on a day, with the rows of each feed.

        Null before its service began, and while a month that is missing is still awaited.
        """
        import pandas as pd

        months = [month for month in range(1, 13) if month_end(year, month) < day]
        columns: dict[str, object] = {"report_year": year, "label": [str(month) for month in months], "month": months}
        for feed in feeds:
            columns[feed.feed] = [self._rows_of(feed, year, month, day) for month in months]
        return pd.DataFrame(columns)

    def deliveries(self, feeds: Sequence[FeedExpectation], year: int, day: date) -> pd.DataFrame:
        """Return one row with the number of rows of each feed in a year; null while the year is still awaited."""
        import pandas as pd

        counts: dict[str, list[int | None]] = {}
        for feed in feeds:
            count = sum(self.rows[feed.feed].get(year, {}).values())
            counts[feed.feed] = [None if not count and feed.state(date(year, 12, 31), day) in _NOT_DUE else count]
        return pd.DataFrame({"report_year": [year], "label": [str(year)], **counts})

    def as_severe_as_late(self, feed: FeedExpectation, year: int, day: date) -> FeedExpectation:
        """Return the feed with the severity of what it lacks of a year: a warning when none of that is very late."""
        return replace(feed, severity="warn") if self._earliest_missing(feed, year, day) == "late" else feed

    def _earliest_missing(self, feed: FeedExpectation, year: int, day: date) -> PeriodState:
        """Return how the earliest month that a feed lacks of a year stands, or the year of a yearly feed."""
        missing = [date(year, 12, 31)]
        if feed.every == "month":
            ends = (month_end(year, month) for month in range(1, 13))
            missing = [end for end in ends if self._rows_of(feed, year, end.month, day) == 0]
        return feed.state(missing[0], day) if missing else "open"

    def _rows_of(self, feed: FeedExpectation, year: int, month: int, day: date) -> int | None:
        rows = self.rows[feed.feed].get(year, {})
        start = max(feed.starts_on or self.began_on, self.began_on).replace(day=1)
        if date(year, month, 1) < start:
            return None
        count = 0 if self._is_cut(feed, year, month) else rows.get(month, 0)
        return None if not count and feed.state(month_end(year, month), day) in _NOT_DUE else count

    def _is_cut(self, feed: FeedExpectation, year: int, month: int) -> bool:
        """Tell whether the newest month of an unfinished year was delivered in part: the month before is full."""
        full = self.unfinished.get((feed.feed, year))
        newest = max((number or 0 for number in self.rows[feed.feed].get(year, {})), default=0)
        return full is not None and month == newest == full + 1

    def expected(self, feeds: Sequence[FeedExpectation], year: int) -> tuple[FeedExpectation, ...]:
        """Return the feeds expected in a year: each from its own first year to the latest year of any feed."""
        latest = max((max(years) for years in self.rows.values()), default=0)
        latest = max(latest, self.expected_until)
        delivered = (feed for feed in feeds if feed.feed in self.rows and (feed.feed, year) not in self.deleted)
        return tuple(feed for feed in delivered if max(min(self.rows[feed.feed]), self.began_on.year) <= year <= latest)


def read_frames(con: duckdb.DuckDBPyConnection, last_year: int, last_month: int) -> Frames:
    """Read what the rules look at: years up to `last_year`, of which the months up to `last_month` are full."""
    accepted = dict(sorted(ACCEPTED_CHANGES.items()))
    values: dict[str, object] = {
        "last_year": last_year,
        "last_month": 12 * last_year + last_month,
        "accepted_names": list(accepted),
        "accepted_reasons": list(accepted.values()),
        "family_feeds": [{"family": family, "feed": feed} for family, feed in FEED_OF_FAMILY.items()],
        "figure_feeds": [{"figure_id": figure_id, "feed": feed} for figure_id, feed in FEED_OF_FIGURE.items()],
        "families_by_service": list(FAMILIES_BY_SERVICE),
        "main_volumes": list(MAIN_VOLUMES),
        "flows": list(FLOWS),
        "medians": list(MEDIANS),
        "means_of_shares": list(MEANS_OF_SHARES),
        "counted_elsewhere": list(COUNTED_ELSEWHERE),
        "formulas": _formulas(),
        "terms": _terms(),
    }
    imports = import_ctes(con, INPUTS)
    frames: dict[Frame, pd.DataFrame] = {name: run(con, imports, ("common", name), values).df() for name in FRAMES}
    for sum_ in SUMS:
        frames["parts"][sum_.name] = frames["parts"]["gap"].where(frames["parts"]["rule"] == sum_.name)
    rows: dict[str, dict[int, dict[int | None, int]]] = {}
    for feed, year, month, count in run(con, imports, ("coverage",), values).fetchall():
        rows.setdefault(feed, {}).setdefault(year, {})[month] = int(count)
    deleted = {
        (feed, year)
        for feed, first, last in con.execute(
            f"with {imports} select feed, first_year, last_year from marts_deleted_deliveries"
        ).fetchall()
        for year in range(first, last + 1)
    }
    unfinished = {
        (feed, year): full
        for feed, year, full in con.execute(
            f"with {imports} select feed, report_year, last_full_month from marts_unfinished_years"
            " where state <> 'future'"
        ).fetchall()
    }
    (began_on,) = con.execute(f"with {imports} select min(since) from seeds_figure_services").fetchall()[0]
    return Frames(last_year, began_on or date.min, frames, rows, frozenset(deleted), unfinished)


def _formulas() -> list[dict[str, object]]:
    """Return a row per formula; a plain number in it stands in left_number or right_number."""
    rows: list[dict[str, object]] = []
    for sum_ in SUMS:
        for formula in sum_.formulas:
            numbers = {"left": 0, "right": 0}
            for term in formula.terms:
                if not term.name:
                    numbers[term.side] += term.sign * int(term.amount)
            terms = [term for term in formula.terms if term.name]
            rows.append(
                {
                    "formula": len(rows),
                    "rule": sum_.name,
                    "text": formula.text,
                    "figure_id": terms[0].name,
                    "is_by_service": sum_.by == "service",
                    "is_equal": formula.is_equal,
                    "left_number": numbers["left"],
                    "right_number": numbers["right"],
                    "needed_count": sum(not term.is_optional for term in terms),
                    "side_count": len({term.side for term in terms}),
                }
            )
    return rows


def _terms() -> list[dict[str, object]]:
    """Return a row per term of the formulas, plain numbers left out."""
    formulas = [formula for sum_ in SUMS for formula in sum_.formulas]
    return [
        {
            "formula": number,
            "place": place,
            "side": term.side,
            "sign": term.sign,
            "name": term.name,
            "amount": term.amount,
            "services": list(term.services),
            "basis": term.basis,
            "years_back": term.years_back,
            "is_needed": not term.is_optional,
        }
        for number, formula in enumerate(formulas)
        for place, term in enumerate(formula.terms)
        if term.name
    ]
