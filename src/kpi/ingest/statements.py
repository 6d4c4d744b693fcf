"""The SQL that turns records into rows of a raw table, faults of records, and rows that a newer delivery replaces.

Rows claim something: their key, or in a feed that is delivered a whole census at a time that census. Of several files
that claim the same the newest counts.

Records come from registered tables (_file, _record, _line), one for each form of file: a row a record, line end
included, and a null `_record` for a blank line. Statements with a clock take its `cells.clock_parameters`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from kpi.ingest import cells, masking
from kpi.ingest.contract import FILE_NAME, MOST_DECIMALS, TIME_OF_DELIVERY, DeliveryMapping, Feed, FeedColumn
from kpi.ingest.csv_reader import Form, cell_pattern, sign_of
from kpi.sql import identifier, literal

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


def find_repeated(feed: Feed, among_claimed: bool, parts: int = 1) -> Iterator[str]:
    """Statements that create the table `repeated` of keys that stand in several rows.

    Each looks at one of so many parts of the keys, by their hash: a table of all keys of a feed takes much memory.
    """
    key = name_list(feed.key)
    among = f" semi join claimed using ({name_list(claims(feed))})" if among_claimed else ""
    for part in range(parts):
        into = "insert into repeated" if part else "create or replace temp table repeated as"
        where = f" where hash({key}) % {parts} = {part}" if parts > 1 else ""
        yield f"{into} select {key} from {raw_table(feed)}{among}{where} group by {key} having count(*) > 1"


def key_hashes(feed: Feed, part: int, parts: int) -> str:
    """SQL of the `hash` of the key of each row, of one of so many parts of them."""
    hashed = f"hash({name_list(feed.key)})"
    where = f" where {hashed} % {parts} = {part}" if parts > 1 else ""
    return f"select {hashed} as hash from {raw_table(feed)}{where}"


def find_repeated_of(feed: Feed) -> str:
    """Create the table `repeated` of keys that stand in several rows, among those with one of the `hashes`."""
    key = name_list(feed.key)
    among = f"hash({key}) in (select unnest($hashes::ubigint[]))"
    return (
        f"create or replace temp table repeated as select {key} from {raw_table(feed)} where {among}"
        f" group by {key} having count(*) > 1"
    )


def find_clashing(feed: Feed) -> tuple[str, str]:
    """Two statements: a table `clashing` of the rows whose key is in `repeated`, and a table `beyond_first` (_file,
    _record, key_text) of those whose key stands in an earlier record of the same file."""
    key, text = name_list(feed.key), " || ' ' || ".join(f"{identifier(column)}::varchar" for column in feed.key)
    newer = () if feed.newer_by in (FILE_NAME, TIME_OF_DELIVERY, *feed.key) else (feed.newer_by,)
    return (
        f"create or replace temp table clashing as select {name_list((*feed.key, *newer))}, _file, _record"
        f" from {raw_table(feed)} semi join repeated using ({key})",
        f"create or replace temp table beyond_first as select _file, _record, {text} as key_text from clashing"
        f" qualify row_number() over (partition by _file, {key} order by _record) > 1",
    )


def claim_anew(feed: Feed) -> str:
    """Put the rows that claim something in `claimed` in force again."""
    claimed = f"({name_list(claims(feed))}) in (select ({name_list(claims(feed))}) from claimed)"
    return f"update {raw_table(feed)} set _is_superseded = false where _is_superseded and {claimed}"


def supersede(feed: Feed, among_claimed: bool) -> str:
    """Mark the rows that a later delivery replaces; those that claim nothing in `claimed` are left.

    The parameter `files` are the files of the feed, oldest first. Where rows of the feed tell the later themselves by a
    column, the greatest value of it counts first; a census has that of all its rows in a file.
    """
    table, columns = raw_table(feed), name_list(claims(feed))
    of_feed = "(select unnest($files::varchar[]) as _file, unnest(range(len($files::varchar[]))) as place)"
    column = "" if feed.newer_by in (FILE_NAME, TIME_OF_DELIVERY) else identifier(feed.newer_by)
    if feed.census:
        is_given, value, row = f"count({column}) > 0", f"max({column})", ("_file", *claims(feed))
        among = f" semi join claimed using ({columns})" if among_claimed else ""
        rows, grouped = f"{table}{among}", f" group by {columns}, _file, place"
    else:
        # One row of each file is left.
        is_given, value, row = f"{column} is not null", column, ("_file", "_record")
        rows, grouped = "clashing anti join beyond_first using (_file, _record)", ""
    age = f"struct_pack(is_given := {is_given}, value := {value}, place := place)" if column else "place"
    files = f"select {name_list(dict.fromkeys((*row, *claims(feed))))}, {age} as age from {rows}"
    same = " and ".join(f"{table}.{name} = older.{name}" for name in map(identifier, row))
    return (
        f"update {table} set _is_superseded = true from (select {name_list(row)} from"
        f" ({files} join {of_feed} using (_file){grouped}) qualify age < max(age) over (partition by {columns}))"
        f" as older where {same}"
    )


def find_superseding(feed: Feed) -> str:
    """SQL of pairs of files, `_file` and `newer`: rows of the one were replaced by rows of the other."""
    columns, table = name_list(claims(feed)), raw_table(feed)
    return (
        f"with older as materialized (select distinct {columns}, _file from {table} where _is_superseded)"
        f" select distinct older._file, newer._file as newer from older join (select distinct {columns}, _file"
        f" from {table} semi join older using ({columns}) where not _is_superseded) as newer using ({columns})"
    )


_WITH_ZEROS = "starts_with({key}, '0') and regexp_full_match({key}, '0+[1-9][0-9]*') and not _is_superseded"


def find_with_zeros(columns: Sequence[tuple[Feed, str]]) -> str:
    """SQL of the places, in a list of columns of keys, of those that have keys of digits with zeros at the front."""
    return " union all ".join(
        f"select {place} as place where exists (from {raw_table(feed)}"
        f" where {_WITH_ZEROS.format(key=identifier(column))})"
        for place, (feed, column) in enumerate(columns)
    )


def find_lost_zeros(feed: Feed, column: str) -> tuple[str, str]:
    """Two statements about a column of the key: a table `zeros` of the keys in force that are digits with zeros at the
    front; and of each file with keys that stand in others with them its name, how many, and which these others are."""
    others = [name for name in feed.key if name != column]
    key, table = identifier(column), raw_table(feed)
    rest = "".join(f", {identifier(name)}" for name in others)
    same = " and ".join(f"zeros.{identifier(name)} = bare.{identifier(name)}" for name in feed.key)
    return (
        f"create or replace temp table zeros as select ltrim({key}, '0') as {key}{rest}, _file from {table}"
        f" where {_WITH_ZEROS.format(key=key)}",
        "select bare._file, count(distinct bare._record), list_sort(list(distinct zeros._file))"
        f" from {table} as bare inner join zeros on {same} and zeros._file <> bare._file"
        " where not bare._is_superseded group by bare._file order by bare._file",
    )


def count_rows(feed: Feed, as_of: date) -> str:
    """SQL of what the ledger says of the rows of files, the parameter `files`, by the names of its columns."""
    dated = [identifier(column.name) for column in feed.columns if column.kind in ("timestamp", "date")]
    ahead = " or ".join(f"{column} >= {literal(str(as_of + timedelta(days=1)))}" for column in dated) or "false"
    texts = [identifier(column.name) for column in feed.columns if column.free_text == "mask"]
    masked = " or ".join(map(masking.is_masked, texts)) or "false"
    instants = [column for column in feed.columns if column.kind == "timestamp" and column.rules.precision != "minute"]
    blunt = ", ".join(map(cells.without_seconds, instants))
    latest = f"greatest({', '.join(f'max({column})' for column in dated)})::date" if dated else "null::date"
    return (
        "select _file, count(*) as rows_loaded, count(*) filter (where _is_superseded) as rows_superseded,"
        f" count(_clock_flags) as rows_clock_flagged, count(*) filter (where {masked}) as rows_masked,"
        f" count(*) filter (where {ahead}) as rows_dated_ahead, {latest} as latest_date,"
        f" nullif(list_filter([{blunt}]::varchar[], lambda name: name is not null), []) as columns_without_seconds"
        f" from {raw_table(feed)} where _file in {_FILES} group by _file"
    )


def count_superseded(feed: Feed) -> str:
    """SQL of how many rows of each file, `_file`, are replaced; of no file that has none."""
    return f"select _file, count(*) from {raw_table(feed)} where _is_superseded group by _file"


def name_list(columns: Iterable[str]) -> str:
    """SQL of names with commas between them."""
    return ", ".join(map(identifier, columns))


def raw_table(feed: Feed) -> str:
    """SQL of the name of a feed's raw table."""
    return f"raw.{identifier(feed.name)}"


_MISSING = ", ".join(literal(text) for text in cells.MISSING)
_FIELDS, _HEADERS = '"number of fields"', '"number of headers"'
_FAILURES = '"mapping failures"'
_TAB, _CR, _LF, _QUOTE = "chr(9)", "chr(13)", "chr(10)", "'\"'"


@dataclass(frozen=True, slots=True)
class Judged:
    """SQL yielding `_file`, `_record`, `_line`, the contract's values, the instants, and `_clock_flags`.

    `misfit` is the condition that a record has another number of fields than the header. `faults` are pairs of an SQL
    struct (column_name, value, reason) and the condition, never null, that it is so. `no_records` are
    such pairs of what looks like a record, and count where nothing else is wrong.
    """

    select: str
    misfit: str
    faults: tuple[tuple[str, str], ...]
    no_records: tuple[tuple[str, str], ...] = ()


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
        # An expression that fails makes nothing; in a struct that is told from one that makes a null.
        made = {column: f"try(struct_pack(made := {sql}))" for column, sql in mapping.columns.items()}
        source = _select(source, {_named("mapped", column): sql for column, sql in made.items()}, keep)
        parts = {column: f"nullif({_named('mapped', column)}.made, '')" for column in made}
        found = {name: _present(contract[name], sql, ()) for name, sql in parts.items()}
        failed = ", ".join(f"case when {_named('mapped', name)} is null then {literal(name)} end" for name in made)
        keep = f"{keep}, [{failed}] as {_FAILURES}"
    else:
        found = {name: _present(contract[name], sql, cells.MISSING) for name, sql in read.items()}
    columns = {_named("text", c.name): found.get(c.name, "null::varchar") for c in feed.columns}
    return _select(source, {_HEADERS: str(form.width), **columns}, keep)


def judge(feed: Feed, mapping: DeliveryMapping | None, sources: Sequence[str]) -> Judged:
    """Read and judge the texts of all `sources`, each of them SQL that `texts` gave."""
    source = " union all ".join(sources)
    if any(column.free_text == "mask" for column in feed.columns):
        provenance = f"_file, _record, _line, {_FIELDS}, {_HEADERS}{f', {_FAILURES}' if mapping else ''}"
        text = {c: _named("text", c.name) for c in feed.columns}
        free_text = {sql: masking.masked(sql) if c.free_text == "mask" else sql for c, sql in text.items()}
        source = _select(source, free_text, provenance)
    source = _select(source, {_named("cast", name): cells.cast(_named("text", name)) for name in feed.instants})
    values = {c.name: cells.typed(c, _named("text", c.name), _named("cast", c.name)) for c in feed.columns}
    source = _select(source, {identifier(name): value for name, value in values.items()})
    clock = cells.clock_of(mapping.time_zone if mapping else feed.time_zone)
    source = _select(source, cells.clock_changes(feed, clock))
    source = _select(source, cells.instants(feed, clock))
    faults = (*_faults(feed), *_implausible(mapping))
    return Judged(source, f"{_FIELDS} <> {_HEADERS}", faults, tuple(_no_records(feed)))


def insert_all(feed: Feed, judged: Judged) -> str:
    """Insert every record: doubtful ones without their texts and with a null `_is_superseded`, those that load but have
    numbers to be looked at again with a true one.

    The good ones are not filtered out, because DuckDB moves a filter below the expressions it needs, which then run
    twice; a few deleted rows cost less. What a deleted row held stays in the file for a while: so it holds no text.
    """
    doubt = " or ".join((judged.misfit, *(condition for _, condition in (*judged.faults, *judged.no_records))))
    odd = " or ".join(cells.is_odd_number(_named("text", column.name)) for column in numbers(feed))
    texts = {column.name for column in feed.columns if column.kind == "text"}
    names = [column.name for column in feed.columns] + [f"{column}_utc" for column in feed.instants]
    values = [
        f"case when _is_doubtful then null else {identifier(name)} end" if name in texts else identifier(name)
        for name in names
    ]
    return (
        f"insert into {raw_table(feed)} select {', '.join(values)}, _file, _record, _clock_flags,"
        f" case when _is_doubtful then null else {odd or 'false'} end from (select *, {doubt} as _is_doubtful"
        f" from ({judged.select}))"
    )


def find_doubtful(feed: Feed) -> str:
    """Create the table `doubtful` (_file, _record) of the rows that `insert_all` doubted."""
    rows = f"select _file, _record from {raw_table(feed)} where _is_superseded is null"
    return f"create or replace temp table doubtful as {rows}"


def delete_doubtful(feed: Feed) -> str:
    """Delete the rows that `insert_all` doubted."""
    return f"delete from {raw_table(feed)} where _is_superseded is null"


def doubtful_among(records: str) -> str:
    """SQL, for a FROM clause, of the records that are in the table `doubtful`."""
    return f"(select * from {records} semi join doubtful using (_file, _record))"


# What is wrong with records, still in their own words: told and masked when all feeds are loaded, in one statement.
START_FAULTS = (
    "create or replace temp table faults (_file varchar, _record bigint, _line varchar, faults struct("
    "code varchar, column_name varchar, value varchar, reason varchar, hint varchar,"
    " codes struct(code varchar, plain varchar, most integer)[])[])"
)


def find_faults(judged: Judged) -> str:
    """Put records, all of them doubtful, into `faults` with all that is wrong with them; none without a fault."""
    width = f"'the record has another number of fields than the header''s ' || {_HEADERS}"
    misfit = _fault("fields", "", _FIELDS, width)

    def which(faults: Iterable[tuple[str, str]]) -> str:
        cases = ", ".join(f"case when {condition} then {fault} end" for fault, condition in faults)
        return f"list_filter([{cases or 'null'}], lambda fault: fault is not null)"

    found = f"case when {judged.misfit} then [{misfit}] else {which(judged.faults)} end"
    if judged.no_records:
        found = f"coalesce(nullif({found}, []), {which(judged.no_records)})"
    select = f"select _file, _record, _line, {found} as faults from ({judged.select})"
    return f"insert into faults from ({select}) where len(faults) > 0"


def find_headers() -> str:
    """SQL of file, number and text of the faulty records of `files` that have two of the `names` in them."""
    named = "len(list_filter($names::varchar[], lambda name: contains(_line, name))) > 1"
    return f"select _file, _record, _line from faults where _file in {_FILES} and {named} order by _file, _record"


def find_fault(code: str, reason: str) -> str:
    """Put every one of `records` into `faults` for one reason."""
    fault = _fault(code, "", "null", literal(reason))
    return f"insert into faults select _file, _record, _line, [{fault}] from records where _record is not null"


def reject_faults() -> str:
    """Put the records of `faults_of_feeds` (feed, columns of `faults`) among the rejects, with their reasons."""
    # Masked before it is cut: half an identity code would not be known for one.
    line, value = (masking.masked(text) for text in (f"rtrim(_line, {_CR} || {_LF})", "fault.value"))
    reason = f"fault.reason || {cells.hint('fault.hint', 'fault.value', 'fault.codes')}"
    parts = f"column_name := fault.column_name, value := left({value}, 200), reason := {reason}, code := fault.code"
    return (
        f"insert into raw.rejects select feed, _file, _record, left({line}, 500),"
        f" list_transform(faults, lambda fault: struct_pack({parts})) from faults_of_feeds"
    )


def numbers(feed: Feed) -> list[FeedColumn]:
    """Return the decimal columns of which the contract does not say how many decimals they have."""
    return [column for column in feed.columns if column.kind == "decimal" and column.rules.decimals is None]


def find_odd_numbers(feed: Feed) -> tuple[str, str]:
    """Two statements about the `files` that were just inserted: those with numbers to be looked at again, and one that
    takes the mark from their rows."""
    where = f"where _is_superseded and _file in {_FILES}"
    return (
        f"select distinct _file from {raw_table(feed)} {where}",
        f"update {raw_table(feed)} set _is_superseded = false {where}",
    )


def read_numbers(feed: Feed, sources: Sequence[str]) -> str:
    """SQL of `_file`, `rounded` (how many numbers have more decimals than are kept) and `thousands` (the columns whose
    numbers may be meant as thousands) of all `sources`, each of them SQL that `texts` gave."""
    rounded, thousands = [], []
    for column in numbers(feed):
        text = _named("text", column.name)
        value = cells.typed(column, text, "")
        rounded.append(f"({value} is not null and {cells.has_decimals(text, MOST_DECIMALS + 1)})::int")
        thousands.append(f"case when {cells.may_be_thousands(text, value)} then {literal(column.name)} end")
    return (
        f"select _file, coalesce(sum({' + '.join(rounded)}), 0)::bigint as rounded,"
        f" list_filter([{', '.join(thousands)}], lambda name: name is not null) as thousands"
        f" from ({' union all '.join(sources)}) group by _file"
    )


def forget(feed: Feed) -> str:
    """Delete the rows of files, the parameter `files`."""
    return f"delete from {raw_table(feed)} where _file in {_FILES}"


def find_faults_beyond_first(feed: Feed) -> str:
    """Put the `records` that are in the table `beyond_first` into `faults`."""
    message = literal("the key stands in an earlier record of the file already")
    fault = _fault("key", " and ".join(feed.key), "key_text", message)
    rows = "records join beyond_first using (_file, _record)"
    return f"insert into faults select _file, _record, _line, [{fault}] from {rows}"


def delete_beyond_first(feed: Feed) -> str:
    """Delete the rows of the table `beyond_first`."""
    return f"delete from {raw_table(feed)} where (_file, _record) in (select (_file, _record) from beyond_first)"


def _present(column: FeedColumn, text: str, missing: Iterable[str]) -> str:
    """SQL of a text, or null when it is one of those that mean nothing."""
    if column.rules.lookalikes == "normalise":
        text = cells.normalised(text)
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
        for reason in cells.reasons(column, text, identifier(column.name)):
            fault = _fault(reason.code, column.name, text, reason.text, reason.hint, column.codes)
            found.append((fault, reason.condition))
        if column.free_text == "reject":
            fault = _fault("personal_data", column.name, "null", literal("holds personal data"))
            found.append((fault, masking.is_found(text)))
    for name, reason_text, condition in cells.disorder(feed):
        found.append((_fault("time_order", name, _named("text", name), literal(reason_text)), condition))
    return found


def _no_records(feed: Feed) -> list[tuple[str, str]]:
    """The header line again, as in two files joined to one, and a line of totals: where keys are texts they would load.

    A key with a date, a number or a list of codes rejects them anyway. A header has names of columns in all of its
    texts, for a record may have one as its key.
    """
    columns = [column for column in feed.columns if column.name in feed.key]
    if any(column.kind != "text" or column.codes for column in columns):
        return []
    headers = ", ".join(map(literal, cells.header_names(feed)))
    again = " and ".join(
        f"coalesce({_named('text', column.name)} in ({headers}), {'false' if column in columns else 'true'})"
        for column in feed.columns
        if column.kind == "text"
    )
    found = [(_fault("header", "", "null", literal("it is the header line again")), again)]
    if len(columns) == 1 and columns[0].rules.lookalikes != "keep" and feed.total_words:
        key = _named("text", columns[0].name)
        is_total = f"coalesce(lower({key}) in ({', '.join(map(literal, feed.total_words))}), false)"
        found.append((_fault("total", columns[0].name, key, literal("it looks like a line of totals")), is_total))
    return found


def _implausible(mapping: DeliveryMapping | None) -> list[tuple[str, str]]:
    if mapping is None:
        return []
    reason = literal("the expression of its mapping fails")
    failures = [
        (_fault("mapping", name, "null", reason), f"list_contains({_FAILURES}, {literal(name)})")
        for name in mapping.columns
    ]
    rules = mapping.implausible
    return failures + [
        (_fault("implausible", "", "null", literal(told)), f"coalesce({when}, false)") for told, when in rules
    ]


def _fault(code: str, column: str, value: str, reason: str, hint: str = "", codes: Sequence[str] = ()) -> str:
    """SQL of a fault; `value` and `reason` are SQL. `hint` says of what kind more is told by the value."""
    parts = {
        "code": literal(code),
        "column_name": literal(column),
        "value": f"{value}::varchar",
        "reason": reason,
        "hint": literal(hint),
        "codes": cells.code_list(codes if hint == cells.CODES else ()),
    }
    return f"struct_pack({', '.join(f'{name} := {sql}' for name, sql in parts.items())})"
