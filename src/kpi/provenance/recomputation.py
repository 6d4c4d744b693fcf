"""A figure built again in a scratch database, from any choice of what two builds were made from.

Everything is in the builds: a build holds its raw rows, each with its file, its seeds, and the compiled SQL of every
model. Only the ancestors of the figure are built, and of them only what comes after something that was exchanged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kpi.build_record import BuildRecord, FileRecord, NodeRecord
from kpi.database import CATALOG, attached, confine, first_line, table_columns
from kpi.errors import ConfigError, KpiError
from kpi.ingest import calendar, contract, raw_files, statements
from kpi.ingest.ledger import OWN
from kpi.lazy import duckdb
from kpi.provenance.figure_values import Rows, read_rows
from kpi.settings import ReportTables
from kpi.sql import identifier, literal

if TYPE_CHECKING:
    from kpi.ingest.contract import Feed

Cause = Literal[
    "late_delivery",
    "corrected_delivery",
    "removed_delivery",
    "kept_delivery",
    "calendar",
    "definition",
    "code",
    "engine",
    "several",
]
"""Why a figure differs between two builds.

`late_delivery` is a file that came, `corrected_delivery` one with other content, `removed_delivery` one that is gone,
`kept_delivery` a figure kept of deleted ones; `calendar` is the day of the refresh, by which a month or a year is
finished; `definition` a seed; `code` a model, a macro, a variable or a contract; `engine` DuckDB or kpi; `several` are
changes of which none can be made without another.
"""

Side = Literal["before", "after"]
SIDES: tuple[Side, Side] = ("before", "after")
FIGURE = "figure_id"
CALENDAR = f"raw.{calendar.TABLE}"
BEFORE = "kpi_before"
_OWN = frozenset(f"raw.{name}" for name in OWN)  # raw tables that are no feed's
_ENVIRONMENT = "{{ env_var("  # what stands in a record's SQL for a value that is not written down


class NotRebuildable(KpiError):
    """A figure that cannot be built again from this choice of inputs; the text says why."""


@dataclass(frozen=True, slots=True)
class BuildSide:
    """A build to compare: its record, and its DuckDB file with all schemas that the figure is made from."""

    record: BuildRecord
    database: Path

    @property
    def tables(self) -> ReportTables:
        return self.record.report_tables


@dataclass(frozen=True, slots=True)
class InputChange:
    """One thing that a figure is made from and that differs between two builds, to be taken from either.

    `files` are of feeds, as pairs of feed and file; `relations` are tables that are taken whole; `readings` are feeds
    whose files are the same and their rows are not. `is_day` is the day of the refresh, `is_code` all compiled SQL.
    """

    group: Literal["data", "definition", "code"]
    cause: Cause
    subjects: tuple[str, ...]
    files: frozenset[tuple[str, str]] = frozenset()
    relations: frozenset[str] = frozenset()
    readings: frozenset[str] = frozenset()
    is_day: bool = False
    is_code: bool = False


@dataclass(frozen=True, slots=True)
class _Ancestors:
    """The models that a figure is made by, in building order, and what they are made from, by id."""

    models: Mapping[str, NodeRecord]
    leaves: Mapping[str, NodeRecord]


class BuildPair:
    """Two builds beside a scratch database, open until `close`; they may be one build.

    What runs here reads nothing else, and what it made is gone when it is done.
    """

    def __init__(self, before: BuildSide, after: BuildSide) -> None:
        self.sides: dict[Side, BuildSide] = {"before": before, "after": after}
        is_one = before.database == after.database
        self.catalogs: dict[Side, str] = {"before": BEFORE, "after": BEFORE if is_one else "kpi_after"}

    @cached_property
    def con(self) -> duckdb.DuckDBPyConnection:
        """The connection, opened when it is first needed."""
        con = attached({self.catalogs[side]: self.sides[side].database for side in SIDES})
        con.execute(f"attach ':memory:' as {CATALOG}")
        con.execute(f"use {CATALOG}")
        confine(con)
        return con

    def close(self) -> None:
        if "con" in self.__dict__:
            self.con.close()
            del self.__dict__["con"]

    @contextmanager
    def scratch(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Give the connection with an empty database to build in, and empty that afterwards."""
        try:
            yield self.con
        finally:
            sql = "select schema_name from duckdb_schemas() where database_name = ? and not internal"
            for (schema,) in self.con.execute(sql, [CATALOG]).fetchall():
                if schema != "main":
                    self.con.execute(f"drop schema {CATALOG}.{identifier(schema)} cascade")

    @cached_property
    def tables(self) -> dict[Side, dict[str, dict[str, str]]]:
        """The columns of the tables of both builds."""
        return {side: table_columns(self.con, self.catalogs[side], with_views=False) for side in SIDES}

    @cached_property
    def figures(self) -> dict[Side, dict[str, frozenset[str]]]:
        """Which figures each table of figures holds."""
        figures: dict[Side, dict[str, frozenset[str]]] = {"before": {}, "after": {}}
        for side, tables in self.tables.items():
            for relation, columns in tables.items():
                if FIGURE in columns and not relation.startswith(("raw.", "seeds.")):
                    sql = f"select distinct {FIGURE} from {self.catalogs[side]}.{relation}"
                    figures[side][relation] = frozenset(str(row[0]) for row in self.con.execute(sql).fetchall())
        return figures


@dataclass
class Recomputation:
    """One figure of two builds. `feeds` are the contracts of the project.

    Raises ConfigError when a build cannot be compared: its record is of an earlier kpi, or it has no indicators.
    """

    pair: BuildPair
    feeds: Sequence[Feed]
    figure: str
    _results: dict[frozenset[InputChange], Rows | str] = field(default_factory=dict, init=False)

    @cached_property
    def is_same_engine(self) -> bool:
        """Whether both were made by the same kpi and DuckDB: then what stands in them need not be built again."""
        old, new = (build.record for build in self.pair.sides.values())
        return bool(old.inputs and new.inputs and old.inputs.code == new.inputs.code and old.engine == new.engine)

    @cached_property
    def changes(self) -> tuple[InputChange, ...]:
        """What the figure is made from and that differs, data first, each kind in the order of its names."""
        data = [*self._file_changes(), *self._table_changes(), *self._day_change()]
        return (*data, *self._seed_changes(), *self._code_change())

    def rows(self, switched: Collection[InputChange]) -> Rows:
        """Return the figure's rows with these inputs as the later build has them, the others as the earlier one has.

        Raises NotRebuildable when they do not go together.
        """
        state = frozenset(switched)
        if state not in self._results:
            try:
                self._results[state] = self._build(state)
            except NotRebuildable as error:
                self._results[state] = str(error)
        result = self._results[state]
        if isinstance(result, str):
            raise NotRebuildable(result)
        return result

    def rows_without(self, conditions: Mapping[str, str]) -> Rows:
        """Return the figure's rows of the later build without the rows of raw tables that meet a condition each.

        Raises NotRebuildable.
        """
        with self.pair.scratch() as con:
            return _Scratch(self, con, frozenset(self.changes), "after", {*conditions}, conditions).rows()

    @cached_property
    def recorded(self) -> dict[Side, Rows]:
        """The figure's rows as both builds hold them."""
        return {
            side: read_rows(self.pair.con, f"{self.pair.catalogs[side]}.{build.tables.indicators}", self.figure)
            for side, build in self.pair.sides.items()
        }

    # --- what differs -------------------------------------------------------------------------------------------------

    @cached_property
    def feed_tables(self) -> dict[str, Feed]:
        """The feeds that the figure is made from, by the names of their raw tables."""
        return {f"raw.{feed.name}": feed for feed in self.feeds if f"raw.{feed.name}" in self._leaf_tables}

    @cached_property
    def _leaf_tables(self) -> frozenset[str]:
        """The tables that the figure's models are made from, in either build."""
        return frozenset(leaf.relation for side in SIDES for leaf in self._ancestors[side].leaves.values())

    def _files(self, side: Side) -> dict[tuple[str, str], FileRecord]:
        feeds = {feed.name for feed in self.feed_tables.values()}
        return {(file.feed, file.file): file for file in self.pair.sides[side].record.files or () if file.feed in feeds}

    def _file_changes(self) -> Iterator[InputChange]:
        """The deliveries that came, changed or went, each for itself, and feeds that are read in another way."""
        old, new = self._files("before"), self._files("after")
        deletions = {side: _deleted(self.pair, side) for side in SIDES}
        deleted = deletions["after"] - deletions["before"]
        newer = {(file.feed, name) for file in new.values() for name in file.superseded_by or ()}
        newer -= {(file.feed, name) for file in old.values() for name in file.superseded_by or ()}
        pruned = frozenset(place for place in old if place not in new and place in deleted)
        for place in sorted({*old, *new}):
            was, now = old.get(place), new.get(place)
            subjects = (f"{place[0]}/{place[1]}",)
            if was and now:
                if (was.content_hash, was.delivered_at) != (now.content_hash, now.delivered_at):
                    yield InputChange("data", "corrected_delivery", subjects, files=frozenset({place}))
            elif now:
                cause: Cause = "corrected_delivery" if place in newer else "late_delivery"
                yield InputChange("data", cause, subjects, files=frozenset({place}))
            elif place not in pruned:
                yield InputChange("data", "removed_delivery", subjects, files=frozenset({place}))
        if pruned or self._differs(raw_files.RELATIONS):
            # What went and the figures that are kept of it belong together: without either the other says nothing.
            names = tuple(f"{feed}/{file}" for feed, file in sorted(pruned)) or ("warehouse/kept",)
            yield InputChange("data", "kept_delivery", names, files=pruned, relations=raw_files.RELATIONS)
        yield from self._reading_changes(
            {place for place in old if place in new and old[place].content_hash == new[place].content_hash}
        )

    def _reading_changes(self, same: Collection[tuple[str, str]]) -> Iterator[InputChange]:
        """Feeds whose files are the same and whose rows are not: by another contract, or another kpi that loads."""
        for relation, feed in sorted(self.feed_tables.items()):
            nodes = [_by_relation(self._ancestors[side].leaves, relation) for side in SIDES]
            files = sorted(file for of, file in same if of == feed.name)
            if not files or (nodes[0] and nodes[1] and nodes[0].settings == nodes[1].settings):
                continue
            if self._content("before", relation, files) != self._content("after", relation, files):
                is_contract = self._source_entry("before", relation) != self._source_entry("after", relation)
                subjects = (f"contract of {feed.name}" if is_contract else f"kpi, loading {feed.name}",)
                yield InputChange(
                    "code", "code" if is_contract else "engine", subjects, readings=frozenset({feed.name})
                )

    def _content(self, side: Side, relation: str, files: Sequence[str] | None = None) -> object:
        """The columns of a table, and number and hash of its rows; None where it is not there.

        With `files` of their rows alone, whether they are superseded or not.
        """
        columns = [one for one in self.pair.tables[side].get(relation, ()) if not files or one != "_is_superseded"]
        if not columns:
            return None
        sql = f"select count(*), sum(hash({', '.join(map(identifier, columns))})::hugeint)"
        sql += f" from {self.pair.catalogs[side]}.{relation}{' where list_contains(?, _file)' if files else ''}"
        return columns, self.pair.con.execute(sql, [list(files)] if files else []).fetchone()

    def _source_entry(self, side: Side, relation: str) -> object:
        """What the contract of a feed says, as the manifest of a build has it; None when that is gone."""
        for entry in self._manifest(side).get("sources", {}).values():
            if f"{entry.get('schema')}.{entry.get('identifier')}" == relation:
                return [entry.get(name) for name in ("columns", "meta", "config", "source_meta")]
        return None

    def _manifest(self, side: Side) -> dict[str, Any]:
        """The manifest that a build was written with; empty when it is gone."""
        folder = self.pair.sides[side].database.parent
        for place in (folder, folder.parent):  # beside the stewards' file, or the folder above it
            if (place / "manifest.json").is_file():
                manifest: dict[str, Any] = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
                return manifest
        return {}

    def _table_changes(self) -> Iterator[InputChange]:
        """Sources that are no feed's, and snapshots: nothing is known of them but what they hold."""
        own_tables = {*self.feed_tables, *_OWN}
        leaves = {**self._ancestors["before"].leaves, **self._ancestors["after"].leaves}
        for node, leaf in sorted(leaves.items()):
            is_table = node.startswith(("source.", "snapshot.")) and leaf.relation not in own_tables
            if is_table and self._differs({leaf.relation}):
                places = frozenset({leaf.relation})
                yield InputChange("data", "corrected_delivery", (leaf.relation,), relations=places)

    def _day_change(self) -> Iterator[InputChange]:
        """The day of the refresh, where it decides which months and years of the figure's feeds are finished."""
        feeds = sorted(feed.name for feed in self.feed_tables.values())
        if CALENDAR not in self._leaf_tables:
            return
        rows = [
            self.pair.con.execute(
                f"select feed, report_year, last_full_month from {self.pair.catalogs[side]}.{CALENDAR}"
                " where list_contains(?, feed) order by all",
                [feeds],
            ).fetchall()
            for side in SIDES
            if CALENDAR in self.pair.tables[side]
        ]
        days = [build.record.as_of for build in self.pair.sides.values()]
        if len(rows) == 2 and rows[0] != rows[1] and days[0] != days[1]:
            yield InputChange("data", "calendar", (f"{days[0]} -> {days[1]}",), is_day=True)

    def _seed_changes(self) -> Iterator[InputChange]:
        old, new = (self._ancestors[side].leaves for side in SIDES)
        for node in sorted({*old} & {*new}):
            if node.startswith("seed.") and old[node].shape != new[node].shape:
                places = frozenset({new[node].relation})
                yield InputChange("definition", "definition", (_name(node),), relations=places)

    def _code_change(self) -> Iterator[InputChange]:
        """All compiled SQL together: a new model may need a column that only another new model has."""
        old, new = (self._ancestors[side].models for side in SIDES)
        none = NodeRecord()
        moved = [node for node in sorted({*old, *new}) if old.get(node, none).sql != new.get(node, none).sql]
        if not moved:
            return
        edited = [node for node in moved if old.get(node, none).text != new.get(node, none).text]
        rendered = [node for node in moved if node not in edited]
        subjects = [*map(_name, edited), *(self._ingredients_of(rendered) if rendered else ())]
        cause: Cause = "code" if subjects or self.is_same_engine else "engine"
        names = tuple(subjects) or tuple(map(_name, rendered))
        yield InputChange("code", cause, names, is_code=True)

    def _ingredients_of(self, nodes: Iterable[str]) -> Iterator[str]:
        """Name the macros and variables that differ and that the templates of models use, as far as manifests tell."""
        texts = self._manifest("after"), self._manifest("before")
        used = set[str]()
        for manifest in texts:
            words = re.compile(r"\w+")
            macros = {entry.get("name"): entry.get("macro_sql", "") for entry in manifest.get("macros", {}).values()}
            waiting = [manifest.get("nodes", {}).get(node, {}).get("raw_code", "") for node in nodes]
            while waiting:
                new = set(words.findall(waiting.pop())) - used
                used |= new
                waiting += [macros[name] for name in sorted(new & macros.keys())]
        old, now = (build.record.ingredients for build in self.pair.sides.values())
        for kind, before, after in (
            ("macro", old.macros, now.macros),
            ("variable", old.variables, now.variables),
            ("environment variable", old.environment, now.environment),
        ):
            for name in sorted({*before, *after}):
                if before.get(name) != after.get(name) and (name in used or not any(texts)):
                    yield f"{kind} {name}"

    def _differs(self, relations: Iterable[str]) -> bool:
        """Whether any of these tables holds other rows, and is read by the figure."""
        tables = sorted(self._leaf_tables.intersection(relations))
        return any(self._content("before", relation) != self._content("after", relation) for relation in tables)

    # --- the ancestors ------------------------------------------------------------------------------------------------

    @cached_property
    def _ancestors(self) -> dict[Side, _Ancestors]:
        others = self._tables_of_other_figures()
        return {side: _ancestors_of(build, others[side]) for side, build in self.pair.sides.items()}

    def _tables_of_other_figures(self) -> dict[Side, set[str]]:
        """The tables that hold figures, but not this one, in either build: what they are made from does not count."""
        tables = self.pair.figures
        own = {relation for side in SIDES for relation, figures in tables[side].items() if self.figure in figures}
        return {side: {*tables[side]} - own for side in SIDES}

    # --- building -----------------------------------------------------------------------------------------------------

    def _build(self, state: frozenset[InputChange]) -> Rows:
        code: Side = "after" if any(change.is_code for change in state) else "before"
        if not any(change.is_code for change in self.changes):
            code = "after" if len(state) * 2 > len(self.changes) else "before"  # the nearer one: less is to be built
        dirty = {
            relation
            for change in self.changes
            if (change in state) != (code == "after")
            for relation in self._relations_of(change)
        }
        target = self.pair.sides[code].tables.indicators
        if not dirty and self.is_same_engine:
            return read_rows(self.pair.con, f"{self.pair.catalogs[code]}.{target}", self.figure)
        with self.pair.scratch() as con:
            return _Scratch(self, con, state, code, dirty).rows()

    def _relations_of(self, change: InputChange) -> set[str]:
        """The tables that an input is found in; the calendar follows from the deliveries and the day."""
        feeds = {f"raw.{feed}" for feed, _ in change.files} | {f"raw.{feed}" for feed in change.readings}
        follows = {CALENDAR} if feeds or change.is_day else set()
        return feeds | follows | set(change.relations)


class _Scratch:
    """One build of the figure's ancestors, with the compiled SQL of one of the two builds."""

    def __init__(
        self,
        figure: Recomputation,
        con: duckdb.DuckDBPyConnection,
        state: frozenset[InputChange],
        code: Side,
        dirty: set[str],
        left_out: Mapping[str, str] | None = None,
    ) -> None:
        self.left_out = left_out or {}
        self.figure, self.con, self.state, self.code = figure, con, state, code
        self.ancestors = figure._ancestors[code]
        self.tables = figure.pair.tables
        self.due = self._models_due(dirty)

    def rows(self) -> Rows:
        """Build what is due and return the figure's rows. Raises NotRebuildable."""
        name = ""
        try:
            target = self.figure.pair.sides[self.code].tables.indicators
            if target not in {self.ancestors.models[node].relation for node in self.due}:
                return read_rows(self.con, f"{self.figure.pair.catalogs[self.code]}.{target}", self.figure.figure)
            for name in self._needed():
                self._make_schema(name)
                self._provide(name)
            name = CALENDAR
            self._provide_calendar()
            for node in self.due:
                record = self.ancestors.models[node]
                name = record.relation
                if _kind(record) == "ephemeral":
                    continue
                if _ENVIRONMENT in record.sql:
                    message = "its SQL holds a value of the environment, which is not written down"
                    raise NotRebuildable(f"{name} cannot be built again: {message}.")
                self._make_schema(name)
                what = "view" if _kind(record) == "view" else "table"
                self.con.execute(f"create {what} {name} as {record.sql}")
            return read_rows(self.con, target, self.figure.figure)
        except duckdb.Error as error:
            raise NotRebuildable(f"{name} cannot be built: {first_line(error)}") from None

    def _models_due(self, dirty: Collection[str]) -> list[str]:
        """The models after what was exchanged, and views in between, in building order; all with another engine."""
        models, leaves = self.ancestors.models, self.ancestors.leaves
        moved = {node for node, leaf in leaves.items() if leaf.relation in dirty}
        due = set[str]()
        for node, record in models.items():
            if not self.figure.is_same_engine or moved.intersection(record.parents) or due.intersection(record.parents):
                due.add(node)
        waiting = [*due]
        while waiting:
            for parent in models[waiting.pop()].parents:
                is_there = parent not in models or models[parent].relation in self.tables[self.code]
                if parent not in due and not is_there:
                    due.add(parent)
                    waiting.append(parent)
        return [node for node in models if node in due]

    def _needed(self) -> list[str]:
        """The tables that what is due reads and that are not due themselves; of feeds, all that the calendar reads."""
        models, leaves = self.ancestors.models, self.ancestors.leaves
        parents = {parent for node in self.due for parent in models[node].parents} - set(self.due)
        tables = {(leaves.get(parent) or models[parent]).relation for parent in parents}
        if CALENDAR in tables:
            tables |= {f"raw.{feed.name}" for feed in self._calendar_feeds()}
        # The ledger last: it is in the way of settling which rows are in force.
        return sorted(tables - {CALENDAR}, key=lambda relation: (relation == "raw.deliveries", relation))

    def _provide(self, relation: str) -> None:
        """Make a table that is read: as one of the builds has it, or of the files of both."""
        feed = self.figure.feed_tables.get(relation)
        side = self._side_of(relation)
        if feed is not None and side is None:
            self._mix(feed)
            return
        if relation not in self.tables[side or self.code]:
            record = self.figure.pair.sides[side or self.code].record
            is_restricted = relation.partition(".")[0] in record.restricted_schemas
            message = "is left out of the readers' file: as a steward, add --stewards" if is_restricted else "is gone"
            raise NotRebuildable(f"{relation} {message} (build {record.id}).")
        place = f"{self.figure.pair.catalogs[side or self.code]}.{relation}"
        condition = f" where not coalesce({self.left_out[relation]}, false)" if relation in self.left_out else ""
        self.con.execute(f"create view {relation} as select * from {place}{condition}")

    def _side_of(self, relation: str) -> Side | None:
        """The build that a table is taken from; None when it is made of both."""
        changes = [change for change in self.figure.changes if relation in self.figure._relations_of(change)]
        if relation in _OWN and relation not in raw_files.RELATIONS:  # they follow from the deliveries
            changes = [change for change in self.figure.changes if change.group == "data"]
        switched = [change in self.state for change in changes]
        source: Side | None = self.code if not changes else "after" if all(switched) else None
        if changes and not any(switched):
            source = "before"
        if source is None and relation in _OWN:
            source = self.code
        # A table that one build alone has is its own.
        if source and relation not in self.tables[source]:
            return next((side for side in SIDES if relation in self.tables[side]), source)
        return source

    def _mix(self, feed: Feed) -> None:
        """Make a feed's raw table of the files of both builds, and settle anew which of their rows are in force."""
        relation = f"raw.{identifier(feed.name)}"
        old, new = self.figure._files("before"), self.figure._files("after")
        switched = {place for change in self.state for place in change.files}
        is_read_anew = any(feed.name in change.readings for change in self.state)
        places = {place for change in self.figure.changes for place in change.files}
        files: dict[Side, list[FileRecord]] = {"before": [], "after": []}
        for place in sorted({*old, *new}):
            if place[0] != feed.name:
                continue
            is_new = place in switched if place in places else is_read_anew
            file = (new if is_new else old).get(place)
            if file:
                files["after" if is_new else "before"].append(file)
        parts = []
        for side, records in files.items():
            names = ", ".join(literal(record.file) for record in records)
            if names:
                parts.append(f"select * from {self.figure.pair.catalogs[side]}.{relation} where _file in ({names})")
        parts = parts or [f"select * from {self.figure.pair.catalogs[self.code]}.{relation} limit 0"]
        self.con.execute(f"create table {relation} as {' union all by name '.join(parts)}")
        self._settle(feed, [record for records in files.values() for record in records])

    def _settle(self, feed: Feed, files: Sequence[FileRecord]) -> None:
        times = {file.file: file.delivered_at or 0 for file in files}
        order = contract.in_order(times, feed.newer_by)
        self.con.execute(f"update raw.{identifier(feed.name)} set _is_superseded = false")
        for sql in (*statements.find_repeated(feed, False), *statements.find_clashing(feed)):
            self.con.execute(sql)
        self.con.execute(statements.supersede(feed, False), {"files": list(order)})

    def _calendar_feeds(self) -> list[Feed]:
        """The feeds of the figure, and those that they take their years from."""
        own = self.figure.feed_tables.values()
        wanted = {feed.name for feed in own} | {feed.retention.of for feed in own}
        there = {*self.tables["before"], *self.tables["after"]}
        return [feed for feed in self.figure.feeds if feed.name in wanted and f"raw.{feed.name}" in there]

    def _provide_calendar(self) -> None:
        """Make the calendar of what is delivered in this choice, on its day."""
        parents = {parent for node in self.due for parent in self.ancestors.models[node].parents}
        if not any(self.ancestors.leaves[one].relation == CALENDAR for one in parents if one in self.ancestors.leaves):
            return
        changes = [change for change in self.figure.changes if CALENDAR in self.figure._relations_of(change)]
        switched = {change in self.state for change in changes}
        self._make_schema(CALENDAR)
        if len(switched) <= 1:
            side: Side = self.code if not switched else "after" if True in switched else "before"
            self.con.execute(f"create view {CALENDAR} as select * from {self.figure.pair.catalogs[side]}.{CALENDAR}")
            return
        is_later = any(change.is_day for change in self.state)
        days = [build.record.as_of for build in self.figure.pair.sides.values()]
        # Without a day that decides anything, that of either build does.
        day = date.fromisoformat(days[1] if is_later or not any(change.is_day for change in changes) else days[0])
        feeds = self._calendar_feeds()
        # Not as settled: what is remembered of the builds' own tables is no answer for a choice of both.
        unfinished = calendar.unfinished_years(calendar.read_months(self.con, feeds, day), day)
        names = ", ".join(name for name, _ in calendar.COLUMNS)
        others = ", ".join(literal(feed.name) for feed in feeds) or literal("")
        place = f"{self.figure.pair.catalogs[self.code]}.{CALENDAR}"
        self.con.execute(f"create table {CALENDAR} as select {names} from {place} where feed not in ({others})")
        marks = ", ".join("?" for _ in calendar.COLUMNS)
        for year in unfinished:
            values = [getattr(year, name) for name, _ in calendar.COLUMNS]
            self.con.execute(f"insert into {CALENDAR} values ({marks})", values)

    def _make_schema(self, relation: str) -> None:
        self.con.execute(f"create schema if not exists {relation.rpartition('.')[0]}")


def _ancestors_of(build: BuildSide, others: Collection[str]) -> _Ancestors:
    """Return what the indicators of a build are made by, without the tables of other figures."""
    record = build.record
    if record.problem or record.nodes is None:
        raise ConfigError(f"build {record.id} cannot be compared: {record.problem or 'it failed in loading'}.")
    nodes = record.nodes
    target = next((node for node, noted in nodes.items() if noted.relation == build.tables.indicators), None)
    if target is None:
        raise ConfigError(f"build {record.id} has no {build.tables.indicators}.")
    # Of the figures' tables that are united, those without this one are taken as they are. Below the others all counts:
    # a change is made of the table of another figure.
    beside = [parent for parent in nodes[target].parents if parent in nodes and nodes[parent].relation in others]
    models: dict[str, NodeRecord] = {target: nodes[target]}
    leaves: dict[str, NodeRecord] = {}
    waiting = [parent for parent in nodes[target].parents if parent in nodes and parent not in beside]
    while waiting:
        node = waiting.pop()
        if not node.startswith("model."):
            leaves[node] = nodes[node]
        elif node not in models:
            models[node] = nodes[node]
            waiting += [parent for parent in nodes[node].parents if parent in nodes]
    leaves |= {node: nodes[node] for node in beside if node not in models}
    order = TopologicalSorter({node: [one for one in noted.parents if one in models] for node, noted in models.items()})
    return _Ancestors({node: models[node] for node in order.static_order()}, leaves)


def _deleted(pair: BuildPair, side: Side) -> set[tuple[str, str]]:
    """The deliveries that were deleted after their figures were kept, by feed and file."""
    if "raw.deleted_deliveries" not in pair.tables[side]:
        return set()
    rows = pair.con.execute(f"select distinct feed, file from {pair.catalogs[side]}.raw.deleted_deliveries").fetchall()
    return {(str(feed), str(file)) for feed, file in rows}


def _by_relation(nodes: Mapping[str, NodeRecord], relation: str) -> NodeRecord | None:
    return next((node for node in nodes.values() if node.relation == relation), None)


def _kind(record: NodeRecord) -> str:
    """How a node is materialized."""
    return str(json.loads(record.settings.get("materialized", '"table"')))


def _name(node: str) -> str:
    return node.rpartition(".")[2]
