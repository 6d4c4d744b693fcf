"""A watch builds and tests what each saved file touches, goes on whatever is wrong, and publishes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import kpi
from changing import BY_LINE, CALLS, FILES, MORE, SHARE, TODAY, Changes, change, lay_out
from kpi.errors import ConfigError, LockHeld
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.jobs.watch import watch
from kpi.warehouse.builds import Warehouse, writing


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = lay_out(tmp_path)
    refresh(root, Options(as_of=TODAY), lambda line: None)
    return root


def watched(root: Path, saves: Sequence[Changes | Callable[[], object]]) -> list[list[str]]:
    """Save files one after the other under a watch, and return what it told in each round; the last one ends it."""
    rounds: list[list[str]] = [[]]
    waiting = list(saves)

    def wait() -> None:
        if not waiting:
            raise KeyboardInterrupt
        save = waiting.pop(0)
        rounds.append([])
        if callable(save):
            save()
        else:
            change(root, save)

    def emit(line: str) -> None:
        rounds[-1].append(line)

    watch(root, Options(as_of=TODAY), emit, wait)
    return rounds


def rows(root: Path, table: str, build: str | None = "watch") -> list[tuple[Any, ...]]:
    with kpi.open(build, root) as con:
        return con.execute(f"from {table} order by all").fetchall()


def test_each_saved_file_builds_and_tests_what_it_touches(project: Path) -> None:
    before = Warehouse(project / "warehouse").current()
    seen: list[Any] = []
    start, first, none, second = watched(
        project,
        [
            {SHARE: str(MORE[SHARE]).replace("}} as", "}} + 1 as")},
            lambda: seen.append(rows(project, "marts.share")),
            {BY_LINE: FILES[BY_LINE].replace("count(*) as", "-1 as")},
        ],
    )
    assert any("Built 0 of 6" in line for line in start)
    assert "Open it with kpi.open(build='watch')" in start[-1]
    assert first[0].endswith(SHARE)
    assert first[1:3] == ["Built 1 of 6 seeds and models.", "Ran 0 data tests: 0 failed."]
    assert none == []
    assert seen[0] == [("health", 51.0), ("social", 101.0)]
    # A failing test is told, what is below is built all the same.
    assert "Built 4 of 6 seeds and models." in second
    assert any(line.startswith("  failed: assert_in_time_is_part (tests/") for line in second)
    assert {row[1] for row in rows(project, "marts.calls_by_desk")} == {-1}
    # Readers see nothing of it.
    assert Warehouse(project / "warehouse").current() == before
    assert rows(project, "marts.share", None) == [("health", 50.0), ("social", 100.0)]
    assert not (project / "warehouse/builds/.watch").exists()


def test_what_is_wrong_is_told_and_mended_by_the_next_save(project: Path) -> None:
    wrong, fails, right, yaml, mended = watched(
        project,
        [
            {BY_LINE: "select desk, from where"},
            {BY_LINE: "select desk, desk::int as call_count, 1 as in_time_count from {{ ref('stg_calls') }}"},
            {BY_LINE: FILES[BY_LINE].replace("<=", "<")},
            {"models/more.yml": "models: [\n"},
            {"models/more.yml": "models: []\n"},
        ],
    )[1:]
    assert BY_LINE in wrong[1]
    assert fails[1].startswith("failed: calls_by_desk")
    assert "share: skipped, because calls_by_desk failed." in fails[1]
    assert "Built 4 of 6 seeds and models." in right
    assert "models/more.yml" in yaml[1]
    assert "Built 0 of 6 seeds and models." in mended
    assert rows(project, "marts.calls_by_desk") == [("health", 2, 0), ("social", 1, 1)]


def test_a_delivery_that_is_refused_and_then_mended_is_seen(project: Path) -> None:
    def deliver(text: str) -> Changes:
        # A watch looks at deliveries when a file of the project was saved.
        return {CALLS: text, SHARE: str(MORE[SHARE]) + f"-- {len(text)}"}

    bad = "call_id,desk,waited_seconds,arrived_on\n" + "".join(f"{n},health,many,2024-01-01\n" for n in range(20))
    refused, mended = watched(project, [deliver(bad), deliver(str(MORE[CALLS]).replace("301", "1"))])[1:]
    assert "20 of 20 records rejected" in refused[1]
    assert any(line.startswith("Built ") for line in mended)
    assert rows(project, "marts.calls_by_desk") == [("health", 2, 2), ("social", 1, 1)]


def test_a_watch_starts_without_a_published_build_and_beside_a_refresh(tmp_path: Path) -> None:
    root = lay_out(tmp_path)
    with writing(Warehouse(root / "warehouse")):
        start = watched(root, [])[0]
    assert "Built 6 of 6 seeds and models." in start
    refresh(root, Options(as_of=TODAY), lambda line: None)
    assert rows(root, "marts.share") == rows(root, "marts.share", None)


def test_a_watch_computes_with_duckdb_alone_and_says_so(project: Path) -> None:
    with pytest.raises(ConfigError, match="kpi build --watch computes with DuckDB alone"):
        watch(project, Options(as_of=TODAY, engine={"engine": "spark"}), lambda line: None)
    settings = project / "dbt_project.yml"
    engine = "vars:\n  kpi_warehouse:\n    engine: {type: spark}\n"
    settings.write_text(settings.read_text().replace("vars:\n", engine))
    assert "engine: {type: spark}" in settings.read_text()
    start = watched(project, [])[0]
    assert "note: a watch computes with DuckDB, whatever the project's engine; kpi build computes with Spark." in start


def test_there_is_one_watch(project: Path) -> None:
    def another() -> None:
        with pytest.raises(LockHeld, match="another kpi build --watch is running here"):
            watched(project, [])

    watched(project, [another])
