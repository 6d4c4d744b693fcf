"""How many records of a file may be rejected before it stops the build."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kpi.base.errors import DeliveryError
from kpi.base.terminal import one_line
from kpi.deliveries.column_rules import MOST_REJECTED

if TYPE_CHECKING:
    import duckdb

    from kpi.deliveries.feed import Feed


def refuse_bad_files(con: duckdb.DuckDBPyConnection, feeds: Sequence[Feed], max_reject_share: float | None) -> None:
    """Raise DeliveryError when a file has more rejects than its feed's contract allows.

    `max_reject_share` (0 to 1) replaces the contract's threshold for this run. A refused file counts as a share of 1,
    however few its records.
    """
    lines: list[str] = []
    paths: list[str] = []
    for feed in feeds:
        limit = (
            f"least(greatest({feed.reject_share} * records, {feed.reject_rows}), {MOST_REJECTED} * records)"
            if max_reject_share is None
            else f"{max_reject_share} * records"
        )
        refused_too = (feed.reject_share if max_reject_share is None else max_reject_share) < 1
        rows = con.execute(
            f"select file, records, rows_rejected, refused, floor({limit})::bigint from raw.deliveries"
            f" where feed = ? and (rows_rejected > {limit} or (refused is not null and {refused_too})) order by file",
            [feed.name],
        ).fetchall()
        for file, records, rejected, refused, allowed in rows:
            paths.append(f"{feed.name}/{file}")
            if refused:
                lines.append(one_line(f"{feed.name}/{file}: refused with its {records} records: {refused}."))
                continue
            told = f"{feed.name}/{file}: {rejected} of {records} records rejected; allowed are {allowed}."
            lines.append(one_line(told))
            lines += [f"    {count:>8} x {reason}" for reason, count in _commonest(con, feed.name, file)]
    if lines:
        raise DeliveryError(
            "Deliveries worse than their contract allows:\n  "
            + "\n  ".join(lines)
            + "\nThe rejected rows are in raw.rejects of the failed build. Mend the files, or let them through once"
            " with --max-reject-share; refused files only with a share of 1.",
            paths,
        )


def _commonest(con: duckdb.DuckDBPyConnection, feed: str, file: str) -> list[tuple[str, int]]:
    return con.execute(
        "select if(r.column_name = '', '', r.column_name || ': ') || r.reason as told, count(*) as n"
        " from (select unnest(reasons) as r from raw.rejects where feed = ? and file = ?)"
        " group by told order by n desc, told limit 10",
        [feed, file],
    ).fetchall()
