"""Only what changed is built, the wave stops where nothing is new, and no table ever differs from a full build."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from changing import BY_LINE, CALLS, FILES, HEADER, MORE, SHARE, STAGING, Bench, Changes, contents
from kpi import database
from kpi.errors import BuildError, CompileError

AS_BLOB = "seeds:\n  - {name: desks, config: {column_types: {name_en: blob}}}\n"
AS_VIEW = "models:\n  - {name: calls_by_desk, config: {materialized: view}}\n"
DESCRIBED = "# Why.\n" + FILES["models/staging/calls.yml"].replace(
    "\n      - name: desk\n", "\n      - description: The desk.\n        name: desk\n"
)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The project built once, and its database closed."""
    with ExitStack() as stack:
        bench = Bench(tmp_path_factory.mktemp("built"), stack)
        assert len(bench.run()) == 11
        bench.con.execute("checkpoint")
    return bench


@pytest.fixture
def bench(tmp_path: Path, start: Bench) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(tmp_path, stack, start)


def builds(names: list[str]) -> list[str]:
    return [name for name in names if not name.startswith(("assert_", "not_null_", "unique_", "relationships_"))]


def test_nothing_changed_builds_and_tests_nothing(bench: Bench) -> None:
    assert bench.run() == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (BY_LINE, "-- Why.\n\n" + FILES[BY_LINE].replace("    ", "\t")),
        (STAGING, FILES[STAGING].replace("\n", "\n\n")),
        ("models/staging/calls.yml", DESCRIBED),
        ("models/more.yml", "models:\n  - {name: share, description: Shares., config: {tags: [a], meta: {b: c}}}\n"),
        ("macros/macros.sql", FILES["macros/macros.sql"].replace("100 *", "100  *")),
        (BY_LINE, "{{ config(materialized='table') }}" + FILES[BY_LINE]),
    ],
)  # fmt: skip
def test_what_changes_no_content_builds_nothing(bench: Bench, file: str, text: str) -> None:
    assert bench.run({file: text}) == []


@pytest.mark.parametrize(
    ("file", "text", "built"),
    [
        # Equal rows: the wave stops at the table.
        (BY_LINE, FILES[BY_LINE].replace("count(*) as", "count(1) as"), ["calls_by_desk"]),
        # A view cannot be compared: the wave goes through it to the next table.
        (STAGING, FILES[STAGING] + " and true", ["stg_calls", "calls_by_desk"]),
        # As many rows and the same columns, but one value is another.
        (BY_LINE, FILES[BY_LINE].replace("<=", "<"), ["calls_by_desk", "named", "names", "share"]),
        # The same values under another name, or of another type.
        ("seeds/desks.csv", "desk,name_en\nsocial,Social desk\nhealth,Health desk\n", ["desks"]),
        ("seeds/desks.csv", 'desk,name_en\nhealth,"Health desk"\nsocial,Social desk\n', ["desks"]),
        ("seeds/seeds.yml", AS_BLOB, ["desks", "named", "names"]),
        ("macros/macros.sql", FILES["macros/macros.sql"].replace("100 *", "1000 *"), ["share"]),
        ("models/more.yml", AS_VIEW, ["calls_by_desk", "named", "names", "share"]),
        ("models/more.yml", "models:\n  - {name: share, config: {unique_key: desk}}\n", ["share"]),
    ],
)  # fmt: skip
def test_what_a_change_builds(bench: Bench, file: str, text: str, built: list[str]) -> None:
    assert sorted(builds(bench.run({file: text}))) == sorted(built)
    assert contents(bench.con) == bench.full()
    assert bench.run() == []


def test_a_delivery_that_loads_to_equal_rows_stops_at_its_table(bench: Bench) -> None:
    # A column nobody asked for: other bytes, equal rows.
    text = str(MORE[CALLS]).replace("\n", ",x\n")
    assert builds(bench.run({CALLS: text})) == []
    assert contents(bench.con) == bench.full()
    assert builds(bench.run({CALLS: str(MORE[CALLS]).replace("301", "300")})) != []
    assert contents(bench.con) == bench.full()


def test_tests_of_an_equal_table_do_not_run_again(bench: Bench) -> None:
    names = bench.run({BY_LINE: FILES[BY_LINE].replace("count(*) as", "count(1) as")})
    assert names == ["calls_by_desk"]


def test_a_fingerprint_that_comes_back_is_no_proof_of_what_is_there(bench: Bench) -> None:
    other = FILES[BY_LINE].replace("<=", "<")
    # Only the table is built with the edit, and only it after the edit is taken back: those below were never stale.
    assert builds(bench.run({BY_LINE: other}, select=("calls_by_desk",))) == ["calls_by_desk"]
    assert bench.noted.partial[:2] == ("named", "share")
    bench.run({BY_LINE: FILES[BY_LINE]}, select=("calls_by_desk",))
    bench.run()
    assert contents(bench.con) == bench.full()
    # The same with the rest built in between.
    bench.run({BY_LINE: other})
    assert "share" in bench.run({BY_LINE: FILES[BY_LINE]})
    assert contents(bench.con) == bench.full()


def test_two_tables_that_change_places_are_not_taken_for_each_other(bench: Bench) -> None:
    swapped = "models:\n  - {name: %s, config: {schema: other}}\n"
    bench.run({"models/marts/share2.sql": "select desk, 1 as value from {{ ref('calls_by_desk') }}"})
    bench.run({"models/more.yml": swapped % "share"})
    bench.run({"models/more.yml": swapped % "share2"})
    assert contents(bench.con) == bench.full()


def test_a_removed_model_goes_and_so_does_the_view_that_read_it(bench: Bench) -> None:
    gone: Changes = {"models/staging/named.sql": None, "models/marts/names.sql": None, "tests/assert_names.sql": None}
    assert bench.run(gone) == []
    assert contents(bench.con) == bench.full()
    assert builds(bench.run({"models/staging/named.sql": MORE["models/staging/named.sql"]})) == ["named"]


def test_a_removed_model_whose_view_reads_another_table_now(bench: Bench) -> None:
    text = str(MORE["models/staging/named.sql"]).replace("ref('calls_by_desk')", "ref('other')")
    other = FILES[BY_LINE].replace("count(*) as", "7 + count(*) as")
    bench.run({"models/staging/named.sql": text, "models/marts/other.sql": other, BY_LINE: None, SHARE: None,
               "tests/assert_in_time_is_part.sql": None})  # fmt: skip
    assert contents(bench.con) == bench.full()


FAILS = "select desk, cast(desk as bigint) as call_count, 0 as in_time_count from {{ ref('stg_calls') }}"


def test_a_failing_node_leaves_its_table_and_skips_what_is_below(bench: Bench) -> None:
    changes: Changes = {BY_LINE: FAILS, "seeds/desks.csv": "desk,name_en\nhealth,Health\n"}
    with pytest.raises(BuildError, match=r"calls_by_desk \(.*Could not convert[\s\S]*share: skipped, because calls_by"):
        bench.run(changes)
    status = {node.rpartition(".")[2]: record.status for node, record in (bench.noted.nodes or {}).items()}
    assert status["calls_by_desk"] == "error"
    assert {status[name] for name in ("named", "names", "share")} == {"skipped"}
    assert bench.con.execute("select call_count from marts.calls_by_desk order by all").fetchall() == [(1,), (2,)]
    assert "calls_by_desk" in bench.run({BY_LINE: FILES[BY_LINE].replace("<=", "<")})
    assert contents(bench.con) == bench.full()


@pytest.mark.parametrize("keep_going", [False, True])
def test_the_rest_is_finished_only_with_keep_going(bench: Bench, keep_going: bool) -> None:
    fails_too = "select cast(desk as bigint) as desk from {{ ref('desks') }}"
    fine = "select count(*) as n from {{ ref('desks') }}"
    changes: Changes = {BY_LINE: FAILS, "models/marts/zz.sql": fine, "models/marts/xx.sql": fails_too}
    with pytest.raises(BuildError) as caught:
        bench.run(changes, keep_going=keep_going)
    status = {node.rpartition(".")[2]: record.status for node, record in (bench.noted.nodes or {}).items()}
    failed = [name for name in ("calls_by_desk", "xx") if status[name] == "error"]
    assert len(failed) == (2 if keep_going else 1)
    assert [f"{name} (models" in str(caught.value) for name in failed] == [True] * len(failed)
    if keep_going:
        assert status["zz"] == "success"


def test_a_node_left_out_stays_stale_until_it_is_built(bench: Bench) -> None:
    bench.run(
        {SHARE: str(MORE[SHARE]).replace("value", "share"), BY_LINE: FILES[BY_LINE].replace("<=", "<")},
        select=("names",),
    )
    assert "calls_by_desk" in bench.noted.partial
    bench.run()
    assert contents(bench.con) == bench.full()


def test_what_was_never_built_is_told_to_be_selected_too(bench: Bench) -> None:
    new: Changes = {"models/marts/a.sql": "select 1 as x", "models/marts/b.sql": "select x from {{ ref('a') }}"}
    with pytest.raises(BuildError, match=r"it reads a, which has not been built yet; select that too, as \+b"):
        bench.run(new, select=("b",))


def test_rows_are_compared_whatever_their_order_and_columns_with_their_types(tmp_path: Path) -> None:
    with database.building(tmp_path / "kpi.duckdb", tmp_path / "spill") as con:
        first = "create or replace table t as select i, i % 3 as k from range(1000) as r(i)"
        for sql, same in (
            (first + " order by i desc", True),
            (first + " where i <> 7", False),
            (first + " where i <> 7 union all select 8, 2", False),
            ("create or replace table t as select i, (i % 3)::int as k from range(1000) as r(i)", False),
            ("create or replace table t as select i, i % 3 as kk from range(1000) as r(i)", False),
            ("create or replace table t as select i % 3 as k, i from range(1000) as r(i)", False),
            ("create or replace table t as select i, nullif(i % 3, 0) as k from range(1000) as r(i)", False),
            ("drop table t", False),
        ):  # fmt: skip
            con.execute(first)
            with database.as_it_was(con, "main.t") as old:
                con.execute(sql)
                assert database.is_same(old, con, "main.t") == same


EDITS: list[Changes] = [
    {BY_LINE: FILES[BY_LINE]},
    {BY_LINE: "-- Why.\n" + FILES[BY_LINE]},
    {BY_LINE: FILES[BY_LINE].replace("count(*) as", "count(1) as")},
    {BY_LINE: FILES[BY_LINE].replace("<=", "<")},
    {BY_LINE: "{{ config(materialized='view') }}" + FILES[BY_LINE]},
    {STAGING: FILES[STAGING]},
    {STAGING: FILES[STAGING] + " and waited_seconds < 400"},
    {STAGING: FILES[STAGING] + " and waited_seconds < 301"},
    {STAGING: "{{ config(materialized='table') }}" + FILES[STAGING]},
    {SHARE: MORE[SHARE]},
    {SHARE: str(MORE[SHARE]).replace("as value", "as v")},
    {"seeds/desks.csv": FILES["seeds/desks.csv"]},
    {"seeds/desks.csv": "desk,name_en\nsocial,Social desk\nhealth,Health desk\n"},
    {"seeds/desks.csv": "desk,name_en\nhealth,Health\nsocial,Social desk\n"},
    {CALLS: MORE[CALLS]},
    {CALLS: str(MORE[CALLS]).replace("\n", ",x\n")},
    {CALLS: str(MORE[CALLS]).replace("301", "299")},
    {"warehouse/raw/calls/2025.csv": HEADER + "4,social,500,2025-01-01\n1,social,1,2025-01-01\n"},
    {"warehouse/raw/calls/2025.csv": HEADER},
    {"macros/macros.sql": FILES["macros/macros.sql"]},
    {"macros/macros.sql": FILES["macros/macros.sql"].replace("100 *", "10 *")},
    {"models/more.yml": "models:\n  - {name: share, config: {schema: other}}\n"},
    {"models/more.yml": "models: []\n"},
    {"models/marts/extra.sql": "select value from {{ ref('share') }}"},
    {"models/marts/extra.sql": "select max(name_en) as value from {{ ref('named') }}"},
]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
def test_after_any_edits_every_table_is_that_of_a_full_build(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    with ExitStack() as stack:
        bench = Bench(tmp_path, stack)
        bench.run()
        for _ in range(8):
            changes: Changes = {}
            for edit in chance.sample(EDITS, chance.choice((1, 1, 2, 3))):
                changes |= edit
            text = str((tmp_path / SHARE).read_text()) + str(changes.get(SHARE, ""))
            if "as v " in text and "share" in str(changes.get("models/marts/extra.sql", "")):
                continue  # does not compile
            chosen = chance.choice(((), (), (), ("calls_by_desk",), ("stg_calls+1",)))
            try:
                bench.run(changes, select=chosen)
            except BuildError:
                assert chosen
            except CompileError:
                bench.run({SHARE: MORE[SHARE]})
            if chance.random() < 0.6:
                bench.run()
                assert contents(bench.con) == bench.full()
                assert bench.run() == []
