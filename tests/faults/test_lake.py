"""A run that is killed, starved or not allowed while it writes the lake: what builds need stays, the next one mends."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kpi.warehouse.lake import manifest_of, sweep, write
from sampled import sampled

from .lake_writer import DISK_FULL, FIRST, NOT_ALLOWED, SECOND, TABLES, Fault, lake_at, tables, write_second, wrong_with
from .victim import finish, fork

KILLED, NOBODY = -9, 65534


@pytest.fixture
def root() -> Iterator[Path]:
    """A warehouse whose first build has its tables in the lake."""
    folder = Path(tempfile.mkdtemp(prefix="kpi-lake-"))
    folder.chmod(0o755)  # another user looks into it
    with tables(FIRST) as con:
        write(lake_at(folder), con, FIRST, TABLES)
    yield folder
    for place, _, _ in os.walk(folder):
        os.chmod(place, 0o755)
    shutil.rmtree(folder)


def mended(root: Path, rows: int = 3000) -> list[str]:
    """What is wrong after the next run, which nothing disturbs."""
    lake = lake_at(root)
    with tables(SECOND, rows) as con:
        write(lake, con, SECOND, TABLES)
    assert sweep(lake.warehouse) == 0
    assert list((root / "lake").glob("**/.tmp-*")) == []
    first, second = (manifest_of(lake.warehouse, build) for build in (FIRST, SECOND))
    assert first.table("seeds.lines") == second.table("seeds.lines")
    return wrong_with(lake, FIRST) + wrong_with(lake, SECOND)


def test_a_kill_at_any_step_leaves_nothing_half_that_is_used(root: Path) -> None:
    listed = root / "steps"
    assert finish(fork(write_second, root, Fault(steps=str(listed)))) == 0
    steps = listed.read_text().splitlines()
    assert len(steps) > 8
    for number in range(1, len(steps) + 1, sampled(2, 1)):
        (root / f"lake/manifests/{SECOND}.json").unlink()
        sweep(lake_at(root).warehouse)
        assert finish(fork(write_second, root, Fault(die_at=number))) == KILLED
        assert [*wrong_with(lake_at(root), FIRST), *wrong_with(lake_at(root), SECOND)] == [], steps[number - 1]
        assert mended(root) == [], steps[number - 1]


def test_a_kill_while_rows_are_written_leaves_nothing_half_that_is_used(root: Path) -> None:
    assert finish(fork(write_second, root, Fault(amid=1_000_000), 1_000_000)) == -signal.SIGXFSZ
    (half,) = (root / "lake").glob("raw.calls/.tmp-*/data.parquet")
    assert half.stat().st_size <= 1_000_000
    assert not (root / f"lake/manifests/{SECOND}.json").exists()
    assert wrong_with(lake_at(root), FIRST) == []
    assert mended(root) == []


@pytest.mark.parametrize("size", [100, 4000, 30_000])
def test_a_full_disk_leaves_nothing_half_that_is_used(root: Path, size: int) -> None:
    assert finish(fork(write_second, root, Fault(file_bytes=size))) == DISK_FULL
    assert list((root / "lake").glob("**/.tmp-*")) == []
    assert not (root / f"lake/manifests/{SECOND}.json").exists()
    assert wrong_with(lake_at(root), FIRST) == []
    assert mended(root) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user; CI is root")
def test_a_lake_of_another_user_is_left_as_it_is(root: Path) -> None:
    before = sorted(path for path in (root / "lake").rglob("*"))
    assert finish(fork(write_second, root, Fault(user=NOBODY))) == NOT_ALLOWED
    assert sorted(path for path in (root / "lake").rglob("*")) == before
    assert mended(root) == []
