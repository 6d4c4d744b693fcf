"""DuckDB: connections that build, read or only parse; the content of a table compared; its errors in plain words.

DuckDB's own parser reads them, so that what it takes for the end of a text is what will be taken for it later.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

from kpi.errors import BuildError, ConfigError, nearest
from kpi.lazy import duckdb as duckdb  # noqa: PLC0414  others import it from here
from kpi.sql import identifier, literal, relation_name

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


def attached(files: Mapping[str, Path]) -> duckdb.DuckDBPyConnection:
    """Open an empty in-memory database with database files beside it, read-only and by these names."""
    con = scratch()
    for name, file in files.items():
        con.execute(f"attach {literal(str(file.resolve()))} as {name} (read_only)")
    return con


def reading(database: Path, memory_limit: str = "") -> duckdb.DuckDBPyConnection:
    """Open a database read-only and hardened: its SQL reaches no file, installs nothing and changes no setting.

    What a query spills goes to a folder of the user's own in the system's temporary one, never beside the build.
    `memory_limit` is DuckDB's, such as 512MB; without one it takes what it has to, and keeps what it read.
    """
    con = duckdb.connect(
        str(database),
        read_only=True,
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": _own_spill(os.getuid()),
            **({"memory_limit": memory_limit} if memory_limit else {}),
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


def beside(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Open another connection to what a connection uses, for another thread. It sees what is committed."""
    other = _noted(con.cursor())
    other.execute(f"use {identifier(str(fetch_one(con, 'select current_database()')[0]))}")
    return other


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
    rows = con.execute(sql, parameters or []).fetchall()
    if not rows:
        raise BuildError("query", "no row came back", sql)
    return tuple(rows[0])


def fetch_dicts(con: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
    """Return the rows of a query, each by the names of its columns."""
    cursor = con.execute(sql, list(parameters))
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def table_columns(
    con: duckdb.DuckDBPyConnection, catalog: str = "", with_views: bool = True
) -> dict[str, dict[str, str]]:
    """Return name and type of the columns of each table of a database, by `schema.name` and in that order.

    It is the current database unless another that is attached is named.
    """
    rows = con.execute(
        "select schema_name || '.' || table_name, column_name, data_type from duckdb_columns()"
        " where database_name = $catalog and not internal"
        " and ($with_views or table_oid in (select table_oid from duckdb_tables() where database_name = $catalog))"
        " order by schema_name, table_name, column_index",
        {"catalog": catalog or str(fetch_one(con, "select current_database()")[0]), "with_views": with_views},
    ).fetchall()
    columns: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        columns.setdefault(table, {})[column] = kind
    return columns


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
def one_thread(con: duckdb.DuckDBPyConnection) -> Iterator[int]:
    """Run each statement on the thread that asks for it; yields how many threads there may be.

    Two threads for one insert cost a sixth more CPU and gain little time: tables are better filled beside each other.
    """
    threads = int(str(fetch_one(con, "select current_setting('threads')")[0]))
    con.execute("set threads = 1")
    try:
        yield threads
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


def release_memory(con: duckdb.DuckDBPyConnection) -> None:
    """Let DuckDB give back what it keeps for later: blocks that it read, and memory that statements are done with.

    It keeps up to its limit of the first, and any amount of the second, until the limit is below what it has.
    """
    (limit,) = fetch_one(con, "select current_setting('memory_limit')")
    with suppress(duckdb.Error):  # it cannot come as far down: it has given back what it could
        con.execute("set memory_limit = '1MB'")
    con.execute(f"set memory_limit = {literal(str(limit))}")


_OF_PYTHON = 150_000_000  # bytes that a run needs beside DuckDB: its modules, and files on their way into tables


def beside_python(memory_limit: str) -> str:
    """Return how much of a memory limit DuckDB may use: Python needs the rest.

    The process peaks at up to a third more than the limit, for DuckDB does not count all that it takes. A share of the
    machine's memory stays as it is; of little memory DuckDB gets at least 70 %.
    """
    match = re.fullmatch(r"([\d.]+)\s*([KMGT]?)(i?)B", memory_limit.strip(), re.IGNORECASE)
    if not match:
        return memory_limit
    number, unit, thousand = float(match[1]), match[2].upper(), 1024 if match[3] else 1000
    size = number * thousand ** " KMGT".index(unit or " ")
    return f"{(size - min(0.3 * size, _OF_PYTHON)) / 1024:.0f}KiB"


def read_all(con: duckdb.DuckDBPyConnection, tables: Iterable[str]) -> None:
    """Read every value of the tables, so that DuckDB looks at the checksum of every page that holds one.

    Counting rows reads no page, and neither do the least and the greatest value of a column. Raises duckdb.Error.
    """
    for table in tables:
        con.execute(f"select sum(hash(held)::hugeint) from {table} as held").fetchall()


_HEADERS, _BLOCK = 3 * 4096, 262_144  # bytes at the beginning of a database file, and of each block after them
_AT_ONCE = 32  # blocks: a thread waits for the interpreter after each look, so there must not be many


def hash_of_whole_blocks(file: Path) -> str:
    """Return the hash of a database file, as `sha256sum` does, when every block has the checksum that is written in it.

    It is DuckDB's own, by which it judges a block that it reads: eight bytes before the rest. Looking at all of them
    costs a tenth of reading the tables. Empty when one is another, or the blocks are not of the usual form, or one was
    never written.
    """
    import numpy as np

    blocks, factor = bytearray(_AT_ONCE * _BLOCK), np.uint64(0xBF58476D1CE4E5B9)
    words = np.frombuffer(blocks, np.uint64).reshape(_AT_ONCE, -1)
    with file.open("rb", buffering=0) as stream:
        digest = hashlib.sha256(stream.read(_HEADERS))
        while size := stream.readinto(blocks):
            count, rest = divmod(size, _BLOCK)
            # What goes beyond 64 bits is cut off, as it is meant to be.
            sums = np.bitwise_xor.reduce(words[:count, 1:] * factor, axis=1) ^ np.uint64(5381)
            if rest or (words[:count, 0] != sums).any():
                return ""
            digest.update(memoryview(blocks)[:size])
    return digest.hexdigest()


@contextmanager
def as_it_was(con: duckdb.DuckDBPyConnection, relation: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a connection that goes on seeing the database as it is now, whatever is made of it meanwhile.

    It costs nothing but a transaction: what it saw is read only when someone asks. `relation` is any that is there. The
    database cannot be checkpointed meanwhile.
    """
    old = con.cursor()
    try:
        old.execute("begin transaction read only")
        _count(old, relation)  # a transaction sees an attached database as of its first look at it
        yield old
    finally:
        old.close()


def is_same(old: duckdb.DuckDBPyConnection, new: duckdb.DuckDBPyConnection, relation: str) -> bool:
    """Tell whether two connections see the same rows, and columns of the same names, types and order, in a relation.

    The rows are hashed only when their number is the same. False when it is not there in both.
    """
    try:
        if _columns(old, relation) != _columns(new, relation) or _count(old, relation) != _count(new, relation):
            return False
        rows = f"select sum(hash(held)::hugeint) from {CATALOG}.{relation} as held"
        return fetch_one(old, rows) == fetch_one(new, rows)
    except duckdb.CatalogException:
        return False


def _columns(con: duckdb.DuckDBPyConnection, relation: str) -> tuple[tuple[str, str], ...]:
    return columns_of(con, f"from {CATALOG}.{relation}")


def _count(con: duckdb.DuckDBPyConnection, relation: str) -> tuple[object, ...]:
    return fetch_one(con, f"select count(*) from {CATALOG}.{relation}")


_INSIDE = ("generate_series", "range", "unnest", "repeat", "repeat_row", "json_each", "json_tree")
FILE_READERS = (
    *("read_csv", "read_csv_auto", "sniff_csv", "read_parquet", "parquet_scan", "read_json", "read_json_auto"),
    *("read_json_objects", "read_ndjson", "read_ndjson_auto", "read_ndjson_objects", "read_text", "read_xlsx"),
)


def expression_problem(text: str, tables: bool = True) -> str:
    """Say why a text is not one SQL expression (or several after commas); empty when it is.

    Without `tables` no subquery may stand in it. No file and no function that reads one may, either way.
    """
    # In brackets of two kinds: what closes the one kind and opens it again does not fit the other.
    for before, after in (("[", "]"), ("(", ")")):
        tree = _parsed(f"select {before}\n{text}\n{after} as kpi_probe")
        if isinstance(tree, str):
            return f"is not one SQL expression: {tree}"
        node = tree["node"]
        if not _is_bare(node) or node["from_table"]["type"] != "EMPTY":
            return "is more than one SQL expression"
        if before == "[" and not node["select_list"][0].get("arguments", True):
            return "is empty"
    for inner in _nodes(tree):
        if inner.get("class") == "SUBQUERY" and not tables:
            return "may not have a subquery: it is an expression over the columns"
    return _outside(tree, ())


def type_problem(text: str) -> str:
    """Say why a text is not one SQL type; empty when it may be. Whether there is such a type, binding tells."""
    tree = _parsed(f"select cast(null as\n{text}\n) as kpi_probe")
    if isinstance(tree, str):
        return f"is not a type: {tree}"
    node = tree["node"]
    is_cast = _is_bare(node) and node["select_list"][0]["type"] == "OPERATOR_CAST"
    return "" if is_cast and node["from_table"]["type"] == "EMPTY" else "is more than a type"


def location_problem(text: str) -> str:
    """Say why a text cannot stand for a table that is read from files; empty when it can."""
    tree = _parsed(f"select * from\n{text}\n")
    if isinstance(tree, str):
        return f"is not what SQL reads a table from: {tree}"
    node = tree["node"]
    if node["type"] != "SELECT_NODE" or node["where_clause"] or node["group_expressions"] or node["modifiers"]:
        return "is more than what SQL reads a table from"
    return _outside(tree, FILE_READERS)


def select_problem(sql: str) -> str:
    """Say why a text is not one SELECT that reads no file; empty when it is."""
    tree = _parsed(sql)
    return f"is not one SELECT: {tree}" if isinstance(tree, str) else _outside(tree, ())


def column_problem(definition: str) -> str:
    """Say why a text is not the definition of one column, as `create table` takes it; empty when it is."""
    sql = f"create table kpi_probe (\n{definition}\n)"
    with confined() as con:
        try:
            if len(con.extract_statements(sql)) != 1:
                return "is more than one column"
            con.execute(sql)
            columns = con.execute("select column_name from duckdb_columns() where table_name = 'kpi_probe'").fetchall()
        except duckdb.Error as error:
            return f"is not the definition of a column: {first_line(error)}"
    return "" if len(columns) == 1 else "is more than one column"


@cache
def parser() -> duckdb.DuckDBPyConnection:
    """An empty database that reads SQL and judges values, one a process: opening one takes longer than most of that."""
    return confined({"threads": "1"})


def _parsed(sql: str) -> Any:
    """The tree of one SELECT as DuckDB gives it, or a text saying why it is none."""
    row = parser().execute("select json_serialize_sql(?)", [sql]).fetchall()[0]
    answer = json.loads(row[0])
    if answer["error"]:
        message = str(answer["error_message"])
        return (
            "a second statement begins in it" if message.startswith("Only SELECT") else message.partition("\n")[0][:300]
        )
    statements = answer["statements"]
    return statements[0] if len(statements) == 1 else "a second statement begins in it"


def _is_bare(node: Any) -> bool:
    """Whether a SELECT selects one thing and nothing else: no rows limited, grouped, ordered or left out."""
    if node["type"] != "SELECT_NODE" or len(node["select_list"]) != 1:
        return False
    rest = ("where_clause", "having", "qualify", "sample", "modifiers", "group_expressions")
    return node["select_list"][0]["alias"] == "kpi_probe" and not any(node[part] for part in rest)


def _outside(tree: Any, readers: tuple[str, ...]) -> str:
    """What in a tree reads more than tables; files may be read by these functions, and as tables when there are any."""
    ctes = {entry["key"] for node in _nodes(tree) for entry in node.get("cte_map", {}).get("map", ())}
    for node in _nodes(tree):
        if node.get("type") == "TABLE_FUNCTION":
            name = str(node["function"].get("function_name", "")).lower()
            if name not in _INSIDE and name not in readers:
                return f"may not read {name}()"
        if node.get("type") == "BASE_TABLE" and node["table_name"] not in ctes:
            is_file = any(mark in node["table_name"] for mark in "/\\*.")
            if is_file and not readers:
                return f"may not read the file '{node['table_name']}'"
            if readers and not is_file:
                return f"reads '{node['table_name']}', which is no file"
    return ""


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def kind_of(error: duckdb.Error) -> str:
    """Return what kind of error DuckDB raised, as it names it, with nothing of what it says: that quotes rows."""
    kind = str(error).partition(":")[0]
    return kind if kind.endswith("Error") and len(kind) < 60 else "failed while it ran"


def syntax_error(error: duckdb.Error) -> str:
    """Return what DuckDB says of SQL that it cannot read, in one line."""
    return first_line(error).removeprefix("Parser Error: ")


def first_line(error: Exception) -> str:
    """Return the first line of what DuckDB says: the rest repeats the SQL. It may quote a row."""
    return str(error).partition("\n")[0]


# DuckDB's words for the mistakes that are made every day, and ours.
_PLAIN_WORDS = (
    (r'Referenced column "?(?P<name>.+?)"? not found in FROM clause', "there is no column '{name}'."),
    (r'Column "(?P<name>.+?)" in \w+ list not found', "there is no column '{name}'."),
    (
        r'Column "(?P<name>.+?)" does not exist on (left|right) side of join',
        "there is no column '{name}' on both sides of the join.",
    ),
    (
        r'(Table|Values list) "(?P<table>.+?)" does not have a column named "(?P<name>.+?)"',
        "'{table}' has no column '{name}'.",
    ),
    (r'Referenced table "(?P<name>.+?)" not found', "there is no table or alias '{name}' here."),
    (r"(Scalar|Aggregate|Table|Window) Function with name (?P<name>.+?) does not", "there is no function '{name}'."),
    (r'No files found that match the pattern "(?P<name>.+?)"', "no file matches '{name}'."),
    (r"Type with name (?P<name>.+?) does not exist", "there is no type '{name}'."),
    (
        r"Ambiguous reference to column name \"?(?P<column>.+?)\"? \(use: (?P<ones>.+)\)",
        "the column '{column}' is in more than one table here. Write {ones}.",
    ),
    (
        r'column "?(?P<column>.+?)"? must appear in the GROUP BY clause',
        "the column '{column}' is neither grouped nor in an aggregate. Add it to group by, or aggregate it.",
    ),
    (
        r"Cannot (mix|compare) values of type (?P<one>.+?) and (?P<other>.+?) in (?P<where>.+?) - an explicit cast",
        "{one} and {other} meet in {where}. Write the cast that is meant.",
    ),
    (
        r"Cannot compare values of type (?P<one>.+?) and type (?P<other>.+?) - an explicit cast",
        "{one} cannot be compared with {other}. Write the cast that is meant.",
    ),
    (
        r"Cannot combine types of (?P<one>.+?) and (?P<other>.+?) - an explicit cast",
        "{one} and {other} meet here. Write the cast that is meant.",
    ),
)


@dataclass(frozen=True, slots=True)
class SqlProblem:
    """What is wrong. `offset` is the place in the statement in characters, or None when DuckDB does not tell."""

    message: str
    offset: int | None

    @property
    def is_uneven_union(self) -> bool:
        """Whether the parts of a UNION or its like have not as many columns."""
        return self.message.startswith("Set operations")

    @property
    def is_missing_table(self) -> bool:
        """Whether a database file has no table of that name."""
        return "does not have any tables matching" in self.message

    def names(self, word: str) -> bool:
        """Whether it quotes a word, such as a type."""
        return f"'{word}'" in self.message


def csv_problem(error: duckdb.Error) -> tuple[int, str, str] | None:
    """Return line, column and what is wrong, of an error in converting a CSV file; None when DuckDB does not tell."""
    text = str(error).replace("\\n", "\n").replace('\\"', '"')
    line = re.search(r"CSV Error on Line: (\d+)", text)
    reason = re.search(r'Error when converting column "(.+?)"\. (.+)', text)
    return (int(line[1]), reason[1], reason[2]) if line and reason else None


def problem_of(error: duckdb.Error, statement: str, known: Iterable[str] = ()) -> SqlProblem:
    """Put an error of a connection with `errors_as_json` in plain words.

    `known` are names among which the nearest is looked for, beside those that DuckDB proposes.
    """
    text = str(error)
    try:
        facts = json.loads(text[text.index("{") :])
    except ValueError:
        return SqlProblem(text.partition("\n")[0], None)
    full_text = str(facts.get("exception_message", text))
    position = facts.get("position")
    # DuckDB counts bytes.
    offset = None if position is None else len(statement.encode()[: int(position)].decode(errors="ignore"))
    message, name = _in_plain_words(full_text)
    if name:
        proposed = re.findall(r'"(\w+)"', full_text.partition("\n")[2])
        hint = nearest(name, {*proposed, *known} - {name})
        message += hint if "Did you mean" in hint else f" The nearest is '{proposed[0]}'." if proposed else ""
        offset = _place_of(name, statement) if offset is None else offset
    return SqlProblem(message, offset)


def _in_plain_words(message: str) -> tuple[str, str]:
    for pattern, words in _PLAIN_WORDS:
        match = re.match(pattern, message)
        if match:
            return words.format(**match.groupdict()).replace("_LITERAL", ""), match.groupdict().get("name", "")
    called = re.match(r"No function matches the given name and argument types '(.+?)'", message)
    if called:
        takes = [line.strip() for line in message.split("\n")[2:] if "(" in line]
        shown = "; ".join(takes[:3]) + ("; …" if len(takes) > 3 else "")
        return f"no function takes {called[1].replace('_LITERAL', '')}. There is: {shown}.", ""
    return message.partition("\n")[0].rstrip("!. ") + ".", ""


def _place_of(name: str, statement: str) -> int | None:
    match = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", statement)
    return match.start() if match else None
