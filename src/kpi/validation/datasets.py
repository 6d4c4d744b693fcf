"""The small tables that the rules of a report year read: topics as the project's models made them, and sums, by year.

A topic is a table of the build with `report_year` and a column for each rule, null where the rule does not apply. What
a reader wants to see of a row stands in further columns: figure_id, service, basis, feed, month, value, compared (the
value it is compared with), note_en and note_fi.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import duckdb

from kpi.database import table_columns
from kpi.ingest.calendar import PeriodState, month_end
from kpi.settings import column_types
from kpi.sql import literal
from kpi.validation.rule import KEPT_RULE, Expectations, FeedExpectation, Rule, Sum, Topic, feed_rule

if TYPE_CHECKING:
    import pandas as pd


SQL = Path(__file__).parent / "sql"
# What pandas makes of DuckDB's types: without a missing value, and with one.
_DTYPES = {
    **{f"{sign}{name}": (f"{low}{bits}", f"{high}{bits}")
       for sign, low, high in (("", "int", "Int"), ("U", "uint", "UInt"))
       for name, bits in (("TINYINT", 8), ("SMALLINT", 16), ("INTEGER", 32), ("BIGINT", 64))},
    **dict.fromkeys(("HUGEINT", "UHUGEINT", "DECIMAL", "DOUBLE"), ("float64", "float64")),
    "FLOAT": ("float32", "float32"),
    "BOOLEAN": ("bool", "boolean"),
    **dict.fromkeys(("DATE", "TIMESTAMP"), ("datetime64[us]", "datetime64[us]")),
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """The values of a column, None where one is missing, and the type that pandas gives it."""

    dtype: str
    values: Sequence[Any]

    @classmethod
    def of_type(cls, type_: str, values: Iterable[Any]) -> Column:
        """Return a column of a type of DuckDB's."""
        cells = list(values)
        plain, with_missing = _DTYPES.get(type_.partition("(")[0], ("object", "object"))
        if plain.startswith("float"):
            cells = [None if value is None or isnan(value) else float(value) for value in cells]
        elif type_ == "DATE":
            cells = [value and datetime(value.year, value.month, value.day) for value in cells]
        elif type_ == "VARCHAR" and any(value is not None for value in cells):
            plain = with_missing = "str"
        return cls(with_missing if None in cells else plain, cells)

    @classmethod
    def of(cls, values: Sequence[Any]) -> Column:
        """Return a column of whole numbers, or of texts; numbers of which one is missing are of a broken type."""
        if all(value is None or isinstance(value, str) for value in values):
            return cls("str" if any(values) else "object", values)
        is_whole = None not in values
        return cls("int64", values) if is_whole else cls("float64", [value and float(value) for value in values])

    @cached_property
    def present(self) -> list[Any]:
        """The values that are not missing."""
        return [value for value in self.values if value is not None]

    @property
    def is_number(self) -> bool:
        """Whether its values can be ordered and have a range."""
        return self.dtype.lower().startswith(("int", "uint", "float"))

    def at(self, places: Iterable[int]) -> Column:
        """Return the values at some places, which are numbered from 0."""
        return Column(self.dtype, list(map(self.values.__getitem__, places)))

    def only_where(self, wanted: Sequence[bool]) -> Column:
        """Return the column with values where they are wanted, and missing ones elsewhere."""
        if all(wanted):
            return self
        values = [value if is_wanted else None for value, is_wanted in zip(self.values, wanted, strict=True)]
        if self.dtype.startswith(("int", "uint")):
            return Column("float64", [value if value is None else float(value) for value in values])
        return Column("object" if self.dtype == "bool" else self.dtype, values)


@dataclass(frozen=True)
class Frame:
    """The rows of a topic by columns: a frame of pandas, which is imported only where Great Expectations is asked."""

    columns: Mapping[str, Column]

    @classmethod
    def read(cls, result: duckdb.DuckDBPyConnection) -> Frame:
        """Return the rows of a query that was executed."""
        described = result.description or []
        rows = result.fetchall()
        columns = zip(*rows, strict=True) if rows else [()] * len(described)
        return cls({str(one[0]): Column.of_type(str(one[1]), cast("Iterable[Any]", values))
                    for one, values in zip(described, columns, strict=True)})  # fmt: skip

    def __len__(self) -> int:
        return max((len(column.values) for column in self.columns.values()), default=0)

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def at(self, places: Sequence[int]) -> Frame:
        """Return the rows at some places, which are numbered from 0."""
        return Frame({name: column.at(places) for name, column in self.columns.items()})

    def joined(self, others: Iterable[Frame], names: Iterable[str]) -> Frame:
        """Return some columns with those of other frames below them; each is of one type in all of them."""
        frames = [self, *others]
        return Frame({name: Column(self[name].dtype, [value for frame in frames for value in frame[name].values])
                      for name in names})  # fmt: skip

    @cached_property
    def content(self) -> str:
        """All that it holds as text: names and types of its columns, and every value in its order."""
        return repr([(name, column.dtype, column.values) for name, column in self.columns.items()])

    def df(self) -> pd.DataFrame:
        """Return it as pandas has it."""
        import pandas as pd

        return pd.DataFrame({name: pd.Series(column.values, dtype=column.dtype)
                             for name, column in self.columns.items()})  # fmt: skip


def import_ctes(
    con: duckdb.DuckDBPyConnection, inputs: Mapping[str, Mapping[str, str]], names: Mapping[str, str]
) -> str:
    """Return a CTE for each input, as `ctes_of` has them."""
    return ",\n".join(ctes_of(con, inputs, names).values())


def ctes_of(
    con: duckdb.DuckDBPyConnection, inputs: Mapping[str, Mapping[str, str]], names: Mapping[str, str]
) -> dict[str, str]:
    """Return a CTE for each input by its name, of the table that `names` gives it, with the columns and types given.

    A column that was not built is null, a table that was not built empty.
    """
    built = table_columns(con)
    ctes = {}
    for cte, columns in inputs.items():
        table = names[cte]
        there = built.get(table, {})
        select = ", ".join(
            f"cast({name if name in there else 'null'} as {type_}) as {name}" for name, type_ in columns.items()
        )
        ctes[cte] = f"{cte} as (select {select} {f'from {table}' if there else 'where false'})"
    return ctes


def run(
    con: duckdb.DuckDBPyConnection,
    imports: str,
    name: str,
    values: Mapping[str, object],
) -> duckdb.DuckDBPyConnection:
    """Run a query of the folder `sql` after the import CTEs. It is given those of the values that it names."""
    text = _without_head((SQL / f"{name}.sql").read_text(encoding="utf-8"))
    sql = f"with {imports},\n{text.removeprefix('with ')}" if text.startswith("with ") else f"with {imports}\n{text}"
    return con.execute(sql, {key: value for key, value in values.items() if f"${key}" in sql})


def _without_head(text: str) -> str:
    """Return a query without the comment lines at its head."""
    lines = text.splitlines()
    return "\n".join(lines[next(place for place, line in enumerate(lines) if line and line[:2] != "--") :])


# The engine's tables that are read here.
INPUTS = (
    *("indicators", "coverage", "indicator_origins", "deleted_deliveries", "unfinished_years"),
    "figure_services",
)
_AMOUNTS = {"report_year": "integer", "name": "varchar", "service": "varchar", "basis": "varchar", "amount": "varchar",
            "number": "double"}  # fmt: skip
_NOT_DUE = ("open", "awaited")
_LABELLED = ("{label}",)  # how rows of the engine's own topics are called
YEARS = Topic("years", "", _LABELLED)
KEPT = Topic("kept", "", _LABELLED, observed="rows")


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
    by_name: Mapping[str, Frame]
    rows: Mapping[str, Mapping[int, Mapping[int | None, int]]]
    deleted: frozenset[tuple[str, int]] = frozenset()
    unfinished: Mapping[tuple[str, int], int | None] = field(default_factory=dict)
    expected_until: int = 0
    topics: tuple[Topic, ...] = ()

    def of_year(self, name: str, year: int) -> Frame:
        """Return the rows of one year, numbered from 0."""
        frame = self.by_name[name]
        return frame.at([place for place, value in enumerate(frame["report_year"].values) if value == year])

    def years(self) -> tuple[int, ...]:
        """Return every year that has a figure or a record, and since all began the empty ones between too."""
        years_with_rows = {int(year) for year in self.by_name["years"]["report_year"].present if year <= self.last_year}
        first = max(min(years_with_rows, default=0), self.began_on.year)
        return tuple(sorted(years_with_rows.union(range(first, max(years_with_rows) + 1)))) if years_with_rows else ()

    def empty_years(self) -> tuple[int, ...]:
        """Return the years after the last with a figure or a record in which feeds are expected all the same."""
        years = self.years()
        return tuple(range(years[-1] + 1, self.expected_until + 1)) if years else ()

    def suites(
        self, feeds: Sequence[FeedExpectation], year: int, as_of: date
    ) -> Iterator[tuple[Topic, Frame, tuple[Rule, ...]]]:
        """Yield each topic of a year with its rows and rules; only the feeds when nothing of the year came."""
        expected = self.expected(feeds, year)
        monthly = tuple(feed for feed in expected if feed.every == "month")
        yearly = tuple(feed for feed in expected if feed.every == "year")
        for topic in self.topics if year not in self.empty_years() else ():
            # In a year without figures everything would seem to be missing: that it is empty says it all.
            if not topic.only_with or (topic.only_with in self.by_name and len(self.of_year(topic.only_with, year))):
                yield topic, self.of_year(topic.name, year), topic.rules
        if year not in self.empty_years():
            yield KEPT, self.of_year("kept", year), (KEPT_RULE,)
        rules = {feed: feed_rule(self.as_severe_as_late(feed, year, as_of)) for feed in (*monthly, *yearly)}
        months, deliveries = Topic("months", "", _LABELLED), Topic("deliveries", "", _LABELLED)
        yield months, self.months(monthly, year, as_of), tuple(rules[feed] for feed in monthly)
        yield deliveries, self.deliveries(yearly, year, as_of), tuple(rules[feed] for feed in yearly)

    def months(self, feeds: Sequence[FeedExpectation], year: int, day: date) -> Frame:
        """Return a row for each month that is over on a day, with the rows of each feed.

        Null before its service began, and while a month that is missing is still awaited.
        """
        months = [month for month in range(1, 13) if month_end(year, month) < day]
        labels = [str(month) for month in months]
        columns: dict[str, list[Any]] = {"report_year": [year] * len(months), "label": labels, "month": months}
        for feed in feeds:
            columns[feed.feed] = [self._rows_of(feed, year, month, day) for month in months]
        return Frame({name: Column.of(values) for name, values in columns.items()})

    def deliveries(self, feeds: Sequence[FeedExpectation], year: int, day: date) -> Frame:
        """Return one row with the number of rows of each feed in a year; null while the year is still awaited."""
        columns: dict[str, list[Any]] = {"report_year": [year], "label": [str(year)]}
        for feed in feeds:
            count = sum(self.rows[feed.feed].get(year, {}).values())
            columns[feed.feed] = [None if not count and feed.state(date(year, 12, 31), day) in _NOT_DUE else count]
        return Frame({name: Column.of(values) for name, values in columns.items()})

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


def read_frames(con: duckdb.DuckDBPyConnection, expectations: Expectations, last_year: int, last_month: int) -> Frames:
    """Read what the rules look at: years up to `last_year`, of which the months up to `last_month` are full.

    A topic whose table was not built is not validated.
    """
    values: dict[str, object] = {"last_year": last_year, "last_month": 12 * last_year + last_month}
    names = expectations.tables.names()
    imports = import_ctes(con, {name: column_types(name) for name in INPUTS}, names)
    built = table_columns(con)
    topics = tuple(replace(topic, row=_LABELLED) if topic.sums else topic
                   for topic in expectations.topics if topic.table in built)  # fmt: skip
    frames = {topic.name: _topic_frame(con, topic, built, values) for topic in topics}
    frames |= {name: Frame.read(run(con, imports, name, values)) for name in ("kept", "years")}
    rows: dict[str, dict[int, dict[int | None, int]]] = {}
    for feed, year, month, count in run(con, imports, "coverage", values).fetchall():
        rows.setdefault(feed, {}).setdefault(year, {})[month] = int(count)
    deleted = {
        (feed, year)
        for feed, first, last in con.execute(
            f"with {imports} select feed, first_year, last_year from deleted_deliveries"
        ).fetchall()
        for year in range(first, last + 1)
    }
    unfinished = {
        (feed, year): full
        for feed, year, full in con.execute(
            f"with {imports} select feed, report_year, last_full_month from unfinished_years where state <> 'future'"
        ).fetchall()
    }
    (began_on,) = con.execute(f"with {imports} select min(since) from figure_services").fetchall()[0]
    began_on = began_on or date.min
    return Frames(last_year, began_on, frames, rows, frozenset(deleted), unfinished, topics=topics)


def _topic_frame(
    con: duckdb.DuckDBPyConnection, topic: Topic, built: Mapping[str, Mapping[str, str]], values: Mapping[str, object]
) -> Frame:
    """Return the rows of a topic up to the last year, with a column for each rule."""
    if topic.sums:
        parameters = {**values, "formulas": _formulas(topic.sums), "terms": _terms(topic.sums)}
        imports = import_ctes(con, {"amounts": _AMOUNTS}, {"amounts": topic.table})
        frame = Frame.read(run(con, imports, "sums", parameters))
        own = {sum_.name: frame["gap"].only_where([rule == sum_.name for rule in frame["rule"].values])
               for sum_ in topic.sums}  # fmt: skip
        return Frame({**frame.columns, **own})
    parameters = {key: value for key, value in values.items() if key == "last_year" or topic.only_full_months}
    frame = Frame.read(con.execute(_topic_sql(topic, built), parameters))
    own = {}
    for rule in (rule for rule in topic.rules if rule.figures):
        is_about = [figure in rule.figures for figure in frame["figure_id"].values]
        own[rule.value_column] = frame[rule.column].only_where(is_about)
    return Frame({**frame.columns, **own})


def _topic_sql(topic: Topic, built: Mapping[str, Mapping[str, str]]) -> str:
    there = built[topic.table].keys()
    notes = built.get(topic.notes.table, {}).keys() if topic.notes else set()
    columns = [f"t.{name}" for name in sorted(there - {"note_en", "note_fi"})]
    # What an older build lacks is null, and so no rule looks at it.
    columns += [f"null as {name}" for name in sorted(topic.columns() - there - {"report_year"})]
    joined = ""
    if topic.notes and notes:
        keys = sorted(notes - {"note_en", "note_fi"})
        separator = literal(topic.notes.joined_by)
        texts = [f"string_agg(distinct {name}, {separator} order by {name}) as {name}"
                 for name in sorted(notes & {"note_en", "note_fi"})]  # fmt: skip
        grouped = f"select {', '.join((*keys, *texts))} from {topic.notes.table} group by {', '.join(keys)}"
        same = " and ".join(f"t.{key} is not distinct from n.{key}" for key in keys)
        joined = f" left join ({grouped}) as n on {same}"
    for name in ("note_en", "note_fi"):
        parts = [f"{alias}.{name}" for alias, columns_there in (("t", there), ("n", notes)) if name in columns_there]
        columns.append(f"nullif(concat({', '.join(parts)}), '') as {name}" if parts else f"null as {name}")
    full = " and 12 * t.report_year + t.month <= $last_month" if topic.only_full_months else ""
    order = ", ".join(("t.report_year", *(f"t.{name}" for name in topic.order if name in there)))
    sql = f"select {', '.join(columns)} from {topic.table} as t{joined}"
    return f"{sql} where t.report_year <= $last_year{full} order by {order}"


def _formulas(sums: Sequence[Sum]) -> list[dict[str, object]]:
    """Return a row per formula; a plain number in it stands in left_number or right_number."""
    rows: list[dict[str, object]] = []
    for sum_ in sums:
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


def _terms(sums: Sequence[Sum]) -> list[dict[str, object]]:
    """Return a row per term of the formulas, plain numbers left out."""
    formulas = [formula for sum_ in sums for formula in sum_.formulas]
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
