"""The difference of two builds: nodes, tables by content, deliveries, indicators by amount, rows by key."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kpi.build_record import BuildRecord, FileRecord, NodeRecord, ancestors
from kpi.database import attached, fetch_one, table_columns
from kpi.ingest import raw_files, release_files
from kpi.lazy import duckdb
from kpi.presentation import listed, significant
from kpi.provenance.figure_values import GRAIN, moved_figures
from kpi.sql import counted, identifier
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import database_path

FIGURE = "figure_id"


@dataclass(frozen=True, slots=True)
class DeliveryChange:
    """One file that is new, changed or gone, or of whose rows another number is superseded.

    `before` and `after` are what became of its records (`records`, `rows_loaded`, `rows_rejected`, `rows_superseded`);
    None on the side where it is not there.
    """

    feed: str
    file: str
    is_same_content: bool
    before: Mapping[str, int] | None
    after: Mapping[str, int] | None

    @property
    def path(self) -> str:
        """The file's path below the raw folder."""
        return f"{self.feed}/{self.file}"

    def line(self) -> str:
        """Say what became of the file, in one line."""
        now = self.after or self.before or {}
        if self.after is None:
            return f"{self.path}: gone, with {counted(now['rows_loaded'], 'row')}"
        superseded = now.get("rows_superseded", 0)
        if self.is_same_content:
            earlier = (self.before or {}).get("rows_superseded", 0)
            return f"{self.path}: the same, {superseded} of its {now['rows_loaded']} rows superseded, before {earlier}"
        parts = [f"{counted(now['rows_loaded'], 'row')} loaded"]
        parts += [f"{count} {what}" for count, what in (
            (now.get("rows_rejected", 0), "records rejected"), (superseded, "rows superseded")) if count]  # fmt: skip
        was = f"changed, {counted(self.before['rows_loaded'], 'row')} before" if self.before else "new"
        return f"{self.path}: {was}, {', '.join(parts)}"


def changed_deliveries(before: BuildRecord, after: BuildRecord) -> tuple[DeliveryChange, ...]:
    """Return the files that differ between two builds, in order of their paths."""
    old, new = ({(file.feed, file.file): file for file in record.files or ()} for record in (before, after))
    changes = []
    for key in sorted({*old, *new}):
        was, now = old.get(key), new.get(key)
        is_same = bool(was and now and was.content_hash == now.content_hash)
        if not is_same or _counts(was) != _counts(now):
            changes.append(DeliveryChange(*key, is_same, _counts(was), _counts(now)))
    return tuple(changes)


def feeds_of_figures(
    con: duckdb.DuckDBPyConnection,
    catalog: str,
    nodes: Mapping[str, NodeRecord],
    tables: Mapping[str, Collection[str]],
    figures: Collection[str],
) -> dict[str, frozenset[str]]:
    """Return the feeds that each figure is made from, by the build in `catalog`; those of no table are left out.

    `nodes` are the records of its nodes, `tables` the columns of its tables by name. Many tables hold a figure;
    the one made from the fewest feeds is its own, what unites figures is made from all of them.
    """
    feeds_by_figure: dict[str, frozenset[str]] = {}
    for node, noted in nodes.items():
        place = noted.relation
        if not node.startswith("model.") or FIGURE not in tables.get(place, ()):
            continue
        above = [nodes[one] for one in ancestors(nodes, [node]) if one.startswith("source.") and one in nodes]
        feeds = frozenset(one.relation.partition(".")[2] for one in above if one.relation.startswith("raw."))
        schema, _, name = place.partition(".")
        sql = f"select distinct {FIGURE} from {catalog}.{identifier(schema)}.{identifier(name)}"
        for (figure,) in con.execute(sql).fetchall() if feeds else ():
            if figure in figures and (figure not in feeds_by_figure or len(feeds) < len(feeds_by_figure[figure])):
                feeds_by_figure[str(figure)] = feeds
    return feeds_by_figure


def behind(figure_feeds: Collection[str], changes: Collection[DeliveryChange]) -> list[DeliveryChange]:
    """Return the changed deliveries of a figure's own feeds.

    Of a figure that rests on what is counted of all feeds, and none of its own changed, it is all of them.
    """
    from kpi.ingest.calendar import FEED_MONTHS

    own = [change for change in changes if change.feed in figure_feeds]
    return own or (list(changes) if FEED_MONTHS in figure_feeds else [])


def _counts(file: FileRecord | None) -> dict[str, int] | None:
    names = ("records", "rows_loaded", "rows_rejected", "rows_superseded")
    return None if file is None else {name: getattr(file, name) or 0 for name in names}


RUNS = "marts.runs"  # the history of runs, which no build shares with another
USUAL_BASIS = "calendar_year"  # of most figures; another one is named
SHOWN_FILES = 2  # of a figure's deliveries
UNUSED = raw_files.RELATIONS | release_files.RELATIONS  # said nothing of while they are empty


@dataclass(frozen=True, slots=True)
class TableChange:
    """How a table differs, in rows; with a key, rows of a key on both sides whose content differs are `changed`.

    A key may repeat, as where a later delivery superseded rows: as many of its rows are changed as differ on both
    sides, and the rest are added or removed.
    `rows_before` is None for a table that only the later build has, `rows_after` for one that only the earlier has.
    """

    table: str
    rows_before: int | None
    rows_after: int | None
    added: int
    removed: int
    changed: int
    columns: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Everything that differs between two builds, in name order. `indicators` are rows of GRAIN, before and after.

    `feeds` are the feeds that each figure of `indicators` is made from, as far as the builds tell. `problems` say of
    which build too little is known to compare its nodes.
    """

    before: str
    after: str
    nodes: tuple[tuple[str, str], ...]
    tables: tuple[TableChange, ...]
    same_tables: int
    indicators: tuple[tuple[Any, ...], ...]
    deliveries: tuple[DeliveryChange, ...] = ()
    feeds: Mapping[str, frozenset[str]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def compare_builds(
    warehouse: Warehouse, before: str, after: str, keys: Mapping[str, Sequence[str]], stewards: bool = False
) -> Difference:
    """Compare two kept builds by content. `keys` maps tables to the columns that identify their rows.

    With `stewards` also what is left out for other readers. Raises ConfigError when there is no such build, or you may
    not open it.
    """
    folders = [warehouse.folder(build) for build in (before, after)]
    records = {side: warehouse.record(folder) for side, folder in zip(("before", "after"), folders, strict=True)}
    with attached(
        {name: database_path(folder, stewards) for name, folder in zip(records, folders, strict=True)}
    ) as con:
        tables = {
            name: table_columns(con, name, with_views=False) for name in ("before", "after")
        }  # views are made of them
        names = sorted({*tables["before"], *tables["after"]} - {RUNS} - _unused(con, tables))
        table_changes = [_table(con, name, tables, keys.get(name, ())) for name in names]
        names_of = {side: records[side].report_tables.indicators for side in tables}
        has_indicators = all(names_of[side] in tables[side] for side in tables)
        indicators = moved_indicators(con, names_of) if has_indicators else []
        figures, feeds = {str(row[0]) for row in indicators}, dict[str, frozenset[str]]()
        for side in ("before", "after"):  # what both have is as the later build has it
            feeds |= feeds_of_figures(con, side, records[side].nodes or {}, tables[side], figures)
    changes = tuple(change for change in table_changes if change)
    return Difference(
        before=before,
        after=after,
        nodes=tuple(_nodes(records["before"], records["after"])),
        tables=changes,
        same_tables=len(names) - len(changes),
        indicators=tuple(indicators),
        deliveries=changed_deliveries(records["before"], records["after"]),
        feeds=feeds,
        problems=tuple(f"build {record.id}: {record.problem}" for record in records.values() if record.problem),
    )


def moved_indicators(con: duckdb.DuckDBPyConnection, names: Mapping[str, str]) -> list[tuple[Any, ...]]:
    """Return the rows of figures that differ between the databases `before` and `after`: GRAIN and both values.

    `names` are those of the table of indicators in either.
    """
    sql = moved_figures(f"before.{names['before']}", f"after.{names['after']}")
    return con.execute(f"{sql} order by report_year desc, figure_id, service, basis").fetchall()


def in_order(warehouse: Warehouse, first: str | None, second: str | None) -> tuple[str, str]:
    """Return the ids of the two builds to compare, the earlier state before the later one.

    Two that are named stay in their order. One is compared with the published build, the older of them first; the
    published one itself, or none, with the one published before it. Raises ConfigError when there is no such build.
    """
    if first and second:
        return first, second
    published = warehouse.published()
    # `current` is a link, and what it leads to has the id.
    build = warehouse.folder(first or second or published).name
    if build == published:
        return warehouse.published_before(published), published
    return (build, published) if build < published else (published, build)


def keys_of(project_dir: Path) -> dict[str, tuple[str, ...]]:
    """Return the keys of all tables whose rows have one: the feeds', by their contracts, and the indicators'."""
    from kpi.engine.compile import read_feeds
    from kpi.ingest.calendar import FEED_MONTHS

    project, feeds = read_feeds(project_dir)
    tables = project.report_tables
    own: dict[str, tuple[str, ...]] = {tables.indicators: GRAIN, tables.indicator_origins: GRAIN}
    own |= {"raw.deliveries": ("feed", "file"), f"raw.{FEED_MONTHS}": ("feed", "report_year", "report_month")}
    return {**own, **{f"raw.{feed.name}": feed.key for feed in feeds}}


def difference_lines(difference: Difference) -> Iterator[str]:
    """Tell a difference in lines, at most about 100 wide."""
    yield f"{difference.before} -> {difference.after}"
    for problem in difference.problems:
        yield f"  nodes are not compared: {problem}"
    for what, name in difference.nodes:
        yield f"  node {name}: {what}"
    yield f"Tables: {difference.same_tables} the same, {len(difference.tables)} differ."
    for change in difference.tables:
        if change.rows_before is None or change.rows_after is None:
            rows = counted(change.rows_before or change.rows_after or 0, "row")
            side = f"new, {rows}" if change.rows_before is None else f"gone, {rows}"
            yield f"  {change.table}: {side}"
            continue
        message = f"{change.rows_before} -> {counted(change.rows_after, 'row')}"
        parts = [(change.added, "added"), (change.removed, "removed"), (change.changed, "changed")]
        message += "".join(f", {count} {word}" for count, word in parts if count)
        yield f"  {change.table}: {message}{f'; columns: {change.columns}' if change.columns else ''}"
    yield f"Deliveries: {len(difference.deliveries)} differ."
    for delivery in difference.deliveries:
        yield f"  {delivery.line()}"
    yield f"Indicators: {len(difference.indicators)} differ."
    for figure, service, year, basis, before, after in difference.indicators:
        by = "" if before is None or after is None else f" ({after - before:+.6g})"
        unusual = f", {basis}" if basis != USUAL_BASIS else ""
        files = [delivery.path for delivery in behind(difference.feeds.get(figure, ()), difference.deliveries)]
        cause = f" <- {listed(files, SHOWN_FILES)}" if files else ""
        yield f"  {year} {figure} {service}{unusual}: {_number(before)} -> {_number(after)}{by}{cause}"


def _number(value: float | None) -> str:
    return "-" if value is None else significant(value, 6)


def _unused(con: duckdb.DuckDBPyConnection, tables: Mapping[str, Mapping[str, Mapping[str, str]]]) -> set[str]:
    """The tables of what is kept of deleted deliveries, and of releases, where nothing ever was."""
    places = [(name, f"{side}.{name}") for side in tables for name in UNUSED if name in tables[side]]
    used = {name for name, place in places if _counted(con, place)}
    return {name for name, _ in places} - used


def _table(
    con: duckdb.DuckDBPyConnection,
    table: str,
    tables: Mapping[str, Mapping[str, Mapping[str, str]]],
    key: Sequence[str],
) -> TableChange | None:
    before, after = tables["before"].get(table), tables["after"].get(table)
    if before is None or after is None:
        count = _counted(con, f"{'after' if before is None else 'before'}.{table}")
        if before is None:
            return TableChange(table, None, count, count, 0, 0, "")
        return TableChange(table, count, None, 0, count, 0, "")
    # Where in which file a row stands is no part of what it says.
    shared = [name for name in before if name in after and name not in ("_file", "_record")]
    columns = ", ".join(identifier(name) for name in shared)
    contents = [
        con.execute(f"select count(*), sum(hash({columns})::hugeint) from {side}.{table}").fetchone()
        for side in ("before", "after")
    ]
    moved = [f"+{name}" for name in after if name not in before] + [f"-{name}" for name in before if name not in after]
    moved += [f"{name} {before[name]} -> {after[name]}" for name in shared if before[name] != after[name]]
    if contents[0] == contents[1] and not moved:
        return None
    counts = [_counted(con, f"{side}.{table}") for side in ("before", "after")]
    differing = "select {columns} from {one}.{table} except all select {columns} from {other}.{table}"
    new = differing.format(columns=columns, one="after", other="before", table=table)
    old = differing.format(columns=columns, one="before", other="after", table=table)
    keys = [identifier(name) for name in key] if set(key) <= set(shared) else []
    # As many rows of a key as differ on both sides are changed. Without a key, rows are alike or they have no relation.
    sql = f"""
        select
            coalesce(sum(greatest(in_after - in_before, 0)), 0),
            coalesce(sum(greatest(in_before - in_after, 0)), 0),
            coalesce(sum(least(in_before, in_after)), 0)
        from (
            select
                count(*) filter (where _kpi_side = 'after') as in_after,
                count(*) filter (where _kpi_side = 'before') as in_before
            from (
                select 'after' as _kpi_side, * from ({new})
                union all
                select 'before' as _kpi_side, * from ({old})
            )
            group by {", ".join(keys) or columns}
        )
    """
    added, removed, altered = (int(str(count)) for count in fetch_one(con, sql))
    return TableChange(table, counts[0], counts[1], added, removed, altered, ", ".join(moved))


def _counted(con: duckdb.DuckDBPyConnection, relation: str) -> int:
    return int(str(fetch_one(con, f"select count(*) from {relation}")[0]))


def _nodes(before: BuildRecord, after: BuildRecord) -> Iterator[tuple[str, str]]:
    """Seeds, sources and models that were added, removed or have another definition or other parents."""
    if before.problem or after.problem:
        return
    old, new = before.nodes or {}, after.nodes or {}
    for node in sorted({*old, *new}):
        if node.startswith("test."):
            continue
        if node not in old:
            yield "new", node
        elif node not in new:
            yield "gone", node
        elif old[node].sql != new[node].sql:
            yield "its SQL changed", node
        elif old[node].fingerprint != new[node].fingerprint:
            yield "what it is made from changed", node
