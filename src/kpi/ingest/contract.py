"""A feed's contract: how its files are written, their columns, their order, when they are due, how long they are kept.

The contract stands under `config.meta.feed` of the source table and `config.meta` of its columns, and nowhere else.
"""

from __future__ import annotations

import codecs
import hashlib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any, Literal, TypeVar

from kpi.database import expression_problem
from kpi.errors import ContractError, Place, nearest
from kpi.ingest.retention import RETENTION_SETTINGS, Limits, Retention, read_retention
from kpi.project.properties import Column, Source
from kpi.yaml_loader import Section

# Every encoding that a file is read in, with Python's name of it.
CODECS = {
    "utf-8": "utf-8",
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
    "windows-1252": "cp1252",
    "iso-8859-1": "latin-1",
    "iso-8859-15": "iso-8859-15",
    "cp850": "cp850",
    "cp437": "cp437",
    "mac-roman": "mac-roman",
}
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
FILE_NAME, TIME_OF_DELIVERY = "file_name", "time_of_delivery"  # what may tell the newer of two deliveries
DIALECT_SETTINGS = ("encoding", "separator", "skip_lines")
_MOST_LINES = 100  # a header further down is no header


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the files of a feed are written. What is empty is found out for each file.

    `encoding` is one of CODECS, `separator` a letter of SEPARATORS, `skip_lines` how many lines stand above the header.
    """

    encoding: str = ""
    separator: str = ""
    skip_lines: int = 0


UNKNOWN = Dialect()


def _encoding(message: str) -> str:
    """The encoding of CODECS that Python knows by a name, as `latin-1` or `utf8`; empty when it is none of them."""
    # A byte order mark tells the order; this is that of files without one.
    other = {"utf-16": "utf-16-le", "utf-8-sig": "utf-8"}
    names = {codecs.lookup(codec).name: name for name, codec in CODECS.items()}
    try:
        known = codecs.lookup(message).name
    except (LookupError, ValueError):
        return ""
    return other.get(known) or names.get(known, "")


def read_dialect(meta: Section, default: Dialect) -> Dialect:
    """Read the settings of a contract, or of one of its mappings; `default` has what they leave out.

    Raises ContractError for an encoding or a separator that files are not read in.
    """
    message = meta.text("encoding", default.encoding)
    encoding = _encoding(message)
    if message and not encoding:
        hint = nearest(message, CODECS)
        raise ContractError(f"files are not read in the encoding '{message}'.{hint}", meta.where("encoding"))
    letters = {name: letter for letter, name in SEPARATORS.items()}
    separator = meta.text("separator", default.separator)
    separator = letters.get(separator, separator)
    if separator and separator not in SEPARATORS:
        raise ContractError(f"'separator' is one of {', '.join(letters)}, not '{separator}'.", meta.where("separator"))
    lines = meta.get("skip_lines", default.skip_lines)
    if not isinstance(lines, int) or isinstance(lines, bool) or not 0 <= lines <= _MOST_LINES:
        raise ContractError(f"'skip_lines' is a whole number, 0 to {_MOST_LINES}.", meta.where("skip_lines"))
    return Dialect(encoding, separator, lines)


def read_newer_by(meta: Section, columns: Iterable[str]) -> str:
    """Read how a contract tells the newer of two deliveries, or of two rows of a key. Raises ContractError."""
    given, names = meta.text("newer_by", FILE_NAME), tuple(columns)
    if given not in (FILE_NAME, TIME_OF_DELIVERY, *names):
        message = f"'newer_by' is {FILE_NAME}, {TIME_OF_DELIVERY} or a column of the feed, not '{given}'."
        raise ContractError(f"{message}{nearest(given, (FILE_NAME, TIME_OF_DELIVERY, *names))}", meta.where("newer_by"))
    if given in names and given in (FILE_NAME, TIME_OF_DELIVERY):
        message = f"'newer_by: {given}' could also mean the feed's column of that name. Name the column otherwise."
        raise ContractError(message, meta.where("newer_by"))
    return given


Lookalikes = Literal["reject", "normalise", "keep"]
Precision = Literal["", "second", "minute"]
Choice = TypeVar("Choice", bound=str)
FEED_SETTINGS = ("newer_by", "null_words", "lookalikes", "total_words")
COLUMN_SETTINGS = ("null_words", "lookalikes", "format", "decimals", "precision")
_KINDS_OF_RULES: Mapping[str, tuple[str, ...]] = {
    "format": ("timestamp", "date"),
    "decimals": ("decimal",),
    "precision": ("timestamp",),
    "lookalikes": ("text",),
}
# The key of what spreadsheets and report writers put below the rows, in any case, where a contract has no other words.
TOTAL_WORDS = ("yhteensä", "summa", "total", "totals", "totalt", "grand total")
MOST_REJECTED = 0.5  # of the records of a file, whatever a contract says
MOST_DECIMALS = 6  # that a DECIMAL(24, 6) holds
_PARTS = {
    "Y": "(?:199[0-9]|20[0-9][0-9])",
    "y": "[0-9]{2}",
    "m": "(?:0?[1-9]|1[0-2])",
    "d": "(?:0?[1-9]|[12][0-9]|3[01])",
    "H": "(?:[01]?[0-9]|2[0-3])",
    "I": "(?:0?[1-9]|1[0-2])",
    "M": "[0-5][0-9]",
    "S": "[0-5][0-9]",
    "p": "(?:[aA][mM]|[pP][mM])",
    "%": "%",
}


@dataclass(frozen=True, slots=True)
class ColumnRules:
    """How the cells of a column are written. `formats` replace the forms that dates and times otherwise have.

    `lookalikes` is what happens to an identifier or a code with letters that cannot be seen or pass for others;
    `decimals` how many a number may have, None for any that are rounded to 6; `precision` whether times have seconds.
    """

    formats: tuple[str, ...] = ()
    null_words: tuple[str, ...] = ()
    lookalikes: Lookalikes = "reject"
    decimals: int | None = None
    precision: Precision = ""


NO_RULES = ColumnRules()


def read_rules(meta: Section, kind: str, feed: Section) -> ColumnRules:
    """Read the rules of a column from its own contract and its feed's. Raises ContractError for what cannot be."""
    refuse_idle(meta, kind, _KINDS_OF_RULES)
    formats = meta.strings("format")
    for form in formats:
        _refuse_format(form, kind, meta.where("format"))
    decimals = whole_number(meta, "decimals")
    if decimals is not None and not 0 <= decimals <= MOST_DECIMALS:
        raise ContractError(f"'decimals' is a whole number from 0 to {MOST_DECIMALS}.", meta.where("decimals"))
    return ColumnRules(
        formats=formats,
        null_words=tuple(dict.fromkeys((*feed.strings("null_words"), *meta.strings("null_words")))),
        lookalikes=choice(
            meta if "lookalikes" in meta else feed, "lookalikes", ("reject", "normalise", "keep"), "reject"
        ),
        decimals=decimals,
        precision=choice(meta, "precision", ("", "second", "minute"), ""),
    )


def choice(meta: Section, key: str, known: tuple[Choice, ...], default: Choice) -> Choice:
    """Return which of the known texts stands under a key. Raises ContractError for another."""
    given = meta.text(key, default)
    for value in known:
        if value == given:
            return value
    *others, last = filter(None, known)
    raise ContractError(f"'{key}' is {', '.join(others)} or {last}, not '{given}'.", meta.where(key))


def refuse_idle(meta: Section, kind: str, settings: Mapping[str, tuple[str, ...]]) -> None:
    """Raise ContractError for a setting of a column that has no meaning for its kind; `settings` name the kinds."""
    for setting, kinds in settings.items():
        if setting in meta and kind not in kinds:
            raise ContractError(f"'{setting}' says nothing of a {kind} column.", meta.where(setting))


def flag(meta: Section, key: str) -> bool:
    """Return what is true or false, false when it is not there. Raises ContractError."""
    value = meta.get(key, False)
    if not isinstance(value, bool):
        raise ContractError(f"'{key}' is true or false.", meta.where(key))
    return value


def whole_number(meta: Section, key: str) -> int | None:
    """Return a whole number, None when it is not there. Raises ContractError."""
    value: Any = meta.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise ContractError(f"'{key}' is a whole number.", meta.where(key))
    return value


def read_threshold(meta: Section) -> tuple[float, int]:
    """Read which share of a file's records, and how many, may be rejected; the larger counts. Raises ContractError."""
    threshold = meta.section("reject_threshold")
    threshold.allow(("share", "rows"), "a reject threshold")
    share, rows = threshold.get("share", 0.01), threshold.get("rows", 10)
    # A comparison with what is no number (.nan) is false.
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= MOST_REJECTED:
        raise ContractError(f"'share' is at most {MOST_REJECTED} of a file's records.", threshold.where("share"))
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 0:
        raise ContractError("'rows' is a whole number of records.", threshold.where("rows"))
    return float(share), rows


def pattern_of(form: str) -> str:
    """Return the regular expression of what a strptime format writes, as strictly as the forms that need no contract.

    DuckDB alone takes a year of two digits for `%Y`.
    """
    parts = re.findall(r"%-?(.)|([^%]+)", form)
    return "".join(_PARTS[letter] if letter else re.escape(text) for letter, text in parts)


def _refuse_format(form: str, kind: str, where: Place) -> None:
    letters = [letter for letter, _ in re.findall(r"%-?(.?)|([^%]+)", form) if letter]
    if form.endswith("%") and not form.endswith("%%"):
        raise ContractError(f"the format '{form}' ends in the middle of a part.", where)
    unknown = [letter for letter in letters if letter not in _PARTS]
    if unknown:
        known = ", ".join(f"%{letter}" for letter in _PARTS)
        raise ContractError(f"'%{unknown[0]}' is not supported in a format; known are {known}.", where)
    has = set(letters)
    if not {"m", "d"} <= has or not has & {"Y", "y"}:
        raise ContractError(f"the format '{form}' names no whole date: it takes %Y (or %y), %m and %d.", where)
    if kind == "timestamp" and not ("M" in has and (has & {"H"} or {"I", "p"} <= has)):
        raise ContractError(f"the format '{form}' names no time of day: it takes %H (or %I with %p) and %M.", where)


# Days after one month, or one year, after the newest day of a feed: late, and very late.
GRACE: Mapping[str, tuple[int, int]] = {"month": (15, 45), "year": (60, 120)}
CADENCE_SETTINGS = ("late_after_days", "very_late_after_days")
_HOURS = {"minute": 1 / 60, "hour": 1.0, "day": 24.0}


@dataclass(frozen=True, slots=True)
class Cadence:
    """When the rows of a feed are late. `every` is month, year, once or dbt.

    Counted from the newest day in its rows, whole days: one `every` and `late_after_days`; of dbt's freshness only the
    days, as its `warn_after` and `error_after` say. None is never.
    """

    feed: str
    every: str
    late_after_days: int | None
    very_late_after_days: int | None


def read_cadence(source: Source, every: str) -> Cadence:
    """Read when a feed is late: dbt's own freshness if the source has it, else the contract. Raises ContractError."""
    meta, dbt = source.meta.section("feed"), source.freshness
    if dbt:
        return Cadence(source.name, "dbt", _days(source, dbt.get("warn_after")), _days(source, dbt.get("error_after")))
    days: list[int | None] = []
    for setting, usual in zip(CADENCE_SETTINGS, GRACE.get(every, (None, None)), strict=True):
        given = meta.get(setting, usual)
        if given is not None and (not isinstance(given, int) or isinstance(given, bool) or given < 0):
            raise ContractError(f"'{setting}' is a whole number of days, not '{given}'.", meta.where(setting))
        if every == "once" and setting in meta:
            raise ContractError("a feed that is expected once is never late.", meta.where(setting))
        days.append(given)
    late, very_late = days
    if late is not None and very_late is not None and very_late < late:
        if "very_late_after_days" in meta:
            message = f"'very_late_after_days' is {very_late}, less than the {late} after which it is late."
            raise ContractError(message, meta.where("very_late_after_days"))
        very_late = late + GRACE[every][1] - GRACE[every][0]
    return Cadence(source.name, every, late, very_late)


def _days(source: Source, given: object) -> int | None:
    """Return dbt's `{count: 36, period: hour}` in whole days, rounded up."""
    if given is None:
        return None
    count, period = (given.get(part) for part in ("count", "period")) if isinstance(given, Mapping) else (None, None)
    if not isinstance(count, int) or str(period) not in _HOURS:
        where = Place(str(source.properties.file), source.properties.line)
        raise ContractError("freshness takes warn_after and error_after as {count: 40, period: day}.", where)
    return math.ceil(count * _HOURS[str(period)] / 24)


Kind = Literal["text", "timestamp", "date", "integer", "decimal", "boolean"]
Every = Literal["month", "year", "once"]
KINDS: Mapping[str, Kind] = {
    "varchar": "text",
    "text": "text",
    "timestamp": "timestamp",
    "date": "date",
    "bigint": "integer",
    "integer": "integer",
    "decimal(24,6)": "decimal",
    "boolean": "boolean",
}
SQL_TYPES: Mapping[Kind, str] = {
    "text": "VARCHAR",
    "timestamp": "TIMESTAMP",
    "date": "DATE",
    "integer": "BIGINT",
    "decimal": "DECIMAL(24,6)",
    "boolean": "BOOLEAN",
}
EXPECTED = ("expected_every", "expected_from", *CADENCE_SETTINGS)
COUNTED = ("services_by",)
# Every setting that a contract knows: of a feed, of a column, of a mapping.
CONTRACT_SETTINGS = (
    *("key", "time_zone", "time_order", "census", "reject_threshold", "mappings", *COUNTED),
    *(*EXPECTED, *RETENTION_SETTINGS, *DIALECT_SETTINGS, *FEED_SETTINGS),
)
CONTRACT_COLUMN_SETTINGS = (
    *("required", "aliases", "codes", "min", "max", "grouped_digits", "first_of_month", "free_text", "pseudonym"),
    *COLUMN_SETTINGS,
)
MAPPING_SETTINGS = ("name", "description", "files", "time_zone", *DIALECT_SETTINGS, "reads", "columns", "implausible")
_KINDS_OF_SETTINGS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("codes", "free_text", "pseudonym"), ("text",)),
    **dict.fromkeys(("min", "max", "grouped_digits"), ("integer", "decimal")),
    "first_of_month": ("date",),
}
PROVENANCE = (("_file", "VARCHAR"), ("_record", "BIGINT"), ("_clock_flags", "VARCHAR"), ("_is_superseded", "BOOLEAN"))


@dataclass(frozen=True, slots=True)
class FeedColumn:
    """What one cell of the column may hold. `minimum` and `maximum` are inclusive.

    `free_text` says what to do with personal data in it, `pseudonym` that it must never be an identity code; `rules`
    how its cells are written.
    """

    name: str
    kind: Kind
    required: bool
    aliases: tuple[str, ...]
    codes: tuple[str, ...]
    minimum: int | None
    maximum: int | None
    grouped_digits: bool
    first_of_month: bool
    free_text: Literal["", "mask", "reject"]
    pseudonym: bool
    rules: ColumnRules = NO_RULES


@dataclass(frozen=True, slots=True)
class DeliveryMapping:
    """How the text columns of a delivery that differs make the contract's columns.

    `files` are shell patterns of file names, `columns` SQL expressions over the delivery's columns (all text),
    `file_name` and `record_number`, `implausible` pairs of reason and SQL condition over the contract's typed columns.
    `dialect` is the feed's where the mapping says nothing else.
    """

    name: str
    files: tuple[str, ...]
    time_zone: str
    reads: tuple[str, ...]
    columns: Mapping[str, str]
    implausible: tuple[tuple[str, str], ...]
    dialect: Dialect


@dataclass(frozen=True, slots=True)
class Feed:
    """One feed's contract. `census` names the date column of a feed delivered a whole census at a time.

    `expected_every` month or year is to have rows, from that of `expected_from` on; once: a register, no year of
    which need have any. `services_by` is the column that tells its services apart, where there are several. `newer_by`
    tells which of two rows with a key counts: that of the later `file_name`, that of the later `time_of_delivery`, or
    that with the greater value in the column it names. `total_words` are the keys of lines of totals, in lower case.
    """

    name: str
    columns: tuple[FeedColumn, ...]
    key: tuple[str, ...]
    time_zone: str
    time_order: tuple[str, ...]
    census: str
    expected_every: Every
    expected_from: date | None
    cadence: Cadence
    reject_share: float
    reject_rows: int
    mappings: tuple[DeliveryMapping, ...]
    dialect: Dialect
    fingerprint: str
    retention: Retention
    services_by: str = ""
    newer_by: str = FILE_NAME
    total_words: tuple[str, ...] = TOTAL_WORDS

    @property
    def instants(self) -> tuple[str, ...]:
        """The timestamp columns, each of which also gets a `<name>_utc` column."""
        return tuple(column.name for column in self.columns if column.kind == "timestamp")

    @property
    def limits(self) -> Limits:
        """What tells the age of its deliveries."""
        return Limits(self.name, self.retention, self.key, {column.name: column.kind for column in self.columns})

    @property
    def table_columns(self) -> tuple[tuple[str, str], ...]:
        """Name and SQL type of every column of the raw table, in order."""
        contract = tuple((column.name, SQL_TYPES[column.kind]) for column in self.columns)
        return contract + tuple((f"{name}_utc", "TIMESTAMP") for name in self.instants) + PROVENANCE


def is_feed(source: Source) -> bool:
    """Tell whether the source table is a feed that kpi loads, and not a table that is simply there."""
    return "feed" in source.meta


def read_feed(source: Source) -> Feed:
    """Read the contract of one source table. Raises ContractError naming file and line of what is wrong."""
    meta = source.meta.section("feed")
    meta.allow(CONTRACT_SETTINGS, "a feed's contract")
    columns = tuple(_column(column, source) for column in source.properties.columns)
    names = {column.name: column for column in columns}
    for part in ("key", "time_order", "census", "services_by"):
        for name in meta.strings(part):
            if name not in names:
                raise ContractError(f"'{part}' names no column '{name}'.{nearest(name, names)}", meta.where(part))
    key = _key(meta, names, source)
    order = meta.strings("time_order")
    if {names[name].kind for name in order} - {"timestamp", "date"} or len({names[n].kind for n in order}) > 1:
        raise ContractError("'time_order' takes timestamps only, or dates only.", meta.where("time_order"))
    _refuse_ambiguous_names(columns, source)
    share, rows = read_threshold(meta)
    zone = _time_zone(meta, "Europe/Helsinki")
    dialect = read_dialect(meta, UNKNOWN)
    mappings = tuple(_mapping(item, names, zone, dialect) for item in meta.sections("mappings"))
    every: Every = choice(meta, "expected_every", ("month", "year", "once"), "month")
    services_by = meta.text("services_by")
    newer_by = read_newer_by(meta, names)
    total_words = _total_words(meta, [names[name] for name in key])
    retention = read_retention(source, {c.name: c.kind for c in columns}, meta.text("census"), every)
    settings = (
        columns,
        key,
        zone,
        order,
        meta.text("census"),
        mappings,
        dialect,
        retention.by,
        retention.of,
        services_by,
        newer_by,
        total_words,
    )
    return Feed(
        name=source.name,
        columns=columns,
        key=key,
        time_zone=zone,
        time_order=order,
        census=meta.text("census"),
        expected_every=every,
        expected_from=_expected_from(meta),
        cadence=read_cadence(source, every),
        reject_share=share,
        reject_rows=rows,
        mappings=mappings,
        dialect=dialect,
        fingerprint=hashlib.blake2b(repr(settings).encode(), digest_size=16).hexdigest(),
        retention=retention,
        services_by=services_by,
        newer_by=newer_by,
        total_words=total_words,
    )


def _key(meta: Section, names: Mapping[str, FeedColumn], source: Source) -> tuple[str, ...]:
    key = meta.strings("key")
    if not key:
        raise ContractError(f"the contract of '{source.name}' names no key.", meta.where())
    for name in key:
        if not names[name].required:
            raise ContractError(f"the key column '{name}' must be required.", meta.where("key"))
    return key


def _total_words(meta: Section, key: Sequence[FeedColumn]) -> tuple[str, ...]:
    if "total_words" not in meta:
        return TOTAL_WORDS
    if len(key) > 1 or key[0].kind != "text" or key[0].codes:
        message = "'total_words' says nothing where the key is not one text without a list of codes."
        raise ContractError(message, meta.where("total_words"))
    return tuple(map(str.lower, meta.strings("total_words")))


def _time_zone(meta: Section, default: str) -> str:
    import zoneinfo

    name = meta.text("time_zone", default)
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError):
        hint = nearest(name, zoneinfo.available_timezones())
        raise ContractError(f"there is no time zone '{name}'.{hint}", meta.where("time_zone")) from None
    return name


def _expected_from(meta: Section) -> date | None:
    # Text and not a YAML date: dbt reads this file too, and cannot write a date into its manifest.
    text = meta.text("expected_from")
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise ContractError("'expected_from' is a date as '2023-06-01'.", meta.where("expected_from")) from None


def _column(column: Column, source: Source) -> FeedColumn:
    meta, where = column.meta, Place(str(source.properties.file), column.line)
    meta.allow(CONTRACT_COLUMN_SETTINGS, "the contract of a column")
    data_type = column.data_type.lower().replace(" ", "")
    if data_type not in KINDS:
        hint = nearest(data_type, KINDS)
        raise ContractError(f"'{column.name}' has the type '{column.data_type}', unknown in a contract.{hint}", where)
    kind = KINDS[data_type]
    refuse_idle(meta, kind, _KINDS_OF_SETTINGS)
    for setting in ("aliases", "codes"):
        for text in meta.strings(setting):
            if text != text.strip(" \t"):
                message = f"'{text}' begins or ends with a blank: no cell does, blanks around one are layout."
                raise ContractError(message, meta.where(setting))
    if "codes" in meta and not meta.strings("codes"):
        raise ContractError("'codes' names none. Leave it out where any code may stand.", meta.where("codes"))
    return FeedColumn(
        name=column.name,
        kind=kind,
        required=flag(meta, "required"),
        aliases=meta.strings("aliases"),
        codes=meta.strings("codes"),
        minimum=whole_number(meta, "min"),
        maximum=whole_number(meta, "max"),
        grouped_digits=flag(meta, "grouped_digits"),
        first_of_month=flag(meta, "first_of_month"),
        free_text=choice(meta, "free_text", ("", "mask", "reject"), ""),
        pseudonym=flag(meta, "pseudonym"),
        rules=read_rules(meta, kind, source.meta.section("feed")),
    )


def _refuse_ambiguous_names(columns: tuple[FeedColumn, ...], source: Source) -> None:
    owners: dict[str, str] = {}
    named: dict[str, str] = {}  # names of columns are the same in any case, headers are not
    ours = {name for name, _ in PROVENANCE} | {
        f"{column.name}_utc".lower() for column in columns if column.kind == "timestamp"
    }
    for column in columns:
        where = Place(str(source.properties.file), source.properties.line)
        if column.name.lower() in ours:
            raise ContractError(f"the column '{column.name}' is one that kpi adds. Name it otherwise.", where)
        if (other := named.setdefault(column.name.lower(), column.name)) != column.name:
            raise ContractError(f"the columns '{other}' and '{column.name}' differ in their case alone.", where)
        for name in (column.name, *column.aliases):
            if name in owners:
                raise ContractError(f"the header '{name}' means both {owners[name]} and {column.name}.", where)
            owners[name] = column.name


def _mapping(item: Section, names: Mapping[str, FeedColumn], zone: str, dialect: Dialect) -> DeliveryMapping:
    item.allow(MAPPING_SETTINGS, "a mapping")
    columns = item.section("columns")
    for name in columns:
        if name not in names:
            raise ContractError(f"the feed has no column '{name}'.{nearest(name, names)}", columns.where(name))
        if problem := expression_problem(columns.text(name), tables=False):
            raise ContractError(f"'{name}' {problem}.", columns.where(name))
    for name, column in names.items():
        if column.required and name not in columns:
            raise ContractError(f"the mapping makes no '{name}', which is required.", columns.where())
    if not item.strings("files") or not item.strings("reads"):
        raise ContractError("a mapping names the 'files' it is for and the columns it 'reads'.", item.where())
    rules = []
    for rule in item.sections("implausible"):
        rule.allow(("reason", "when"), "an implausibility rule")
        if problem := expression_problem(rule.required("when"), tables=False):
            raise ContractError(f"'when' {problem}.", rule.where("when"))
        rules.append((rule.required("reason"), rule.required("when")))
    return DeliveryMapping(
        name=item.required("name"),
        files=item.strings("files"),
        time_zone=_time_zone(item, zone),
        reads=item.strings("reads"),
        columns=dict(columns),
        implausible=tuple(rules),
        dialect=read_dialect(item, dialect),
    )


# --- the order of a feed's files: which of two deliveries counts ------------------------------------------------------
#
# Names are compared by the bytes of what stands before `.csv`; a number of up to three digits counts as a number,
# unless the name begins with it. A file that is called a copy, a correction or a version of another one in the folder
# comes right after that one, whatever punctuation and whatever case the two are written in; one that is called old or a
# draft comes right before it.

_ENDING = re.compile(r"\.csv(?:\.gz)?$", re.IGNORECASE)
_NEWER = (
    "corr|corrected|correction|corrections|fix|fixed|fixes|update|updated|revised|revision|resend|resent|new|newer|"
    "newest|latest|final|copy|korj|korjattu|korjatut|korjaus|korjaukset|korjauksia|korjattuna|täydennetty|täydennys|"
    "päivitetty|päivitys|uusi|uudempi|uusin|uudelleen|uudestaan|uusittu|lopullinen|kopio|rättad|rättelse|korrigerad|"
    "uppdaterad|kompletterad|ny|nyare|slutlig|kopia"
)
_OLDER = (
    "old|older|original|previous|preliminary|draft|backup|bak|wrong|vanha|vanhat|vanhempi|vanhentunut|alkuperäinen|"
    "edellinen|alustava|luonnos|varmuuskopio|väärä|virheellinen|gammal|gamla|ursprunglig|preliminär|utkast"
)
# A word is not part of a longer one; a number of more than three digits is a year or a day, and no version.
_MARK = re.compile(
    rf"(?<![^\W\d_])(?:"
    rf"(?P<copied>copy(?: \((?P<copy>[0-9]{{1,3}})\))? of|kopio tiedostosta|kopia av)"
    rf"|(?P<version>v|ver|versio|version|rev)[\W_]?(?P<which>[0-9]{{1,3}})"
    rf"|(?P<older>{_OLDER})[0-9]{{0,3}}"
    rf"|(?P<newer>{_NEWER})(?P<number>[0-9]{{0,3}})"
    rf")(?![^\W_])|\((?P<place>[0-9]{{1,3}})\)"
)
_WORDS = re.compile(r"[^\W\d_]+|[0-9]+")
_SHORT_NUMBER = re.compile(r"(?<=[^0-9])[0-9]{1,2}(?![0-9])")


@dataclass(frozen=True)
class _Name:
    """A file's name: `base` is what it is of, `revision` which of the files of that base it is, in their order."""

    name: str

    @cached_property
    def stem(self) -> str:
        return _ENDING.sub("", self.name)

    @cached_property
    def place(self) -> bytes:
        return _SHORT_NUMBER.sub(lambda number: number[0].zfill(3), self.stem).encode("utf-8", "surrogateescape")

    @cached_property
    def base(self) -> tuple[str, ...]:
        words = _WORDS.findall(_MARK.sub("_", self._spelt))
        return tuple(word.lstrip("0") or "0" if word.isdecimal() else word for word in words)

    @cached_property
    def revision(self) -> tuple[int, tuple[tuple[str, int], ...]]:
        if not self.base:
            return 0, ()  # it is called a correction and nothing else
        marks = list(_MARK.finditer(self._spelt))
        number = [mark["copy"] or mark["which"] or mark["number"] or mark["place"] or "1" for mark in marks]
        words = [
            "v" if mark["version"] else "copy" if mark["copied"] else mark["newer"] or mark["older"] or ""
            for mark in marks
        ]
        sign = -1 if any(mark["older"] for mark in marks) else int(bool(marks))
        return sign, tuple((word, int(which)) for word, which in zip(words, number, strict=True))

    @cached_property
    def _spelt(self) -> str:
        return unicodedata.normalize("NFC", self.stem).lower()


def oldest_first(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of files in the order in which they count: a later one replaces what an earlier one says."""
    found = [_Name(name) for name in names]
    families: dict[tuple[str, ...], list[_Name]] = {}
    for one in found:
        families.setdefault(one.base or (one.stem,), []).append(one)
    places: dict[str, bytes] = {}
    for family in families.values():
        if any(one.revision[0] for one in family):
            # All of them stand where the file stands that the others are copies and corrections of.
            first = min(family, key=lambda one: (one.revision[0] != 0, one.place))
            places |= {one.name: first.place for one in family}
    ordered = sorted(
        found,
        key=lambda one: (
            places.get(one.name, one.place),
            one.revision if one.name in places else (0, ()),
            one.place,
            one.name.encode("utf-8", "surrogateescape"),
        ),
    )
    return tuple(one.name for one in ordered)


def in_order(times: Mapping[str, int], newer_by: str) -> tuple[str, ...]:
    """Return names of files, oldest first, by what the contract says tells the newer.

    `times` are their times of delivery, seconds since 1970; where these are equal the names decide.
    """
    names = oldest_first(times)
    return tuple(sorted(names, key=lambda name: times[name])) if newer_by == TIME_OF_DELIVERY else names
