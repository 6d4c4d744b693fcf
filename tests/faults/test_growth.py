"""How the warehouse is kept: its settings, which builds stay, how they are named, and files that have grown."""

from __future__ import annotations

import os
import re
import sys
import time
from datetime import date, datetime, tzinfo
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

import kpi
from kpi import database
from kpi.cli.main import cli
from kpi.errors import CheckFailed, ConfigError
from kpi.jobs.options import Options, Outcome
from kpi.jobs.refresh import refresh
from kpi.project.project import load_project
from kpi.settings import WarehouseSettings, spill_folder
from kpi.warehouse.builds import Warehouse, writing
from kpi.warehouse.lifecycle import free_share, prune, roll_back
from small_project import FILES, recorded, write

SETTINGS = FILES["dbt_project.yml"]


def with_settings(*lines: str) -> dict[str, str]:
    given = "".join(f"    {line}\n" for line in lines)
    return {"dbt_project.yml": SETTINGS.replace("vars:\n", f"vars:\n  kpi_warehouse:\n{given}")}


def deliver(root: Path, *ids: str, line: str = "health") -> None:
    raw = root / "warehouse/raw/calls"
    raw.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{one},{line},3,2024-01-01\n" for one in ids)
    (raw / "a.csv").write_text(f"call_id,line,waited_seconds,arrived_on\n{rows}")


def published_long_ago(warehouse: Warehouse) -> None:
    ledger = warehouse.builds / "ledger.jsonl"
    ledger.write_text(re.sub(r'"at": "\d{4}', '"at": "2020', ledger.read_text()))


def run(root: Path, message: list[str] | None = None, **options: object) -> Outcome:
    emit = message.append if message is not None else lambda _: None
    return refresh(root, Options(date(2026, 3, 5), validate=False, **options), emit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("keep_publishd: 3", "5: 'keep_publishd' is not supported in kpi_warehouse. Did you mean 'keep_published'?"),
        ("keep_published: 0", "5: 'keep_published' must be from 1 to 1000000, not 0."),
        ("keep_published: yes", "5: 'keep_published' must be a whole number."),
        ("keep_failed: 2.5", "5: 'keep_failed' must be a whole number."),
        ("grace_hours: -1", "5: 'grace_hours' must be from 0 to 1000000, not -1."),
        ("grace_hours: .nan", "5: 'grace_hours' must be from 0 to 1000000, not nan."),
        ("compact_above_percent: 101", "5: 'compact_above_percent' must be from 0 to 100, not 101."),
        ("memory_limit: lots", "5: a size is a number and KB, MB, GB, TB or %, as 2GB, not 'lots'."),
        ("memory_limit: 2", "5: 'memory_limit' must be a text."),
        ("temp_directory: ''", "5: 'temp_directory' must be a text."),
    ],
)
def test_a_wrong_setting_is_told_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    # One line above it, so that the line told is the setting's own.
    root = write(tmp_path, with_settings(line))
    lines = (root / "dbt_project.yml").read_text().splitlines()
    where = lines.index(f"    {line}") + 1
    with pytest.raises(ConfigError) as raised:
        load_project(root)
    assert str(raised.value) == f"dbt_project.yml:{where}:{message.partition(':')[2]}"


def test_settings_are_read_also_below_the_projects_name_and_not_from_vars(tmp_path: Path) -> None:
    text = SETTINGS.replace("vars:\n", "vars:\n  small: {kpi_warehouse: {keep_failed: 9}}\n")
    root = write(tmp_path, {"dbt_project.yml": text})
    assert load_project(root).warehouse_settings == WarehouseSettings(keep_failed=9)
    with pytest.raises(ConfigError, match=r"--vars: kpi_warehouse is read from dbt_project\.yml only"):
        load_project(root, {"kpi_warehouse": {"keep_failed": 1}})


def test_duckdb_gets_the_settings_and_the_command_line_wins(tmp_path: Path) -> None:
    (tmp_path / "spill").mkdir()
    model = "select current_setting('memory_limit') as memory, current_setting('temp_directory') as place"
    files = {**with_settings("memory_limit: 300MiB", "temp_directory: spill"), "models/marts/used.sql": model}
    root = write(tmp_path, files)
    deliver(root, "1")
    run(root)
    with kpi.open(project_dir=root) as con:
        memory, place = con.execute("from marts.used").fetchall()[0]
    assert memory == "210.0 MiB"  # the rest is for Python
    assert Path(place).parent == tmp_path / "spill"
    run(root, settings={"memory_limit": "400MiB"}, full_refresh=True)
    with kpi.open(project_dir=root) as con:
        assert con.execute("select memory from marts.used").fetchall() == [("280.0 MiB",)]


@pytest.fixture
def one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds are begun on one day, at midnight too."""

    class Noon(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime(2026, 3, 5, 12, tzinfo=tz)

    monkeypatch.setattr("kpi.warehouse.builds.datetime", Noon)


def test_the_spill_folder_is_the_owners_alone_and_empty(tmp_path: Path) -> None:
    place = spill_folder(tmp_path / "warehouse", tmp_path, ".")
    (place / "left.tmp").write_text("rows")
    assert spill_folder(tmp_path / "warehouse", tmp_path, ".") == place
    assert list(place.iterdir()) == []
    assert place.stat().st_mode & 0o777 == 0o700
    assert spill_folder(tmp_path / "other", tmp_path, ".") != place
    with pytest.raises(ConfigError, match="no folder"):
        spill_folder(tmp_path / "warehouse", tmp_path, "gone")


def test_builds_go_by_age_too_but_never_the_one_readers_see(tmp_path: Path) -> None:
    root = write(tmp_path)
    warehouse = Warehouse(root / "warehouse")
    for number in "123":
        deliver(root, number)
        run(root)
    ids = [build.id for build in warehouse.list_builds()]
    for days, name in zip((40, 20, 50), ids, strict=True):
        then = time.time() - days * 86_400
        os.utime(warehouse.builds / name, (then, then))
    # Whoever opened a build just before another was published is not cut off, however old the build is.
    assert prune(warehouse, WarehouseSettings(keep_published_days=30)) == ()
    published_long_ago(warehouse)
    assert prune(warehouse, WarehouseSettings()) == ()
    assert prune(warehouse, WarehouseSettings(keep_published_days=30, grace_hours=24 * 60)) == ()
    assert prune(warehouse, WarehouseSettings(keep_published_days=30)) == (ids[0],)
    assert prune(warehouse, WarehouseSettings(keep_published_days=1)) == (ids[1],)


@pytest.mark.usefixtures("one_day")
def test_many_builds_of_one_day_are_thinned_and_the_run_says_so(tmp_path: Path) -> None:
    """They are within the grace: an afternoon of builds would fill the disk before it is over."""
    root = write(tmp_path, with_settings("keep_of_a_day: 2"))
    warehouse = Warehouse(root / "warehouse")
    message: list[str] = []
    for number in range(6):
        deliver(root, str(number))
        run(root, message=message)
    kept = [folder.name[:5] for folder in warehouse.build_folders()]
    assert kept == ["00005", "00006"]
    pruned = [event for event in warehouse.ledger() if event.event == "pruned"]
    assert {event.reason for event in pruned} == {"keep_of_a_day 2"}
    assert [event.build[:5] for event in pruned] == ["00001", "00002", "00003", "00004"]
    lines = [line for line in message if line.startswith("Removed ")]
    assert len(lines) == 4
    assert re.fullmatch(r"Removed 1 build, \d+\.\d MB, by keep_of_a_day 2: 00004-\w+\.", lines[-1])


@pytest.mark.usefixtures("one_day")
def test_what_readers_may_go_back_to_or_have_open_is_not_thinned(tmp_path: Path) -> None:
    root = write(tmp_path, with_settings("keep_of_a_day: 1"))
    warehouse = Warehouse(root / "warehouse")
    builds = []
    for number in range(3):
        deliver(root, str(number))
        builds.append(run(root).build)
    # The one before the current one stays although only one of a day is kept.
    assert [folder.name for folder in warehouse.build_folders()] == builds[1:]
    roll_back(warehouse, builds[1], "was right")
    script = "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print(1, flush=True); input()"
    command = [sys.executable, "-c", script, str(warehouse.builds / builds[2] / "kpi.duckdb")]
    with Popen(command, stdin=PIPE, stdout=PIPE) as reader:
        assert reader.stdout
        reader.stdout.readline()
        deliver(root, "8")
        builds.append(run(root).build)
        with kpi.open(project_dir=root) as con:  # opened here, in this process
            deliver(root, "9")
            builds.append(run(root).build)
            deliver(root, "10")
            builds.append(run(root).build)
            assert [folder.name for folder in warehouse.build_folders()] == builds[1:]
            assert con.execute("select 1").fetchall() == [(1,)]
        reader.communicate(b"\n")
    deliver(root, "11")
    builds.append(run(root).build)
    assert [folder.name for folder in warehouse.build_folders()] == [builds[1], *builds[-2:]]
    roll_back(warehouse, builds[1], "")


def test_no_number_of_a_day_keeps_them_all(tmp_path: Path) -> None:
    root = write(tmp_path, with_settings("keep_of_a_day: 0"))
    for number in range(7):
        deliver(root, str(number))
        run(root)
    assert len(Warehouse(root / "warehouse").build_folders()) == 7


def test_a_night_with_nothing_to_do_removes_what_is_too_old(tmp_path: Path) -> None:
    root = write(tmp_path, with_settings("keep_published_days: 30", "keep_failed_days: 10"))
    warehouse = Warehouse(root / "warehouse")
    deliver(root, "1")
    run(root)
    deliver(root, "1", line="nowhere")
    with pytest.raises(CheckFailed):
        run(root)
    for number in "23":
        deliver(root, number)
        run(root)
    ids = [folder.name for folder in warehouse.build_folders()]
    for days, name in zip((29, 11, 31, 400), ids, strict=True):
        then = time.time() - days * 86_400
        os.utime(warehouse.builds / name, (then, then))
    published_long_ago(warehouse)
    with writing(warehouse):
        assert run(root).nothing_to_do
    assert len(warehouse.build_folders()) == 4, "another process was writing"
    assert run(root).nothing_to_do
    assert [folder.name for folder in warehouse.build_folders()] == [ids[0], ids[3]]
    assert [event.build for event in warehouse.ledger() if event.event == "pruned"] == [ids[2], ids[1]]


def test_a_build_is_named_by_number_beginning_candidate_and_latest(tmp_path: Path) -> None:
    root = write(tmp_path)
    deliver(root, "1")
    first = run(root).build
    warehouse = Warehouse(root / "warehouse")
    with pytest.raises(ConfigError, match="no build that failed or was held back is kept"):
        warehouse.folder("candidate")
    deliver(root, "1", line="nowhere")
    with pytest.raises(CheckFailed):
        run(root)
    failed = warehouse.list_builds()[-1].id
    deliver(root, "1", "2")
    last = run(root).build

    def meant(text: str) -> str:
        return warehouse.folder(text).name

    assert [meant(text) for text in (first, "00001", "1", first[:9])] == [first] * 4
    assert (meant("candidate"), meant("latest"), meant("00003")) == (failed, last, last)
    with kpi.open(build="candidate", project_dir=root) as con:
        assert con.execute("select distinct line from staging.stg_calls").fetchall() == [("nowhere",)]
    for text, message in (
        ("0000", "there is no build '0000'"),
        ("0000x", "no build"),
        ("", "no build"),
        ("9", "no build"),
    ):
        with pytest.raises(ConfigError, match=message):
            meant(text)
    (warehouse.builds / f"{first}x").mkdir()
    with pytest.raises(ConfigError, match="may be build"):
        meant(first[:9])
    assert meant(first) == first
    (warehouse.builds / f"{first}x").rmdir()
    roll_back(warehouse, "1", "as it was")
    assert warehouse.published() == first
    assert warehouse.ledger()[-1].build == first
    shown = CliRunner().invoke(
        cli, ["query", "--build", "candidate", "select 1 as one", "--project-dir", str(root)], catch_exceptions=False
    )
    assert shown.exit_code == 0


GROWN = {
    **with_settings("compact_above_percent: 0"),
    # A view that sorts before what it reads, a constraint, an index, a comment, a sequence, and a name in quotes.
    "models/marts/a_view.sql": "{{ config(materialized='view') }}\n"
    "select line, call_count from {{ ref('calls_by_line') }}",
    "models/marts/keyed.sql": '{{ config(post_hook=["create index by_line on {{ this }} (line)", '
    '"comment on table {{ this }} is \'told\'", "create sequence if not exists main.numbers start 7"]) }}\n'
    "select line, call_count from {{ ref('calls_by_line') }}",
    "models/marts/keyed.yml": "models:\n  - name: keyed\n    config: {contract: {enforced: true}}\n    columns:\n"
    "      - {name: line, data_type: varchar, constraints: [{type: not_null}, {type: unique}]}\n"
    "      - {name: call_count, data_type: bigint}\n",
    "models/marts/added.sql": "{{ config(materialized='incremental', unique_key='call_id') }}\n"
    "select call_id, line from {{ ref('stg_calls') }}",
}
# The comment of raw.feed_months says which deliveries were counted: it changes with them.
LISTED = """
    select schema_name, table_name, sql, case when table_name <> 'feed_months' then comment end
    from duckdb_tables() where not internal
    union all select schema_name, view_name, sql, comment from duckdb_views() where not internal
    union all select schema_name, index_name, sql, comment from duckdb_indexes()
    union all select schema_name, sequence_name, sql, comment from duckdb_sequences()
    union all select table_name, column_name, data_type, comment from duckdb_columns() where not internal
    order by all
"""


def listed(root: Path, build: str) -> list[tuple[object, ...]]:
    with kpi.open(build=build, project_dir=root) as con:
        return con.execute(LISTED).fetchall()


def test_a_file_that_has_grown_is_written_anew_with_all_it_holds(tmp_path: Path) -> None:
    root = write(tmp_path, GROWN)
    deliver(root, *map(str, range(3000)))
    run(root)
    deliver(root, *map(str, range(3000)), "x")
    second = run(root).build
    record = recorded(Warehouse(root / "warehouse"))
    assert record.storage is not None
    assert record.storage.free_blocks > 0
    assert 0 < (free_share(record) or 0) < 1
    line = CliRunner().invoke(cli, ["builds", "--project-dir", str(root)]).output.splitlines()[-1]
    assert f"{100 * (free_share(record) or 0):.0f} % free" in line
    assert " MB" in line

    deliver(root, *map(str, range(3000)), "x", "y")
    message: list[str] = []
    third = run(root, message).build
    assert any(f"of build {second}'s file is free: this build starts from a fresh copy" in line for line in message)
    # What did not change was not built again, and nothing was lost on the way.
    nodes = Warehouse(root / "warehouse").nodes_of()
    assert nodes["seed.small.lines"].built_in == (record.nodes or {})["seed.small.lines"].built_in
    assert listed(root, third) == listed(root, second)
    with kpi.open(project_dir=root) as con:
        assert con.execute("select sum(call_count) from marts.a_view").fetchall() == [(3002,)]
        assert con.execute("select count(*) from marts.added").fetchall() == [(3002,)]
    undisturbed = write(tmp_path / "other", {**GROWN, **with_settings("compact_above_percent: 100")})
    deliver(undisturbed, *map(str, range(3000)), "x", "y")
    run(undisturbed)
    query = "select * from marts.keyed order by all"
    with kpi.open(project_dir=root) as ours, kpi.open(project_dir=undisturbed) as theirs:
        assert ours.execute(query).fetchall() == theirs.execute(query).fetchall()


def test_a_copy_that_fails_costs_nothing_but_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path, GROWN)
    deliver(root, *map(str, range(3000)))
    run(root)
    deliver(root, *map(str, range(3000)), "x")
    run(root)

    def fails(source: Path, target: Path, settings: object) -> None:
        target.write_bytes(b"half")
        raise duckdb.Error("cannot be copied")

    monkeypatch.setattr(database, "copy_tables", fails)
    deliver(root, "1")
    message: list[str] = []
    run(root, message)
    assert any("it cannot be copied compactly: cannot be copied" in line for line in message)
    with kpi.open(project_dir=root) as con:
        assert con.execute("select call_count from marts.calls_by_line").fetchall() == [(1,)]
