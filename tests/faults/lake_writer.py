"""The process that writes a lake while something is done to it; and what a lake must be after that."""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from kpi.errors import KpiError, is_disk_full
from kpi.settings import WarehouseSettings
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.lake import Lake, damaged, lake_of, manifest_of, write

FIRST, SECOND = "00001-20260301T020000Z", "00002-20260302T020000Z"
TABLES = ("raw.calls", "seeds.lines")
NOT_ALLOWED, DISK_FULL = 3, 9


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done: `die_at` is the number of a file operation, 1-based, `amid` says to die when a file is to pass so
    many bytes, `file_bytes` is the size no file may pass, `user` who writes. `steps` is where operations are listed."""

    die_at: int = 0
    amid: int = 0
    file_bytes: int = 0
    user: int = 0
    steps: str = ""


def lake_at(root: Path) -> Lake:
    """The lake of a warehouse with two builds."""
    warehouse = Warehouse(root)
    for build in (FIRST, SECOND):
        (warehouse.builds / build).mkdir(parents=True, exist_ok=True)
    return lake_of(warehouse, WarehouseSettings())


def tables(build: str, rows: int = 3000) -> duckdb.DuckDBPyConnection:
    """What a build loaded: of the second one calls are others, lines the same."""
    con = duckdb.connect()
    con.execute("attach ':memory:' as kpi; use kpi; create schema raw; create schema seeds")
    con.execute(
        f"create table raw.calls as select range as call, hash(range + {build[4]}) as waited from range({rows})"
    )
    con.execute("create table seeds.lines as select unnest(['health', 'social']) as line")
    return con


def write_second(root: Path, fault: Fault, rows: int = 3000) -> None:
    """Write the second build's tables with something going wrong; ends the process."""
    lake, con = lake_at(root), tables(SECOND, rows)
    _prepare(root, fault)
    try:
        write(lake, con, SECOND, TABLES)
    except BaseException as error:
        if is_disk_full(error):
            os._exit(DISK_FULL)
        if isinstance(error, KpiError):
            os._exit(NOT_ALLOWED)
        traceback.print_exc()
        os._exit(70)
    os._exit(0)


def wrong_with(lake: Lake, build: str) -> list[str]:
    """What of a build's lake is not as it must be; a build that has no manifest has nothing that could be wrong."""
    if not (lake.warehouse.root / f"lake/manifests/{build}.json").exists():
        return []
    manifest = manifest_of(lake.warehouse, build)
    found = [f"{relation}: {damage}" for relation, damage in damaged(lake, manifest).items()]
    with tables(build, manifest.table("raw.calls").rows) as con:
        for table in manifest.tables:
            rows = f"from read_parquet({lake.paths(table)})"
            if con.execute(f"({rows}) except all (from {table.relation})").fetchall():
                found.append(f"{table.relation} holds other rows")
    return found


def _prepare(root: Path, fault: Fault) -> None:
    count = 0

    def step(name: str) -> None:
        nonlocal count
        count += 1
        if fault.steps:
            with open(fault.steps, "a", encoding="utf-8") as stream:
                stream.write(f"{name}\n")
        if count == fault.die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, args: tuple[Any, ...]) -> None:
        is_write = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        is_below = args and isinstance(args[0], str | os.PathLike) and os.fspath(args[0]).startswith(f"{root}/lake")
        if is_below and (is_write or event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod")):
            step(event)

    if fault.die_at or fault.steps:
        sys.addaudithook(audit)
    if fault.amid:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.amid, fault.amid))
    if fault.file_bytes:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.file_bytes, fault.file_bytes))
    if fault.user:
        os.setgroups([])
        os.setgid(fault.user)
        os.setuid(fault.user)
