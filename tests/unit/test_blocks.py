"""A file that began as a copy is read back where it was written: a damaged block anywhere is found all the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kpi.database import building, fetch_one, has_only_whole_blocks, read_all, release_memory
from kpi.errors import BuildError
from kpi.jobs.pipeline import read_back

BLOCK, HEADERS = 262_144, 3 * 4096


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A file with a large table and a small one, and a copy in which the small one was made anew."""
    folder = tmp_path_factory.mktemp("blocks")
    start, file = folder / "start.duckdb", folder / "kpi.duckdb"
    with building(start, folder / "spill") as con:
        con.execute("create table large as select range as a, hash(range) as b from range(200000)")
        con.execute("create table small as select 1 as a")
        con.execute("checkpoint")
    shutil.copyfile(start, file)
    with building(file, folder / "spill") as con:
        con.execute("create or replace table small as select range as a from range(1000)")
        con.execute("checkpoint")
    return start, file


def changed(start: Path, file: Path) -> set[int]:
    """The numbers of the blocks that differ."""
    old, new = start.read_bytes()[HEADERS:], file.read_bytes()[HEADERS:]
    count = len(new) // BLOCK
    return {n for n in range(count) if old[n * BLOCK : (n + 1) * BLOCK] != new[n * BLOCK : (n + 1) * BLOCK]}


def test_a_copy_in_which_one_table_was_made_anew_is_whole(made: tuple[Path, Path]) -> None:
    start, file = made
    assert 0 < len(changed(start, file)) < 6
    assert has_only_whole_blocks(file, start)
    assert read_back(file, start, {"main.small"}) == read_back(file) == {"main.large": 200_000, "main.small": 1000}


def test_a_bit_of_any_block_is_missed(made: tuple[Path, Path], tmp_path: Path) -> None:
    start, file = made
    whole, new = file.read_bytes(), changed(start, file)
    damaged = tmp_path / "kpi.duckdb"
    for number in range((len(whole) - HEADERS) // BLOCK):
        content = bytearray(whole)
        content[HEADERS + number * BLOCK + 1000] ^= 1
        damaged.write_bytes(content)
        assert not has_only_whole_blocks(damaged, start), (number, number in new)


def test_a_damaged_block_of_a_table_that_was_not_made_anew_is_found(made: tuple[Path, Path], tmp_path: Path) -> None:
    start, file = made
    content = bytearray(file.read_bytes())
    for number in set(range((len(content) - HEADERS) // BLOCK)) - changed(start, file):
        content[HEADERS + number * BLOCK + 1000] ^= 1
    damaged = tmp_path / "kpi.duckdb"
    damaged.write_bytes(content)
    with pytest.raises(BuildError, match="cannot be read back"):
        read_back(damaged, start, {"main.small"})


def test_another_file_and_one_that_is_cut_are_read_whole(made: tuple[Path, Path], tmp_path: Path) -> None:
    start, file = made
    cut = tmp_path / "cut.duckdb"
    cut.write_bytes(file.read_bytes()[:-100])
    assert not has_only_whole_blocks(cut, start)
    empty = tmp_path / "empty"
    empty.touch()
    assert has_only_whole_blocks(file, empty)  # every block then is judged by its checksum alone


def test_little_memory_is_enough_to_read_a_file_back(made: tuple[Path, Path]) -> None:
    assert read_back(made[1], memory_limit="32MB") == read_back(made[1])


def test_memory_that_is_given_back_is_held_no_longer(made: tuple[Path, Path], tmp_path: Path) -> None:
    held = "select sum(memory_usage_bytes) from duckdb_memory()"
    with building(made[0], tmp_path / "spill", {"memory_limit": "64MB"}) as con:
        limit = fetch_one(con, "select current_setting('memory_limit')")
        read_all(con, ["large"])
        before = int(str(fetch_one(con, held)[0]))
        release_memory(con)
        assert int(str(fetch_one(con, held)[0])) < before / 2
        assert fetch_one(con, "select current_setting('memory_limit')") == limit
        read_all(con, ["large"])
