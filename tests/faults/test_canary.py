"""A database file holds what was written into it and nothing of what else the process had in memory (duckdb#23382)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from kpi import database
from kpi.errors import ConfigError
from kpi.reader.public_writer import PLAINLY, STORAGE
from kpi.sql import literal

MARKER = "Salainen-potilas-"
# Written by a process that held the marker in many rows, or by one that did not. Tables of compressed texts leave the
# most room in their blocks, which is where DuckDB 2.0.0 and 1.5 leave what the memory held.
WRITE = """
import sys
import duckdb

file, attach, marker, setting = sys.argv[1:]
con = duckdb.connect(config={"threads": 1})
con.execute(setting)
if marker:
    repeated = "repeat('-potilaskertomus', 1 + i % 20)"
    con.execute(f"create temp table held as select '{marker}' || i || {repeated} as told from range(60_000) as t(i)")
    con.execute("select told from held order by hash(told)").fetchall()
    con.execute("drop table held")
con.execute(f"attach '{file}' as written {attach}")
for number in range(12):
    rows = f"range({2000 + 3000 * number}) as t(i)"
    texts = "'kunta-' || md5(i::varchar) || ' katu ' || i as street, 'x' || i % 50 as code"
    con.execute(f"create table written.t{number} as select {texts} from {rows} order by street")
con.execute("checkpoint written")
con.execute("detach written")
"""
HEADERS = 3 * 4096  # of a file: they hold what is drawn by lot, and how often it was written


@pytest.mark.parametrize(
    ("attach", "setting"),
    [
        pytest.param("(recovery_mode no_wal_writes)", "select 1", id="builds"),
        pytest.param(f"(storage_version {literal(STORAGE)})", PLAINLY, id="public files"),
    ],
)
def test_no_byte_of_a_file_depends_on_what_the_process_had_in_memory(attach: str, setting: str, tmp_path: Path) -> None:
    """Fails with DuckDB 2.0.0, of whose bytes some hundred differ, and with 1.5.0, which writes whole texts."""
    contents = []
    for name, marker in (("clean", ""), ("full", MARKER)):
        file = tmp_path / f"{name}.duckdb"
        subprocess.run([sys.executable, "-c", WRITE, str(file), attach, marker, setting], check=True)
        contents.append(file.read_bytes()[HEADERS:])
    assert contents[0] == contents[1]
    assert b"potilas" not in contents[1]


def test_a_duckdb_that_leaks_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duckdb, "__version__", "2.0.0")
    with (
        pytest.raises(ConfigError, match=r"DuckDB 2\.0\.0 .*duckdb#23382.*2\.0\.1"),
        database.building(tmp_path / "a", tmp_path),
    ):
        pass
    assert not list(tmp_path.iterdir())
    with duckdb.connect(tmp_path / "b.duckdb") as con:
        con.execute("create table a as select 1 as a")
    with pytest.raises(ConfigError):
        database.copy_tables(tmp_path / "b.duckdb", tmp_path / "c.duckdb")
    with pytest.raises(ConfigError):
        database.copy_without(tmp_path / "b.duckdb", tmp_path / "c.duckdb", (), {})
