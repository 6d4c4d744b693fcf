"""Snapshots: every version a row ever had, with dbt's columns, through changes, deletions and returns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from kpi import database
from kpi.build_record import BuildRecord
from kpi.engine import incremental
from kpi.engine.graph import Graph, Node
from kpi.engine.runner import build_node
from kpi.jobs import pipeline
from kpi.project.relation import Relation
from tiny import SETTINGS, Tiny

TYPES = "seeds: [{name: src, config: {column_types: {id: integer, v: varchar, changed_at: timestamp}}}]"
HEADER = "id,v,changed_at"
ONE, TWO = "1,a,2024-01-01 00:00:00", "2,b,2024-01-01 00:00:00"
BY_TIME = {"unique_key": "id", "strategy": "timestamp", "updated_at": "changed_at"}
BY_CHECK = {"unique_key": "id", "strategy": "check", "check_cols": ["v"]}
VERSIONS = "select id, v, dbt_valid_from, dbt_valid_to from main.kept"


@pytest.fixture(name="tiny")
def opened(tmp_path: Path) -> Iterator[Tiny]:
    with database.building(tmp_path / "kpi.duckdb", tmp_path / "spill") as con:
        tiny = Tiny(tmp_path / "project", con)
        tiny.write({"seeds/src.yml": TYPES})
        yield tiny


def snapshot(config: dict[str, Any], sql: str = "select * from main.src") -> Node:
    """Return a snapshot of the seed, as it is compiled."""
    place = Relation("snapshot.tiny.kept", "main", "kept")
    file = Path("snapshots/kept.sql")
    return Node("snapshot.tiny.kept", "snapshot", "kept", file, 1, place, "snapshot", sql=sql, config=config)


class Kept:
    """A snapshot that is taken as often as the test likes."""

    def __init__(self, tiny: Tiny, **config: Any) -> None:
        self.tiny, self.node = tiny, snapshot(config)

    def take(self, *rows: str) -> None:
        """Write the seed and take the snapshot of it."""
        self.tiny.seed(HEADER, *rows)
        graph = self.tiny.compiled()
        self.tiny.con.execute("drop table if exists main.src")
        build_node(self.tiny.con, graph, next(iter(graph.built())), None)
        present = database.relations(self.tiny.con).get("main.kept")
        build_node(self.tiny.con, graph, self.node, present)


def day(month: int, day_of_month: int) -> datetime:
    """Return a day of 2024."""
    return datetime(2024, month, day_of_month)


def test_a_first_snapshot_has_dbts_columns_and_opens_each_row(tiny: Tiny) -> None:
    Kept(tiny, **BY_TIME).take(ONE, TWO)
    assert tiny.columns("kept") == {
        "id": "INTEGER",
        "v": "VARCHAR",
        "changed_at": "TIMESTAMP",
        "dbt_scd_id": "VARCHAR",
        "dbt_updated_at": "TIMESTAMP",
        "dbt_valid_from": "TIMESTAMP",
        "dbt_valid_to": "TIMESTAMP",
    }
    assert tiny.rows(VERSIONS) == [(1, "a", day(1, 1), None), (2, "b", day(1, 1), None)]
    # The hash that dbt has: of the key and the time.
    assert tiny.rows("select dbt_scd_id = md5('1|2024-01-01 00:00:00') from main.kept where id = 1") == [(True,)]


def test_of_two_changes_between_runs_the_last_is_kept(tiny: Tiny) -> None:
    kept = Kept(tiny, **BY_TIME)
    kept.take(ONE, TWO)
    kept.take("1,c,2024-03-01 00:00:00", TWO)  # and was 'b' in February, which no run saw
    kept.take("1,c,2024-03-01 00:00:00", TWO)
    assert tiny.rows(VERSIONS) == [
        (1, "a", day(1, 1), day(3, 1)),
        (1, "c", day(3, 1), None),
        (2, "b", day(1, 1), None),
    ]


def test_a_change_without_a_later_time_is_none_for_timestamp_and_one_for_check(tiny: Tiny) -> None:
    kept = Kept(tiny, **BY_TIME)
    kept.take(ONE)
    kept.take("1,z,2024-01-01 00:00:00")
    assert tiny.rows("select v from main.kept") == [("a",)]
    tiny.con.execute("drop table main.kept")
    checked = Kept(tiny, **BY_CHECK, updated_at="changed_at")
    checked.take(ONE)
    checked.take("1,,2024-02-01 00:00:00")  # a null is another value
    checked.take("1,,2024-03-01 00:00:00")  # and the same as another null
    assert tiny.rows(VERSIONS) == [(1, "a", day(1, 1), day(2, 1)), (1, None, day(2, 1), None)]


@pytest.mark.parametrize("how", ["ignore", "invalidate", "new_record"])
def test_a_row_that_goes_and_returns(tiny: Tiny, how: str) -> None:
    kept = Kept(tiny, **BY_TIME, hard_deletes=how)
    kept.take(ONE, TWO)
    kept.take(TWO)
    kept.take(TWO)
    ended = "select id, dbt_valid_to is not null from main.kept where id = 1"
    assert (
        tiny.rows(ended)
        == {
            "ignore": [(1, False)],
            "invalidate": [(1, True)],
            "new_record": [(1, False), (1, True)],
        }[how]
    )
    kept.take("1,a,2024-06-01 00:00:00", TWO)
    flags = ", dbt_is_deleted" if how == "new_record" else ""
    found = tiny.rows(f"select v, dbt_valid_to is null as is_open{flags} from main.kept where id = 1")
    assert (
        found
        == {
            "ignore": [("a", False), ("a", True)],
            "invalidate": [("a", False), ("a", True)],
            "new_record": [("a", False, "False"), ("a", False, "True"), ("a", True, "False")],
        }[how]
    )


def test_an_emptied_source_ends_every_version_once(tiny: Tiny) -> None:
    kept = Kept(tiny, **BY_TIME, invalidate_hard_deletes=True)
    kept.take(ONE, TWO)
    kept.take()
    ends = tiny.rows("select dbt_valid_to from main.kept")
    kept.take()
    assert len(ends) == 2
    assert tiny.rows("select dbt_valid_to from main.kept") == ends


def test_a_key_of_several_columns_and_a_key_that_comes_twice(tiny: Tiny) -> None:
    kept = Kept(tiny, **{**BY_TIME, "unique_key": ["id", "v"]})
    kept.take(ONE, "1,b,2024-01-01 00:00:00")
    kept.take(ONE, "1,b,2024-02-01 00:00:00", "1,b,2024-03-01 00:00:00")
    assert tiny.rows(VERSIONS) == [
        (1, "a", day(1, 1), None),
        # Ended once, at the first of the two: the same however the rows come.
        (1, "b", day(1, 1), day(2, 1)),
        (1, "b", day(2, 1), None),
        (1, "b", day(3, 1), None),
    ]


def test_an_open_end_and_the_columns_may_have_other_names(tiny: Tiny) -> None:
    names = {"dbt_valid_from": "starts", "dbt_valid_to": "ends", "dbt_scd_id": "version_id"}
    kept = Kept(tiny, **BY_TIME, dbt_valid_to_current="'9999-12-31'::timestamp", snapshot_meta_column_names=names)
    kept.take(ONE)
    kept.take("1,c,2024-03-01 00:00:00")
    versions = "select v, starts, ends, length(version_id) from main.kept"
    assert tiny.rows(versions) == [("a", day(1, 1), day(3, 1), 32), ("c", day(3, 1), datetime(9999, 12, 31), 32)]


def test_a_new_column_is_added_and_a_check_of_all_sees_it(tiny: Tiny) -> None:
    tiny.seed(HEADER)
    tiny.con.execute("create table main.src as select 1 as id, 'a' as v")
    graph = Graph(tiny.compiled().project, {}, ())
    config = {"unique_key": "id", "strategy": "check", "check_cols": "all"}
    build_node(tiny.con, graph, snapshot(config), None)
    build_node(tiny.con, graph, snapshot(config, 'select id, v, 7 as "more;" from main.src'), "table")
    build_node(tiny.con, graph, snapshot(config), "table")
    found = tiny.rows('select v, "more;", dbt_valid_to is null as is_open from main.kept')
    assert found == [("a", 7, True), ("a", None, False)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unique_key": None}, "a snapshot needs unique_key"),
        ({"strategy": "timestamps"}, "is timestamp or check, not 'timestamps'. Did you mean 'timestamp'?"),
        ({"updated_at": None}, "the strategy timestamp needs updated_at"),
        ({"check_cols": ["v"]}, "takes no check_cols"),
        ({"strategy": "check"}, "the strategy check needs check_cols"),
        ({"strategy": "check", "check_cols": "v"}, "needs check_cols: 'all' or a list of columns, not 'v'"),
        ({"hard_deletes": "drop"}, "hard_deletes is one of ignore, invalidate, new_record, not 'drop'"),
        ({"hard_deletes": "ignore", "invalidate_hard_deletes": True}, "keep hard_deletes"),
        ({"snapshot_meta_column_names": {"valid_to": "x"}}, "there is no 'valid_to'"),
    ],
)
def test_wrong_settings_of_a_snapshot(change: dict[str, Any], message: str) -> None:
    problems = incremental.snapshot_problems(
        {name: value for name, value in {**BY_TIME, **change}.items() if value is not None}
    )
    assert message in " ".join(problems)


@pytest.mark.parametrize(
    ("config", "columns", "message"),
    [
        ({**BY_TIME, "unique_key": ["id", "key"]}, ["id", "changed_at"], "unique_key: 'kept' has no column 'key'."),
        (BY_TIME, ["id", "updated_at"], "updated_at: 'kept' has no column 'changed_at'. Did you mean 'updated_at'?"),
        (BY_CHECK, ["id", "vv"], "check_cols: 'kept' has no column 'v'."),
        (
            BY_TIME,
            ["id", "changed_at", "dbt_valid_to"],
            "the column 'dbt_valid_to' is one that the snapshot itself adds",
        ),
    ],
)
def test_columns_that_a_snapshots_settings_name(config: dict[str, Any], columns: list[str], message: str) -> None:
    mistakes = incremental.column_problems(snapshot(config), tuple((name, "INTEGER") for name in columns))
    assert [str(one).partition(": ")[2].startswith(message) for one in mistakes] == [True]


def test_a_build_from_nothing_takes_over_what_cannot_be_derived_again(tiny: Tiny, tmp_path: Path) -> None:
    kept = Kept(tiny, **BY_TIME)
    kept.take(ONE)
    tiny.con.execute(
        "create schema logs; create table logs.audit (x integer not null); insert into logs.audit values (1)"
    )
    tiny.con.execute("checkpoint")
    record = BuildRecord("1", snapshots=("main.kept",), kept=("logs.audit", "logs.gone"))
    message: list[str] = []
    with database.building(tmp_path / "new.duckdb", tmp_path / "spill2") as con:
        # The snapshot is no longer in the project: its history stays all the same.
        pipeline.carry_over(con, tiny.compiled(), record, tmp_path / "copy.duckdb", message.append)
        assert database.relations(con) == {}
        (tmp_path / "copy.duckdb").write_bytes((tmp_path / "kpi.duckdb").read_bytes())
        pipeline.carry_over(con, tiny.compiled(), record, tmp_path / "copy.duckdb", message.append)
        assert sorted(database.relations(con)) == ["logs.audit", "main.kept"]
        assert con.execute("select id, v from main.kept").fetchall() == [(1, "a")]
        assert con.execute('select "null" from (describe logs.audit)').fetchall() == [("NO",)]
        assert con.execute("select count(*) from duckdb_databases() where database_name = 'published'").fetchall() == [
            (0,)
        ]
    assert message == ["Carried over from the published build: logs.audit, main.kept."]
    assert pipeline.unmanaged_relations(tiny.compiled(), record) == {"main.kept", "logs.audit", "logs.gone"}


BLOCK = """\
{% snapshot kept %}
{{ config(unique_key='id', strategy='timestamp', updated_at='changed_at', hard_deletes='invalidate') }}
select * from {{ ref('src') }}
{% endsnapshot %}
"""


def test_what_was_kept_outlives_a_full_refresh_a_hooks_table_too(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path, database.scratch())
    tiny.write({"dbt_project.yml": SETTINGS + "on-run-start: create table if not exists main.log as select 1 as x\n"})
    tiny.write({"snapshots/kept.sql": BLOCK, "seeds/src.yml": TYPES})
    settings = "{{ config(materialized='incremental', full_refresh=false) }}"
    tiny.write({"protected": settings + " select id from {{ ref('src') }}"})
    tiny.seed(HEADER, ONE)
    tiny.refresh()
    tiny.seed(HEADER, TWO)
    tiny.refresh(full_refresh=True)
    assert tiny.published("select id, dbt_valid_to is null from main.kept order by id") == [(1, False), (2, True)]
    assert tiny.published("select id from main.protected order by id") == [(1,), (2,)]
    assert tiny.published("select x from main.log") == [(1,)]
    # Gone from the project, the history stays; all else goes.
    (tmp_path / "snapshots/kept.sql").unlink()
    (tmp_path / "models/protected.sql").unlink()
    tiny.write({"reader": "select id from {{ ref('src') }}"})
    tiny.refresh()
    tiny.refresh(full_refresh=True)
    tables = tiny.published("select table_name from information_schema.tables where table_schema = 'main' order by 1")
    assert tables == [("kept",), ("log",), ("reader",), ("src",)]
