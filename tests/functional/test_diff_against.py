"""Figures that an edit moves against a git revision: in Markdown, and nothing where it moves none."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from figures_project import AS_OF, CALLS_FIGURES, FILES, FiguresProject, calls_of, figure
from kpi.cli.main import cli
from kpi.errors import ConfigError
from kpi.presentation import significant

MODEL, SEED = "models/intermediate/int_calls_figures.sql", "seeds/limits.csv"
pytestmark = pytest.mark.long
CALLS = [*calls_of(2024, 1, 1_000, 40), *calls_of(2025, 1, 3_000, 45)]
LIMITS = {"health": 300, "social": 60}


def git(folder: Path, *words: str) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, env=environment)
    return done.stdout.decode().strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the project in a folder of it, deliveries that git ignores, and a published build."""
    top = tmp_path_factory.mktemp("against")
    project = FiguresProject(top / "warehouse project")
    (top / ".gitignore").write_text("warehouse/\n")
    git(top, "init", "--quiet")
    git(top, "add", ".")
    git(top, "commit", "--quiet", "-m", "first")
    project.deliver("calls.csv", CALLS)
    project.enter(5)
    project.build()
    return project.root


@pytest.fixture
def root(repository: Path) -> Iterator[Path]:
    """The project, as it was committed; edits are undone after the test."""
    yield repository
    git(repository, "checkout", "--quiet", ".")
    git(repository, "clean", "--quiet", "--force", "-d", ".")


def against(root: Path, revision: str = "HEAD") -> Result:
    words = ["diff", "--against", revision, "--as-of", str(AS_OF), "--project-dir", str(root)]
    return CliRunner().invoke(cli, words)


def write(root: Path, name: str, text: str) -> None:
    (root / name).write_text(text, encoding="utf-8")


def test_an_edit_without_effect_says_nothing(root: Path) -> None:
    assert against(root).output == ""
    write(root, MODEL, f"-- A comment.\n{CALLS_FIGURES.replace('    select', '      select')}")
    write(root, "models/staging/described.yml", "models:\n  - {name: stg_calls, description: All calls.}\n")
    done = against(root)
    assert (done.exception, done.output) == (None, "")


def test_a_changed_seed_and_a_changed_model_are_told_with_what_each_does(root: Path) -> None:
    write(root, SEED, "line,limit_seconds\nhealth,200\nsocial,60\n")
    done = against(root)
    assert done.exception is None
    year = [call for call in CALLS if call[3] > "2025"]
    values = [figure("calls_in_time_share", year, {**LIMITS, "health": limit}) for limit in (300, 200)]
    unrounded = significant(float(values[1] - values[0]), 4)
    lines = done.output.splitlines()
    assert lines[0] == "### 1 figure moves, 4 rows in all"
    assert ", with edits that are not committed; deliveries of this warehouse, as of 2026-03-05." in lines[2]
    shown = [f"{float(value):.1f}" for value in values]
    change = f"{float(shown[1]) - float(shown[0]):.1f}"
    assert f"| calls_in_time_share | all | 2025 | {shown[0]} | {shown[1]} | {change} | {unrounded} | limits |" in lines
    assert lines[-1] == "By `definition: limits`"

    write(root, MODEL, CALLS_FIGURES.replace("calls.waited_seconds <= limits", "calls.waited_seconds < limits"))
    done = against(root)
    assert done.exception is None
    assert "`definition: limits`" in done.output.splitlines()[-1] or "`code: int_calls_figures`" in done.output
    assert not list((root / "warehouse/builds").glob("0*-*"))[1:]  # the project's own warehouse is as it was


def test_of_many_figures_sixty_lines_are_told(root: Path) -> None:
    new = "union all select 'more_' || n, 'all', 2025, 'calendar_year', n, null, n, 1 from range(99) as numbers (n)"
    write(root, "models/marts/indicators.sql", f"{FILES['models/marts/indicators.sql']}\n{new}\n")
    done = against(root)
    assert done.exception is None
    lines = done.output.splitlines()
    assert len(lines) <= 60
    assert lines[0] == "### 99 figures move, 99 rows in all"
    assert "and 59 more rows, of 59 figures." in lines
    assert "| more_0 | all | 2025 | - | 0.00 | new |  | indicators |" in lines


def test_without_a_build_and_in_a_shallow_clone(repository: Path, tmp_path: Path) -> None:
    """As in CI: the clone has no build, and its history is cut."""
    top = repository.parent
    git(tmp_path, "clone", "--quiet", "--depth", "1", top.as_uri(), "clone")
    root = tmp_path / "clone" / repository.name
    write(root, SEED, "line,limit_seconds\nhealth,200\nsocial,60\n")
    with pytest.raises(ConfigError, match=r"there are no deliveries in .*kpi demo --scale 0\.05"):
        raise against(root).exception or AssertionError
    project = FiguresProject(root)
    project.deliver("calls.csv", CALLS)
    write(root, SEED, "line,limit_seconds\nhealth,200\nsocial,60\n")
    assert against(root).output.startswith("### 1 figure moves, 4 rows in all")
    with pytest.raises(ConfigError, match="The clone is shallow: get the whole history"):
        raise against(root, "HEAD~1").exception or AssertionError


def test_what_cannot_be_compared(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="there is no revision 'nowhere' in"):
        raise against(root, "nowhere").exception or AssertionError
    with pytest.raises(ConfigError, match="there is no revision '--help' in"):
        raise against(root, "--help").exception or AssertionError
    alone = FiguresProject(tmp_path / "alone")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(ConfigError, match="is in no git repository that can be read"):
        raise against(alone.root).exception or AssertionError
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="git cannot be run"):
        raise against(root).exception or AssertionError
    usage = CliRunner().invoke(cli, ["diff", "current", "--against", "HEAD", "--project-dir", str(root)])
    assert "name no build" in usage.output


def test_a_revision_that_does_not_compile_is_named(root: Path) -> None:
    write(root, MODEL, "select * from {{ ref('nothing') }}")
    git(root, "commit", "--quiet", "--all", "-m", "broken")
    try:
        write(root, MODEL, CALLS_FIGURES)
        error = str(against(root).exception)
        assert error.startswith("revision HEAD cannot be built, so nothing can be compared with it.\n")
        assert "ref('nothing')" in error
    finally:
        git(root, "reset", "--quiet", "--hard", "HEAD~1")
