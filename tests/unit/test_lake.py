"""The lake: tables as Parquet with a manifest a build, carried over while their content is the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import fs

from kpi import database
from kpi.build_record import FILE, BuildRecord, NodeRecord, to_json
from kpi.codec import to_plain
from kpi.errors import BuildError, ConfigError
from kpi.settings import WarehouseSettings
from kpi.warehouse import lake_store
from kpi.warehouse.builds import Warehouse, remove
from kpi.warehouse.lake import (
    Lake,
    Manifest,
    damaged,
    lake_of,
    manifest_of,
    open_with_lake,
    restore,
    sweep,
    write,
)
from kpi.warehouse.lake_store import FolderStore, ObjectStore, store_of
from kpi.warehouse.permissions import DATABASE
from sampled import sampled

FIRST, SECOND = "00001-20260301T020000Z", "00002-20260302T020000Z"
CALLS, LINES = "raw.calls", "seeds.lines"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    warehouse = Warehouse(tmp_path / "warehouse")
    for build in (FIRST, SECOND):
        (warehouse.builds / build).mkdir(parents=True)
    return lake_of(warehouse, WarehouseSettings())


@pytest.fixture
def con(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The connection of a build, confined as a run has it: it reaches no file of the lake."""
    with database.building(tmp_path / "kpi.duckdb", tmp_path / "spill", within=[tmp_path / "raw"]) as con:
        con.execute("create schema raw; create schema seeds; create schema marts")
        con.execute("create table raw.calls as select 'c' || range as call_id, range as waited from range(5000)")
        con.execute("create table seeds.lines as select unnest(['health', 'social']) as line")
        con.execute("create table marts.waits as select max(waited) as longest from raw.calls")
        yield con


def rows_of(lake: Lake, manifest: Manifest, relation: str) -> list[tuple[Any, ...]]:
    """The rows by plain DuckDB, which knows nothing of kpi."""
    with duckdb.connect() as con:
        return con.execute(f"from read_parquet({lake.paths(manifest.table(relation))}) order by all").fetchall()


def test_a_manifest_says_which_files_hold_which_table(lake: Lake, con: duckdb.DuckDBPyConnection) -> None:
    manifest = write(lake, con, FIRST, [CALLS, LINES])
    assert manifest_of(lake.warehouse, FIRST) == manifest
    table = manifest.table(CALLS)
    assert [(one.name, one.type, one.stored) for one in table.columns] == [
        ("call_id", "VARCHAR", "VARCHAR"),
        ("waited", "BIGINT", "BIGINT"),
    ]
    assert (table.rows, table.bytes) == (5000, Path(lake.paths(table)[0]).stat().st_size)
    assert rows_of(lake, manifest, CALLS) == con.execute("from raw.calls order by all").fetchall()
    assert rows_of(lake, manifest, LINES) == [("health",), ("social",)]
    assert Path(lake.uri(table)).is_dir()


def test_what_changed_is_written_whole_and_the_rest_carried_over(lake: Lake, con: duckdb.DuckDBPyConnection) -> None:
    first = write(lake, con, FIRST, [CALLS, LINES])
    con.execute("update raw.calls set waited = -1 where call_id = 'c7'")
    second = write(lake, con, SECOND, [CALLS, LINES])
    assert second.table(LINES) == first.table(LINES)
    assert second.table(CALLS).files != first.table(CALLS).files
    assert ("c7", -1) in rows_of(lake, second, CALLS)
    assert ("c7", 7) in rows_of(lake, first, CALLS)


def test_rows_in_another_order_are_the_same_content(lake: Lake, con: duckdb.DuckDBPyConnection) -> None:
    first = write(lake, con, FIRST, [CALLS])
    con.execute("create or replace table raw.calls as from raw.calls order by waited desc")
    assert write(lake, con, SECOND, [CALLS]).tables == first.tables


@pytest.mark.parametrize(
    "change", ["rename column waited to seconds", "alter waited type integer", "add extra integer"]
)
def test_other_columns_are_another_content(lake: Lake, con: duckdb.DuckDBPyConnection, change: str) -> None:
    first = write(lake, con, FIRST, [CALLS])
    con.execute(f"alter table raw.calls {change}")
    assert write(lake, con, SECOND, [CALLS]).table(CALLS).files != first.table(CALLS).files


def test_files_are_sealed(lake: Lake, con: duckdb.DuckDBPyConnection) -> None:
    table = write(lake, con, FIRST, [CALLS]).table(CALLS)
    file = Path(lake.paths(table)[0])
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o444, 0o555)
    manifest = lake.warehouse.root / f"lake/manifests/{FIRST}.json"
    assert manifest.stat().st_mode & 0o777 == 0o444


def test_the_sql_of_a_build_reaches_no_file_of_the_lake(lake: Lake, con: duckdb.DuckDBPyConnection) -> None:
    file = lake.paths(write(lake, con, FIRST, [CALLS]).table(CALLS))[0]
    for attempt in (f"from read_parquet('{file}')", f"copy raw.calls to '{Path(file).parent}/other.parquet'"):
        with pytest.raises(duckdb.PermissionException):
            con.execute(attempt)


def delete(file: Path) -> None:
    os.chmod(file.parent, 0o755)
    file.unlink()


def shorten(file: Path) -> None:
    os.chmod(file, 0o644)
    file.write_bytes(file.read_bytes()[:-8])


def flip(file: Path) -> None:
    os.chmod(file, 0o644)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [delete, shorten, flip])
def test_damage_is_noticed_and_mended_from_the_raw_tables(
    lake: Lake, con: duckdb.DuckDBPyConnection, damage: Callable[[Path], None]
) -> None:
    first, told = write(lake, con, FIRST, [CALLS, LINES]), list[str]()
    damage(Path(lake.paths(first.table(CALLS))[0]))
    assert list(damaged(lake, first)) == [CALLS]
    second = write(lake, con, SECOND, [CALLS, LINES], told.append)
    assert any("raw.calls is written again" in line for line in told)
    assert damaged(lake, second) == {}
    # The older build, which needs the same rows, has the whole files as well.
    assert manifest_of(lake.warehouse, FIRST).tables == second.tables
    assert rows_of(lake, second, CALLS) == con.execute("from raw.calls order by all").fetchall()


def test_what_a_kept_build_needs_stays_and_the_rest_goes(lake: Lake, con: duckdb.DuckDBPyConnection) -> None:
    first = write(lake, con, FIRST, [CALLS, LINES])
    con.execute("delete from raw.calls")
    second = write(lake, con, SECOND, [CALLS, LINES])
    assert sweep(lake.warehouse) == 0
    remove(lake.warehouse.builds / FIRST)
    assert sweep(lake.warehouse) == 1
    assert not Path(lake.uri(first.table(CALLS))).exists()
    assert damaged(lake, second) == {}
    with pytest.raises(ConfigError, match="has nothing of build"):
        manifest_of(lake.warehouse, FIRST)
    remove(lake.warehouse.builds / SECOND)
    sweep(lake.warehouse)
    assert [path for path in (lake.warehouse.root / "lake").rglob("*") if path.is_file()] == []


def test_nothing_goes_while_it_is_not_known_what_is_needed(lake: Lake, con: duckdb.DuckDBPyConnection) -> None:
    manifest, told = write(lake, con, FIRST, [CALLS]), list[str]()
    path = lake.warehouse.root / f"lake/manifests/{FIRST}.json"
    path.chmod(0o644)
    path.write_text(path.read_text()[:100])
    assert sweep(lake.warehouse, emit=told.append) == 0
    assert damaged(lake, manifest) == {}
    assert "nothing is removed from the lake" in told[0]
    with pytest.raises(ConfigError, match="is damaged"):
        manifest_of(lake.warehouse, FIRST)
    # A build that is not kept any more needs nothing, whatever its manifest is like.
    remove(lake.warehouse.builds / FIRST)
    assert sweep(lake.warehouse) == 1


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("interval 1 day", "is of type INTERVAL"),
        ("[time '10:00']", "is of type TIME,"),
        ("'infinity'::date", "has 1 infinite date,"),
        ("'-infinity'::timestamp", "has 1 infinite date,"),
        ("170141183460469231731687303715884105727::hugeint", "cannot be written as Parquet: Conversion Error"),
    ],
)
def test_what_engines_would_read_differently_is_refused(
    lake: Lake, con: duckdb.DuckDBPyConnection, column: str, message: str
) -> None:
    con.execute(f"create table raw.odd as select {column} as odd")
    with pytest.raises(BuildError, match=message):
        write(lake, con, FIRST, [CALLS, "raw.odd"])
    assert not (lake.warehouse.root / f"lake/manifests/{FIRST}.json").exists()
    assert list((lake.warehouse.root / "lake").glob("*/.tmp-*")) == []


# Each type with values that somebody's reader gets wrong, and the type that pyarrow finds in the Parquet.
TYPES: Sequence[tuple[str, st.SearchStrategy[Any], str]] = (
    ("VARCHAR", st.text(st.characters(exclude_categories=["Cs"]), max_size=20), "string"),
    ("BIGINT", st.integers(-(2**63), 2**63 - 1), "int64"),
    ("INTEGER", st.integers(-(2**31), 2**31 - 1), "int32"),
    ("UINTEGER", st.integers(0, 2**32 - 1), "int64"),
    ("UBIGINT", st.integers(0, 2**64 - 1), "decimal128(20, 0)"),
    ("HUGEINT", st.integers(-(10**38) + 1, 10**38 - 1), "decimal128(38, 0)"),
    ("DECIMAL(24,6)", st.decimals(-(10**17), 10**17, places=6), "decimal128(24, 6)"),
    ("DECIMAL(4,1)", st.decimals(-999, 999, places=1), "decimal128(4, 1)"),
    ("DECIMAL(18,0)", st.decimals(-(10**17), 10**17, places=0), "decimal128(18, 0)"),
    ("DOUBLE", st.floats(), "double"),
    ("BOOLEAN", st.booleans(), "bool"),
    ("DATE", st.dates(), "date32[day]"),
    ("TIMESTAMP", st.datetimes(), "timestamp[us]"),
    ("VARCHAR[]", st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=5), max_size=3), "list<"),
    ("ENUM('a', 'b')", st.sampled_from("ab"), "string"),
)
ROWS = st.lists(st.tuples(*(st.none() | values for _, values, _ in TYPES)), min_size=1, max_size=40)


@given(ROWS)
@settings(max_examples=sampled(5, 200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_read_back_is_what_was_written(lake: Lake, rows: list[tuple[Any, ...]]) -> None:
    columns = ", ".join(f'"c {number}" {kind}' for number, (kind, _, _) in enumerate(TYPES))
    with duckdb.connect() as con, duckdb.connect() as other:
        con.execute(f'create schema raw; create table raw."odd values" ({columns})')
        con.executemany(f'insert into raw."odd values" values ({", ".join("?" * len(TYPES))})', rows)
        manifest = write(lake, con, FIRST, ['raw."odd values"'])
        table = manifest.tables[0]
        restore(lake, other, table)
        same = 'from raw."odd values" order by all'
        assert repr(other.execute(same).fetchall()) == repr(con.execute(same).fetchall())
        assert other.execute(f"describe {same}").fetchall() == con.execute(f"describe {same}").fetchall()
        # Another reader of Parquet, of what both hold as one value.
        read = pq.ParquetFile(lake.paths(table)[0]).read()
        assert [str(kind).partition("<")[0] + "<" * (kind.num_fields > 0) for kind in read.schema.types] == [
            kind for _, _, kind in TYPES
        ]
        plain = [read.column(number).to_pylist() for number in (1, 5, 6, 11, 12)]
        by_duckdb = con.execute('select "c 1", "c 5", "c 6", "c 11", "c 12" from raw."odd values"').fetchall()
        assert list(zip(*plain, strict=True)) == by_duckdb


def test_an_empty_table_keeps_its_columns(lake: Lake, con: duckdb.DuckDBPyConnection) -> None:
    con.execute("create table raw.none (a decimal(24,6), b timestamp, c varchar[])")
    manifest = write(lake, con, FIRST, ["raw.none"])
    with duckdb.connect() as other:
        found = other.execute(f"describe from read_parquet({lake.paths(manifest.tables[0])})").fetchall()
    assert [row[1] for row in found] == ["DECIMAL(24,6)", "TIMESTAMP", "VARCHAR[]"]


def publish(lake: Lake, build: str, views: dict[str, str]) -> None:
    """Give a build the file that a run on Spark leaves: marts and seeds, and views by their SQL in the record alone."""
    file = lake.warehouse.builds / build / DATABASE
    with duckdb.connect() as con:
        con.execute(f"attach '{file}' as kpi; use kpi; create schema marts; create schema seeds")
        con.execute("create table marts.waits as select 4999 as longest")
        con.execute("create table seeds.lines as select unnest(['health', 'social']) as line")
        con.execute("create view marts.longest as select longest from kpi.marts.waits")
    nodes = {f"model.kpi.{name}": NodeRecord("f", "f", relation=name, sql=sql) for name, sql in views.items()}
    record = BuildRecord(build, status="published", nodes=nodes, warehouse_settings=lake.warehouse_settings)
    (lake.warehouse.builds / build / FILE).write_text(to_json(record))


def test_a_build_is_opened_with_its_raw_tables_as_views(lake: Lake, con: duckdb.DuckDBPyConnection) -> None:
    write(lake, con, FIRST, [CALLS, LINES])
    publish(
        lake,
        FIRST,
        {
            "staging.long_calls": "select * from staging.stg_calls where waited > 4990",
            "staging.stg_calls": "select call_id, waited from kpi.raw.calls",
            "staging.of_nothing": "select * from raw.gone",
        },
    )
    with open_with_lake(lake.warehouse, FIRST) as opened:
        counts = "select (select count(*) from raw.calls), (select count(*) from staging.long_calls)"
        assert opened.execute(counts).fetchall() == [(5000, 9)]
        assert opened.execute("select longest from marts.longest").fetchall() == [(4999,)]
        assert opened.execute("from seeds.lines order by all").fetchall() == [("health",), ("social",)]
        for attempt in (
            "copy (select 1) to '/tmp/kpi-lake-attempt.parquet'",
            "from '/etc/passwd'",
            "set enable_external_access = true",
            "insert into build.marts.waits values (1)",
        ):
            with pytest.raises(duckdb.Error):
                opened.execute(attempt)
    publish(lake, SECOND, {})
    with pytest.raises(ConfigError, match="has nothing of build"):
        open_with_lake(lake.warehouse, SECOND)


def test_tables_of_the_stewards_are_closed_and_opened_again(lake: Lake, con: duckdb.DuckDBPyConnection) -> None:
    folders = [lake.warehouse.root / "lake" / name for name in (CALLS, LINES)]

    def modes() -> list[int]:
        return [folder.stat().st_mode & 0o777 for folder in folders]

    write(lake, con, FIRST, [CALLS, LINES])
    assert modes() == [0o755, 0o755]
    restricted = replace(lake, warehouse_settings=WarehouseSettings(stewards_schemas=("raw",)))
    write(restricted, con, SECOND, [CALLS, LINES])
    assert modes() == [0o700, 0o755]
    write(lake, con, SECOND, [CALLS, LINES])
    assert modes() == [0o755, 0o755]


def test_an_object_store_has_the_files_and_the_manifest(
    lake: Lake, con: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store behind pyarrow's file system is a folder here; nothing of it is written but by that interface."""
    (tmp_path / "bucket").mkdir()
    files = fs.SubTreeFileSystem(str(tmp_path / "bucket"), fs.LocalFileSystem())
    monkeypatch.setattr(lake_store, "_file_system", lambda _: (files, "lake"))
    lake = replace(lake, store=ObjectStore("s3://bucket/lake"))
    first = write(lake, con, FIRST, [CALLS, LINES])
    assert lake.uri(first.table(CALLS)).startswith("s3://bucket/lake/raw.calls/00001-")
    held = pq.read_table(tmp_path / "bucket/lake" / first.table(CALLS).files[0].path)
    assert held.num_rows == 5000
    assert (tmp_path / f"bucket/lake/manifests/{FIRST}.json").is_file()
    assert list((lake.warehouse.root / "lake").rglob("*.parquet")) == []
    con.execute("delete from raw.calls")
    second = write(lake, con, SECOND, [CALLS, LINES])
    assert second.table(LINES) == first.table(LINES)
    os.unlink(tmp_path / "bucket/lake" / second.table(LINES).files[0].path)
    assert list(damaged(lake, second)) == [LINES]
    assert damaged(lake, write(lake, con, SECOND, [CALLS, LINES])) == {}
    remove(lake.warehouse.builds / FIRST)
    # The store of another warehouse at the same address is left alone.
    (tmp_path / "bucket/lake/raw.calls/00001-aaaaaaaaaaaa-bbbbbb").mkdir()
    (tmp_path / "bucket/lake/raw.calls/00001-aaaaaaaaaaaa-bbbbbb/data.parquet").touch()
    assert sweep(lake.warehouse) == 1
    left = [path.relative_to(tmp_path / "bucket/lake").parts[0] for path in (tmp_path / "bucket").rglob("*.parquet")]
    assert sorted(left) == ["raw.calls", "raw.calls", "seeds.lines"]
    with pytest.raises(ConfigError, match="by its extension httpfs, which is not installed here"):
        restore(lake, con, second.table(CALLS))


def test_a_lake_elsewhere_has_its_manifests_beside_it(
    lake: Lake, con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    lake = replace(lake, store=store_of(lake.warehouse.root, str(tmp_path / "shared")))
    manifest = write(lake, con, FIRST, [CALLS])
    assert isinstance(lake.store, FolderStore)
    assert manifest.location == str(tmp_path / "shared")
    assert (tmp_path / f"shared/manifests/{FIRST}.json").read_bytes() == (
        lake.warehouse.root / f"lake/manifests/{FIRST}.json"
    ).read_bytes()
    assert rows_of(lake, manifest, CALLS)
    assert list((lake.warehouse.root / "lake").rglob("*.parquet")) == []


def test_a_manifest_of_another_kpi_is_refused(lake: Lake, con: duckdb.DuckDBPyConnection) -> None:
    manifest = write(lake, con, FIRST, [CALLS])
    assert set(to_plain(manifest)) == {"schema_version", "build", "written_at", "location", "tables"}  # type: ignore[call-overload]
    path = lake.warehouse.root / f"lake/manifests/{FIRST}.json"
    path.chmod(0o644)
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(ConfigError, match="is of schema version 2, and this kpi reads 1"):
        manifest_of(lake.warehouse, FIRST)
