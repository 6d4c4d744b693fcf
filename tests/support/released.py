"""The library of tests/projects/library in a git repository, built and released, and ways to change it afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
from calendar import monthrange
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kpi.cli.main import cli
from kpi.ingest.release_files import releases_folder
from kpi.jobs.options import Options, Outcome
from kpi.jobs.refresh import refresh
from once import made_once

LIBRARY = Path(__file__).parents[1] / "projects/library"
TODAY = date(2026, 1, 10)
BRANCHES = ("main", "riverside")
LOANS, VISITS = "loan_id,branch,lent_on,returned_on\n", "branch,counted_on,visitors\n"


def copy_library(folder: Path, changes: Mapping[str, str] | None = None) -> Path:
    """The library's project with a delivery of each year and feed, and files of it changed."""
    shutil.copytree(LIBRARY, folder)
    for year in (2024, 2025):
        loans, visits = "", ""
        for month in (date(year, number, 1) for number in range(1, 13)):
            last = month.replace(day=monthrange(year, month.month)[1])
            for branch in BRANCHES:
                for days in (14, 15):
                    loans += f"{branch}-{month:%Y%m}-{days},{branch},{month},{month + timedelta(days)}\n"
                visits += f"{branch},{last},100\n"
            loans += f"main-{month:%Y%m}-out,main,{last},\n"
        deliver(folder, f"loans/{year}.csv", LOANS + loans)
        deliver(folder, f"visits/{year}.csv", VISITS + visits)
    write(folder, changes or {})
    return folder


def deliver(root: Path, name: str, text: str) -> None:
    """Write a delivery."""
    path = root / "warehouse/raw" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write(root: Path, files: Mapping[str, str]) -> None:
    """Write files of the project."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that stands in a file once."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new), encoding="utf-8")


def run(root: Path, as_of: date = TODAY, **options: str) -> Outcome:
    """Refresh. Raises what that raises."""
    return refresh(root, Options(as_of=as_of, **options), lambda line: None)  # type: ignore[arg-type]


def git(root: Path, *words: str) -> str:
    """Run git in the project, as somebody whom it knows."""
    who = {f"GIT_{role}_{what}": text for role in ("AUTHOR", "COMMITTER")
           for what, text in (("NAME", "Ada"), ("EMAIL", "ada@example.org"))}  # fmt: skip
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, env={**os.environ, **who}
    )
    return done.stdout.strip()


def commit(root: Path) -> str:
    """Commit all of the project, which becomes a repository when it is none. Returns the id."""
    if not (root / ".git").is_dir():
        git(root, "init", "-q")
        (root / ".gitignore").write_text("/warehouse/\n")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "as it is")
    return git(root, "rev-parse", "HEAD")


def kpi(root: Path, *words: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(cli, [*words, "--project-dir", str(root)])


def release_2025(root: Path, *words: str) -> Path:
    """Release 2025, and return the folder of its latest release."""
    result = kpi(root, "release", "2025", "--note", "as printed", "--by", "Ada", *words)
    assert result.exit_code == 0, result.output + str(result.exception)
    return sorted(releases_folder(root).iterdir())[-1]


def released_library(folder: Path, changes: Mapping[str, str] | None = None) -> Path:
    """The library, committed, published, released, committed again, and published with its release."""
    root = copy_library(folder, changes)
    commit(root)
    assert run(root).published
    release_2025(root)
    commit(root)
    assert run(root).published
    return root


def released_once(factory: pytest.TempPathFactory) -> Path:
    """The same, one for all workers. Tests must not change it, nor what lies in its folders."""
    return made_once(factory, "library", lambda folder: released_library(folder / "library")) / "library"
