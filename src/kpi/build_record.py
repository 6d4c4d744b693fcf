"""What is noted of a build in its `build.json`: the record, its parts, and the only code that reads and writes them.

A record holds what the next refresh starts from (nodes, tests, files, what the build was made from) and what becomes of
the build (its status, its checksums, what readers' file it has). It is frozen: whoever knows more makes a new one.
The parts stand at the root of the package, for ingest, engine, validation, warehouse, jobs and reader all use them.

Every field is written, and a record is read only when all of them are there with their types. `SCHEMA_VERSION` is
raised with every change of a field. Of a record of the version before, only what decides who may see a build and what
becomes of it is read; `problem` then says why nothing can start from it. Imports nothing heavy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, cast, get_type_hints

from kpi.codec import Malformed, from_plain, to_plain
from kpi.errors import KpiError, Problem
from kpi.presentation import visible
from kpi.settings import ReportTables, WarehouseSettings

SCHEMA_VERSION = 1
FILE = "build.json"
BuildStatus = Literal["unknown", "building", "failed", "held back", "published"]
FeedState = Literal["fresh", "late", "very late", "no dates", "not delivered", "not expected"]


class RecordError(KpiError):
    """A record that cannot be read: it is damaged, or of a version that this kpi does not know."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a build is made from, as hashes, and the day of the refresh: the same inputs need no build.

    Another day is the same as long as nothing becomes due in between (`unchanged_between` in the record).
    """

    project: str
    code: str
    raw: str
    day: str
    variables: str


@dataclass(frozen=True, slots=True)
class Ingredients:
    """Hashes of the project's macros and variables, and of the variables of the environment that were read, by name."""

    macros: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OptionsRecord:
    """Those options of a run that a retry repeats, as in `kpi.jobs.options.Options`."""

    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    indirect: str = "eager"
    kinds: tuple[str, ...] = ()
    state: str = ""
    selector: str = ""
    usual_selector: bool = False
    full_refresh: bool = False
    unit_tests: bool = False
    store_failures: bool = False


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What became of one delivered file: its records, and how many rows of them were loaded, rejected, superseded.

    `delivered_at` is the time of the file in seconds since 1970, where it decides which delivery counts; else None.
    """

    feed: str
    file: str
    content_hash: str
    records: int | None
    rows_loaded: int | None
    rows_rejected: int | None
    rows_superseded: int | None
    superseded_by: tuple[str, ...] | None = None
    same_content_as: str | None = None
    delivered_at: int | None = None

    @property
    def path(self) -> str:
        """The file's path below the raw folder."""
        return f"{self.feed}/{self.file}"


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """What a build holds of one node, and what that was made from. The default is a node that was never built.

    `fingerprint` covers the node itself and the versions of its `parents`; `version` names the content. `shape` and
    `settings` are the node itself, `text` a hash of its file, `definition` of what defines it apart from rows.
    `built_in` is the build that last built it, in `seconds`. `status` and `message` are of this build's run alone.
    """

    fingerprint: str = ""
    version: str = ""
    shape: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    definition: str | None = None
    parents: Mapping[str, str] = field(default_factory=dict)
    relation: str = ""
    sql: str = ""
    seconds: float | None = None
    built_in: str | None = None
    status: Literal["", "success", "error", "skipped"] = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class TestRecord:
    """What a data test found when it last ran, in the build `run_in`. `where` is the file and line that ask for it.

    `stored` is the table that keeps its failing rows, `examples` are some of them as text, masked.
    """

    __test__ = False  # no test of pytest's

    name: str
    severity: str
    status: Literal["pass", "warn", "fail"]
    failures: int
    where: str
    sql: str
    run_in: str
    stored: str = ""
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnitTestRecord:
    """What a unit test came to that ran before the build did; `message` says how it failed."""

    status: str
    message: str


@dataclass(frozen=True, slots=True)
class YearRecord:
    """An expectation that a report year breaks. `observed` is what was seen, which may be a value of a row."""

    year: int
    expectation: str
    severity: str
    observed: str


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """How far a feed has come. `newest` is the newest day in its rows, None when it has none; days are inclusive.

    `newest_file` is the file with that day, or the last by name when no row has a day.
    It is late from the day after `expected_by`, and very late from the day after `very_late_by`. `gap` is a month, as
    YYYY-MM, that is missing before the newest day, and what is expected then.
    """

    feed: str
    every: str
    newest: date | None
    newest_file: str
    expected_by: date | None
    very_late_by: date | None
    gap: str = ""

    def state(self, day: date) -> FeedState:
        """Return how the feed stands on a day."""
        if self.newest is None:
            return "no dates" if self.newest_file else "not delivered"
        if self.very_late_by and day > self.very_late_by:
            return "very late"
        if self.expected_by and day > self.expected_by:
            return "late"
        return "fresh" if self.expected_by or self.very_late_by else "not expected"


@dataclass(frozen=True, slots=True)
class StorageRecord:
    """How many blocks the database file has, how many of them hold nothing, and how many bytes one holds."""

    blocks: int
    free_blocks: int
    block_bytes: int


@dataclass(frozen=True, slots=True)
class StewardsRecord:
    """The schemas that only stewards may open, their group, and the file with everything as it was written."""

    schemas: tuple[str, ...]
    group: str = ""
    checksum: str | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ReadersRecord:
    """The file for all readers where it is another than the whole: rows by table, and the views that are tables."""

    rows: Mapping[str, int]
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """All that is noted of one build. Only `id` must be known; a None says that nothing is known of that part.

    `engine` is the project's name and DuckDB's version: with another, the file is no start for the next build.
    `tables` names the tables that the engine knows (`kpi.settings.ReportTables`); none where they have the usual names.
    `nodes` are by id, None when loading failed, for then nothing is known of what the database holds. `rows` counts the
    rows of each table. `based_on` is the build this one started from, `current` the one readers saw when it began,
    `continues` the failed builds it goes on with. `snapshots` and `kept` are tables that cannot be derived again: those
    of snapshots, and those of hooks. `partial` names what was left stale, `overruled` the failed checks that the build
    was published despite of. `unchanged_between` are the first day and the day after the last on which the build would
    be the same. `problem` is not written: it says why no more is known of a build than stands in the record.
    """

    id: str
    status: BuildStatus = "unknown"
    reason: str = ""
    started_at: str = ""
    finished_at: str = ""
    as_of: str = ""
    engine: str = ""
    inputs: Inputs | None = None
    ingredients: Ingredients = Ingredients()
    outside: Mapping[str, str] = field(default_factory=dict)
    retained: tuple[str, ...] = ()
    options: OptionsRecord | None = None
    warehouse_settings: WarehouseSettings = field(default_factory=WarehouseSettings)
    tables: Mapping[str, str] = field(default_factory=dict)
    based_on: str | None = None
    current: str | None = None
    continues: tuple[str, ...] = ()
    files: tuple[FileRecord, ...] | None = None
    nodes: Mapping[str, NodeRecord] | None = None
    checks: tuple[TestRecord, ...] = ()
    unit_tests: Mapping[str, UnitTestRecord] = field(default_factory=dict)
    partial: tuple[str, ...] = ()
    snapshots: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    years: tuple[YearRecord, ...] | None = None
    expected: tuple[str, ...] = ()
    synthetic: bool = False
    freshness: tuple[FeedStatus, ...] = ()
    unchanged_between: tuple[str, str] | None = None
    warnings: tuple[Problem, ...] = ()
    overruled: tuple[str, ...] = ()
    rows: Mapping[str, int] | None = None
    storage: StorageRecord | None = None
    checksum: str | None = None
    bytes: int | None = None
    stewards: StewardsRecord | None = None
    readers: ReadersRecord | None = None
    problem: str = ""

    @property
    def restricted_schemas(self) -> frozenset[str]:
        """The schemas that the build's file for readers was made without."""
        return frozenset(self.stewards.schemas if self.stewards else ())

    @property
    def report_tables(self) -> ReportTables:
        """The tables that the engine knows, by the names that the build was made with."""
        return ReportTables.from_names(self.tables)

    def is_same_on(self, day: str) -> bool:
        """Tell whether the build would be the same on another day (ISO 8601): nothing became due in between."""
        first, end = self.unchanged_between or ("", "")
        return first <= day < end


def ancestors(nodes: Mapping[str, NodeRecord], start: Iterable[str]) -> set[str]:
    """Return the ids of nodes and of all that they are made from, by the records of a build."""
    waiting = list(start)
    ids = set(waiting)
    while waiting:
        node = nodes.get(waiting.pop())
        new = [parent for parent in (node.parents if node else ()) if parent not in ids]
        ids.update(new)
        waiting += new
    return ids


def to_json(record: BuildRecord) -> str:
    """Return a record as it is written to `build.json`: a line for each node, test, file and the like."""
    content = {"schema_version": SCHEMA_VERSION, **cast("dict[str, object]", to_plain(record))}
    del content["problem"]
    lines = ",\n".join(f" {_text(name)}: {_in_lines(content[name])}" for name in sorted(content))
    return visible(f"{{\n{lines}\n}}\n")


def _in_lines(value: object) -> str:
    """A value as JSON, what it holds in lines of their own. Indented whole it would not be written by C."""
    if isinstance(value, dict) and value:
        return "{\n" + ",\n".join(f"  {_text(name)}: {_text(value[name])}" for name in sorted(value)) + "\n }"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f"  {_text(one)}" for one in value) + "\n ]"
    return _text(value)


_text = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode


def from_json(text: str | bytes) -> BuildRecord:
    """Read a record that `to_json` wrote; of the version before only what becomes of the build, with its `problem`.

    Raises RecordError, saying what is wrong, for anything else.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"its {FILE} is damaged: it is no JSON ({error})") from None
    if not isinstance(content, dict):
        raise RecordError(f"its {FILE} is damaged: it is no JSON object")
    version = content.pop("schema_version", 0)
    if version == 0:
        return _from_version_0(content)
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise RecordError(f"its {FILE} is of schema version {version!r}, and this kpi reads {SCHEMA_VERSION}")
    try:
        return cast(BuildRecord, from_plain(BuildRecord, content | {"problem": ""}))
    except Malformed as error:
        raise RecordError(f"its {FILE} is damaged: {error}") from None


def outline_from_json(text: bytes) -> BuildRecord:
    """Read a record without its nodes and data tests, which are most of it. Raises RecordError as `from_json` does."""
    for name, opens, closes in (("checks", b"[", b"]"), ("nodes", b"{", b"}")):
        # As `to_json` writes it: one space before what belongs to the record, two before what belongs to a part of it.
        start = text.find(b'\n "%s": %s\n' % (name.encode(), opens))
        end = text.find(b"\n %s" % closes, start + 1)
        if 0 < start < end:
            text = text[:start] + b'\n "%s": %s' % (name.encode(), opens) + text[end + 2 :]
    return from_json(text)


def _from_version_0(content: dict[str, Any]) -> BuildRecord:
    """What a kpi without schema versions wrote: who may see the build, what became of it, and what must not be lost."""
    names = {"engine": "settings", "overruled": "despite"}
    readable = (
        *("id", "status", "reason", "started_at", "finished_at", "as_of", "engine", "retained", "files", "kept"),
        *("synthetic", "overruled", "rows", "storage", "checksum", "bytes", "stewards", "readers"),
    )
    types_of = get_type_hints(BuildRecord)
    if not isinstance(content.get("id"), str):
        raise RecordError(f"its {FILE} is damaged: it has no 'id'")
    fields_read: dict[str, Any] = {}
    for name in readable:
        value = content.get(names.get(name, name))
        try:
            fields_read |= {} if value is None else {name: from_plain(types_of[name], value)}
        except Malformed:
            continue  # not as that kpi wrote it: it stays unknown
    nodes = content.get("nodes")
    entries = nodes.items() if isinstance(nodes, dict) else ()
    relations = [node.get("relation") for name, node in entries if name.startswith("snapshot.")]
    fields_read["snapshots"] = tuple(sorted(name for name in relations if isinstance(name, str) and name))
    return BuildRecord(
        **fields_read, problem=f"an earlier kpi wrote its {FILE} (no schema version; this one: {SCHEMA_VERSION})"
    )
