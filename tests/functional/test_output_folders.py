"""Folders of pages that people name: written anew as a whole, whatever happens, and nothing of others goes."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from killed import killed_at
from kpi.errors import ConfigError
from kpi.jobs import build_site
from kpi.presentation import LANGUAGES
from kpi.site.site import FINGERPRINT


def write_pages(target: Path, text: str, names: tuple[str, ...] = (*LANGUAGES, "data")) -> None:
    with build_site._replaced(target, "1") as staging:
        for name in names:
            (staging / name).mkdir()
            with open(staging / name / "index.html", "w", encoding="utf-8") as stream:
                stream.write(text)


def texts(target: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text(encoding="utf-8") for path in sorted(target.glob("*/index.html"))}


@pytest.mark.parametrize("others", [False, True])
def test_whenever_pages_are_cut_short_a_whole_site_is_there_or_the_next_run_writes_it(
    others: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = dict.fromkeys((*LANGUAGES, "data"), "old")
    for step in range(30):
        target = tmp_path / f"{step}-{others}" / "out"
        target.parent.mkdir()
        write_pages(target, "old")
        if others:
            (target / ".git").mkdir()
            (target / "CNAME").write_text("theirs")
        with killed_at(step, monkeypatch):
            write_pages(target, "new")
        if not others:
            assert texts(target) in (old, dict.fromkeys(old, "new"))
        assert all(set(texts(target).values()) <= {"old", "new"} for _ in old)
        write_pages(target, "next")
        assert texts(target) == dict.fromkeys(old, "next")
        assert [path.name for path in target.parent.iterdir()] == ["out"]
        theirs = {".git", "CNAME"} if others else set()
        assert {path.name for path in target.iterdir()} == {*old, FINGERPRINT, *theirs}


@pytest.mark.parametrize("begun", [False, True])
def test_pages_that_cannot_all_be_written_leave_what_was_there(begun: bool, tmp_path: Path) -> None:
    target = tmp_path / "out"
    if begun:
        write_pages(target, "old")
    with suppress(OSError), build_site._replaced(target, "2") as staging:
        (staging / "fi").mkdir()
        raise OSError(28, os.strerror(28), str(staging / "fi/index.html"))
    assert list(tmp_path.iterdir()) == ([target] if begun else [])
    assert set(texts(target).values()) == ({"old"} if begun else set())


def test_pages_of_another_time_go_when_they_are_not_written_again(tmp_path: Path) -> None:
    for others in (False, True):
        target = tmp_path / str(others)
        write_pages(target, "old")
        if others:
            (target / ".git").mkdir()
        write_pages(target, "new", ("fi", "data"))
        assert texts(target) == {"data": "new", "fi": "new"}


def test_what_is_no_site_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "theirs.txt").write_text("theirs")
    with pytest.raises(ConfigError, match="no site of kpi's"):
        write_pages(tmp_path, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.txt"]
    assert not list(tmp_path.parent.glob(".*.kpi-next"))


def test_a_folder_beside_which_nothing_can_be_written_is_written_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    write_pages(target, "old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    write_pages(target, "new")
    assert set(texts(target).values()) == {"new"}
    assert {path.name for path in target.iterdir()} == {*LANGUAGES, "data", FINGERPRINT}
