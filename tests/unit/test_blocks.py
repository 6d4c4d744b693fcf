"""Of a large file the blocks are looked at instead of its tables: a damaged block anywhere is found all the same."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from kpi.database import beside_python, building, fetch_one, hash_of_whole_blocks, read_all, release_memory, scratch
from kpi.errors import BuildError
from kpi.ingest.raw_files import hash_of
from kpi.jobs import pipeline
from kpi.jobs.pipeline import hashing, read_back

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


@pytest.fixture(autouse=True)
def any_file_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_LARGE", 0)


def test_what_was_written_is_whole(made: tuple[Path, Path]) -> None:
    assert [hash_of_whole_blocks(file) for file in made] == [hash_of(file) for file in made]
    assert read_back(made[1])[0] == {"main.large": 200_000, "main.small": 1000}


def test_a_file_that_is_written_to_while_another_thread_hashes_it_has_no_hash(made: tuple[Path, Path]) -> None:
    with hashing(made[1]) as hashed:
        pass
    assert hashed() == hash_of(made[1])
    with made[1].open("ab") as stream:
        stream.write(bytes(BLOCK))
    assert not hashed()


def test_a_bit_of_any_block_is_missed(made: tuple[Path, Path], tmp_path: Path) -> None:
    whole, damaged = made[1].read_bytes(), tmp_path / "kpi.duckdb"
    for number in range((len(whole) - HEADERS) // BLOCK):
        for place in (3, 1000, BLOCK - 1):
            content = bytearray(whole)
            content[HEADERS + number * BLOCK + place] ^= 1
            damaged.write_bytes(content)
            assert not hash_of_whole_blocks(damaged), (number, place)


def test_a_damaged_block_is_read_and_found_where_something_stands_in_it(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    whole, damaged, found = made[1].read_bytes(), tmp_path / "kpi.duckdb", []
    for number in range((len(whole) - HEADERS) // BLOCK):
        content = bytearray(whole)
        content[HEADERS + number * BLOCK + 1000] ^= 1
        damaged.write_bytes(content)
        with suppress(BuildError):
            assert read_back(damaged)[0] == read_back(made[1])[0]
            found.append(number)
    assert len(found) < 3  # what the small table stood in before is free


def test_a_file_that_is_cut_is_not_whole(made: tuple[Path, Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.duckdb"
    cut.write_bytes(made[1].read_bytes()[:-100])
    assert not hash_of_whole_blocks(cut)


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


@pytest.mark.parametrize(
    ("limit", "of_duckdb"),
    [("512MB", "353516KiB"), ("4GB", "3759766KiB"), ("300MiB", "215040KiB"), ("1000 kb", "684KiB"), ("60%", "60%")],
)
def test_of_a_memory_limit_duckdb_gets_what_python_leaves(limit: str, of_duckdb: str) -> None:
    assert beside_python(limit) == of_duckdb
    with scratch({"memory_limit": of_duckdb}) as con:
        assert fetch_one(con, "select 1") == (1,)
