"""The few things asked of DuckDB: a connection that builds, one that reads, and what both need to know of a file."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from weakref import WeakSet

import duckdb

from kpi.base.errors import BuildError, ConfigError
from kpi.base.names import identifier, literal, relation_name

CATALOG = "kpi"
LEAKING = "2.0.0"
_SETTING = threading.Lock()


@contextmanager
def building(
    database: Path, temporary: Path, settings: dict[str, str] | None = None, within: Sequence[Path] = ()
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the private file of a build for writing.

    With `within`, what runs here reaches these folders and files and nothing else: no other file, no network, no
    variable of Python. No write-ahead log: a build that does not reach its checkpoint is thrown away whole, so logging
    it is waste.
    """
    refuse_leaking()
    con = scratch({"temp_directory": str(temporary), **(settings or {})})
    try:
        con.execute(f"attach {literal(str(database))} as {CATALOG} (recovery_mode no_wal_writes)")
        con.execute(f"use {CATALOG}")
        if within:
            confine(con, within)
        yield con
    finally:
        con.close()


def refuse_leaking() -> None:
    """Raise ConfigError for a DuckDB that writes into database files what else is in the memory of the process."""
    if duckdb.__version__ == LEAKING:
        raise ConfigError(
            f"DuckDB {LEAKING} writes pieces of other tables' text into database files (duckdb#23382), so nothing is"
            " written with it. Install a newer one: pip install 'duckdb>=2.0.1'"
        )


def confine(con: duckdb.DuckDBPyConnection, within: Sequence[Path] = ()) -> None:
    """Take from a connection all files but these and what is in these folders, the network and Python's variables.

    DuckDB compares real paths, so a link that leads out of a folder reaches nothing. What is attached stays.
    """
    real = sorted({str(path.resolve()) for path in within})
    folders = [literal(path) for path in real if Path(path).is_dir()]
    files = [literal(path) for path in real if not Path(path).is_dir()]
    con.execute(f"set allowed_directories = [{', '.join(folders)}]")
    con.execute(f"set allowed_paths = [{', '.join(files)}]")
    con.execute("set enable_external_access = false")
    con.execute("set python_enable_replacements = false")


def confined(settings: dict[str, str] | None = None, within: Sequence[Path] = ()) -> duckdb.DuckDBPyConnection:
    """Open an empty in-memory database that reaches these folders and files alone, and whose settings stay."""
    con = scratch(settings)
    confine(con, within)
    con.execute("set lock_configuration = true")
    return con


def scratch(settings: dict[str, str] | None = None) -> duckdb.DuckDBPyConnection:
    """Open an empty in-memory database that never reaches for the network."""
    return _noted(
        duckdb.connect(
            config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false", **(settings or {})}
        )
    )


def reading(database: Path) -> duckdb.DuckDBPyConnection:
    """Open a database read-only and hardened: its SQL reaches no file, installs nothing and changes no setting.

    What a query spills goes to a folder of the user's own in the system's temporary one, never beside the build.
    """
    con = duckdb.connect(
        str(database),
        read_only=True,
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": _own_spill(os.getuid()),
        },
    )
    # Connections of one process to one file share its settings: the first locks them for all that follow. Two threads
    # at once must not both be the first.
    with _SETTING:
        if not fetch_one(con, "select current_setting('lock_configuration')")[0]:
            con.execute("set enable_external_access = false")
            con.execute("set lock_configuration = true")
    return _noted(con)


# Those that are open, for as long as anybody holds them.
_CONNECTIONS: WeakSet[duckdb.DuckDBPyConnection] = WeakSet()


def _noted(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    _CONNECTIONS.add(con)
    return con


def interrupt_all() -> None:
    """Stop what runs on any connection, from another thread: DuckDB does not look for Ctrl-C in all it does."""
    for con in list(_CONNECTIONS):
        with suppress(duckdb.Error):  # closed meanwhile
            con.interrupt()


@cache
def _own_spill(user: int) -> str:
    """A folder for what does not fit into memory, which are rows: nobody else can look into it, nor make it first."""
    folder = Path(tempfile.gettempdir()) / f"kpi-spill-{user}"
    with suppress(OSError):
        folder.mkdir(mode=0o700)
    about = folder.lstat() if os.path.lexists(folder) else None
    is_own = about and stat.S_ISDIR(about.st_mode) and about.st_uid == user and not about.st_mode & 0o077
    return str(folder) if is_own else tempfile.mkdtemp(prefix="kpi-spill-")


def one_statement(con: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Return the SQL. Raises duckdb.ParserException when a second statement begins in it."""
    if len(con.extract_statements(sql)) > 1:
        raise duckdb.ParserException("a second statement begins after a semicolon")
    return sql


def columns_of(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[tuple[str, str], ...]:
    """Return name and type of every column that a query yields, without running it."""
    return tuple((row[0], row[1]) for row in con.execute(one_statement(con, f"describe {sql}")).fetchall())


def fetch_one(con: duckdb.DuckDBPyConnection, sql: str, parameters: list[object] | None = None) -> tuple[object, ...]:
    """Return the only row of a query that always has one."""
    row = con.execute(sql, parameters or []).fetchone()
    if row is None:
        raise BuildError("query", "no row came back", sql)
    return tuple(row)


def relations(con: duckdb.DuckDBPyConnection, without: Collection[str] = ()) -> dict[str, str]:
    """Map `schema.name` of everything in the file, but for what is in some schemas, to 'table' or 'view'."""
    rows = con.execute(
        "select table_schema, table_name, table_type from information_schema.tables"
        " where table_catalog = ? and not list_contains(?::varchar[], lower(table_schema))",
        [CATALOG, sorted(without)],
    ).fetchall()
    return {relation_name(schema, name): "view" if kind == "VIEW" else "table" for schema, name, kind in rows}


def empty_schemas(con: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the schemas of the file that hold no table and no view, but for `main` and `raw`."""
    rows = con.execute(
        "select schema_name from duckdb_schemas() where database_name = ? and not internal"
        " except select table_schema from information_schema.tables where table_catalog = ?",
        [CATALOG, CATALOG],
    ).fetchall()
    return {str(row[0]) for row in rows} - {"main", "raw"}


@contextmanager
def one_thread(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Insert on one thread: two cost a sixth more CPU and gain little time, which another core has a use for."""
    threads = int(str(fetch_one(con, "select current_setting('threads')")[0]))
    con.execute("set threads = 1")
    try:
        yield
    finally:
        con.execute(f"set threads = {threads}")


def storage(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Return how many blocks the file has, how many of them are free, and how many bytes one holds."""
    sql = "select total_blocks, free_blocks, block_size from pragma_database_size() where database_name = ?"
    row = fetch_one(con, sql, [CATALOG])
    return dict(zip(("blocks", "free_blocks", "block_bytes"), (int(str(value)) for value in row), strict=True))


def copy_tables(source: Path, target: Path, settings: dict[str, str] | None = None) -> None:
    """Copy all that a database file holds into a new file, which then has no free blocks.

    Raises BuildError when what is there is not what was copied, and duckdb.Error when it cannot be copied.
    """
    refuse_leaking()
    with scratch({"temp_directory": str(target.with_name("spill")), **(settings or {})}) as con:
        con.execute(f"attach {literal(str(source))} as {CATALOG} (read_only)")
        con.execute(f"attach {literal(str(target))} as fresh (recovery_mode no_wal_writes)")
        con.execute(f"copy from database {CATALOG} to fresh")
        con.execute("checkpoint fresh")
        con.execute("detach fresh")
        con.execute(f"use {CATALOG}")
        rows = row_counts(con), relations(con)
    with reading(target) as con:
        copied = row_counts(con), relations(con)
    if copied != rows:
        raise BuildError(target.name, "the copy does not hold what the build holds")


def copy_without(source: Path, target: Path, schemas: Collection[str], settings: dict[str, str]) -> tuple[str, ...]:
    """Copy a database file but for these schemas into a new file, which holds no byte of their rows.

    A view that cannot be read without them becomes a table. Returns the names of those views. Raises BuildError when
    what is there then is not what was to be copied, and duckdb.Error when it cannot be copied.
    """
    refuse_leaking()
    attach_source = f"attach {literal(str(source))} as {CATALOG} (read_only)"
    attach_target = f"attach {literal(str(target))} as {{}} (recovery_mode no_wal_writes)"
    with scratch({"python_enable_replacements": "false", **settings}) as con:
        con.execute(attach_source)
        con.execute(attach_target.format("fresh"))
        # All definitions, less those that stay out, before any row is written.
        con.execute(f"copy from database {CATALOG} to fresh (schema)")
        present = con.execute("select schema_name from duckdb_schemas() where database_name = 'fresh'").fetchall()
        for schema in sorted({str(row[0]) for row in present if str(row[0]).lower() in schemas}):
            con.execute(f"drop schema fresh.{identifier(schema)} cascade")
        con.execute(f"detach {CATALOG}")
        con.execute("detach fresh")
        con.execute(attach_target.format(CATALOG))
        con.execute(f"use {CATALOG}")
        stay = relations(con)
        broken = tuple(name for name, kind in sorted(stay.items()) if kind == "view" and not _can_be_read(con, name))
        con.execute("use memory")
        con.execute(f"detach {CATALOG}")
        con.execute(attach_source)
        con.execute(attach_target.format("fresh"))
        con.execute(f"use {CATALOG}")
        for name in broken:
            con.execute(f"drop view fresh.{name}")
            con.execute(f"create table fresh.{name} as from {CATALOG}.{name}")
        for name in (name for name, kind in stay.items() if kind == "table"):
            con.execute(f"insert into fresh.{name} from {CATALOG}.{name}")
        con.execute("checkpoint fresh")
        con.execute("detach fresh")
        held = {**relations(con, schemas), **dict.fromkeys(broken, "table")}
        rows = row_counts(con, held)
    with reading(target) as con:
        copied = row_counts(con), relations(con)
    if copied != (rows, held):
        raise BuildError(target.name, "the readers' file does not hold what the build holds")
    return broken


def drop(con: duckdb.DuckDBPyConnection, relation: str, kind: str) -> None:
    """Drop a relation of the given kind."""
    con.execute(f"drop {kind} if exists {relation} cascade")


def row_counts(con: duckdb.DuckDBPyConnection, of: Mapping[str, str] | None = None) -> dict[str, int]:
    """Map every table of the file to its number of rows. Reads the tables' own counts, so it costs nothing.

    With `of`, as `relations` gives it, what it calls a table is counted, whatever that is here.
    """
    tables = [name for name, kind in sorted((relations(con) if of is None else of).items()) if kind == "table"]
    if not tables:
        return {}
    counts = " union all ".join(f"select {literal(name)}, count(*) from {name}" for name in tables)
    return {str(name): int(count) for name, count in con.execute(counts).fetchall()}


def _can_be_read(con: duckdb.DuckDBPyConnection, view: str) -> bool:
    try:
        columns_of(con, f"from {view}")
    except (duckdb.CatalogException, duckdb.BinderException):
        return False
    return True


def read_all(con: duckdb.DuckDBPyConnection, tables: Iterable[str]) -> None:
    """Read every value of the tables, so that DuckDB looks at the checksum of every page that holds one.

    Counting rows reads no page, and neither do the least and the greatest value of a column. Raises duckdb.Error.
    """
    for table in tables:
        con.execute(f"select sum(hash(held)::hugeint) from {table} as held").fetchall()
