"""What another user can get at: run as `as_another.py WAREHOUSE MARKER GROUP`, which gives up root's rights first.

Prints each file of the warehouse, but for deliveries, that can be read and holds the marker, and what each way of
opening a build told; then `ended`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path

import duckdb

import kpi
from kpi.cli.main import cli
from kpi.engine.compile import CACHE
from kpi.errors import KpiError
from kpi.jobs.check_build import run_data_tests
from kpi.jobs.doctor import examine
from kpi.warehouse.builds import Warehouse

NOBODY = 65534


def main() -> None:
    """Try everything."""
    root, marker, group = Path(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])
    with redirect_stdout(StringIO()):  # whatever is imported late is imported before rights are given up
        (root / CACHE).unlink(missing_ok=True)  # with what is known of the project, less would be imported
        look(root)
    if os.getuid() == 0:
        os.setgroups([group] if group else [])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    for folder, folders, names in os.walk(root / "warehouse"):
        if Path(folder) == root / "warehouse":
            folders.remove("raw")
        for name in names:
            with suppress(OSError):
                if marker in Path(folder, name).read_bytes():
                    print("holds", Path(folder, name).relative_to(root))
    look(root)
    emit("rollback", lambda: run(("rollback",), root))
    print("ended")


def look(root: Path) -> None:
    """Try everything that only reads."""
    builds = [folder.name for folder in Warehouse(root / "warehouse").build_folders()]
    emit("readers", lambda: count(root, None, False))
    emit("stewards", lambda: count(root, None, True))
    for build in builds:
        emit(f"readers {build}", lambda build=build: count(root, build, False))  # type: ignore[misc]
        emit(f"stewards {build}", lambda build=build: count(root, build, True))  # type: ignore[misc]
    emit("tests", lambda: run_data_tests(Warehouse(root / "warehouse").folder(), ()))
    emit("failures", lambda: kpi.open(project_dir=root, failures=True))
    for command in (("runs",), ("builds",), ("freshness",), ("show", "raw.calls")):
        emit(command[0], lambda command=command: run(command, root))  # type: ignore[misc]
    emit("doctor", lambda: [finding.what for finding in examine(Warehouse(root / "warehouse"))])


def count(root: Path, build: str | None, stewards: bool) -> object:
    """Number of rows of a mart, and whether the raw rows are there."""
    with kpi.open(build, root, stewards=stewards) as con:
        raw = con.execute("select count(*) from duckdb_tables() where schema_name = 'raw'").fetchall()[0][0]
        return con.execute("select sum(call_count) from marts.calls_by_line").fetchall()[0][0], raw > 0


def run(command: tuple[str, ...], root: Path) -> object:
    """Run a command of the command line."""
    return cli(["--", *command, "--project-dir", str(root)][1:], standalone_mode=False)


def emit(what: str, action: Callable[[], object]) -> None:
    """Print what an action gives, or in which words it is refused."""
    try:
        print(f"{what}:", action())
    except (KpiError, duckdb.Error, OSError) as error:
        print(f"{what}: {type(error).__name__}:", str(error).replace("\n", " "))


if __name__ == "__main__":
    main()
