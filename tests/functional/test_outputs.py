"""Files and folders that a command writes: where the system refuses them, the message names them and why."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.errors import ConfigError, DiskFull
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


@contextmanager
def no_room(size: int) -> Iterator[None]:
    """No file can be written that is larger: of this process, and of those it starts."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", WRITING)
def test_a_disk_that_is_full_is_said_of_the_output_and_what_was_there_stays(
    root: Path, tmp_path: Path, command: str
) -> None:
    out = tmp_path / "out"
    words = [word.format(out) for word in WRITING[command]]
    with no_room(64):
        result = CliRunner().invoke(cli, [*words, "--project-dir", str(root)])
    assert isinstance(result.exception, DiskFull), result.output
    assert str(result.exception) in (
        f"{out} cannot be written: the disk is full. Make room, and run again.",
        "the public files cannot be written: the disk is full. Make room, and run again.",
    )
    assert not files(tmp_path)
    assert CliRunner().invoke(cli, [*words, "--project-dir", str(root)]).exit_code == 0
    before = files(tmp_path)
    with no_room(64):
        result = CliRunner().invoke(cli, [*words, "--project-dir", str(root)])
    # Files for senders are not written over.
    assert isinstance(result.exception, ConfigError if command == "rejects" else DiskFull), result.output
    assert before
    assert files(tmp_path) == before


@pytest.mark.parametrize("form", ["table", "csv", "parquet"])
def test_rows_are_written_through_a_link_and_a_pipe_and_keep_the_mode_of_the_file(
    root: Path, tmp_path: Path, form: str
) -> None:
    file, link, pipe = (tmp_path / name for name in ("file", "link", "pipe"))
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    words = ["explain", "loans", "--service", "main", "--year", "2025", "--rows", "numerator", "--format", form]
    assert CliRunner().invoke(cli, [*words, "--output", str(link), "--project-dir", str(root)]).exit_code == 0
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}
    if form == "parquet":
        return  # its end says where all is: it cannot be written into a pipe
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    assert CliRunner().invoke(cli, [*words, "--output", str(pipe), "--project-dir", str(root)]).exit_code == 0
    assert reader.communicate(timeout=60)[0] == file.read_bytes()


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
