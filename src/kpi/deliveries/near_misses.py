"""Codes of deliveries that are not in their list and much like one that is: a slip, and what was meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kpi.deliveries.feed import Feed
from kpi.deliveries.personal import quoted

if TYPE_CHECKING:
    import duckdb

_MOST = 3  # of a feed's file


def near_misses(con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed]) -> Iterator[tuple[str, str]]:
    """Yield the path of a file and, in words, a code in it that was rejected and the one that was probably meant.

    Only what resembles a known code is quoted: whatever else stands in the column may be anything.
    """
    import difflib

    lists = {(feed.name, column.name): column.codes for feed in feeds for column in feed.columns if column.codes}
    told: dict[str, int] = {}
    for feed, file, column, value, count in con.execute(_REJECTED).fetchall():
        path = f"{feed}/{file}"
        codes = {code.lower(): code for code in lists.get((feed, column), ())}
        close = difflib.get_close_matches(str(value).strip().lower(), codes, n=1, cutoff=0.75)
        if close and str(value).isprintable() and told.get(path, 0) < _MOST:
            told[path] = told.get(path, 0) + 1
            records = f"{count} record{'s' * (count > 1)}"
            yield path, f"{column} is '{quoted(str(value))}' in {records}. Did you mean '{codes[close[0]]}'?"


_REJECTED = """
    select feed, file, reason.column_name, reason.value, count(*) as n
    from (select feed, file, unnest(reasons) as reason from raw.rejects)
    where reason.reason = 'not one of its codes' and reason.value is not null and length(reason.value) <= 60
    group by all
    order by feed, file, n desc, reason.column_name, reason.value
"""
