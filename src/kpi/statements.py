"""The SQL that turns one delivery's text into rows of its raw table: text, then value, then instant, then judgement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kpi import cells
from kpi.delivery import Layout, cell_patterns
from kpi.feed import DeliveryMapping, Feed
from kpi.names import identifier, literal

_MISSING = ", ".join(literal(text) for text in cells.MISSING)
_BLANKS = "' ' || chr(9)"


@dataclass(frozen=True, slots=True)
class Judged:
    """SQL yielding `_record`, the values of the contract, the instants, `_clock_flags`, and what is wrong with a row.

    `faults` are pairs of an SQL struct (column_name, value, reason) and the condition, never null, that it is so.
    """

    select: str
    faults: tuple[tuple[str, str], ...]


def plain_insert(feed: Feed, file: str, path: str, layout: Layout, mapping: DeliveryMapping | None) -> str:
    """Insert every record of a plain file, or raise DuckDB's InvalidInputException at the first that is doubtful.

    `path` is the file or a private copy of it, in UTF-8, with its header line. The doubt raises instead of filtering
    because a filter is pushed below the casts, which then run twice.
    """
    places = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(len(layout.header)))
    quoting = "quote = '\"'" if b'"' in layout.body else "quote = '', escape = ''"
    source = (
        f"select row_number() over () as _record, * from read_csv({literal(path)}, delim = {literal(layout.separator)},"
        f" header = true, auto_detect = false, columns = {{{places}}}, {quoting}, nullstr = [{_MISSING}])"
    )
    texts = {column: f"c{place}" for column, place in layout.positions.items()}
    judged = _judged(feed, mapping, texts, source, ())
    doubts = [condition for _, condition in judged.faults]
    for column in feed.columns:
        if column.kind == "text" and not column.codes:
            text = identifier(column.name)
            doubts.append(f"coalesce({text} <> trim({text}) or contains({text}, chr(9)), false)")
    checked = f"case when {' or '.join(doubts) or 'false'} then error('doubtful') else false end"
    return f"insert into raw.{identifier(feed.name)} select {_row(feed, file, checked)} from ({judged.select})"


def judge_records(feed: Feed, layout: Layout, mapping: DeliveryMapping | None) -> str:
    """Create the table `judged` from the registered table `records` (_record, line): every row, its values, `reasons`.

    `copy_number` counts the good rows of one key in the file; all but the first are rejects.
    """
    pattern, quoted = cell_patterns(layout.separator)
    separator = literal(layout.separator)
    has_quotes = b'"' in layout.body[layout.start :]
    split = (
        f"regexp_extract_all(line || {separator}, {literal(pattern)})"
        if has_quotes
        else f"string_split(line, {separator})"
    )
    source = f"select _record, line, {split} as cell from (select _record, rtrim(line, chr(13) || chr(10)) as line from records)"
    texts = {}
    for column, place in layout.positions.items():
        cell = f"cell[{place + 1}]"
        if has_quotes:
            bare = f"left({cell}, length({cell}) - 1)"
            inner = f"regexp_extract({bare}, '(?s)\"(.*)\"', 1)"
            cell = f"case when regexp_full_match({bare}, {literal(quoted)}) then replace({inner}, '\"\"', '\"') else {bare} end"
        trimmed = f"trim({cell}, {_BLANKS})"
        texts[column] = f"case when {trimmed} not in ({_MISSING}) then {trimmed} end"
    judged = _judged(feed, mapping, texts, source, ("line", "cell"))
    width = len(layout.header)
    faults = ", ".join(f"case when {condition} then {fault} end" for fault, condition in judged.faults)
    misfit = _fault("", "len(cell)::varchar", f"the record has another number of fields than the header's {width}")
    key = ", ".join(identifier(column) for column in feed.key)
    return (
        "create or replace temp table judged as"
        " select *, row_number() over (partition by len(reasons) = 0, " + key + " order by _record) as copy_number,"
        " min(_record) over (partition by len(reasons) = 0, " + key + ") as first_record"
        f" from (select *, case when len(cell) <> {width} then [{misfit}]"
        f" else list_filter([{faults or 'null'}], lambda fault: fault is not null) end as reasons from ({judged.select}))"
    )


def insert_judged(feed: Feed, file: str) -> tuple[str, str]:
    """The two statements that empty `judged`: good rows into the raw table, the others into raw.rejects."""
    key = " || ' ' || ".join(f"{identifier(column)}::varchar" for column in feed.key)
    repeated = _fault(" and ".join(feed.key), key, "the key stands in an earlier record of the file already")
    good = "len(reasons) = 0 and copy_number = 1"
    return (
        f"insert into raw.{identifier(feed.name)} select {_row(feed, file)} from judged where {good} order by _record",
        f"insert into raw.rejects select {literal(feed.name)}, {literal(file)}, _record, left(line, 500),"
        f" case when len(reasons) = 0 then [{repeated}] else reasons end from judged where not ({good}) order by _record",
    )


def reject_all(feed: Feed, file: str, reason: str) -> str:
    """Put every record of the registered table `records` among the rejects for one reason."""
    return (
        f"insert into raw.rejects select {literal(feed.name)}, {literal(file)}, _record,"
        f" left(rtrim(line, chr(13) || chr(10)), 500), [{_fault('', 'null', reason)}] from records order by _record"
    )


def supersede(feed: Feed) -> tuple[str, str]:
    """Two statements: a table `repeated` of what stands in several files, and the update that marks superseded rows."""
    table = f"raw.{identifier(feed.name)}"
    key = (feed.census,) if feed.census else feed.key
    columns = ", ".join(identifier(column) for column in key)
    same = " and ".join(f"{table}.{identifier(column)} = repeated.{identifier(column)}" for column in key)
    several = "count(distinct _file) > 1" if feed.census else "count(*) > 1"
    return (
        f"create or replace temp table repeated as select {columns}, max(_file) as last_file from {table}"
        f" group by {columns} having {several}",
        f"update {table} set _is_superseded = true from repeated where {same} and {table}._file < repeated.last_file",
    )


def keys_twice_in_a_file(feed: Feed) -> str:
    """Select the files in which a key was loaded twice, among the keys of `repeated` when rows are keyed one by one."""
    table, key = f"raw.{identifier(feed.name)}", ", ".join(identifier(column) for column in feed.key)
    among = "" if feed.census else f" semi join repeated using ({key})"
    return f"select distinct _file from (select _file from {table}{among} group by _file, {key} having count(*) > 1) order by 1"


def _judged(
    feed: Feed, mapping: DeliveryMapping | None, texts: dict[str, str], source: str, keep: Sequence[str]
) -> Judged:
    kept = ", ".join(["_record", *keep])
    if mapping:
        read = ", ".join(f"{texts[column]} as {identifier(column)}" for column in mapping.reads if column in texts)
        source = f"select {kept}, _record as record_number, {read} from ({source})"
        texts = {column: f"nullif(try({expression}), '')" for column, expression in mapping.columns.items()}
    named = ", ".join(
        f"{texts.get(column.name, 'null::varchar')} as {identifier(_text_of(column.name))}" for column in feed.columns
    )
    values = ", ".join(
        f"{cells.typed(column, identifier(_text_of(column.name)))} as {identifier(column.name)}"
        for column in feed.columns
    )
    timed = cells.instants(feed, mapping.time_zone if mapping else feed.time_zone)
    utc = "".join(f", {sql} as {identifier(column + '_utc')}" for column, sql, _ in timed)
    flags = ", ".join(flag for _, _, flag in timed if flag != "null")
    flagged = f"nullif(concat_ws(', ', {flags}), '')" if flags else "null::varchar"
    select = f"select {kept}, {named} from ({source})"
    select = f"select *, {values} from ({select})"
    select = f"select *{utc}, {flagged} as _clock_flags from ({select})"
    faults = []
    for column in feed.columns:
        text = identifier(_text_of(column.name))
        for reason, condition in cells.reasons(column, text, identifier(column.name)):
            faults.append((_fault(column.name, text, reason), condition))
    for column_name, reason, condition in cells.disorder(feed):
        faults.append((_fault(column_name, identifier(_text_of(column_name)), reason), condition))
    for reason, when in mapping.implausible if mapping else ():
        faults.append((_fault("", "null", reason), f"coalesce({when}, false)"))
    return Judged(select, tuple(faults))


def _text_of(column: str) -> str:
    return f"text of {column}"


def _fault(column: str, value: str, reason: str) -> str:
    return f"struct_pack(column_name := {literal(column)}, value := left({value}, 200)::varchar, reason := {literal(reason)})"


def _row(feed: Feed, file: str, superseded: str = "false") -> str:
    names = [column.name for column in feed.columns] + [f"{column}_utc" for column in feed.instants]
    return ", ".join(map(identifier, names)) + f", {literal(file)}, _record, _clock_flags, {superseded}"
