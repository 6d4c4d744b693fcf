"""Sources that another tool loaded into a DuckDB file: found, copied, and never needed after."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.engine.compile import check_project
from kpi.errors import KpiError
from kpi.jobs.options import Options, Outcome
from kpi.jobs.refresh import refresh
from kpi.project.project import load_project

MODEL = "select id, line from {{ source('crm', 'calls') }}"
SOURCES = "sources:\n  - name: crm\n    schema: landing\n    tables: [{name: calls}]\n"
PROFILE = "own:\n  target: dev\n  outputs:\n    dev: {type: duckdb, path: %s}\n"


def loaded(file: Path, rows: str = "(1, 'a'), (2, 'b')", table: str = "landing.calls") -> None:
    """What another tool leaves: a table of a DuckDB file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(file)) as con:
        con.execute(f"create schema if not exists {table.split('.', maxsplit=1)[0]}")
        con.execute(f"create or replace table {table} as from (values {rows}) as made (id, line)")


def write(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in {"dbt_project.yml": "name: own\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def run(root: Path) -> Outcome:
    return refresh(root, Options(date(2026, 3, 5), validate=False), lambda line: None)


def rows_of(root: Path, table: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(root / "warehouse/current/kpi.duckdb"), read_only=True) as con:
        return con.execute(f"from {table} order by all").fetchall()


@pytest.mark.parametrize(
    ("place", "files"),
    [
        ("lake.duckdb", {"profiles.yml": PROFILE % "lake.duckdb", "models/s.yml": SOURCES}),
        (
            "data/lake.db",
            {"profiles.yml": PROFILE % "\"{{ env_var('NOT_SET', 'data/lake.db') }}\"", "models/s.yml": SOURCES},
        ),
        (
            "lake.duckdb",
            {
                "profiles.yml": PROFILE % "other.duckdb, attach: [{path: lake.duckdb, alias: lake}]",
                "models/s.yml": SOURCES.replace("schema:", "database: lake\n    schema:"),
            },
        ),
        (
            "lake.duckdb",
            {"models/s.yml": SOURCES.replace("schema:", "meta: {database_file: lake.duckdb}\n    schema:")},
        ),
        (
            "data/lake.duckdb",
            {
                "dbt_project.yml": "name: own\nvars: {kpi_warehouse: {database_file: data/lake.duckdb}}\n",
                "models/s.yml": SOURCES,
            },
        ),
    ],
)
def test_a_source_is_found_where_the_project_says(tmp_path: Path, place: str, files: dict[str, str]) -> None:
    root = write(tmp_path, {**files, "models/m.sql": MODEL})
    loaded(root / place)
    run(root)
    assert rows_of(root, "main.m") == [(1, "a"), (2, "b")]


def test_a_source_that_nothing_loads_or_reads_is_noted(tmp_path: Path) -> None:
    root = write(tmp_path, {"models/s.yml": SOURCES, "models/m.sql": "select 1 as id"})
    assert check_project(load_project(root)).notes == (
        "models/s.yml:4: nothing loads or reads the source 'crm.calls'.",
    )
    run(root)
    assert rows_of(root, "main.m") == [(1,)]


def test_the_schema_of_deliveries_is_free_where_nothing_is_delivered(tmp_path: Path) -> None:
    sources = SOURCES.replace("landing", "raw")
    root = write(tmp_path, {"profiles.yml": PROFILE % "lake.duckdb", "models/s.yml": sources, "models/m.sql": MODEL})
    loaded(root / "lake.duckdb", table="raw.calls")
    run(root)
    write(root, {"models/m.sql": MODEL + " where id > 1"})
    run(root)
    assert rows_of(root, "raw.calls") == [(1, "a"), (2, "b")]
    assert rows_of(root, "main.m") == [(2, "b")]


def test_a_build_does_without_the_file_and_takes_what_changed_in_it(tmp_path: Path) -> None:
    root = write(tmp_path, {"profiles.yml": PROFILE % "lake.duckdb", "models/s.yml": SOURCES, "models/m.sql": MODEL})
    loaded(root / "lake.duckdb")
    first = run(root)
    assert run(root).nothing_to_do
    loaded(root / "lake.duckdb", "(3, 'c')")
    second = run(root)
    assert first.build != second.build
    (root / "lake.duckdb").unlink()
    assert rows_of(root, "landing.calls") == rows_of(root, "main.m") == [(3, "c")]


def test_rows_that_wait_in_the_files_log_count(tmp_path: Path) -> None:
    root = write(tmp_path, {"profiles.yml": PROFILE % "lake.duckdb", "models/s.yml": SOURCES, "models/m.sql": MODEL})
    writer = (
        "import duckdb, os, sys; con = duckdb.connect(sys.argv[1]); con.execute('set checkpoint_threshold=\"1GB\"');"
    )
    writer += " con.execute(\"insert into landing.calls values (9, 'z')\"); os._exit(0)"
    loaded(root / "lake.duckdb")
    subprocess.run([sys.executable, "-c", writer, str(root / "lake.duckdb")], check=True)
    assert (root / "lake.duckdb.wal").is_file()
    run(root)
    assert rows_of(root, "main.m") == [(1, "a"), (2, "b"), (9, "z")]


@pytest.mark.parametrize(
    ("files", "table", "message"),
    [
        ({}, "landing.calls", "If a DuckDB file has it, name the file: config.meta.database_file."),
        (
            {"profiles.yml": PROFILE % "elsewhere.duckdb"},
            "landing.calls",
            "The DuckDB file elsewhere.duckdb, which profiles.yml names, is not there.",
        ),
        (
            {"profiles.yml": PROFILE % "\"{{ env_var('NOT_SET') }}\""},
            "landing.calls",
            "profiles.yml:4: env_var('NOT_SET'): this environment variable is not set. Set it, or give a default.",
        ),
        (
            {"profiles.yml": PROFILE % "lake.duckdb"},
            "landing.other",
            "the source 'crm.calls': lake.duckdb has no table landing.calls. A view there is not read: make it",
        ),
    ],
)
def test_a_source_that_is_not_found_says_where_it_was_looked_for(
    tmp_path: Path, files: dict[str, str], table: str, message: str
) -> None:
    root = write(tmp_path, {"models/s.yml": SOURCES, "models/m.sql": MODEL, **files})
    loaded(root / "lake.duckdb", table=table)
    with pytest.raises(KpiError) as error:
        run(root)
    assert message in str(error.value)


def test_the_profile_may_be_in_the_folder_that_is_named(tmp_path: Path) -> None:
    root = write(tmp_path / "project", {"models/s.yml": SOURCES, "models/m.sql": MODEL})
    write(tmp_path / "profiles", {"profiles.yml": PROFILE % "../lake.duckdb"})
    loaded(tmp_path / "lake.duckdb")
    place = ["--project-dir", str(root), "--profiles-dir", str(tmp_path / "profiles")]
    done = CliRunner().invoke(cli, ["build", "--no-expectations", *place], env={"DBT_PROFILES_DIR": ""})
    assert done.exit_code == 0, done.output
    assert rows_of(root, "main.m") == [(1, "a"), (2, "b")]


def test_a_model_that_dbt_writes_to_a_file_is_a_table(tmp_path: Path) -> None:
    sql = "{{ config(materialized='external', location='out/m.%s') }}select 1 as id"
    root = write(tmp_path, {"models/m.sql": sql % "parquet", "models/n.sql": "select id from {{ ref('m') }}"})
    assert "built as a table, and no file is written" in check_project(load_project(root)).notes[0]
    run(root)
    assert rows_of(root, "main.n") == [(1,)]
    assert not (root / "out").exists()
    write(root, {"models/m.sql": sql % "csv"})
    with pytest.raises(KpiError, match="materialized='external' with csv: reading that back may change types"):
        check_project(load_project(root))
