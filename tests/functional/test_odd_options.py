"""Options and folders that look like what they are not: refused with what they take, before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.errors import exit_code_of
from small_project import write

TODAY = ("--as-of", "2026-03-05")


def ends(root: Path, *words: str) -> tuple[int, str]:
    """The exit code of a command, and what it says."""
    result = CliRunner().invoke(cli, [*words, "--project-dir", str(root)])
    error = result.exception
    if error is None or isinstance(error, SystemExit):
        return result.exit_code, result.output
    return exit_code_of(error), result.output + str(error)


@pytest.mark.parametrize(("words", "code", "message"), [
    (("refresh", "--as-of", "9999-12-31"), 3, "--as-of is 9999-12-31, and a refresh has a day from 1990 to 2099."),
    (("freshness", "--as-of", "0001-01-01"), 3, "--as-of is 0001-01-01, and"),
    (("plan", "--as-of", "1989-12-31"), 3, "--as-of is 1989-12-31, and"),
    (("refresh", *TODAY, "--max-reject-share", "nan"), 2, "'nan' is not a share, 0 to 1."),
    (("prune-raw", "--max-reject-share", "NaN"), 2, "'NaN' is not a share, 0 to 1."),
    (("refresh", *TODAY, "--vars", "{no: 1, limit_seconds: 2}"), 3, "YAML reads False. Put it in quotes."),
    (("compile", "--vars", "{2024-01-01: 1}"), 3, "is a text, and YAML reads"),
    (("show", "marts.calls_by_line", "--limit", "-3"), 2, "-3 is not in the range x>=0."),
    (("explain", "calls", "--limit", "-1"), 2, "-1 is not in the range x>=0."),
    (("runs", "--limit", "-1"), 2, "-1 is not in the range x>=0."),
])  # fmt: skip
def test_a_value_that_cannot_be_meant(tmp_path: Path, words: tuple[str, ...], code: int, message: str) -> None:
    ended, output = ends(write(tmp_path), *words)
    assert ended == code
    assert message in output.replace("\n", " ")
    assert not (tmp_path / "warehouse/builds").exists()


def test_a_machine_whose_clock_has_stopped_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datetime

    class Stopped(datetime.date):
        @classmethod
        def today(cls) -> Stopped:
            return cls(1970, 1, 1)

    monkeypatch.setattr(datetime, "date", Stopped)
    ended, output = ends(write(tmp_path), "freshness")
    assert (ended, "the clock of this machine says 1970-01-01" in output) == (3, True)


@pytest.mark.parametrize("sign", ["?", "*", "[", "\\", "\n", "\t", "\x1b"])
def test_a_folder_that_duckdb_takes_for_another_is_refused(tmp_path: Path, sign: str) -> None:
    root = tmp_path / f"a{sign}b"
    root.mkdir()
    ended, output = ends(write(root), "compile")
    assert ended == 3
    assert "does not take it for a part of a file's name" in output
