"""A feed's contract: what its deliveries must look like, read from the dbt source that describes it.

The contract stands under `config.meta.feed` of the source table and `config.meta` of its columns, and nowhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from kpi.base.errors import ContractError, nearest
from kpi.base.sqltext import expression_problem
from kpi.base.yamlfile import Section
from kpi.deliveries import column_rules, delivery_order
from kpi.deliveries.cadence import SETTINGS, Cadence, read_cadence
from kpi.deliveries.dialect import SETTINGS as DIALECT
from kpi.deliveries.dialect import UNKNOWN, Dialect, read_dialect
from kpi.deliveries.retention import SETTINGS as RETENTION
from kpi.deliveries.retention import Limits, Retention, read_retention
from kpi.parse.properties import Column, Source

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
EXPECTED = ("expected_every", "expected_from", *SETTINGS)
COUNTED = ("services_by",)
_OF_A_FEED = ("key", "time_zone", "time_order", "census", "reject_threshold", "mappings", *COUNTED)
_OF_A_COLUMN = ("required", "aliases", "codes", "min", "max", "grouped_digits", "first_of_month", "free_text")
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
    rules: column_rules.ColumnRules = column_rules.NO_RULES


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
    that with the greater value in the column it names.
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
    newer_by: str = delivery_order.FILE_NAME

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
    meta.allow((*_OF_A_FEED, *EXPECTED, *RETENTION, *DIALECT, *column_rules.FEED_SETTINGS), "a feed's contract")
    columns = tuple(_column(column, source) for column in source.properties.columns)
    names = {column.name: column for column in columns}
    for part in ("key", "time_order", "census", "services_by"):
        for name in meta.strings(part):
            if name not in names:
                raise ContractError(f"{meta.where(part)}: '{part}' names no column '{name}'.{nearest(name, names)}")
    key = meta.strings("key")
    if not key:
        raise ContractError(f"{meta.where()}: the contract of '{source.name}' names no key.")
    for name in key:
        if not names[name].required:
            raise ContractError(f"{meta.where('key')}: the key column '{name}' must be required.")
    order = meta.strings("time_order")
    if {names[name].kind for name in order} - {"timestamp", "date"} or len({names[n].kind for n in order}) > 1:
        raise ContractError(f"{meta.where('time_order')}: 'time_order' takes timestamps only, or dates only.")
    _refuse_ambiguous_names(columns, source)
    share, rows = column_rules.read_threshold(meta)
    zone = meta.text("time_zone", "Europe/Helsinki")
    dialect = read_dialect(meta, UNKNOWN)
    mappings = tuple(_mapping(item, names, zone, dialect) for item in meta.sections("mappings"))
    every, services_by = _every(meta), meta.text("services_by")
    newer_by = delivery_order.read_newer_by(meta, names)
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
    )


def _every(meta: Section) -> Every:
    known: tuple[Every, ...] = ("month", "year", "once")
    given = meta.text("expected_every", "month")
    for every in known:
        if every == given:
            return every
    raise ContractError(f"{meta.where('expected_every')}: 'expected_every' is month, year or once, not '{given}'.")


def _expected_from(meta: Section) -> date | None:
    # Text and not a YAML date: dbt reads this file too, and cannot write a date into its manifest.
    text = meta.text("expected_from")
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise ContractError(f"{meta.where('expected_from')}: 'expected_from' is a date as '2023-06-01'.") from None


def _column(column: Column, source: Source) -> FeedColumn:
    meta, where = column.meta, f"{source.properties.file}:{column.line}"
    meta.allow((*_OF_A_COLUMN, "pseudonym", *column_rules.SETTINGS), "the contract of a column")
    data_type = column.data_type.lower().replace(" ", "")
    if data_type not in KINDS:
        hint = nearest(data_type, KINDS)
        raise ContractError(f"{where}: '{column.name}' has the type '{column.data_type}', unknown in a contract.{hint}")
    kind = KINDS[data_type]
    for setting, kinds in (
        ("codes", ("text",)),
        ("min", ("integer", "decimal")),
        ("max", ("integer", "decimal")),
        ("grouped_digits", ("integer", "decimal")),
        ("first_of_month", ("date",)),
        ("free_text", ("text",)),
        ("pseudonym", ("text",)),
    ):
        if setting in meta and kind not in kinds:
            raise ContractError(f"{meta.where(setting)}: '{setting}' says nothing of a {kind} column.")
    return FeedColumn(
        name=column.name,
        kind=kind,
        required=column_rules.flag(meta, "required"),
        aliases=meta.strings("aliases"),
        codes=meta.strings("codes"),
        minimum=column_rules.whole(meta, "min"),
        maximum=column_rules.whole(meta, "max"),
        grouped_digits=column_rules.flag(meta, "grouped_digits"),
        first_of_month=column_rules.flag(meta, "first_of_month"),
        free_text=column_rules.free_text(meta),
        pseudonym=column_rules.flag(meta, "pseudonym"),
        rules=column_rules.read_rules(meta, kind, source.meta.section("feed")),
    )


def _refuse_ambiguous_names(columns: tuple[FeedColumn, ...], source: Source) -> None:
    owners: dict[str, str] = {}
    ours = {name for name, _ in PROVENANCE} | {f"{column.name}_utc" for column in columns if column.kind == "timestamp"}
    for column in columns:
        if column.name in ours:
            where = f"{source.properties.file}:{source.properties.line}"
            raise ContractError(f"{where}: the column '{column.name}' is one that kpi adds. Name it otherwise.")
        for name in (column.name, *column.aliases):
            if name in owners:
                where = f"{source.properties.file}:{source.properties.line}"
                raise ContractError(f"{where}: the header '{name}' means both {owners[name]} and {column.name}.")
            owners[name] = column.name


def _mapping(item: Section, names: Mapping[str, FeedColumn], zone: str, dialect: Dialect) -> DeliveryMapping:
    item.allow(("name", "description", "files", "time_zone", *DIALECT, "reads", "columns", "implausible"), "a mapping")
    columns = item.section("columns")
    for name in columns:
        if name not in names:
            raise ContractError(f"{columns.where(name)}: the feed has no column '{name}'.{nearest(name, names)}")
        if problem := expression_problem(columns.text(name), tables=False):
            raise ContractError(f"{columns.where(name)}: '{name}' {problem}.")
    for name, column in names.items():
        if column.required and name not in columns:
            raise ContractError(f"{columns.where()}: the mapping makes no '{name}', which is required.")
    if not item.strings("files") or not item.strings("reads"):
        raise ContractError(f"{item.where()}: a mapping names the 'files' it is for and the columns it 'reads'.")
    rules = []
    for rule in item.sections("implausible"):
        rule.allow(("reason", "when"), "an implausibility rule")
        if problem := expression_problem(rule.required("when"), tables=False):
            raise ContractError(f"{rule.where('when')}: 'when' {problem}.")
        rules.append((rule.required("reason"), rule.required("when")))
    return DeliveryMapping(
        name=item.required("name"),
        files=item.strings("files"),
        time_zone=item.text("time_zone", zone),
        reads=item.strings("reads"),
        columns=dict(columns),
        implausible=tuple(rules),
        dialect=read_dialect(item, dialect),
    )
