"""The plan says what a refresh then does, and why; and does nothing itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from changing import BY_LINE, CALLS, FILES, HEADER, MORE, SHARE, STAGING, TODAY, Changes, change, lay_out
from kpi.engine.plan import Step
from kpi.errors import BuildError, CompileError
from kpi.jobs.options import Options
from kpi.jobs.plan import plan
from kpi.jobs.refresh import refresh
from kpi.warehouse.builds import Warehouse, writing


def run(root: Path, **options: Any) -> list[str]:
    """Refresh, and return the relations that were built."""
    done = refresh(root, Options(as_of=TODAY, **options), lambda line: None)
    if done.nothing_to_do:
        return []
    record = Warehouse(root / "warehouse").record(root / "warehouse/builds" / done.build)
    return [node.relation for node in (record.nodes or {}).values() if node.status == "success"]


FAILS = "select desk::int as desk, 1 as call_count, 1 as in_time_count from {{ ref('stg_calls') }}"


def steps(root: Path, **options: Any) -> tuple[Step, ...]:
    return plan(root, Options(as_of=TODAY, **options))


def told(root: Path, **options: Any) -> dict[str, str]:
    """What is planned but tests that run because of what they judge: action and name, and why."""
    return {
        f"{step.action} {step.name}": step.why
        for step in steps(root, **options)
        if step.action != "test" or "because of" not in step.why
    }


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = lay_out(tmp_path_factory.mktemp("plan"))
    assert len(steps(root)) == 12  # a file, six nodes and five tests
    run(root)
    return root


@pytest.fixture
def project(tmp_path: Path, published: Path) -> Path:
    import shutil

    return shutil.copytree(published, tmp_path / "p", symlinks=True)


CONTRACT = "models/staging/calls.yml"
NOTED = {"write kpi.duckdb": "a new build: what it notes changes, and no table does"}
PERHAPS = "because of calls_by_desk (may turn out unchanged)"
BUILD_BY_LINE = "build marts.calls_by_desk"
BELOW = {"build marts.share": PERHAPS, "build staging.named": PERHAPS}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, {}),
        ({BY_LINE: "-- Why.\n" + FILES[BY_LINE]}, NOTED),
        ({CONTRACT: FILES[CONTRACT].replace("{key: [call_id]}", "{key: [call_id], late_after_days: 9}")}, NOTED),
        ({BY_LINE: FILES[BY_LINE].replace("<=", "<")}, {BUILD_BY_LINE: "its SQL changed", **BELOW}),
        (
            {"models/more.yml": "models:\n  - {name: calls_by_desk, config: {unique_key: desk}}\n"},
            {BUILD_BY_LINE: "its settings changed: unique_key", **BELOW},
        ),
        (
            {"dbt_project.yml": FILES["dbt_project.yml"].replace("300", "60")},
            {BUILD_BY_LINE: "the variable limit_seconds changed", **BELOW},
        ),
        (
            {"macros/macros.sql": FILES["macros/macros.sql"].replace("100 *", "10 *")},
            {"build marts.share": "the macro share changed"},
        ),
        (
            {"seeds/desks.csv": "desk,name_en\nhealth,H\n"},
            {"build seeds.desks": "its seed changed", "build staging.named": PERHAPS.replace("calls_by_desk", "desks")},
        ),
        (
            {STAGING: FILES[STAGING] + " and true"},
            {"build staging.stg_calls": "its SQL changed", BUILD_BY_LINE: "because of stg_calls", **BELOW},
        ),
        ({SHARE: None}, {"drop marts.share": "gone: nothing in the project makes it any more"}),
        # Another model in the same place: its relation is replaced, and not dropped.
        (
            {SHARE: None, "models/marts/other.sql": "{{ config(alias='share') }}\nselect 1 as value"},
            {"build marts.share": "new"},
        ),
        ({"models/marts/a.sql": "select 1 as x"}, {"build marts.a": "new"}),
        ({"tests/assert_more.sql": "select 1 as x where false"}, {"test assert_more": "new"}),
        (
            {"warehouse/raw/calls/2025.csv": HEADER, CALLS: None},
            {
                "load calls/2024.csv": "gone",
                "load calls/2025.csv": "new",
                "build staging.stg_calls": "because of raw.calls (may turn out unchanged)",
                BUILD_BY_LINE: "because of stg_calls (may turn out unchanged)",
                **BELOW,
            },
        ),
    ],
)  # fmt: skip
def test_the_plan_says_why(project: Path, changes: Changes, why: dict[str, str]) -> None:
    change(project, changes)
    planned = told(project)
    planned.pop("build marts.names", None)
    assert planned == why
    # And a refresh does that: all that is certain, and nothing that is not told.
    build = {step.name: step.certain for step in steps(project) if step.action == "build"}
    done = set(run(project, publish_despite_checks="a test"))
    assert {name for name, certain in build.items() if certain} <= done <= set(build)
    assert steps(project) == ()


def test_what_is_missing_in_the_database_is_told(project: Path) -> None:
    import duckdb

    database = project / "warehouse/current/kpi.duckdb"
    database.chmod(0o644)
    with duckdb.connect(str(database)) as con:
        con.execute("drop table marts.share")
    record = (
        project / "warehouse/current/build.json"
    )  # as if it had been written so: else it would be taken for damaged
    record.write_text(re.sub(r'^ "(checksum|bytes)": [^,]*', r' "\1": null', record.read_text(), flags=re.M))
    change(project, {BY_LINE: "-- Why.\n" + FILES[BY_LINE]})  # else nothing is looked at
    assert told(project) == {"build marts.share": "missing in the database"}
    assert run(project) == ["marts.share"]


def test_what_is_not_selected_is_told_and_stays_due(project: Path) -> None:
    change(project, {BY_LINE: FILES[BY_LINE].replace("<=", "<")})
    assert told(project, select=("share",)) == {"leave marts.calls_by_desk": "not selected, though its SQL changed"}
    assert told(project, select=("+share",))["build marts.share"] == PERHAPS


def test_a_full_refresh_is_everything(project: Path) -> None:
    assert sum(step.action == "build" and step.certain for step in steps(project, full_refresh=True)) == 6


def test_a_view_that_is_rebuilt_as_it_was_makes_nothing_below_it_due(project: Path) -> None:
    planned = {step.name: step for step in steps(project, full_refresh=True, select=("stg_calls",))}
    assert planned["staging.stg_calls"].why == "--full-refresh"
    assert planned["marts.calls_by_desk"].if_changed == ("model.small.stg_calls",)
    assert run(project, full_refresh=True, select=("stg_calls",)) == ["staging.stg_calls"]
    last = Warehouse(project / "warehouse").last_run()
    assert last
    assert last.partial == ()


def test_a_selection_by_state_compares_with_a_build(project: Path) -> None:
    first = Warehouse(project / "warehouse").published()
    change(project, {SHARE: str(MORE[SHARE]).replace("as value", "as v"), "models/marts/a.sql": "select 1 as x"})
    assert [step.name for step in steps(project, select=("state:new",)) if step.action == "build"] == ["marts.a"]
    assert list(told(project, select=("state:modified",))) == ["build marts.a", "build marts.share"]
    assert list(told(project, select=("state:modified.body,state:old",)))[-1] == "build marts.share"
    run(project)
    # Nothing is selected: a run that is asked for a selection makes a build all the same.
    assert [step.action for step in steps(project, select=("state:modified",))] == ["write"]
    assert Warehouse(project / "warehouse").last_results()["model.small.share"] == "success"
    change(project, {BY_LINE: FILES[BY_LINE].replace("<=", "<")})
    assert BUILD_BY_LINE in told(project, select=("state:modified",), state=first)


def test_a_plan_writes_nothing_and_needs_no_lock(project: Path) -> None:
    change(project, {BY_LINE: FILES[BY_LINE].replace("<=", "<")})
    with writing(Warehouse(project / "warehouse")):
        before = written(project)
        assert steps(project)
        assert written(project) == before


def written(project: Path) -> dict[Path, int]:
    """When each file was written; what compiling remembers apart."""
    return {path: path.stat().st_mtime_ns for path in project.rglob("*") if ".cache" not in path.parts}


def test_a_plan_of_a_project_that_does_not_compile_says_so(project: Path) -> None:
    change(project, {BY_LINE: "select x from {{ ref('nothing') }}"})
    with pytest.raises(CompileError, match="there is no such model"):
        steps(project)


def test_after_a_failed_run_the_plan_is_still_of_the_published_build(project: Path) -> None:
    change(
        project, {BY_LINE: "select desk::int as desk, 1 as call_count, 1 as in_time_count from {{ ref('stg_calls') }}"}
    )
    with pytest.raises(BuildError):
        run(project)
    assert told(project) == {
        BUILD_BY_LINE: "its SQL changed",
        **BELOW,
        "build marts.names": told(project)["build marts.names"],
    }


def test_the_command_prints_a_line_a_node_and_json(project: Path) -> None:
    def command(*arguments: str) -> str:
        line = [
            sys.executable,
            "-m",
            "kpi.cli",
            "plan",
            "--as-of",
            str(TODAY),
            *arguments,
            "--project-dir",
            str(project),
        ]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout

    assert command() == "nothing to do\n"
    change(project, {"macros/macros.sql": FILES["macros/macros.sql"].replace("100 *", "10 *")})
    assert command() == (
        "build   marts.share  the macro share changed\nTo build: 1, perhaps 0 more; data tests to run: up to 0.\n"
    )
    assert [step["why"] for step in json.loads(command("--json"))] == ["the macro share changed"]


def test_a_variable_of_the_environment_is_an_input(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPI_FACTOR", "1")
    change(project, {SHARE: str(MORE[SHARE]).replace("as value", "* {{ env_var('KPI_FACTOR') }} as value")})
    assert run(project) == ["marts.share"]
    assert (run(project), steps(project)) == ([], ())
    monkeypatch.setenv("KPI_FACTOR", "2")
    assert told(project) == {"build marts.share": "the environment variable KPI_FACTOR changed"}
    assert run(project) == ["marts.share"]
    assert "KPI_FACTOR" in (project / "warehouse/current/build.json").read_text()
