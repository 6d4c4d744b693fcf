"""The SQL that turns records of deliveries into rows of their raw table: cell, text, value, instant, judgement.

Records come from registered tables (_file, _record, _line), one for each form of file: a row a record, line end
included, and a null `_record` for a blank line. Statements with a clock take its `cells.clock_parameters`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kpi.base.names import identifier, literal
from kpi.deliveries import cells, personal, spelling
from kpi.deliveries.column_rules import MOST_DECIMALS
from kpi.deliveries.corrections import raw_table as _raw
from kpi.deliveries.delivery import sign_of
from kpi.deliveries.feed import DeliveryMapping, Feed, FeedColumn
from kpi.deliveries.records import Form, cell_pattern

_MISSING = ", ".join(literal(text) for text in cells.MISSING)
_FILES = "(select unnest($files::varchar[]))"
_FIELDS, _HEADERS = '"number of fields"', '"number of headers"'
_TAB, _CR, _LF, _QUOTE = "chr(9)", "chr(13)", "chr(10)", "'\"'"


@dataclass(frozen=True, slots=True)
class Judged:
    """SQL yielding `_file`, `_record`, `_line`, the contract's values, the instants, and `_clock_flags`.

    `misfit` is the condition that a record has another number of fields than the header. `faults` are pairs of an SQL
    struct (column_name, value, reason) and the condition, never null, that it is so.
    """

    select: str
    misfit: str
    faults: tuple[tuple[str, str], ...]


def texts(feed: Feed, form: Form, mapping: DeliveryMapping | None, records: str) -> str:
    """SQL of the text of each column of the contract, of the records of one form.

    `records` is any SQL that can stand in a FROM clause. What is missing is null.
    """
    read = {column: _named("cell", column) for column, _ in form.positions}
    cell = {read[column]: f"_cells[{place + 1}]" for column, place in form.positions}
    keep = f"_file, _record, _line, {_FIELDS}"
    source = _select(_split(form, records), cell, f"_file, _record, _line, len(_cells) as {_FIELDS}")
    trim, unquote = [_trimmed] * form.has_padding, [_unquoted] * (form.quotes == "odd")
    for step in trim + (unquote + trim if unquote else []):
        source = _select(source, {name: step(name) for name in read.values()}, keep)
    contract = {column.name: column for column in feed.columns}
    if mapping:
        named = {identifier(c): f"case when {name} not in ({_MISSING}) then {name} end" for c, name in read.items()}
        source = _select(source, {'"record_number"': "_record", '"file_name"': "_file", **named}, keep)
        made = {column: f"nullif(try({expression}), '')" for column, expression in mapping.columns.items()}
        found = {name: _present(contract[name], sql, ()) for name, sql in made.items()}
    else:
        found = {name: _present(contract[name], sql, cells.MISSING) for name, sql in read.items()}
    columns = {_named("text", c.name): found.get(c.name, "null::varchar") for c in feed.columns}
    return _select(source, {_HEADERS: str(form.width), **columns}, keep)


def judge(feed: Feed, mapping: DeliveryMapping | None, sources: Sequence[str]) -> Judged:
    """Read and judge the texts of all `sources`, each of them SQL that `texts` gave."""
    source = " union all ".join(sources)
    if any(column.free_text == "mask" for column in feed.columns):
        kept = f"_file, _record, _line, {_FIELDS}, {_HEADERS}"
        text = {c: _named("text", c.name) for c in feed.columns}
        free_text = {sql: personal.masked(sql) if c.free_text == "mask" else sql for c, sql in text.items()}
        source = _select(source, free_text, kept)
    source = _select(source, {_named("cast", name): cells.cast(_named("text", name)) for name in feed.instants})
    values = {c.name: cells.typed(c, _named("text", c.name), _named("cast", c.name)) for c in feed.columns}
    source = _select(source, {identifier(name): value for name, value in values.items()})
    clock = cells.clock_of(mapping.time_zone if mapping else feed.time_zone)
    source = _select(source, cells.clock_changes(feed, clock))
    source = _select(source, cells.instants(feed, clock))
    return Judged(source, f"{_FIELDS} <> {_HEADERS}", (*_faults(feed), *_implausible(mapping)))


def insert_all(feed: Feed, judged: Judged) -> str:
    """Insert every record: doubtful ones without their texts and with a null `_is_superseded`, those that load but have
    numbers to be looked at again with a true one.

    The good ones are not filtered out, because DuckDB moves a filter below the expressions it needs, which then run
    twice; a few deleted rows cost less. What a deleted row held stays in the file for a while: so it holds no text.
    """
    doubt = " or ".join((judged.misfit, *(condition for _, condition in judged.faults)))
    odd = " or ".join(spelling.is_odd_number(_named("text", column.name)) for column in numbers(feed))
    texts = {column.name for column in feed.columns if column.kind == "text"}
    names = [column.name for column in feed.columns] + [f"{column}_utc" for column in feed.instants]
    values = [
        f"case when _is_doubtful then null else {identifier(name)} end" if name in texts else identifier(name)
        for name in names
    ]
    return (
        f"insert into {_raw(feed)} select {', '.join(values)}, _file, _record, _clock_flags,"
        f" case when _is_doubtful then null else {odd or 'false'} end from (select *, {doubt} as _is_doubtful"
        f" from ({judged.select}))"
    )


def find_doubtful(feed: Feed) -> str:
    """Create the table `doubtful` (_file, _record) of the rows that `insert_all` doubted."""
    rows = f"select _file, _record from {_raw(feed)} where _is_superseded is null"
    return f"create or replace temp table doubtful as {rows}"


def delete_doubtful(feed: Feed) -> str:
    """Delete the rows that `insert_all` doubted."""
    return f"delete from {_raw(feed)} where _is_superseded is null"


def doubtful_among(records: str) -> str:
    """SQL, for a FROM clause, of the records that are in the table `doubtful`."""
    return f"(select * from {records} semi join doubtful using (_file, _record))"


def reject(feed: Feed, judged: Judged) -> str:
    """Put records, all of them doubtful, among the rejects with all their reasons; none without a reason."""
    width = f"'the record has another number of fields than the header''s ' || {_HEADERS}"
    misfit = f"struct_pack(column_name := '', value := {_FIELDS}::varchar, reason := {width})"
    faults = ", ".join(f"case when {condition} then {fault} end" for fault, condition in judged.faults)
    reasons = (
        f"case when {judged.misfit} then [{misfit}]"
        f" else list_filter([{faults or 'null'}], lambda fault: fault is not null) end"
    )
    return _reject(feed, f"select _file, _record, _line, {reasons} as reasons from ({judged.select})")


def reject_all(feed: Feed, reason: str) -> str:
    """Put every one of `records` among the rejects for one reason."""
    return _reject(
        feed, f"select *, [{_fault('', 'null', literal(reason))}] as reasons from records where _record is not null"
    )


def numbers(feed: Feed) -> list[FeedColumn]:
    """Return the decimal columns of which the contract does not say how many decimals they have."""
    return [column for column in feed.columns if column.kind == "decimal" and column.rules.decimals is None]


def find_odd_numbers(feed: Feed) -> tuple[str, str]:
    """Two statements about the `files` that were just inserted: those with numbers to be looked at again, and one that
    takes the mark from their rows."""
    where = f"where _is_superseded and _file in {_FILES}"
    return f"select distinct _file from {_raw(feed)} {where}", f"update {_raw(feed)} set _is_superseded = false {where}"


def read_numbers(feed: Feed, sources: Sequence[str]) -> str:
    """SQL of `_file`, `rounded` (how many numbers have more decimals than are kept) and `thousands` (the columns whose
    numbers may be meant as thousands) of all `sources`, each of them SQL that `texts` gave."""
    rounded, thousands = [], []
    for column in numbers(feed):
        text = _named("text", column.name)
        value = cells.typed(column, text, "")
        rounded.append(f"({value} is not null and {spelling.has_decimals(text, MOST_DECIMALS + 1)})::int")
        thousands.append(f"case when {spelling.may_be_thousands(text, value)} then {literal(column.name)} end")
    return (
        f"select _file, coalesce(sum({' + '.join(rounded)}), 0)::bigint as rounded,"
        f" list_filter([{', '.join(thousands)}], lambda name: name is not null) as thousands"
        f" from ({' union all '.join(sources)}) group by _file"
    )


def forget(feed: Feed) -> tuple[str, ...]:
    """Statements that delete all there is of files, the parameter `files`."""
    told = f"where feed = {literal(feed.name)} and file in {_FILES}"
    rows = f"delete from {_raw(feed)} where _file in {_FILES}"
    return rows, f"delete from raw.rejects {told}", f"delete from raw.deliveries {told}"


def reject_beyond_first(feed: Feed) -> str:
    """Put the records that are in the table `beyond_first` among the rejects."""
    told = literal("the key stands in an earlier record of the file already")
    fault = _fault(" and ".join(feed.key), "key_text", told)
    return _reject(
        feed,
        f"select _file, _record, _line, [{fault}] as reasons from records join beyond_first using (_file, _record)",
    )


def delete_beyond_first(feed: Feed) -> str:
    """Delete the rows of the table `beyond_first`."""
    return f"delete from {_raw(feed)} where (_file, _record) in (select (_file, _record) from beyond_first)"


def _present(column: FeedColumn, text: str, missing: Iterable[str]) -> str:
    """SQL of a text, or null when it is one of those that mean nothing."""
    if column.rules.lookalikes == "normalise":
        text = spelling.normalised(text)
    words = ", ".join(map(literal, (*missing, *column.rules.null_words)))
    return f"case when {text} not in ({words}) then {text} end" if words else text


def _split(form: Form, records: str) -> str:
    """SQL of the cells of each record as a list `_cells`, quotes and blanks still around them when there are any."""
    separator = literal(form.separator)
    bare = f"replace(_line, {_LF}, '')"
    for letter in [_CR] * form.has_returns + [_QUOTE] * (form.quotes == "plain"):
        bare = f"replace({bare}, {letter}, '')"
    cell = f"string_split({bare}, {separator})"
    if form.quotes == "odd":
        # A separator may stand between quotes. Few lines have one there, and the match costs much less than the split.
        bare = f"rtrim(_line, {_CR} || {_LF})"
        plain = f'(?:"[^"{form.separator}]*"|[^"{form.separator}]*)'
        is_plain = f"regexp_full_match({bare}, {literal(f'{plain}(?:{sign_of(form.separator)}{plain})*')})"
        by_grammar = f"regexp_extract_all({bare} || {separator}, {literal(cell_pattern(form.separator))})"
        by_grammar = f"list_transform({by_grammar}, lambda one: left(one, length(one) - 1))"
        split = f"case when {is_plain} then string_split({bare}, {separator}) else {by_grammar} end"
        cell = by_grammar if form.by_grammar else f"case when contains(_line, {_QUOTE}) then {split} else {cell} end"
    return f"select _file, _record, _line, {cell} as _cells from {records} where _record is not null"


def _select(source: str, columns: Mapping[str, str], keep: str = "*") -> str:
    added = "".join(f", {sql} as {name}" for name, sql in columns.items())
    return f"select {keep}{added} from ({source})"


def _named(step: str, column: str) -> str:
    return identifier(f"{step} of {column}")


def _trimmed(text: str) -> str:
    """Without blanks around. Trimming is slow, so only where there are any."""
    edges = " or ".join(f"{end}({text}, {blank})" for end in ("starts_with", "ends_with") for blank in ("' '", _TAB))
    return f"case when {edges} then trim({text}, ' ' || {_TAB}) else {text} end"


def _unquoted(text: str) -> str:
    """What a trimmed cell has between its quotes, when those that it has in between are doubled, or else all of it."""
    without, inner = f"replace({text}, '\"', '')", f"{text}[2:-2]"
    return (
        f"case when starts_with({text}, '\"') and ends_with({text}, '\"') and strlen({text}) > 1 then"
        f" case when strlen({without}) = strlen({text}) - 2 then {without}"
        f" when not contains(replace({inner}, '\"\"', ''), '\"') then replace({inner}, '\"\"', '\"')"
        f" else {text} end else {text} end"
    )


def _faults(feed: Feed) -> list[tuple[str, str]]:
    found = []
    for column in feed.columns:
        text = _named("text", column.name)
        for reason, condition in cells.reasons(column, text, identifier(column.name)):
            found.append((_fault(column.name, text, reason), condition))
        if column.free_text == "reject":
            found.append((_fault(column.name, "null", literal("holds personal data")), personal.is_found(text)))
    for name, reason, condition in cells.disorder(feed):
        found.append((_fault(name, _named("text", name), literal(reason)), condition))
    return found


def _implausible(mapping: DeliveryMapping | None) -> list[tuple[str, str]]:
    rules = mapping.implausible if mapping else ()
    return [(_fault("", "null", literal(reason)), f"coalesce({when}, false)") for reason, when in rules]


def _fault(column: str, value: str, reason: str) -> str:
    """SQL of a reason; `value` and `reason` are SQL. The value is cut where it is masked, in `_reject`."""
    said = {"column_name": literal(column), "value": f"{value}::varchar", "reason": reason}
    return f"struct_pack({', '.join(f'{name} := {sql}' for name, sql in said.items())})"


def _reject(feed: Feed, select: str) -> str:
    # Masked before it is cut: half an identity code would not be known for one.
    line, value = (personal.masked(text) for text in (f"rtrim(_line, {_CR} || {_LF})", "fault.value"))
    hidden = f"struct_pack(column_name := fault.column_name, value := left({value}, 200), reason := fault.reason)"
    return (
        f"insert into raw.rejects select {literal(feed.name)}, _file, _record, left({line}, 500),"
        f" list_transform(reasons, lambda fault: {hidden})"
        f" from ({select}) where len(reasons) > 0 order by _file, _record"
    )
