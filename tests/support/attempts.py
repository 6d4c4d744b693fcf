"""A reader that tries to get at more than its build: run as `attempts.py WAREHOUSE`, by an unprivileged user when root.

With a second argument, the name of a copy of the database, it tries its SQL there on a plain connection instead, but
for what would reach for the network. Prints `sql` or `file` and each attempt that succeeded; then `ended`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb

from kpi import database
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import DATABASE, STEWARDS

NOBODY = 65534

SQL = (
    # Files
    "select * from read_csv('{outside}')",
    "select * from read_text('{outside}')",
    "select * from read_blob('{outside}')",
    "select * from '{outside}'",
    "select * from glob('/*')",
    "select * from sniff_csv('{outside}')",
    "select * from parquet_metadata('{outside}')",
    "select * from query('select * from read_text(''{outside}'')')",
    "copy (select 1) to '{target}'",
    "copy marts.calls_by_line to '{target}' (format parquet)",
    "export database '{target}'",
    "import database '{target}'",
    "attach '{target}' as other",
    "attach '{database}' as writable (read_write)",
    "attach '{stewards}' as stewards (read_only)",
    "select * from read_blob('{stewards}')",
    "select * from glob('{stewards}')",
    "select getenv('HOME')",
    # Extensions and the network
    "install httpfs",
    "force install spatial",
    "load httpfs",
    "load '{outside}'",
    "select * from read_csv('https://127.0.0.1:9/x.csv')",
    "create secret (type s3, key_id 'a', secret 'b')",
    # Settings
    "set enable_external_access = true",
    "reset enable_external_access",
    "set lock_configuration = false",
    "set allowed_directories = ['/']",
    "set allowed_paths = ['{outside}']",
    "set temp_directory = '{target}'",
    "set extension_directory = '{target}'",
    "set autoinstall_known_extensions = true",
    "pragma enable_profiling='json'",
    "pragma profiling_output='{target}'",
    "pragma log_query_path='{target}'",
    # Writing
    "create table marts.x as select 1",
    "create or replace view marts.calls_by_line as select 1",
    "insert into marts.calls_by_line select * from marts.calls_by_line",
    "update marts.calls_by_line set call_count = 0",
    "delete from raw.calls",
    "drop table raw.calls",
    "truncate raw.calls",
    "alter table raw.calls add column x integer",
    "drop schema marts cascade",
    "create schema mine",
    "create macro marts.m() as 1",
    "create sequence marts.s",
    "comment on table raw.calls is 'x'",
    "detach kpi",
    "use memory; create table t as select 1",
)


def main() -> None:
    """Try everything."""
    if len(sys.argv) > 2:
        copy = Path(sys.argv[2])
        names = {"outside": copy.with_name("secret.csv"), "target": copy.with_name("target"), "database": copy}
        names["stewards"] = copy.with_name("warehouse") / "current" / STEWARDS / DATABASE
        for sql in (sql for sql in SQL if not any(word in sql for word in ("install", "httpfs", "https"))):
            with duckdb.connect(copy) as con:
                attempt("sql", sql, lambda sql=sql: con.execute(sql.format(**names)).fetchall())  # type: ignore[misc]
        return
    warehouse = Warehouse(Path(sys.argv[1]))
    folder = warehouse.folder()
    build = folder.resolve()
    file = build / DATABASE
    outside, target = warehouse.root.parent / "secret.csv", Path("/tmp") / f"kpi-attempt-{os.getpid()}"
    database.reading(file).close()  # whatever is imported late is imported before rights are given up
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    with database.reading(folder / DATABASE) as con:
        con.execute("select count(*) from marts.calls_by_line").fetchall()
        for sql in SQL:
            message = sql.format(outside=outside, target=target, database=file, stewards=build / STEWARDS / DATABASE)
            attempt("sql", sql, lambda message=message: con.execute(message).fetchall())  # type: ignore[misc]
        attempt("sql", "a second connection that is not", lambda: duckdb.connect(str(file)).execute("select 1"))
    attempt("sql", "a plain connection for writing", lambda: duckdb.connect(str(file)))
    if os.getuid() == NOBODY:  # the owner of a file may do with it as it likes
        for name, action in file_attempts(warehouse, build, target).items():
            attempt("file", name, action)
    shutil.rmtree(target, ignore_errors=True)
    target.unlink(missing_ok=True)
    print("ended")


def file_attempts(warehouse: Warehouse, build: Path, target: Path) -> dict[str, Callable[[], object]]:
    """What one may try on the files themselves."""
    file, current = build / DATABASE, warehouse.root / "current"
    stewards = build / STEWARDS
    of_stewards: dict[str, Callable[[], object]] = {
        "read the stewards'": (stewards / DATABASE).read_bytes,
        "look among the stewards'": lambda: os.listdir(stewards),
        "open the stewards' read-only": lambda: duckdb.connect(str(stewards / DATABASE), read_only=True),
        "open the stewards' through the link": (current / STEWARDS / DATABASE).read_bytes,
        "chmod the stewards'": lambda: stewards.chmod(0o777),
        "move the stewards' away": lambda: stewards.rename(target),
        "a link to the stewards'": partial(os.link, stewards / DATABASE, target),
    }
    return of_stewards | {
        "open for writing": lambda: file.open("r+b"),
        "append": lambda: file.open("ab"),
        "chmod": lambda: file.chmod(0o666),
        "remove": file.unlink,
        "rename": lambda: file.rename(target),
        "replace": lambda: shutil.move(shutil.copyfile("/dev/null", target), file),
        "truncate": lambda: os.truncate(file, 0),
        "hard link": partial(os.link, file, target),
        "a log beside it": lambda: file.with_name(f"{DATABASE}.wal").write_bytes(b"x"),
        "a file in the build": lambda: (build / "x").write_bytes(b"x"),
        "remove the build": lambda: build.rename(target),
        "swap current": current.unlink,
        "replace current": lambda: shutil.move(shutil.copyfile("/dev/null", target), current),
        "the ledger": lambda: (warehouse.builds / "ledger.jsonl").open("a"),
        "a delivery": lambda: (warehouse.raw / "calls/b.csv").write_text("x"),
    }


def attempt(kind: str, name: str, action: Callable[[], object]) -> None:
    """Say so when an action does what it must not."""
    try:
        action()
    except (duckdb.Error, OSError):
        return
    print(kind, name)


if __name__ == "__main__":
    main()
