"""Git as kpi runs it: of the folder that is asked for, whatever calls kpi."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kpi.errors import ConfigError
from kpi.provenance import git


def repository(folder: Path) -> Path:
    folder.mkdir()
    for words in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", folder.name)):
        subprocess.run(["git", "-c", "user.name=k", "-c", "user.email=k@k", *words], cwd=folder, check=True)
    return folder


def test_a_hook_of_another_repository_is_not_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = repository(tmp_path / "one"), repository(tmp_path / "other")
    expected = git.revision_of(one)
    assert expected != git.revision_of(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert git.revision_of(one) == expected
    assert git.output(one, "rev-parse", "HEAD").strip() == expected


def test_what_git_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a git repository"):
        git.output(tmp_path, "status")
