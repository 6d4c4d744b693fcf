"""Which rows a later delivery replaces, and which delivery that is.

Rows claim something: their key, or in a feed that is delivered a whole census at a time that census. Of several files
that claim the same the newest counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from kpi.base.names import identifier, literal
from kpi.deliveries import delivery_order
from kpi.deliveries.feed import Feed
from kpi.deliveries.rawfiles import RawFolder

if TYPE_CHECKING:
    import duckdb

_FILES = "(select unnest($files::varchar[]))"


def claims(feed: Feed) -> tuple[str, ...]:
    """The columns by which rows of a later file replace those of an earlier one: the key, or the census."""
    return (feed.census,) if feed.census else feed.key


def start_claimed(feed: Feed) -> str:
    """Create the empty table `claimed`, for what is claimed by rows that came or went."""
    return f"create or replace temp table claimed as select {name_list(claims(feed))} from {raw_table(feed)} limit 0"


def note_claimed(feed: Feed) -> str:
    """Insert into `claimed` what rows of files, the parameter `files`, claim."""
    return (
        f"insert into claimed select distinct {name_list(claims(feed))} from {raw_table(feed)} where _file in {_FILES}"
    )


def find_repeated(feed: Feed, among_claimed: bool) -> tuple[str, str]:
    """Two statements: a table `repeated` of keys that stand in several rows, and a table `beyond_first` (_file,
    _record, key_text) of the rows whose key stands in an earlier record of the same file."""
    key, text = name_list(feed.key), " || ' ' || ".join(f"{identifier(column)}::varchar" for column in feed.key)
    among = f" semi join claimed using ({name_list(claims(feed))})" if among_claimed else ""
    return (
        f"create or replace temp table repeated as select {key} from {raw_table(feed)}{among}"
        f" group by {key} having count(*) > 1",
        f"create or replace temp table beyond_first as select _file, _record, {text} as key_text"
        f" from {raw_table(feed)} semi join repeated using ({key})"
        f" qualify row_number() over (partition by _file, {key} order by _record) > 1",
    )


def supersede(feed: Feed, among_claimed: bool) -> tuple[str, ...]:
    """Statements that mark the rows which a later delivery replaces; those that claim nothing in `claimed` are left.

    Which is the later stands in the ledger as `delivery_number`. Where rows of the feed tell it themselves by a column,
    the greatest value of it counts first; a census has that of all its rows in a file.
    """
    table, columns = raw_table(feed), name_list(claims(feed))
    if feed.census:
        among = f" semi join claimed using ({columns})" if among_claimed else ""
    else:
        among = f" semi join repeated using ({columns})"
    of_feed = f"(select file as _file, delivery_number from raw.deliveries where feed = {literal(feed.name)})"
    age = "delivery_number"
    if feed.newer_by not in (delivery_order.FILE_NAME, delivery_order.TIME_OF_DELIVERY):
        column = identifier(feed.newer_by)
        age = f"struct_pack(is_told := count({column}) > 0, said := max({column}), delivery_number := delivery_number)"
    files = f"select {columns}, _file, {age} as age from {table}{among} join {of_feed} using (_file)"
    files += f" group by {columns}, _file, delivery_number"
    same = " and ".join(f"{table}.{name} = older.{name}" for name in ("_file", *map(identifier, claims(feed))))
    mark = (
        f"update {table} set _is_superseded = true from"
        f" (select {columns}, _file from ({files}) qualify age < max(age) over (partition by {columns})) as older"
        f" where {same}"
    )
    claimed = f"({columns}) in (select ({columns}) from claimed)"
    return (
        (f"update {table} set _is_superseded = false where _is_superseded and {claimed}", mark)
        if among_claimed
        else (mark,)
    )


def find_superseding(feed: Feed) -> str:
    """SQL of `_file` and `newer`, the files that rows of it were replaced by, in the order of their delivery."""
    columns, table = name_list(claims(feed)), raw_table(feed)
    return (
        "select _file, list(newer order by delivery_number) as newer from (select distinct older._file, newer._file as"
        f" newer from (select distinct {columns}, _file from {table} where _is_superseded) as older"
        f" join (select distinct {columns}, _file from {table} where not _is_superseded) as newer using ({columns}))"
        f" join raw.deliveries on feed = {literal(feed.name)} and file = newer group by _file"
    )


def oldest_first(feed: Feed, folder: RawFolder) -> tuple[str, ...]:
    """Return the names of a feed's files, oldest first."""
    times = {file.name: file.modified for file in folder.files if file.feed == feed.name}
    return (
        delivery_order.by_time(times)
        if feed.newer_by == delivery_order.TIME_OF_DELIVERY
        else delivery_order.oldest_first(times)
    )


def is_reordered(con: duckdb.DuckDBPyConnection, feed: Feed, order: Sequence[str], folder: RawFolder) -> bool:
    """Tell whether the ledger has files of the feed in another order, or with another time of delivery."""
    sql = "select file, delivery_number, epoch(delivered_at)::bigint from raw.deliveries where feed = ?"
    had = {file: (number, time) for file, number, time in con.execute(sql, [feed.name]).fetchall()}
    times = {file.name: file.modified for file in folder.files if file.feed == feed.name}
    numbers = [had[name][0] for name in order if name in had]
    is_timed = feed.newer_by == delivery_order.TIME_OF_DELIVERY
    return numbers != sorted(numbers) or (
        is_timed and any(had[name][1] != times[name] for name in order if name in had)
    )


def number_files(con: duckdb.DuckDBPyConnection, feed: Feed, order: Sequence[str], folder: RawFolder) -> None:
    """Write into the ledger in which order the files of a feed were delivered, and when if that decides it."""
    times = {file.name: file.modified for file in folder.files if file.feed == feed.name}
    is_timed = feed.newer_by == delivery_order.TIME_OF_DELIVERY
    con.execute(
        "update raw.deliveries set delivery_number = number,"
        " delivered_at = case when $is_timed then make_timestamp(modified * 1000000) end"
        " from (select unnest($files::varchar[]) as name, unnest($times::bigint[]) as modified,"
        " unnest(range(1, len($files::varchar[]) + 1)) as number) where feed = $feed and file = name",
        {"feed": feed.name, "files": list(order), "times": [times[name] for name in order], "is_timed": is_timed},
    )


def compare_files(con: duckdb.DuckDBPyConnection, feed: Feed) -> None:
    """Write into the ledger by which files rows were replaced, and which files hold the same as an earlier one."""
    table = raw_table(feed)
    con.execute("update raw.deliveries set superseded_by = null, same_content_as = null where feed = ?", [feed.name])
    if con.execute(f"select 1 from {table} where _is_superseded limit 1").fetchone():
        con.execute(
            f"update raw.deliveries set superseded_by = newer from ({find_superseding(feed)}) as found"
            f" where feed = {literal(feed.name)} and file = found._file"
        )
    con.execute(
        "update raw.deliveries set same_content_as = first from (select file as name, first_value(file) over"
        " (partition by unpacked_hash order by delivery_number) as first from raw.deliveries where feed = $feed"
        " and records > 0) where feed = $feed and file = name and first <> name",
        {"feed": feed.name},
    )


def name_list(columns: Iterable[str]) -> str:
    """SQL of names with commas between them."""
    return ", ".join(map(identifier, columns))


def raw_table(feed: Feed) -> str:
    """SQL of the name of a feed's raw table."""
    return f"raw.{identifier(feed.name)}"
