"""A failed run is continued: what it built is kept, the rest is done; and never on the wrong ground."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import kpi
from changing import BY_LINE, CALLS, FILES, MORE, SHARE, TODAY, change, lay_out
from kpi.build_record import BuildRecord
from kpi.engine import runner
from kpi.engine.graph import Node
from kpi.engine.runner import build_node
from kpi.errors import BuildError, CheckFailed, ConfigError, DeliveryError
from kpi.jobs.options import Options, Outcome
from kpi.jobs.refresh import refresh, retry
from kpi.warehouse.builds import Warehouse

FAILS = "select desk, cast(desk as bigint) as call_count, 0 as in_time_count from {{ ref('stg_calls') }}"
WRONG = FILES[BY_LINE].replace("count(*) as", "-1 as")  # assert_in_time_is_part finds rows


def quiet(line: str) -> None:
    """Where what a run tells goes."""


def go(root: Path, run: Any = refresh, **options: Any) -> Outcome:
    outcome = run(root, Options(as_of=TODAY, **options), quiet)
    assert isinstance(outcome, Outcome)
    return outcome


def last(root: Path) -> BuildRecord:
    record = Warehouse(root / "warehouse").last_run()
    assert record is not None
    return record


def built(root: Path) -> set[str]:
    """The seeds and models that the last run built itself."""
    record = last(root)
    return {
        node.rpartition(".")[2]
        for node, about in (record.nodes or {}).items()
        if about.built_in == record.id and not node.startswith("test.")
    }


def contents(root: Path) -> dict[str, Any]:
    """What readers see, and where it came from apart from builds' names."""
    tables = ("raw.calls", "seeds.desks", "marts.calls_by_desk", "marts.share", "marts.names", "staging.named")
    with kpi.open(project_dir=root) as con:
        return {table: con.execute(f"from {table} order by all").fetchall() for table in tables}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = lay_out(tmp_path_factory.mktemp("retry"))
    go(root)
    return root


@pytest.fixture
def project(tmp_path: Path, published: Path) -> Path:
    return shutil.copytree(published, tmp_path / "p", symlinks=True)


def fresh(tmp_path: Path, project: Path) -> dict[str, Any]:
    """What a build from nothing of the same files holds."""
    other = tmp_path / "fresh"
    shutil.copytree(project, other, ignore=shutil.ignore_patterns("builds", "current"))
    go(other)
    return contents(other)


def test_what_the_failed_run_built_is_kept_and_the_rest_is_done(project: Path, tmp_path: Path) -> None:
    change(project, {BY_LINE: FAILS, "seeds/desks.csv": "desk,name_en\nhealth,H\nsocial,S\n"})
    with pytest.raises(BuildError, match=r"What was built is kept as build 00002-\S+. Mend it, then: kpi retry"):
        go(project)
    assert built(project) == {"desks"}
    change(project, {BY_LINE: FILES[BY_LINE].replace("<=", "<")})
    message: list[str] = []
    assert retry(project, Options(as_of=TODAY), message.append).published
    assert message[1].startswith("Continuing build 00002-")
    assert (
        message[1].endswith("Could not convert string 'health' to INT64), which built 1 node.") or "desk" in message[1]
    )
    assert built(project) == {"calls_by_desk", "named", "names", "share"}
    assert contents(project) == fresh(tmp_path, project)


def test_a_delivery_loaded_by_the_failed_run_is_not_taken_for_an_old_one(project: Path, tmp_path: Path) -> None:
    change(project, {CALLS: str(MORE[CALLS]).replace("301", "1"), "models/marts/a.sql": "select 'x'::int as x"})
    with pytest.raises(BuildError):
        go(project)
    change(project, {"models/marts/a.sql": "select 1 as x"})
    go(project, retry)
    assert contents(project) == fresh(tmp_path, project)


def test_two_runs_that_fail_one_after_the_other(project: Path, tmp_path: Path) -> None:
    change(project, {BY_LINE: FAILS, CALLS: str(MORE[CALLS]).replace("301", "1")})
    for _ in range(2):
        with pytest.raises(BuildError):
            go(project, retry if last(project).status == "failed" else refresh)
    change(project, {BY_LINE: FILES[BY_LINE]})
    go(project, retry)
    assert contents(project) == fresh(tmp_path, project)


def test_a_first_run_that_failed_is_continued(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "p")
    change(root, {BY_LINE: FAILS})
    with pytest.raises(BuildError):
        go(root)
    change(root, {BY_LINE: FILES[BY_LINE]})
    assert go(root, retry).published
    assert built(root) == {"calls_by_desk", "named", "names", "share"}


def test_failing_rows_are_kept_when_the_failed_run_kept_them(project: Path) -> None:
    change(project, {BY_LINE: WRONG})
    with pytest.raises(CheckFailed):
        go(project, store_failures=True, unit_tests=True)
    with pytest.raises(CheckFailed, match="kept in "):
        go(project, retry)
    options = last(project).options
    assert options is not None
    assert (options.store_failures, options.unit_tests) == (True, True)


def test_a_full_refresh_that_failed_does_the_rest_only(project: Path, tmp_path: Path) -> None:
    change(project, {SHARE: "select desk, 'x'::int as value from {{ ref('calls_by_desk') }}"})
    with pytest.raises(BuildError):
        go(project, full_refresh=True)
    assert {"desks", "stg_calls", "calls_by_desk"} <= built(project)
    change(project, {SHARE: MORE[SHARE]})
    go(project, retry)
    assert "share" in built(project)
    assert built(project).isdisjoint({"desks", "stg_calls", "calls_by_desk"})
    assert contents(project) == fresh(tmp_path, project)


def test_failed_checks_run_again_and_nothing_else(project: Path) -> None:
    change(project, {BY_LINE: WRONG})
    with pytest.raises(CheckFailed, match="Mend it, then: kpi retry"):
        go(project)
    with pytest.raises(CheckFailed):  # nothing was mended
        go(project, retry)
    assert built(project) == set()
    change(project, {"tests/assert_in_time_is_part.sql": "select desk from {{ ref('calls_by_desk') }} where false"})
    assert go(project, retry).published
    assert built(project) == set()
    assert [check.name for check in last(project).checks if check.run_in == last(project).id] == [
        "assert_in_time_is_part"
    ]


def test_what_was_selected_is_selected_again(project: Path) -> None:
    change(project, {BY_LINE: FAILS, "seeds/desks.csv": "desk,name_en\nhealth,H\nsocial,S\n"})
    with pytest.raises(BuildError):
        go(project, select=("calls_by_desk",))
    change(project, {BY_LINE: FILES[BY_LINE].replace("<=", "<")})
    assert not go(project, retry).published
    assert built(project) == {"calls_by_desk"}


def test_results_of_the_failed_run_select(project: Path) -> None:
    change(project, {BY_LINE: FAILS})
    with pytest.raises(BuildError):
        go(project)
    results = Warehouse(project / "warehouse").last_results()
    assert {node.rpartition(".")[2]: how for node, how in results.items() if not node.startswith("test")} == {
        "calls_by_desk": "error",
        **dict.fromkeys(("named", "names", "share"), "skipped"),
    }


def test_without_a_failed_run_there_is_nothing_to_retry(tmp_path: Path, project: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing to retry: the last run made build \S+, which is published. Run: k"):
        go(project, retry)
    with pytest.raises(ConfigError, match=r"there is nothing to retry: nothing was run yet. Run: kpi refresh"):
        go(lay_out(tmp_path / "new"), retry)


def test_a_run_that_failed_in_loading_is_not_continued(project: Path) -> None:
    rows = "".join(f"{n},health,many,2024-01-01\n" for n in range(20))
    change(project, {CALLS: "call_id,desk,waited_seconds,arrived_on\n" + rows})
    with pytest.raises(DeliveryError):
        go(project)
    with pytest.raises(ConfigError, match=r"build \S+ failed before anything was built: nothing to retry"):
        go(project, retry)


def test_when_readers_have_another_build_by_now_it_is_not_continued(project: Path) -> None:
    warehouse = Warehouse(project / "warehouse")
    first = warehouse.current()
    change(project, {SHARE: str(MORE[SHARE]) + "-- other"})
    go(project)
    change(project, {BY_LINE: FAILS})
    with pytest.raises(BuildError):
        go(project)
    link = project / "warehouse/current"
    link.unlink()
    link.symlink_to(f"builds/{first and first.name}", target_is_directory=True)
    with pytest.raises(ConfigError, match=r"was made when readers had 00002-\S+, now they have 00001-"):
        go(project, retry)


def test_a_killed_run_leaves_nothing_to_retry(project: Path) -> None:
    (project / SHARE).write_text(
        "select sum(a.x * b.x) as n from generate_series(1, 300000) as a(x), generate_series(1, 300000) as b(x)"
    )
    command = [sys.executable, "-m", "kpi.cli", "refresh", "--project-dir", str(project)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    while not list((project / "warehouse/builds").glob(".tmp-*/kpi.duckdb")) and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(ConfigError, match="nothing to retry"):
        go(project, retry)
    change(project, {SHARE: MORE[SHARE]})
    assert go(project, retry_or_refresh(project)).build


def retry_or_refresh(project: Path) -> Any:
    return retry if last(project).status == "failed" else refresh


def test_an_interrupted_run_is_continued(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(project, {SHARE: str(MORE[SHARE]).replace("value", "v"), BY_LINE: FILES[BY_LINE].replace("<=", "<")})

    def interrupted(con: Any, graph: Any, node: Node, *more: Any) -> Any:
        if node.name == "share":
            raise KeyboardInterrupt
        return build_node(con, graph, node, *more)

    monkeypatch.setattr(runner, "build_node", interrupted)
    with pytest.raises(KeyboardInterrupt):
        go(project)
    monkeypatch.undo()
    assert (last(project).status, last(project).reason) == ("failed", "interrupted")
    assert "calls_by_desk" in built(project)
    assert go(project, retry).published
    assert "share" in built(project)
    assert "calls_by_desk" not in built(project)
