"""The short form of `make faults`, and a small test of each fault that it found."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

import kpi
from faults.scenarios import scenarios
from kpi.errors import BuildError, DeliveryError
from kpi.files import read_regular
from kpi.ingest import raw_table
from kpi.ingest.raw_files import scan
from kpi.jobs import candidate
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.warehouse import lifecycle
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import DATABASE
from small_project import write

SHORT = {name: scenario for name, scenario in scenarios(short=True, seed=1) if name != "size"}
HEADER = "call_id,line,waited_seconds,arrived_on\n"


@pytest.mark.parametrize("name", SHORT)
def test_whatever_is_done_to_a_refresh_readers_have_a_whole_build_and_the_next_run_mends_it(name: str) -> None:
    result = SHORT[name]()
    assert result.wrong == ()
    assert result.tries > 0


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    write(tmp_path)
    deliver(tmp_path, 1)
    run(tmp_path)
    yield tmp_path
    shutil.rmtree(tmp_path / "warehouse")


def deliver(root: Path, rows: int) -> Path:
    path = root / "warehouse/raw/calls/a.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADER + "".join(f"{n},health,3,2024-01-01\n" for n in range(rows)))
    return path


def run(root: Path) -> list[str]:
    message: list[str] = []
    refresh(root, Options(date(2026, 3, 5), validate=False), message.append)
    return message


def calls(root: Path) -> int:
    with kpi.open(project_dir=root) as con:
        return int(con.execute("select count(*) from raw.calls").fetchall()[0][0])


class Killed(BaseException):
    """What stands here for SIGKILL: nobody catches it."""


def die(*_: object) -> None:
    raise Killed


def test_a_build_killed_just_before_it_was_published_is_not_taken_for_rolled_back(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(root, 2)
    with monkeypatch.context() as dying:
        dying.setattr(candidate, "publish", die)
        with pytest.raises(Killed):
            run(root)
    assert calls(root) == 1
    run(root)
    assert calls(root) == 2
    assert [event.event for event in Warehouse(root / "warehouse").ledger()] == ["published", "published"]
    assert len(Warehouse(root / "warehouse").build_folders()) == 2


def test_a_failed_candidate_whose_run_was_killed_is_recorded_by_the_next(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "tests/assert_never.sql").write_text("select 1 as one\n")
    with monkeypatch.context() as dying:
        dying.setattr(lifecycle, "record", die)
        with pytest.raises(Killed):
            run(root)
    (root / "tests/assert_never.sql").unlink()
    deliver(root, 2)
    run(root)
    events = [event.event for event in Warehouse(root / "warehouse").ledger()]
    assert events == ["published", "failed", "published"]


def test_what_a_killed_run_left_goes_though_nothing_changed(root: Path) -> None:
    left = root / "warehouse/builds/.tmp-00009-20260101T000000Z"
    left.mkdir()
    assert run(root)[-1].startswith("Nothing changed")
    assert not left.exists()


def test_a_page_that_cannot_be_read_back_is_not_published(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(root, 50_000)
    verify = candidate.Run._verify

    def damaged(self: candidate.Run) -> None:
        database = self.candidate / DATABASE
        data = bytearray(database.read_bytes())
        for page in range(3, len(data) // 262_144):  # the first three 4 kB blocks are headers
            data[12_288 + page * 262_144 + 1000] ^= 1
        database.write_bytes(data)
        verify(self)

    with monkeypatch.context() as flipping:
        flipping.setattr(candidate.Run, "_verify", damaged)
        with pytest.raises(BuildError, match="cannot be read back"):
            run(root)
    assert calls(root) == 1
    run(root)
    assert calls(root) == 50_000


def test_a_delivery_that_changes_after_it_was_hashed_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = deliver(root, 2)

    def truncated(file: Path) -> bytes:
        whole = read_regular(file)
        return whole[:-10] if file == path else whole

    # As it is again afterwards, the next run would see nothing new if this one were published.
    with monkeypatch.context() as writing:
        writing.setattr(raw_table, "read_regular", truncated)
        with pytest.raises(DeliveryError, match=r"calls/a\.csv changed after the run had begun"):
            run(root)
    assert calls(root) == 1
    run(root)
    assert calls(root) == 2


def test_threads_may_open_the_same_build_at_once(root: Path) -> None:
    wrong: list[BaseException] = []
    ready = threading.Barrier(8)

    def read() -> None:
        try:
            for _ in range(10):
                ready.wait()
                assert calls(root) == 1
        except BaseException as error:
            wrong.append(error)
            ready.abort()

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_folder_that_cannot_be_read_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, scandir = root / "warehouse/raw/calls", os.scandir

    def refused(path: str | Path) -> object:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(DeliveryError, match="cannot be read"):
        scan(root / "warehouse/raw")
