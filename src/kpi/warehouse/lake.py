"""The lake: the loaded tables of builds as Parquet, which Spark and other engines read, with a manifest a build.

A table is written whole when its content is another; else the manifest names the files of an earlier build. What a
manifest names never changes: it is written aside, read back, sealed and renamed before any manifest says so.

    <lake>/raw.calls/00042-5f0c1d2e9a41/data.parquet       a version: content of a table, by the build that wrote it
    warehouse/lake/manifests/00042-20260301T020000Z.json    what a build's tables are

The build's own connection never reaches the lake: rows leave it as Arrow, and another connection writes them. So no SQL
of the project can write into a folder from which readers' views read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kpi.codec import Malformed, from_plain, to_plain
from kpi.errors import BuildError, ConfigError, is_disk_full
from kpi.events import Emit, now, silent
from kpi.files import read_regular
from kpi.ingest.raw_files import hash_of
from kpi.lazy import duckdb
from kpi.sql import counted, identifier, literal, relation_name, word
from kpi.warehouse.builds import Warehouse, number_of
from kpi.warehouse.lake_store import (
    FOLDER,
    TEMPORARY,
    FolderStore,
    LakeFile,
    Store,
    disk_error,
    remove_tree,
    store_of,
    write_whole,
)
from kpi.warehouse.permissions import close, database_path, open_up

if TYPE_CHECKING:
    from kpi.build_record import BuildRecord
    from kpi.settings import WarehouseSettings

SCHEMA_VERSION = 1
MANIFESTS = "manifests"
DATA = "data.parquet"
_BATCH = 20_480  # rows that leave DuckDB at once: few enough that their texts fit into Arrow's 2 GB


@dataclass(frozen=True, slots=True)
class LakeColumn:
    """A column: its type in DuckDB, and the type it has in Parquet, which all engines read alike."""

    name: str
    type: str
    stored: str


@dataclass(frozen=True, slots=True)
class LakeTable:
    """A table of a build: its columns, and the files that hold its rows. `content_hash` is of columns and rows, in
    whatever order, and DuckDB's own: compare it with no other engine's."""

    relation: str
    columns: tuple[LakeColumn, ...]
    files: tuple[LakeFile, ...]
    rows: int
    bytes: int
    content_hash: str

    @property
    def version(self) -> str:
        """The folder of the files, below the lake."""
        return self.files[0].path.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the tables of a build are. `location` is the lake's address, empty for the warehouse's own folder."""

    schema_version: int
    build: str
    written_at: str
    location: str
    tables: tuple[LakeTable, ...]

    def table(self, relation: str) -> LakeTable:
        """Return a table by its name, schema.name. Raises ConfigError when the build has none of it."""
        match = next((table for table in self.tables if table.relation == relation), None)
        if match is None:
            raise ConfigError(f"the lake has no table {relation} of build {self.build}.")
        return match


@dataclass(frozen=True, slots=True)
class Lake:
    """The lake of a warehouse: where its files are, and whose rows are for stewards alone."""

    warehouse: Warehouse
    store: Store
    warehouse_settings: WarehouseSettings

    def uri(self, table: LakeTable) -> str:
        """Return the folder of a table's Parquet as DuckDB and Spark name it: a path, or an address."""
        return self.store.uri(table.version)

    def paths(self, table: LakeTable) -> list[str]:
        """Return the Parquet files of a table, each as DuckDB and Spark name it."""
        return [self.store.uri(file.path) for file in table.files]


def lake_of(warehouse: Warehouse, warehouse_settings: WarehouseSettings, setting: str = "") -> Lake:
    """Return the lake at a setting (see `store_of`). Raises ConfigError."""
    return Lake(warehouse, store_of(warehouse.root, setting), warehouse_settings)


def write(
    lake: Lake, con: duckdb.DuckDBPyConnection, build: str, relations: Iterable[str], emit: Emit = silent
) -> Manifest:
    """Write these tables (each schema.name) of a build that is being made; returns its manifest.

    Tables whose content the lake has are carried over once their files are found to be as written, others written
    anew from the connection. Only the holder of the writer's lock may. Raises BuildError for a table that cannot be
    written, with nothing half left that is used; a full disk is DuckDB's own error, or an OSError.
    """
    sweep(lake.warehouse, [lake.store], emit)
    tables_by_content = {(table.relation, table.content_hash): table for table in _noted_tables(lake)}
    tables, repaired, fresh = list[LakeTable](), list[tuple[LakeTable, LakeTable]](), 0
    for relation in sorted(set(relations)):
        content = _content_of(con, relation)
        before = tables_by_content.get((relation, content.content_hash))
        damage = next(filter(None, map(lake.store.damage, before.files)), "") if before else ""
        if before and not damage:
            tables.append(before)
            continue
        table = _write_table(lake, con, build, content)
        if before:
            emit(f"  warning: the lake's {damage}: {relation} is written again.")
            repaired.append((before, table))
        tables.append(table)
        fresh += 1
    protect(lake.warehouse, lake.warehouse_settings)
    manifest = Manifest(SCHEMA_VERSION, build, now(), lake.store.location, tuple(tables))
    _note(lake, manifest)
    for old, new in repaired:
        _replace_everywhere(lake, old, new)
    size = f"{sum(table.bytes for table in manifest.tables) / 1e6:.1f} MB"
    emit(f"Lake: {counted(fresh, 'table')} of {len(tables)} written, the others are as they were; {size} in all.")
    return manifest


def manifest_of(warehouse: Warehouse, build: str) -> Manifest:
    """Return the manifest of a build by its id. Raises ConfigError when there is none, or it is damaged."""
    path = _folder(warehouse) / f"{build}.json"
    try:
        content = json.loads(read_regular(path))
        if isinstance(content, dict) and content.get("schema_version") != SCHEMA_VERSION:
            message = f"is of schema version {content.get('schema_version')!r}, and this kpi reads {SCHEMA_VERSION}"
            raise ConfigError(f"the lake's manifest of build {build} {message}.")
        manifest: Manifest = from_plain(Manifest, content)
    except FileNotFoundError:
        raise ConfigError(f"the lake has nothing of build {build}.") from None
    except (OSError, ValueError, RecursionError, Malformed) as error:
        raise ConfigError(f"the lake's manifest of build {build} is damaged: {error}. Run: kpi refresh") from None
    return manifest


def damaged(lake: Lake, manifest: Manifest) -> dict[str, str]:
    """Return what is wrong with the files of a build, by table. Reads every byte of a folder's, sizes of a store's."""
    damage_by_table = {
        table.relation: next(filter(None, map(lake.store.damage, table.files)), "") for table in manifest.tables
    }
    return {relation: damage for relation, damage in damage_by_table.items() if damage}


def restore(lake: Lake, con: duckdb.DuckDBPyConnection, table: LakeTable) -> None:
    """Put the rows of a table back into a database, with the types it had; the table is created when it is not there.

    The connection may be confined: it does not reach the lake. Raises BuildError when what is read is not what was
    written, and ConfigError when the store cannot be read from here.
    """
    from kpi import database

    schema = table.relation.rpartition(".")[0]
    with database.scratch() as other:
        lake.store.prepare(other)
        try:
            rows: Any = other.sql(f"select {_typed(table, 'stored')} from {_scan(lake, table)}")
            con.register("kpi_lake", rows.to_arrow_reader(_BATCH))
            columns = ", ".join(f"{identifier(one.name)} {one.type}" for one in table.columns)
            con.execute(f"create schema if not exists {schema}")
            con.execute(f"create table if not exists {table.relation} ({columns})")
            names = ", ".join(identifier(one.name) for one in table.columns)
            con.execute(f"insert into {table.relation} ({names}) select {_typed(table, 'type')} from kpi_lake")
        except duckdb.Error as error:
            if is_disk_full(error):
                raise
            message = "the lake's rows cannot be read back. See: kpi doctor"
            raise BuildError(table.relation, message, restricted=f"{message} ({database.first_line(error)})") from None
        finally:
            con.unregister("kpi_lake")
    if _content_of(con, table.relation).content_hash != table.content_hash:
        raise BuildError(table.relation, "the lake does not hold what was written. See: kpi doctor")


def open_with_lake(warehouse: Warehouse, build: str | None = None, stewards: bool = False) -> duckdb.DuckDBPyConnection:
    """Open a build with the tables that it has in the lake alone as views over their Parquet, and views that read them.

    Everything is a view in the catalog `kpi`, which is in memory; the connection reaches the build's file and the
    files its manifest names, and nothing else. Raises ConfigError when there is no such build, it has nothing in the
    lake, or whoever asks may not read it.
    """
    from kpi import database

    folder = warehouse.folder(build)
    name = folder.name
    file, manifest = database_path(folder, stewards).resolve(), manifest_of(warehouse, name)
    store = store_of(warehouse.root, manifest.location)
    lake = Lake(warehouse, store, warehouse.record(folder).warehouse_settings)
    con = database.scratch()
    try:
        store.prepare(con)
        con.execute(f"attach {literal(str(file))} as build (read_only)")
        con.execute(f"attach ':memory:' as {database.CATALOG}")
        con.execute(f"use {database.CATALOG}")
        present = _show_tables(con)
        missing = [table for table in manifest.tables if table.relation not in present]
        if isinstance(store, FolderStore):
            _refuse_unreadable(lake, missing)
            database.confine(con, [file, *(Path(path) for table in missing for path in lake.paths(table))])
        for table in missing:
            _create_view(con, table.relation, f"select {_typed(table, 'type')} from {_scan(lake, table)}")
        _create_views(con, _views_of(con, warehouse.record(folder), {*present, *(one.relation for one in missing)}))
        con.execute("set lock_configuration = true")
    except duckdb.Error as error:
        con.close()
        raise ConfigError(f"build {name} cannot be read with its lake: {database.first_line(error)}") from None
    except BaseException:
        con.close()
        raise
    return con


def sweep(warehouse: Warehouse, stores: Iterable[Store] = (), emit: Emit = silent) -> int:
    """Remove manifests of builds that are gone, versions that no manifest names, and what a killed run left.

    Returns the number of versions removed. Where a manifest of a build that is kept cannot be read, what it needs is
    not known, and no version goes. Only the holder of the writer's lock may. Raises OSError.
    """
    folder = _folder(warehouse)
    if not folder.is_dir():
        return 0
    for left in [*folder.glob(f"{TEMPORARY}*"), *(warehouse.root / FOLDER).glob(f"*.*/{TEMPORARY}*")]:
        remove_tree(left) if left.is_dir() else left.unlink()
    builds = {entry.name.removeprefix(TEMPORARY) for entry in warehouse.builds.iterdir() if entry.is_dir()}
    wanted: dict[str, set[str]] = {"": set(), **{store.location: set() for store in stores}}
    outdated = list[Path]()
    for path in sorted(folder.glob("*.json")):
        try:
            manifest = manifest_of(warehouse, path.stem)
        except ConfigError as error:
            if path.stem in builds:
                emit(f"  warning: nothing is removed from the lake while it is not known what is needed: {error}")
                return 0
            outdated.append(path)
            continue
        versions = wanted.setdefault(manifest.location, set())
        if path.stem in builds:
            versions |= {table.version for table in manifest.tables}
        else:
            outdated.append(path)
    open_stores = {store.location: store for store in stores}
    removed = 0
    for location, versions in wanted.items():
        store = open_stores.get(location) or store_of(warehouse.root, location)
        owner = _owner(warehouse, store)
        for version in [one for one in store.versions() if one not in versions and owner in one]:
            store.remove(version)
            removed += 1
    for path in outdated:  # last: a manifest is what tells where versions lie
        path.unlink()
    return removed


def tidy(warehouse: Warehouse, emit: Emit) -> None:
    """Remove what no build needs, as `sweep` does; what cannot be removed is a warning."""
    try:
        removed = sweep(warehouse, emit=emit)
    except (OSError, ConfigError) as error:
        emit(f"  warning: what no build needs any more is still in the lake: {error}")
    else:
        if removed:
            emit(f"Removed {counted(removed, 'table')} from the lake that no build needs any more.")


def protect(warehouse: Warehouse, warehouse_settings: WarehouseSettings) -> None:
    """Close the tables of the stewards' schemas to all others, and open the rest, in every folder that holds the lake.

    Who may read an object store is decided there.
    """
    locations = {"", *(manifest.location for manifest in _manifests(warehouse))}
    stores = [store for store in map(partial(store_of, warehouse.root), locations) if isinstance(store, FolderStore)]
    for folder in sorted(path for store in stores for path in store.root.glob("*.*") if path.is_dir()):
        if _is_restricted(folder.name, warehouse_settings):
            close(folder, warehouse_settings.stewards_group)
        else:
            open_up(folder, warehouse.builds)


def _is_restricted(place: str, warehouse_settings: WarehouseSettings) -> bool:
    """Whether what lies at a place below the lake is for stewards: its folder begins with their schema."""
    return place.partition(".")[0] in {_part(schema) for schema in warehouse_settings.stewards_schemas}


def _folder(warehouse: Warehouse) -> Path:
    return warehouse.root / FOLDER / MANIFESTS


def _note(lake: Lake, manifest: Manifest) -> None:
    text = json.dumps(to_plain(manifest), ensure_ascii=False, indent=1) + "\n"
    name = f"{MANIFESTS}/{manifest.build}.json"
    try:
        lake.store.note(name, text)
        write_whole(lake.warehouse.root / FOLDER / name, text)
    except OSError as error:
        if is_disk_full(error):
            raise
        raise disk_error("manifest", error) from None


def _manifests(warehouse: Warehouse) -> Iterator[Manifest]:
    """Every manifest that can be read, the newest first."""
    for path in sorted(_folder(warehouse).glob("*.json"), reverse=True):
        with suppress(ConfigError):
            yield manifest_of(warehouse, path.stem)


def _noted_tables(lake: Lake) -> Iterator[LakeTable]:
    """The tables of all manifests of this place, the newest last."""
    for manifest in reversed(list(_manifests(lake.warehouse))):
        if manifest.location == lake.store.location:
            yield from manifest.tables


def _replace_everywhere(lake: Lake, old: LakeTable, new: LakeTable) -> None:
    """Let every build that needs the damaged files have the new ones, which hold the same rows."""
    for manifest in list(_manifests(lake.warehouse)):
        if old in manifest.tables:
            tables = tuple(new if table == old else table for table in manifest.tables)
            _note(lake, replace(manifest, tables=tables))


@dataclass(frozen=True, slots=True)
class _Content:
    """What a table holds: its columns, number of rows and sum of their hashes."""

    relation: str
    columns: tuple[LakeColumn, ...]
    rows: int
    total: int

    @property
    def content_hash(self) -> str:
        shape = [(column.name, column.type) for column in self.columns]
        return hashlib.blake2b(repr((shape, self.rows, self.total)).encode(), digest_size=16).hexdigest()


_SUM = "count(*), coalesce(sum(hash(held)::hugeint), 0)"  # of a table called held


def _row(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    """The only row of a query, which is at its end then: the connection is free for a stream."""
    return tuple(con.execute(sql).fetchall()[0])


def _content_of(con: duckdb.DuckDBPyConnection, relation: str) -> _Content:
    """Describe and hash a table. Raises BuildError when a column cannot be kept so that all engines read it alike."""
    shape = con.sql(f"from {relation}")
    columns = tuple(
        LakeColumn(name, str(kind), _stored(relation, name, kind))
        for name, kind in zip(shape.columns, shape.types, strict=True)
    )
    dated = [one for one in columns if one.stored in ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")]
    infinite = "".join(f", count(*) filter (where isinf(cast({identifier(c.name)} as {c.stored})))" for c in dated)
    row = _row(con, f"select {_SUM}{infinite} from {relation} as held")
    rows, total, *beyond = row
    for name, count in zip((one.name for one in dated), beyond, strict=True):
        if count:
            message = f"column '{name}' has {counted(count, 'infinite date')}, which Spark has no value for."
            raise BuildError(relation, f"{message} Let the contract or the model make them null.")
    return _Content(relation, columns, rows, total)


# Types that are in Parquet as they are, and those that are written as another that both engines read alike: DuckDB
# would write a HUGEINT as a DOUBLE, and Spark would read an unsigned number as a wider one.
_SAME = frozenset(
    (
        *("boolean", "tinyint", "smallint", "integer", "bigint", "float", "double", "decimal", "varchar", "blob"),
        *("date", "timestamp", "timestamp with time zone"),
    )
)
_OTHER = {
    **{"utinyint": "SMALLINT", "usmallint": "INTEGER", "uinteger": "BIGINT", "ubigint": "DECIMAL(20,0)"},
    **{"hugeint": "DECIMAL(38,0)", "uhugeint": "DECIMAL(38,0)", "enum": "VARCHAR", "uuid": "VARCHAR"},
    **{"timestamp_s": "TIMESTAMP", "timestamp_ms": "TIMESTAMP"},
}


def _stored(relation: str, column: str, kind: Any) -> str:
    """The type in Parquet of a column of a type, `kind` being DuckDB's object of it. Raises BuildError."""
    if kind.id in _OTHER:
        return _OTHER[kind.id]
    if kind.id in ("list", "array"):
        return f"{_stored(relation, column, kind.children[0][1])}[]"
    if kind.id == "struct":
        inner = (f"{identifier(name)} {_stored(relation, column, child)}" for name, child in kind.children)
        return f"STRUCT({', '.join(inner)})"
    if kind.id == "map":
        return f"MAP({', '.join(_stored(relation, column, child) for _, child in kind.children)})"
    if kind.id in _SAME:
        return "VARCHAR" if kind.id == "varchar" else str(kind)  # JSON is a varchar by another name
    message = f"column '{column}' is of type {kind}, which not every engine reads from Parquet as DuckDB does."
    raise BuildError(relation, f"{message} Cast it, as to varchar.")


def _write_table(lake: Lake, con: duckdb.DuckDBPyConnection, build: str, content: _Content) -> LakeTable:
    """Write a version of a table aside, read it back, and give it its name."""
    from kpi.database import first_line, kind_of

    version = _new_version(lake, build, content)
    staged = _stage(lake, version)
    try:
        size, checksum = _write_parquet(con, content, staged / DATA)
        lake.store.take(staged, version)
    except duckdb.Error as error:
        _give_up(lake, staged, version)
        if is_disk_full(error):
            raise
        message = f"cannot be written as Parquet: {kind_of(error)}"
        raise BuildError(content.relation, message, restricted=f"{message}: {first_line(error)}") from None
    except OSError as error:
        _give_up(lake, staged, version)
        if is_disk_full(error):
            raise
        raise disk_error(content.relation, error) from None
    except BaseException:
        _give_up(lake, staged, version)
        raise
    files = (LakeFile(f"{version}/{DATA}", size, checksum),)
    return LakeTable(content.relation, content.columns, files, content.rows, size, content.content_hash)


def _stage(lake: Lake, version: str) -> Path:
    """Make the folder in which a version is written aside: its owner's alone, on the lake's disk where that is one."""
    root = lake.store.root if isinstance(lake.store, FolderStore) else lake.warehouse.root / FOLDER
    target = root / version
    staged = target.with_name(TEMPORARY + target.name)
    try:
        staged.parent.mkdir(parents=True, exist_ok=True)
        if _is_restricted(version, lake.warehouse_settings):
            close(staged.parent, lake.warehouse_settings.stewards_group)
        remove_tree(staged)
        staged.mkdir(mode=0o700)
    except OSError as error:
        if is_disk_full(error):
            raise
        raise disk_error(version.partition("/")[0], error) from None
    return staged


def _give_up(lake: Lake, staged: Path, version: str) -> None:
    """Leave nothing of a version that could not be written; what stays all the same, the next run removes."""
    with suppress(OSError):
        remove_tree(staged)
    with suppress(OSError):
        lake.store.remove(version)


def _write_parquet(con: duckdb.DuckDBPyConnection, content: _Content, file: Path) -> tuple[int, str]:
    """Write the rows of a table through Arrow, and read them back. Returns the file's size and checksum."""
    from kpi import database

    columns = ", ".join(
        f"cast({identifier(one.name)} as {one.stored}) as {identifier(one.name)}" for one in content.columns
    )
    threads, memory = _row(con, "select current_setting('threads'), current_setting('memory_limit')")
    settings = {"threads": str(threads), "memory_limit": str(memory)}
    with database.scratch({"temp_directory": str(file.with_name("spill")), **settings}) as other:
        # As a relation and not as a result: that would be copied whole into memory first.
        rows: Any = con.sql(f"select {columns} from {content.relation}")
        other.register("kpi_rows", rows.to_arrow_reader(_BATCH))
        other.execute(f"copy (from kpi_rows) to {literal(str(file))} (format parquet, compression zstd)")
        other.unregister("kpi_rows")
        typed = ", ".join(f"cast({identifier(one.name)} as {one.type})" for one in content.columns)
        held = f"(select {typed} from {_parquet([str(file)])}) as held"
        sums = _row(other, f"select {_SUM} from {held}")
    if sums != (content.rows, content.total):
        raise BuildError(content.relation, "the Parquet does not hold what the table holds. Is the disk full?")
    return file.stat().st_size, hash_of(file)


def _new_version(lake: Lake, build: str, content: _Content) -> str:
    """A name that no version has: the table's folder, the build's number, and the content's hash."""
    owner = _owner(lake.warehouse, lake.store)
    base = f"{_place(content.relation)}/{number_of(build):05}-{content.content_hash[:12]}{owner}"
    present = set(lake.store.versions())
    return next(name for name in (base, *(f"{base}-{again}" for again in range(2, 1000))) if name not in present)


def _owner(warehouse: Warehouse, store: Store) -> str:
    """What tells the versions of a warehouse from those of another one whose lake is at the same address."""
    return "-" + hashlib.blake2b(str(warehouse.root).encode(), digest_size=3).hexdigest() if store.location else ""


def _place(relation: str) -> str:
    """The folder of a table, below the lake."""
    return ".".join(_part(name) for name in _split(relation))


def _split(relation: str) -> tuple[str, ...]:
    """Schema and name of a relation as SQL, without their quotes."""
    parts = re.findall(r'"(?:[^"]|"")*"|[^."]+', relation)
    return tuple(part[1:-1].replace('""', '"') if part[0] == '"' else part for part in parts)


def _part(name: str) -> str:
    """A name as a part of a path that no engine takes for more: neither hidden, nor a pattern, nor a partition."""
    lower = name.lower()  # as DuckDB takes names
    if word(lower) == lower and lower[0] != "_":
        return lower
    return f"{word(lower).strip('_')}-{hashlib.blake2b(lower.encode(), digest_size=4).hexdigest()}"


def _scan(lake: Lake, table: LakeTable) -> str:
    return _parquet(lake.paths(table))


def _parquet(paths: Iterable[str]) -> str:
    """SQL of the rows of Parquet files. Of a list, no sign in a path is a pattern's."""
    return f"read_parquet([{', '.join(map(literal, paths))}], hive_partitioning = false)"


def _typed(table: LakeTable, of: Literal["type", "stored"]) -> str:
    """SQL of the columns of a table: in the types DuckDB has them, or in those of Parquet."""
    return ", ".join(
        f"cast({identifier(one.name)} as {one.type if of == 'type' else one.stored}) as {identifier(one.name)}"
        for one in table.columns
    )


def _refuse_unreadable(lake: Lake, tables: Iterable[LakeTable]) -> None:
    for table in tables:
        for path in lake.paths(table):
            try:
                open(path, "rb").close()
            except PermissionError:
                message = f"you are not among those who may read {table.relation} in the lake"
                raise ConfigError(f"{message}: that is for the stewards of the warehouse.") from None
            except OSError as error:
                raise ConfigError(f"{path}: {error.strerror}. The next run of kpi refresh writes it again.") from None


def _show_tables(con: duckdb.DuckDBPyConnection) -> set[str]:
    """Name every table of the build's file in the catalog `kpi`. Returns their names."""
    rows = con.execute("select schema_name, table_name from duckdb_tables() where database_name = 'build'").fetchall()
    names = {relation_name(schema, name) for schema, name in rows}
    for name in sorted(names):
        _create_view(con, name, f"from build.{name}")
    return names


def _create_view(con: duckdb.DuckDBPyConnection, relation: str, select: str) -> None:
    con.execute(f"create schema if not exists {identifier(_split(relation)[0])}")
    con.execute(f"create view {relation} as {select}")


def _views_of(con: duckdb.DuckDBPyConnection, record: BuildRecord, present: Collection[str]) -> dict[str, str]:
    """The SELECT of each view of a build: those of its file, and models that are views and are not in it."""
    nodes = (record.nodes or {}).items()
    views = {
        node.relation: node.sql
        for name, node in nodes
        if name.startswith("model.") and node.version == node.fingerprint and node.sql and node.relation
    }
    stored = "select schema_name, view_name, sql from duckdb_views() where database_name = 'build' and not internal"
    for schema, name, sql in con.execute(stored).fetchall():
        views[relation_name(schema, name)] = sql.partition(" AS ")[2].rstrip().rstrip(";")
    return {name: sql for name, sql in views.items() if name not in present}


def _create_views(con: duckdb.DuckDBPyConnection, views: Mapping[str, str]) -> None:
    """Create views in whatever order they need each other; those of what the build lacks are left out."""
    left = dict(views)
    while left:
        before = len(left)
        for name, select in list(left.items()):
            try:
                _create_view(con, name, select)
            except (duckdb.CatalogException, duckdb.BinderException):
                continue  # what it reads is not there yet, or not at all
            del left[name]
        if len(left) == before:
            return
