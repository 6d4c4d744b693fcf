"""What somebody or something does to the warehouse's own files by day: the next night mends it, or says so."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import kpi
from kpi.cli.main import cli
from kpi.errors import BuildError, ConfigError, KpiError, LockHeld, exit_code_of
from kpi.ingest.raw_files import SYNTHETIC_LABEL
from kpi.jobs.doctor import examine
from kpi.jobs.options import Options, Outcome
from kpi.jobs.plan import plan
from kpi.jobs.refresh import refresh
from kpi.settings import WarehouseSettings
from kpi.warehouse import lifecycle, permissions
from kpi.warehouse.builds import Warehouse, is_being_written, writing
from kpi.warehouse.lifecycle import roll_back
from kpi.warehouse.permissions import DATABASE, STEWARDS
from once import copied
from small_project import FILES, recorded, write

Table = list[tuple[Any, ...]]


def deliver(root: Path, *ids: int) -> None:
    raw = root / "warehouse/raw/calls"
    raw.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{one},health,{one},2024-01-01\n" for one in ids)
    (root / "warehouse/raw/README.txt").write_text(SYNTHETIC_LABEL, encoding="utf-8")  # so that none is late
    (raw / "a.csv").write_text(f"call_id,line,waited_seconds,arrived_on\n{rows}")


def night(root: Path, **options: Any) -> Outcome:
    return refresh(root, Options(date(2026, 3, 5), validate=False, **options), lambda _: None)


def seen(root: Path) -> Table:
    with kpi.open(project_dir=root) as con:
        return con.execute("select call_id, waited_seconds from staging.stg_calls order by all").fetchall()


def wrong(root: Path) -> list[str]:
    return [finding.what for finding in examine(Warehouse(root / "warehouse")) if finding.level != "ok"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with three published builds; the newest is current."""
    root = write(tmp_path_factory.mktemp("built"))
    for number in (1, 2, 3):
        deliver(root, *range(number))
        night(root)
    return root


@pytest.fixture
def warehouse(built: Path, tmp_path: Path) -> Warehouse:
    """A copy of its warehouse and the project around it, to be damaged."""
    return Warehouse(copied(built, tmp_path) / "warehouse")


def current(warehouse: Warehouse) -> Path:
    folder = warehouse.current()
    if folder is None:
        raise AssertionError
    return folder


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.chmod(0o644)
    path.write_bytes(change(path.read_bytes()))
    path.chmod(0o444)


def flip(data: bytes) -> bytes:
    return data[:9_000] + bytes([data[9_000] ^ 4]) + data[9_001:]


DAMAGE: dict[str, Callable[[Warehouse], object]] = {
    "its file gone": lambda w: (current(w) / DATABASE).unlink(),
    "its file empty": lambda w: rewrite(current(w) / DATABASE, lambda _: b""),
    "its file cut short": lambda w: rewrite(current(w) / DATABASE, lambda data: data[: len(data) // 2]),
    "its folder gone": lambda w: shutil.rmtree(current(w)),
    "the link gone": lambda w: (w.root / "current").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_published_build_that_is_damaged_is_made_anew_by_the_next_night(damage: str, warehouse: Warehouse) -> None:
    """Although nothing else changed; it starts from the newest build that is whole, and says so."""
    root, start = warehouse.root.parent, warehouse.build_folders()[2 if damage == "the link gone" else 1].name
    expected = seen(root)
    DAMAGE[damage](warehouse)
    plan(root, Options(date(2026, 3, 5)))  # says what it can
    outcome = night(root)
    assert outcome.published
    assert f"starts from build {start}." in str(outcome.warnings[0])
    assert seen(root) == expected
    assert recorded(warehouse).based_on == start
    assert night(root).nothing_to_do


def test_a_bit_that_flipped_is_not_inherited(warehouse: Warehouse) -> None:
    root = warehouse.root.parent
    rewrite(current(warehouse) / DATABASE, flip)
    deliver(root, 7, 8)
    assert "not what was written" in str(night(root).warnings[0])
    assert seen(root) == [("7", 7), ("8", 8)]


def flip_unseen(database: Path) -> None:
    """Flip a bit and give the file the times that it had."""
    about = database.stat()
    database.chmod(0o644)
    with database.open("r+b") as stream:
        stream.seek(9_000)
        stream.write(bytes([database.read_bytes()[9_000] ^ 4]))
    database.chmod(0o444)
    os.utime(database, ns=(about.st_atime_ns, about.st_mtime_ns))


NOTE = Path("warehouse/.cache/whole")
TOUCHED: dict[str, Callable[[Path, Path], object]] = {
    "a bit that nobody saw flip": lambda _, build: flip_unseen(build / DATABASE),
    "another record of it": lambda _, build: rewrite(build / "build.json", lambda data: data + b"\n"),
    "the note is gone": lambda root, _: (root / NOTE).unlink(),
    "the note is garbled": lambda root, _: (root / NOTE).write_bytes(b"\xff"),
    "a run from it failed": lambda root, _: failed_run(root),
}


def failed_run(root: Path) -> None:
    deliver(root, 3, 3, 3)
    with pytest.raises(KpiError):
        night(root)


@pytest.mark.long
def test_a_build_is_read_before_the_next_begins_unless_this_machine_wrote_it_and_nobody_has_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path)
    deliver(root, 1)
    night(root)
    read: list[str] = []
    is_whole = permissions.is_whole

    def noted(folder: Path, record: Any) -> bool:
        read.append(folder.name)
        return is_whole(folder, record)

    monkeypatch.setattr(lifecycle, "is_whole", noted)
    deliver(root, 1, 2)
    night(root)
    assert read == []
    for number, (name, touch) in enumerate(TOUCHED.items(), 3):
        build = current(Warehouse(root / "warehouse"))
        touch(root, build)
        deliver(root, *range(number))
        outcome = night(root)
        assert read[0] == build.name
        assert bool(outcome.warnings) is (name == "a bit that nobody saw flip")
        read.clear()


def test_without_a_whole_build_it_starts_from_nothing(warehouse: Warehouse) -> None:
    root = warehouse.root.parent
    expected = seen(root)
    for folder in warehouse.build_folders():
        rewrite(folder / DATABASE, lambda _: b"")
    assert "starts from nothing" in str(night(root).warnings[0])
    assert seen(root) == expected


def test_what_cannot_be_derived_again_is_not_given_up_for_a_damaged_file(tmp_path: Path) -> None:
    kept = "{{ config(materialized='incremental', full_refresh=false) }}\nselect call_id from {{ ref('stg_calls') }}\n"
    root = write(tmp_path, {"models/marts/kept.sql": kept})
    deliver(root, 1)
    night(root)
    warehouse = Warehouse(root / "warehouse")
    rewrite(current(warehouse) / DATABASE, lambda _: b"")
    with pytest.raises(
        BuildError, match=r"cannot be derived again \(marts\.kept\), and cannot be opened .*kpi rollback"
    ):
        night(root)


def test_readers_are_not_taken_back_to_a_damaged_build_but_away_from_one(warehouse: Warehouse) -> None:
    first, second, third = (folder.name for folder in warehouse.build_folders())
    rewrite(warehouse.builds / second / DATABASE, flip)
    with pytest.raises(ConfigError, match="is not what was written"):
        roll_back(warehouse, second, "")
    shutil.rmtree(warehouse.builds / third)
    arguments = ["rollback", first, "--project-dir", str(warehouse.root.parent)]
    message = CliRunner().invoke(cli, arguments, catch_exceptions=False).output
    assert message == f"Readers see build {first} again; before it was {third}.\n"


def test_current_as_a_folder_is_told_before_anything_is_built(warehouse: Warehouse) -> None:
    root, folder = warehouse.root.parent, current(warehouse)
    (warehouse.root / "current").unlink()
    shutil.copytree(folder, warehouse.root / "current")
    with pytest.raises(ConfigError, match=r"current is a folder, not the link that readers follow\. Move it away"):
        night(root)
    assert len(warehouse.build_folders()) == 3


def test_a_damaged_ledger_is_read_as_far_as_it_goes(warehouse: Warehouse) -> None:
    root = warehouse.root.parent
    with (warehouse.builds / "ledger.jsonl").open("ab") as stream:
        stream.write(b'\xff\xfe\n[1]\nnull\n"x"\n{"build"')
    assert len(warehouse.ledger()) == 3
    deliver(root, 7)
    assert night(root, publish_despite_checks="two\u2028lines").published
    assert wrong(root) == []
    assert warehouse.ledger()[-1].event == "published"


@pytest.mark.parametrize("lost", ["all of it", "its end"])
def test_a_ledger_that_was_lost_is_written_anew_and_no_build_removed(lost: str, warehouse: Warehouse) -> None:
    root, path = warehouse.root.parent, warehouse.builds / "ledger.jsonl"
    before = [folder.name for folder in warehouse.build_folders()]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: 0 if lost == "all of it" else 1]))
    deliver(root, 7)
    night(root)
    assert [folder.name for folder in warehouse.build_folders()][:3] == before
    assert wrong(root) == []
    roll_back(warehouse, before[1], "it can be reached")


def test_a_build_that_is_gone_is_told_until_the_next_run_notes_it(warehouse: Warehouse) -> None:
    root, first = warehouse.root.parent, warehouse.build_folders()[0]
    shutil.rmtree(first)
    assert wrong(root) == [f"the ledger has {first.name}, whose folder is gone"]
    deliver(root, 7)
    night(root)
    assert wrong(root) == []
    assert [event.build for event in warehouse.ledger() if event.event == "gone"] == [first.name]


def test_leftovers_that_are_no_folders_go_and_nothing_they_point_at(warehouse: Warehouse, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("x")
    (warehouse.builds / ".tmp-file").write_text("x")
    (warehouse.builds / ".tmp-link").symlink_to(other)
    assert night(warehouse.root.parent).nothing_to_do
    assert list(warehouse.builds.glob(".tmp-*")) == []
    assert (other / "file").is_file()


def test_the_lock_holds_although_its_file_is_removed(warehouse: Warehouse) -> None:
    with writing(warehouse):
        (warehouse.builds / ".lock").unlink()
        assert is_being_written(warehouse)
        with pytest.raises(LockHeld, match="another process"), writing(warehouse):
            pass
    assert not is_being_written(warehouse)


def test_a_run_of_an_earlier_version_is_respected_too(warehouse: Warehouse) -> None:
    held = os.open(warehouse.builds / ".lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert is_being_written(warehouse)
    with pytest.raises(LockHeld), writing(warehouse):
        pass
    os.close(held)


@pytest.mark.parametrize("text", ["", "[", "[1]", "{"])
def test_a_record_that_cannot_be_read_costs_a_build_from_nothing_and_no_more(text: str, warehouse: Warehouse) -> None:
    root = warehouse.root.parent
    expected = seen(root)
    (current(warehouse) / "build.json").write_text(text)
    assert night(root).published
    assert seen(root) == expected


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_ledger_that_cannot_be_written_does_not_unsay_what_was_published(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = warehouse.root.parent
    deliver(root, 7)
    with monkeypatch.context() as patch:
        patch.setattr(lifecycle, "record", full)
        outcome = night(root)
    assert outcome.published
    assert "is published, but what comes after that was not all done" in str(outcome.warnings[-1])
    assert seen(root) == [("7", 7)]
    deliver(root, 8)
    assert night(root).published
    assert wrong(root) == []


def test_what_another_user_left_stops_no_run(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    root = warehouse.root.parent
    (warehouse.builds / ".tmp-theirs").mkdir()
    removed = shutil.rmtree

    def refused(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        if Path(path).name != ".tmp-theirs":
            removed(path)

    monkeypatch.setattr(shutil, "rmtree", refused)
    monkeypatch.setattr(WarehouseSettings, "grace", timedelta(0))
    for number in range(8):
        deliver(root, number)
        outcome = night(root)
    assert outcome.published
    assert "Permission denied" in str(outcome.warnings[-1])


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_what_may_not_be_written_is_told_as_a_matter_of_configuration(
    number: int, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), "there")

    assert exit_code_of(OSError(number, "")) == ConfigError.exit_code
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConfigError, match=r"\.lock (cannot be written by user|is on a file system that is read-only)"):
        roll_back(warehouse, warehouse.build_folders()[0].name, "")


@pytest.mark.parametrize("place", ["", STEWARDS])
@pytest.mark.parametrize("damage", ["gone", "cut short", "flipped"])
def test_both_files_of_a_build_are_looked_at_where_there_are_two(place: str, damage: str, tmp_path: Path) -> None:
    settings = FILES["dbt_project.yml"].replace("vars:\n", "vars:\n  kpi_warehouse: {stewards_schemas: [raw]}\n")
    root = write(tmp_path, {"dbt_project.yml": settings})
    for number in (1, 2):
        deliver(root, *range(number))
        night(root)
    warehouse = Warehouse(root / "warehouse")
    file = current(warehouse) / place / DATABASE
    expected = seen(root)
    if damage == "gone":
        file.unlink()
    else:
        rewrite(file, flip if damage == "flipped" else lambda data: data[:20_000])
    if damage == "flipped":
        deliver(root, *range(2), 3)
        expected.append(("3", 3))
    assert "starts from build 00001-" in str(night(root).warnings[0])
    assert seen(root) == expected
