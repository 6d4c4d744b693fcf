"""How many rows of each feed, report year and month are in force: `raw.feed_months`.

A feed with a contract is counted, so no model has to list the feeds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kpi.errors import ContractError
from kpi.ingest.retention import followed
from kpi.lazy import duckdb
from kpi.sql import identifier, literal

if TYPE_CHECKING:
    from kpi.ingest.contract import Feed


TABLE = "feed_months"
COLUMNS = (
    ("feed", "VARCHAR"),
    ("report_year", "BIGINT"),
    ("report_month", "BIGINT"),
    ("row_count", "BIGINT"),
    ("service_count", "BIGINT"),
)
_COMMENT = (
    "select comment from duckdb_tables() where database_name = current_database() and schema_name = 'raw'"
    f" and table_name = {literal(TABLE)}"
)
# Which rows of each feed are in force hangs on its files, and on how many of their rows others supersede.
_STATE = (
    "select feed, md5(string_agg(concat_ws('|', file, content_hash, contract, rows_loaded, rows_superseded), '/'"
    " order by file)) from raw.deliveries group by feed"
)


def check_report_years(feeds: Sequence[Feed]) -> list[ContractError]:
    """Return an error for every feed with several dates whose contract does not say which gives the report year."""
    mistakes = []
    for feed in feeds:
        dates = [column.name for column in feed.columns if column.kind in ("timestamp", "date")]
        if not feed.retention.by and len(dates) > 1:
            message = f"raw.{TABLE} counts the rows of '{feed.name}' by report year: say by 'raw_retention_by' which"
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
    row = con.execute(_COMMENT).fetchone()
    # What each feed was counted of, and how, stands in the table's comment.
    counted: dict[str, list[str | None]] = json.loads(row[0]) if row and row[0] else {}
    if not counted:
        con.execute(f"delete from raw.{TABLE}")
    changed = [name for name in sorted({*counted, *by_name}) if counted.get(name) != now.get(name)]
    if not changed:
        return
    con.execute(f"delete from raw.{TABLE} where list_contains(?, feed)", [changed])
    for name in changed:
        if name in by_name:
            con.execute(f"insert into raw.{TABLE} {_months(by_name[name], by_name)}")
    con.execute(f"comment on table raw.{TABLE} is {literal(json.dumps(now))}")


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
