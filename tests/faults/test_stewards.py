"""Schemas with rows of persons are left out of the file that all readers open, and are whole in the stewards'."""

from __future__ import annotations

import grp
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

import kpi
from kpi.cli.main import cli
from kpi.engine.compile import compiled
from kpi.errors import CheckFailed, ConfigError
from kpi.jobs.options import Options
from kpi.jobs.plan import plan
from kpi.jobs.refresh import retry
from kpi.project.project import load_project
from kpi.reader.diff import compare_builds
from kpi.reader.export import write_public
from kpi.warehouse.lifecycle import roll_back
from kpi.warehouse.permissions import DATABASE
from left_out import (
    CALL_IDS,
    LEFT_OUT,
    MARKER,
    OPTIONS,
    as_another,
    built,
    calls,
    deliver,
    findings,
    holding,
    mode,
    project,
    put,
    run,
    schemas,
    settings,
    warehouse_of,
)

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@pytest.fixture
def root() -> Iterator[Path]:
    yield from project()


def test_readers_get_a_file_without_the_rows_and_stewards_all(root: Path) -> None:
    message = run(root)
    assert schemas(root) == {"marts", "seeds"}
    assert schemas(root, stewards=True) == {"raw", "staging", "marts", "seeds"}
    assert calls(root, stewards=False) == calls(root, stewards=True) == 3
    build = warehouse_of(root).folder()
    assert MARKER.encode() in (build / "stewards" / DATABASE).read_bytes()
    assert holding(root) == []
    assert [mode(build / DATABASE), mode(build / "stewards" / DATABASE), mode(build / "stewards")] == [
        *(0o444, 0o400, 0o700)
    ]
    assert any(line.startswith("Left out of the readers' file: raw, staging.") for line in message)
    assert findings(root).keys() == {f"others may look into {root}/warehouse/raw, {ROWS_ELSEWHERE}"}


ROWS_ELSEWHERE = "where the rows are that readers' builds leave out"


def test_a_view_of_what_is_left_out_is_a_table_there_and_others_stay_views(root: Path) -> None:
    run(root)
    kinds = "select table_name, table_type from information_schema.tables where table_schema = 'marts' order by all"
    with kpi.open(project_dir=root) as con:
        assert con.execute(kinds).fetchall() == [
            ("by_line_now", "BASE TABLE"),
            ("calls_by_line", "BASE TABLE"),
            ("line_names", "VIEW"),
            ("runs", "BASE TABLE"),
        ]
        assert con.execute("select call_count from marts.by_line_now").fetchall() == [(3,)]
        assert len(con.execute("from marts.line_names").fetchall()) == 2
    with kpi.open(project_dir=root, stewards=True) as con:
        assert con.execute(kinds).fetchall()[0] == ("by_line_now", "VIEW")
    message = CliRunner().invoke(cli, ["compile", "--project-dir", str(root)]).output
    assert re.findall(r"note: readers get (\S+) as a table", message) == ["marts.by_line_now"]


def test_without_the_setting_nothing_is_other_than_it_was(root: Path) -> None:
    (root / "dbt_project.yml").write_text(settings("vars:\n"))
    run(root)
    build = warehouse_of(root).folder()
    assert not (build / "stewards").exists()
    assert warehouse_of(root).record(build).stewards is None
    assert schemas(root) == schemas(root, stewards=True) == {"raw", "staging", "marts", "seeds"}
    assert f"{build.resolve().relative_to(root)}/{DATABASE}" in holding(root)
    assert findings(root) == {}


def test_the_setting_is_turned_on_widened_and_off_and_nothing_is_rebuilt(root: Path) -> None:
    project = root / "dbt_project.yml"
    project.write_text(settings("vars:\n"))
    run(root)
    project.write_text(settings(LEFT_OUT.replace("raw, staging", "RAW")))
    assert [(step.action, step.name) for step in plan(root, OPTIONS)] == [("write", DATABASE)]
    message = run(root)
    assert built(message).startswith("Built 0 of ")
    assert schemas(root) == {"staging", "marts", "seeds"}
    project.write_text(settings())
    message = run(root)
    assert built(message).startswith("Built 0 of ")
    assert schemas(root) == {"marts", "seeds"}
    assert plan(root, OPTIONS) == ()
    first, second, third = warehouse_of(root).build_folders()
    # What earlier builds hold is closed at once, though they are kept.
    assert [mode(folder) for folder in (first, second, third)] == [0o700, 0o700, 0o755]
    assert holding(root) == []
    assert schemas(root, stewards=True, build="1") == {"raw", "staging", "marts", "seeds"}
    project.write_text(settings("vars:\n"))
    message = run(root)
    assert built(message).startswith("Built 0 of ")
    assert schemas(root) == {"raw", "staging", "marts", "seeds"}
    assert mode(first) == 0o700


def test_a_run_that_failed_before_the_setting_is_continued_with_it(root: Path) -> None:
    put(root, {"dbt_project.yml": settings("vars:\n"), "tests/assert_never.sql": CALL_IDS})
    with pytest.raises(CheckFailed):
        run(root)
    assert holding(root) != []
    (root / "tests/assert_never.sql").unlink()
    put(root, {"dbt_project.yml": settings()})
    message: list[str] = []
    assert retry(root, OPTIONS, message.append).published
    assert built(message).startswith("Built 0 of ")
    assert schemas(root) == {"marts", "seeds"}
    assert holding(root) == []


def test_what_is_public_is_written_from_the_readers_file_and_is_none_of_what_is_left_out(root: Path) -> None:
    public = "{{ config(tags='public') }}\nselect line, name_en from {{ ref('lines') }}\n"
    put(root, {"models/marts/line_names.sql": public})
    run(root)
    tables = write_public(warehouse_of(root), compiled(root).graph, root / "out")
    assert [table.rows for table in tables] == [2]
    put(root, {"models/marts/line_names.sql": public.replace("tags", "schema='persons', tags")})
    put(root, {"dbt_project.yml": settings(LEFT_OUT.replace("raw,", "raw, persons,"))})
    with pytest.raises(ConfigError, match="persons is not for the public"):
        write_public(warehouse_of(root), compiled(root).graph, root / "out")


def test_the_next_build_starts_from_the_stewards_file(root: Path) -> None:
    run(root)
    deliver(root, 2, "b")
    message = run(root)
    assert any(line.startswith("Loaded 1 new or changed file, dropped 0") for line in message)
    assert calls(root, stewards=False) == calls(root, stewards=True) == 5
    with kpi.open(project_dir=root, stewards=True) as con:
        assert con.execute("select count(*) from raw.calls").fetchall() == [(5,)]


def test_a_stewards_file_that_was_taken_away_is_made_anew(root: Path) -> None:
    run(root)
    shutil.rmtree(warehouse_of(root).folder() / "stewards")
    assert any("stewards/kpi.duckdb is gone" in what for what in findings(root))
    deliver(root, 2, "b")
    message = run(root)
    assert any(line.startswith("Loaded 2 new or changed files") for line in message)
    assert calls(root, stewards=False) == calls(root, stewards=True) == 5


def test_a_file_that_has_grown_is_copied_compactly(root: Path) -> None:
    variables = LEFT_OUT.replace("kpi_warehouse:\n", "kpi_warehouse:\n    compact_above_percent: 0\n")
    (root / "dbt_project.yml").write_text(settings(variables))
    for rows in (20_000, 10, 11):
        deliver(root, rows)
        message = run(root)
    assert any("starts from a fresh copy" in line for line in message)
    assert calls(root, stewards=False) == 11
    assert holding(root) == []


def test_a_rollback_does_not_show_what_is_left_out_unless_that_is_meant(root: Path) -> None:
    project = root / "dbt_project.yml"
    project.write_text(settings("vars:\n"))
    run(root)
    project.write_text(settings())
    run(root)
    deliver(root, 4)
    run(root)
    warehouse = warehouse_of(root)
    first, second, third = (folder.name for folder in warehouse.build_folders())
    roll_back(warehouse, second, "")
    assert calls(root, stewards=False) == 3
    with pytest.raises(ConfigError, match=r"would show all readers raw, staging.*--show-rows"):
        roll_back(warehouse, first, "")
    roll_back(warehouse, first, "", show_rows=True)
    assert mode(warehouse.builds / first) == 0o755
    assert schemas(root) == {"raw", "staging", "marts", "seeds"}
    assert findings(root)[f"build {first} shows all readers raw, staging"] == "warning"
    roll_back(warehouse, third, "")
    deliver(root, 5)
    run(root)
    assert mode(warehouse.builds / first) == 0o700


def test_diff_and_doctor_look_at_both_files(root: Path) -> None:
    run(root)
    deliver(root, 4)
    run(root)
    warehouse = warehouse_of(root)
    first, second = (folder.name for folder in warehouse.build_folders())
    changed = [change.table for change in compare_builds(warehouse, first, second, {}).tables]
    assert changed == ["marts.by_line_now", "marts.calls_by_line"]
    changed = [change.table for change in compare_builds(warehouse, first, second, {}, stewards=True).tables]
    assert changed == ["marts.calls_by_line", "raw.calls", "raw.deliveries", "raw.feed_months"]
    stewards = warehouse.builds / second / "stewards"
    for path, loose in ((stewards / DATABASE, 0o444), (stewards, 0o755), (warehouse.builds / second / DATABASE, 0o644)):
        was = mode(path)
        path.chmod(loose)
        assert "error" in findings(root).values(), path
        path.chmod(was)
    assert "error" not in findings(root).values()
    for path in (stewards / DATABASE, warehouse.builds / second / DATABASE):
        data, was = path.read_bytes(), mode(path)
        path.chmod(0o600)
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        path.chmod(was)
        assert findings(root)[
            f"build {second}: its {path.relative_to(warehouse.builds / second)} is not what was written"
        ]
        path.chmod(0o600)
        path.write_bytes(data)
        path.chmod(was)
    assert "error" not in findings(root).values()


def test_a_setting_that_would_not_do_what_it_says_is_refused(root: Path) -> None:
    project = root / "dbt_project.yml"
    for given, message in (
        ("stewards_schemas: [raw, stagging]", "no schema 'stagging'. Did you mean 'staging'"),
        ("stewards_schemas: [raw, marts]", "marts cannot be left out"),
        ("stewards_schemas: 3", "'stewards_schemas' must be a list"),
        ("{stewards_schemas: [raw], stewards_group: no-such-group}", "there is no group 'no-such-group'"),
    ):
        text = given if given.startswith("{") else f"{{{given}}}"
        project.write_text(settings(f"vars:\n  kpi_warehouse: {text}\n"))
        with pytest.raises(ConfigError, match=re.escape(message)):
            run(root)
        # Another machine need not have the group.
        ended = CliRunner().invoke(cli, ["compile", "--project-dir", str(root)])
        assert (ended.exit_code == 0) == ("group" in message), given
    assert warehouse_of(root).build_folders() == []
    project.write_text(settings("vars:\n  kpi_warehouse: {stewards_schemas: raw}\n"))
    assert load_project(root).warehouse_settings.stewards_schemas == ("raw",)


def test_a_command_tells_what_is_left_out(root: Path) -> None:
    run(root)
    where = ["--project-dir", str(root)]
    message = {}
    for command in (["show", "raw.calls"], ["query", "select * from raw.calls"]):
        with pytest.raises(ConfigError, match="raw is left out of the file for all readers: --stewards"):
            CliRunner().invoke(cli, [*command, *where], catch_exceptions=False, standalone_mode=False)
        message[command[0]] = CliRunner().invoke(cli, [*command, "--stewards", *where]).output
    assert all(MARKER in output for output in message.values())
    listed = CliRunner().invoke(cli, ["builds", *where]).output
    assert re.search(r"published +\d+\.\d \+ \d+\.\d MB", listed)


def test_no_row_is_left_over_among_many(root: Path) -> None:
    """Rows that were in DuckDB's memory a moment ago must not lie in what a block of the file does not use."""
    deliver(root, 60_000)
    put(
        root,
        {"models/marts/waits.sql": "select waited_seconds, count(*) as n from {{ ref('stg_calls') }} group by all\n"},
    )
    run(root)
    deliver(root, 59_000)
    run(root)
    whole = (warehouse_of(root).folder() / "stewards" / DATABASE).read_bytes()
    readers = (warehouse_of(root).folder() / DATABASE).read_bytes()
    for part in (MARKER, MARKER[:12], MARKER[-9:]):
        assert part.encode() in whole
        assert part.encode() not in readers


@as_root
def test_another_user_gets_at_no_row_by_any_way_of_opening(root: Path) -> None:
    project = root / "dbt_project.yml"
    project.write_text(settings("vars:\n"))
    run(root)
    project.write_text(settings())
    put(root, {"tests/assert_never.sql": CALL_IDS})
    with suppress(CheckFailed):
        run(root, Options(date(2026, 3, 5), validate=False, store_failures=True))
    (root / "tests/assert_never.sql").unlink()
    run(root)
    (root / "warehouse/raw").chmod(0o700)
    open_before, failed, published = (folder.name for folder in warehouse_of(root).build_folders())
    message = as_another(root)
    assert message["holds"] == ""
    assert message["readers"] == "(3, False)"
    for what in ("stewards", "tests", "freshness", "failures", f"stewards {published}"):
        assert message[what].startswith("ConfigError: you are not among those who may open the stewards' file of"), what
        assert message[what].endswith("that is for its owner root.")
    for build in (open_before, failed):
        for who in ("readers", "stewards"):
            assert message[f"{who} {build}"].startswith("ConfigError: you are not among those who may open build"), (
                build
            )
    assert message["runs"].startswith("ConfigError: ")
    assert "left out of the file for all readers" in message["show"]
    assert "ConfigError" in message["rollback"]
    assert "only stewards can look at all of it" in message["doctor"]


@as_root
def test_the_group_of_stewards_may_read_and_not_write(root: Path) -> None:
    group = next(entry for entry in grp.getgrall() if entry.gr_gid not in (0, 65534))
    variables = LEFT_OUT + f"    stewards_group: {group.gr_name}\n"
    (root / "dbt_project.yml").write_text(settings(variables))
    run(root)
    build = warehouse_of(root).folder()
    assert [mode(build / "stewards"), mode(build / "stewards" / DATABASE)] == [0o750, 0o440]
    assert "error" not in findings(root).values()
    stranger, steward = as_another(root), as_another(root, group.gr_gid)
    assert stranger["holds"] == ""
    assert stranger["stewards"].endswith(f"that is for its owner root and the group {group.gr_name}.")
    assert steward["holds"] == f"warehouse/builds/{build.resolve().name}/stewards/{DATABASE}"
    assert steward["stewards"] == "(3, True)"
    assert steward["readers"] == "(3, False)"
    assert steward["tests"].startswith("Report(")
    put(root, {"tests/assert_never.sql": CALL_IDS})
    with pytest.raises(CheckFailed):
        run(root)
    failed = warehouse_of(root).build_folders()[-1]
    assert [mode(path) for path in (failed, failed / "stewards", failed / "stewards" / DATABASE)] == [
        *(0o750, 0o750, 0o440)
    ]
    assert as_another(root, group.gr_gid)[f"stewards {failed.name}"] == "(3, True)"
    os.chown(build / "stewards", 0, 0)
    assert "error" in findings(root).values()


def test_the_readers_file_is_a_database_like_any_other(root: Path) -> None:
    run(root)
    with duckdb.connect(str(warehouse_of(root).folder() / DATABASE), read_only=True) as con:
        assert con.execute("select current_database()").fetchall() == [("kpi",)]
        assert con.execute(
            "select count(*) from duckdb_tables() where schema_name in ('raw', 'staging')"
        ).fetchall() == [(0,)]
