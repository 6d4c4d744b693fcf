"""Runs that fail, are killed, held back or watched show readers no row that is left out, nor does what they leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import kpi
from kpi import database
from kpi.cli.main import cli
from kpi.errors import BuildError, CheckFailed, ConfigError, DeliveryError, KpiError
from kpi.jobs import candidate, pipeline
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh, retry
from kpi.jobs.watch import watch
from kpi.warehouse.permissions import DATABASE
from left_out import (
    CALL_IDS,
    HEADER,
    MARKER,
    OPTIONS,
    built,
    calls,
    deliver,
    holding,
    mode,
    project,
    put,
    run,
    schemas,
    warehouse_of,
)
from small_project import FILES, recorded


@pytest.fixture
def root() -> Iterator[Path]:
    yield from project()


WRONG: Mapping[str, tuple[dict[str, str], type[KpiError]]] = {
    "a cell is quoted": (
        {"models/marts/bad.sql": "select call_id::integer as number from {{ ref('stg_calls') }}\n"},
        BuildError,
    ),
    "a test fails": ({"tests/assert_never.sql": CALL_IDS}, CheckFailed),
    "rows are rejected": ({"warehouse/raw/calls/b.csv": f"{HEADER}1,health,{MARKER},2024-01-01\n"}, DeliveryError),
    "there is no header": ({"warehouse/raw/calls/b.csv": f"{MARKER},health,3,2024-01-01\n"}, DeliveryError),
}


@pytest.mark.parametrize("name", WRONG)
def test_of_a_run_that_fails_no_row_is_told_to_readers(root: Path, name: str) -> None:
    run(root)
    files, error = WRONG[name]
    put(root, files)
    with pytest.raises(error) as raised:
        run(root, Options(date(2026, 3, 5), validate=False, store_failures=True, max_reject_share=0.0))
    failed = warehouse_of(root).build_folders()[-1]
    assert mode(failed) == 0o700
    assert not (failed / DATABASE).exists()
    assert holding(root) == []
    assert calls(root, stewards=False) == 3
    with pytest.raises(ConfigError, match="was not published, so it has no file for readers"):
        kpi.open("candidate", root)
    kpi.open("candidate", root, stewards=True).close()
    # What failed last is in marts.runs of the next build, and in the ledger.
    for path in files:
        (root / path).unlink()
    deliver(root, 4)
    run(root)
    assert holding(root) == []
    assert calls(root, stewards=False) == 4
    assert str(raised.value)


def test_what_runs_failed_of_before_is_taken_out_of_the_ledger(root: Path) -> None:
    project = root / "dbt_project.yml"
    with_stewards = project.read_text()
    project.write_text(FILES["dbt_project.yml"])
    files, error = next(iter(WRONG.values()))
    put(root, files)
    with pytest.raises(error):
        run(root)
    for path in files:
        (root / path).unlink()
    failed = [event for event in warehouse_of(root).ledger() if event.event == "failed"]
    assert failed[0].reason
    project.write_text(with_stewards)
    run(root)
    failed = [event for event in warehouse_of(root).ledger() if event.event == "failed"]
    assert [event.reason for event in failed] == [""]


def test_warnings_of_a_published_build_hold_no_header_that_may_be_a_record(root: Path) -> None:
    (root / "warehouse/raw/calls").mkdir(exist_ok=True)
    (root / "warehouse/raw/calls/b.csv").write_text(f"{MARKER},health,3,2024-01-01\n")
    message = run(root, Options(date(2026, 3, 5), validate=False, max_reject_share=1.0))
    assert not any(MARKER in line for line in message)
    assert any("refused" in line for line in map(str, recorded(warehouse_of(root)).warnings))
    assert holding(root) == []


def test_failing_rows_are_kept_among_the_stewards(root: Path) -> None:
    put(root, {"tests/assert_never.sql": "{{ config(severity='warn') }}\nselect call_id from {{ ref('stg_calls') }}\n"})
    run(root, Options(date(2026, 3, 5), validate=False, store_failures=True))
    assert schemas(root, stewards=True) == {"raw", "staging", "marts", "seeds", "dbt_test__audit"}
    assert schemas(root) == {"marts", "seeds"}
    ended = CliRunner().invoke(cli, ["test", "--store-failures", "--project-dir", str(root)])
    assert ended.exit_code == 0, ended.output
    with kpi.open(project_dir=root, failures=True) as con:
        assert len(con.execute("from dbt_test__audit.assert_never").fetchall()) == 3
    assert (warehouse_of(root).folder() / "stewards/failures.duckdb").is_file()
    assert holding(root) == []


def test_a_failed_run_is_continued_and_one_that_is_held_back_has_both_files(root: Path) -> None:
    put(root, {"tests/assert_never.sql": CALL_IDS})
    with pytest.raises(CheckFailed, match="stewards=True"):
        run(root)
    (root / "tests/assert_never.sql").unlink()
    message: list[str] = []
    assert retry(root, OPTIONS, message.append).published
    assert built(message).startswith("Built 0 of ")
    assert calls(root, stewards=False) == 3
    deliver(root, 5)
    outcome = refresh(root, Options(date(2026, 3, 5), validate=False, select=("stg_calls",)), message.append)
    assert not outcome.published
    assert schemas(root, build="candidate") == {"marts", "seeds"}
    assert schemas(root, stewards=True, build="candidate") == {"raw", "staging", "marts", "seeds"}
    assert holding(root) == []


def test_a_watch_keeps_its_build_from_readers(root: Path) -> None:
    run(root)
    seen: list[list[str]] = []

    def wait() -> None:
        seen.append(holding(root))
        raise KeyboardInterrupt

    message: list[str] = []
    watch(root, OPTIONS, message.append, wait)
    assert seen == [[]]
    assert holding(root) == []
    assert calls(root, stewards=True, build="watch") == 3
    assert any("stewards=True" in line for line in message)
    with pytest.raises(ConfigError, match="no file for readers"):
        kpi.open("watch", root)


def test_while_a_build_is_written_nobody_else_can_look_into_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(root)
    deliver(root, 4)
    seen: list[list[str]] = []
    verify = candidate.Run._verify

    def look(self: candidate.Run) -> None:
        seen.append([*holding(root), oct(mode(self.candidate)), oct(mode(self.candidate / "stewards"))])
        verify(self)

    monkeypatch.setattr(candidate.Run, "_verify", look)
    run(root)
    assert seen == [["0o700", "0o700"]]


class Killed(BaseException):
    """What stands here for SIGKILL: nobody catches it."""


@pytest.mark.parametrize("step", ["candidate.write_readers_file", "pipeline.read_back", "database.copy_without"])
def test_killed_between_the_two_files_the_old_build_stays(
    root: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    run(root)
    deliver(root, 4)
    module, name = step.split(".")
    holder = {"candidate": candidate, "pipeline": pipeline, "database": database}[module]
    original = getattr(holder, name)

    def die_after(*given: Any, **options: Any) -> Any:
        result = original(*given, **options)
        if name == "read_back" and given[0].parent.name == "stewards":
            return result  # that is before the readers' file is begun
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(holder, name, die_after)
        with pytest.raises(Killed):
            run(root)
    assert calls(root, stewards=False) == calls(root, stewards=True) == 3
    assert holding(root) == []
    run(root)
    assert calls(root, stewards=False) == calls(root, stewards=True) == 4
    assert not list(warehouse_of(root).builds.glob(".tmp-*"))
