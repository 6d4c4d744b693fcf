"""Files and folders that a command writes: where the system refuses them, the message names them and why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.errors import ConfigError
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from released import TODAY, copy_library, deliver

ROWS = ("explain", "loans", "--service", "main", "--year", "2025", "--rows", "numerator")
WRITING = {
    "export": ("export", "{}"),
    "publish": ("publish", "--public", "{}"),
    "site": ("site", "{}"),
    "validate": ("validate", "--html", "{}"),
    "rejects": ("rejects", "--for-sender", "{}"),
    "artifacts": ("artifacts", "--target-path", "{}"),
    "rows": (*ROWS, "--output", "{}"),
    "parquet": (*ROWS, "--format", "parquet", "--output", "{}"),
}
PLACES = {
    "a folder of the kernel": ("/proc/kpi", "No such file or directory"),
    "below a file": ("{root}/dbt_project.yml/out", "Not a directory"),
    "a name too long": ("{root}/" + "x" * 300, "File name too long"),
    "below a circle of links": ("{root}/circle/out", "Too many levels of symbolic links"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, published, with a reject, and a link to itself."""
    public = "{{ config(tags=['public']) }}\nselect 'nobody' as reader\n"
    root = copy_library(tmp_path_factory.mktemp("outputs") / "library", {"models/reports/readers.sql": public})
    deliver(root, "visits/2026.csv", "branch,counted_on,visitors\nmain,2026-01-05,many\n")
    refresh(root, Options(as_of=TODAY, max_reject_share=1), lambda line: None)
    (root / "circle").symlink_to(root / "circle")
    return root


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", WRITING)
def test_an_output_that_cannot_be_written_is_named_with_the_reason(root: Path, command: str, place: str) -> None:
    template, reason = PLACES[place]
    path = template.format(root=root)
    words = [word.format(path) for word in WRITING[command]]
    result = CliRunner().invoke(cli, [*words, "--project-dir", str(root)])
    assert isinstance(result.exception, ConfigError), result.output
    assert str(result.exception) == f"{path} cannot be written: {reason}."


def test_an_error_of_the_system_elsewhere_is_not_said_of_the_output(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = str(root / "warehouse/builds/x")

    def fail(*_: object) -> None:
        raise OSError(5, os.strerror(5), broken)

    monkeypatch.setattr("kpi.reader.figures_export.export_figures", fail)
    result = CliRunner().invoke(cli, ["export", str(tmp_path / "out"), "--project-dir", str(root)])
    assert isinstance(result.exception, OSError)
    assert result.exception.filename == broken
