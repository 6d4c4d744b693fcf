"""What commands write beside builds: whole or not at all, said as it is, and mended by the next run."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

import kpi
from kpi import environment
from kpi.errors import DiskFull, LockHeld
from kpi.files import staging_folder
from kpi.ingest import release_files
from kpi.jobs import check_build
from kpi.jobs.schedule import JobOptions, install_units, make_job
from kpi.reader.figures import build_as_of
from kpi.warehouse.builds import FAILURES, Warehouse, writing
from released import kpi as command
from released import released_once


@pytest.fixture(scope="module")
def library_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return released_once(tmp_path_factory)


@pytest.fixture
def root(library_once: Path, tmp_path: Path) -> Path:
    return shutil.copytree(library_once, tmp_path / "library", symlinks=True)


def no_room(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def events(warehouse: Warehouse) -> list[tuple[str, str]]:
    return [(one.event, one.build) for one in warehouse.ledger()]


def catch_up(warehouse: Warehouse) -> None:
    with writing(warehouse):
        pass


def test_a_rollback_that_the_ledger_does_not_know_is_told_and_recorded_by_the_next_run(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers have it: they did not keep the build they had, whatever the disk says afterwards."""
    warehouse = Warehouse(root / "warehouse")
    first, before = warehouse.build_folders()[0].name, events(warehouse)
    with monkeypatch.context() as full:
        full.setattr("kpi.warehouse.lifecycle.record", no_room)
        result = command(root, "rollback")
    assert result.exit_code == 0, result.output
    assert "the ledger cannot be written" in result.output
    assert (warehouse.published(), events(warehouse)) == (first, before)
    link, earlier = warehouse.root / "current", datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()
    ledger = warehouse.builds / "ledger.jsonl"
    ledger.write_bytes(b"".join(line.replace(b'"at": "2', b'"at": "1') for line in ledger.open("rb")))
    os.utime(link, (earlier, earlier), follow_symlinks=False)
    for _ in range(2):  # once is enough
        catch_up(warehouse)
        assert events(warehouse) == [*before, ("rolled back to", first)]
    assert warehouse.ledger()[-1].at == "2026-11-01T12:00:00Z"
    assert build_as_of(warehouse, "2026-11-02") == first


def test_a_release_is_written_whole_or_not_at_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse, home = Warehouse(root / "warehouse"), release_files.releases_folder(root)
    words = ("release", "2025", "--note", "again", "--by", "Ada")
    for name in ("kpi.provenance.releases.release_files.write_sums", "kpi.provenance.releases.os.rename"):
        with monkeypatch.context() as full:
            full.setattr(name, no_room)
            assert isinstance(command(root, *words).exception, DiskFull)
        assert [path.name for path in home.iterdir()] == ["2025-1"]
    build, before = warehouse.published(), events(warehouse)
    (home / ".2025-2").mkdir()  # of one that was killed
    (home / ".2025-2/figures.csv").write_text("figure_id\n")
    with monkeypatch.context() as full:
        full.setattr("kpi.jobs.release.record", no_room)
        result = command(root, *words)
    assert result.exit_code == 0, result.output
    assert f"the next run records that build {build} is released" in result.output
    assert (release_files.names_of(root), events(warehouse)) == (["2025-1", "2025-2"], before)
    for _ in range(2):
        catch_up(warehouse)
        assert events(warehouse) == [*before, ("released", build)]


def test_accounts_of_two_at_once_are_both_there_and_one_of_the_same_once(tmp_path: Path) -> None:
    columns = (("revision_id", "VARCHAR"), ("note", "VARCHAR"))
    file = tmp_path / release_files.ACKNOWLEDGED
    file.with_name(f".{file.name}-1").write_text("half")  # by one that was killed
    threads = [
        threading.Thread(
            target=lambda name=name: release_files.append_new_rows(file, columns, [(name, "x"), ("all", "x")])
        )
        for name in map(str, range(20))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = file.read_text(encoding="utf-8").splitlines()
    assert sorted(lines[1:]) == sorted([*(f"{number},x" for number in range(20)), "all,x"])
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_salt_that_was_cut_short_is_replaced_and_one_of_another_left(tmp_path: Path) -> None:
    """With half a salt every variable would count as changed, every night."""
    salt = tmp_path / "warehouse" / environment.SALT
    for content in (b"", b"half"):
        salt.parent.mkdir(exist_ok=True)
        salt.write_bytes(content)
        hashes = set()
        for _ in range(2):
            environment._salt.cache_clear()
            hashes.add(environment.digest("value", tmp_path))
        assert len(hashes) == 1
        assert salt.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in salt.parent.iterdir()] == [environment.SALT]


def test_a_unit_that_could_not_be_written_is_no_other_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "project/warehouse").mkdir(parents=True)
    job = make_job(tmp_path / "project", JobOptions("kpi-refresh", "03:15", "", True, ""), has_network=False)
    with monkeypatch.context() as full:
        full.setattr("kpi.files.os.replace", no_room)
        with pytest.raises(OSError, match="No space"):
            install_units(job)
    assert all(path.stat().st_size for path in install_units(job))


def test_failing_rows_are_those_of_a_test_that_ended(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Warehouse(root / "warehouse").folder().resolve()
    file = folder / FAILURES
    check_build.run_data_tests(folder, (), store_failures=True)
    whole = file.read_bytes()
    with monkeypatch.context() as full:
        full.setattr(check_build, "run_tests", no_room)
        with pytest.raises(OSError, match="No space"):
            check_build.run_data_tests(folder, (), store_failures=True)
    assert file.read_bytes() == whole
    assert [path.name for path in folder.iterdir() if "failures" in path.name] == [file.name]


def test_two_commands_do_not_write_into_one_folder(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with staging_folder(out) as staging:
        (staging / "mine").write_text("mine")
        result = command(root, "export", str(out), "--format", "csv")
        assert isinstance(result.exception, LockHeld), result.output
        assert [path.name for path in staging.iterdir()] == ["mine"]
    assert command(root, "export", str(out), "--format", "csv").exit_code == 0


def test_an_explanation_keeps_its_build_whatever_is_published(root: Path) -> None:
    explanation = kpi.explain("loans", "main", 2025, project_dir=root)
    (root / "warehouse/current").unlink()
    assert explanation.rows("numerator").num_rows


def test_what_killed_runs_left_of_caches_and_copies_goes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (root / f"warehouse/.cache/.compiled-{name}" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    left, other, used = (
        tmp_path / "temporary" / name for name in ("kpi-verify-left", "kpi-other-left", "kpi-diff-used")
    )
    for folder in (left, other, used):
        (folder / "raw").mkdir(parents=True)
        os.utime(folder, (time.time() - 7200,) * 2)
    descriptor = os.open(used, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    catch_up(Warehouse(root / "warehouse"))
    os.close(descriptor)
    assert (old.exists(), new.exists()) == (False, True)
    assert (left.exists(), other.exists(), used.exists()) == (False, True, True)
