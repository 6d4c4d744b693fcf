"""How synthetic deliveries look: the form of a file, its flaws, and the pieces a feed is described by.

A feed's piece makes one table of true rows with two columns more than its contract: `delivery`, the file that first
holds the row (null: none), and `correction`, a later file that repeats it (null: none). Everything here only dresses
those rows up as files, so that the figures rest on the true rows alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from kpi.database import fetch_one
from kpi.sql import identifier, literal

Cells = tuple[tuple[str, str], ...]

ISO = "%Y-%m-%d %H:%M:%S"
ISO_T = "%Y-%m-%dT%H:%M:%S"
FINNISH = "%-d.%-m.%Y %H:%M:%S"
FINNISH_CLOCK = "%-d.%-m.%Y klo %H.%M.%S"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a feed. `kind` is text, time, date, count, decimal, flag or prose (text that may need quotes)."""

    name: str
    kind: str
    finnish: str


@dataclass(frozen=True, slots=True)
class Style:
    """The form of a file.

    `encoding` is Python's name of it; `thousands` stands between groups of the digits of a count or decimal, `point`
    before the fraction; `flags` are the words for true and false.
    """

    separator: str = ","
    encoding: str = "utf-8"
    newline: str = "\n"
    times: str = ISO
    finnish_headers: bool = False
    missing: str = ""
    padding: str = ""
    quoted: bool = False
    thousands: str = ""
    point: str = "."
    flags: tuple[str, str] = ("true", "false")
    compressed: bool = False

    @property
    def dates(self) -> str:
        """The day's part of the form of a timestamp."""
        return self.times[:8] if self.times.startswith("%Y") else self.times[:10]

    @property
    def joint(self) -> str:
        """What stands between two cells."""
        return self.separator + self.padding


@dataclass(frozen=True, slots=True)
class Flaw:
    """Extra lines beside the given records of a file, made of their cells.

    `cells` replaces columns, by SQL over the row; `fields` cuts the line after that many cells (0: a blank line);
    `leads` puts the line before its record instead of after it. Without any of these it is an exact duplicate.
    """

    beside: tuple[int, ...]
    cells: Cells = ()
    fields: int | None = None
    leads: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """One delivery. `extra` are columns the contract does not know, by header and SQL expression.

    `columns` are those of the contract that the file has, in its order; empty means all in the contract's order.
    """

    name: str
    style: Style = Style()
    flaws: tuple[Flaw, ...] = ()
    extra: Cells = ()
    columns: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """The file's name with its endings."""
        return f"{self.name}.csv.gz" if self.style.compressed else f"{self.name}.csv"


@dataclass(frozen=True, slots=True)
class Feed:
    """One feed: its contract's columns, the SQL that makes table `name` of true rows, and its deliveries.

    `order` is the order of records in a file. `before` is how the first delivery showed a row that is corrected
    later: SQL by column.
    """

    name: str
    columns: tuple[Column, ...]
    order: str
    sql: str
    files: tuple[File, ...]
    before: Cells = ()

    def columns_of(self, file: File) -> tuple[Column, ...]:
        """The columns of one of its files, in the file's order."""
        known = {column.name: column for column in self.columns}
        return tuple(known[name] for name in file.columns) or self.columns


def render(con: duckdb.DuckDBPyConnection, feed: Feed, file: File) -> tuple[bytes, int]:
    """Write one file from the feed's table. Returns its bytes, not yet compressed, and its number of records."""
    style = file.style
    headers = [column.finnish if style.finnish_headers else column.name for column in feed.columns_of(file)]
    header = style.joint.join([*headers, *(name for name, _ in file.extra)])
    first = f"delivery = {literal(file.name)} and correction is not null"
    before = {name: f"case when {first} then {sql} else {name} end" for name, sql in feed.before}
    lines = [f"select record, 0 as place, {_line(feed, file, before)} as line from chosen"]
    for number, flaw in enumerate(file.flaws, start=1):
        place = -number if flaw.leads else number
        line = _line(feed, file, before | dict(flaw.cells), flaw.fields)
        beside = ", ".join(map(str, flaw.beside))
        lines.append(f"select record, {place}, {line} from chosen where record in ({beside})")
    newline = literal(style.newline)
    text, records = fetch_one(
        con,
        f"""
        with chosen as (
            select *, row_number() over (order by {feed.order}) as record
            from {identifier(feed.name)}
            where delivery = {literal(file.name)} or correction = {literal(file.name)}
        ),
        lines as (
            {" union all ".join(lines)}
        )
        select
            coalesce(string_agg(line, {newline} order by record, place) || {newline}, ''),
            count(*) filter (where line <> '')
        from lines
        """,
    )
    whole = f"{header}{style.newline}{text}"
    return whole.encode(style.encoding), int(str(records))


def values(rows: tuple[tuple[object, ...], ...]) -> str:
    """Write rows of numbers, texts and lists as an SQL `values` list."""
    return "values\n    " + ",\n    ".join(f"({', '.join(map(constant, row))})" for row in rows)


def constant(value: object) -> str:
    """Write a number, text or tuple (as a list) as an SQL constant."""
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(constant, value))}]"
    return str(value)


def _line(feed: Feed, file: File, replaced: dict[str, str], fields: int | None = None) -> str:
    style = file.style
    cells = [_cell(column, replaced.get(column.name, column.name), style) for column in feed.columns_of(file)]
    cells += [f"coalesce({_quoted(f'cast({sql} as varchar)', 'prose', style)}, '')" for _, sql in file.extra]
    cells = cells[:fields]
    return f" || {literal(style.joint)} || ".join(cells) if cells else "''"


def _cell(column: Column, sql: str, style: Style) -> str:
    # The text of a flaw need be no time and no number: it is written as it is.
    if sql.startswith("'"):
        text = sql
    elif column.kind in ("time", "date"):
        pattern = style.times if column.kind == "time" else style.dates
        text = f"cast({sql} as varchar)" if pattern in (ISO, ISO[:8]) else f"strftime({sql}, {literal(pattern)})"
    elif column.kind == "count" and style.thousands:
        text = f"replace(format('{{:,}}', {sql}), ',', {literal(style.thousands)})"
    elif column.kind == "decimal":
        grouped = f"replace(format('{{:,.1f}}', cast({sql} as double)), ',', ' ')"
        text = f"replace(replace({grouped}, '.', {literal(style.point)}), ' ', {literal(style.thousands)})"
    elif column.kind == "flag":
        yes, no = map(literal, style.flags)
        text = f"case when {sql} then {yes} when not {sql} then {no} end"
    else:
        text = f"cast({sql} as varchar)"
    return f"coalesce({_quoted(text, column.kind, style)}, {literal(style.missing)})"


def _quoted(text: str, kind: str, style: Style) -> str:
    always = f"""('"' || replace({text}, '"', '""') || '"')"""
    if style.quoted:
        return always
    if kind != "prose":
        return text
    special = literal(f'["\n\r{style.separator}]')
    return f"case when regexp_matches({text}, {special}) then {always} else {text} end"
