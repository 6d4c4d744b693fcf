"""What a node becomes in the database: ephemeral, incremental, or a seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpi import database
from kpi.build_record import NodeRecord
from kpi.engine.compile import check_columns
from kpi.engine.materializations import type_of
from kpi.engine.plan import definitions
from kpi.engine.test_runner import run_tests
from kpi.errors import BuildError, CompileError
from kpi.jobs import pipeline
from tiny import FIRST, Tiny, definitions_after, incremental


def quiet(_: str) -> None:
    """Tell nobody."""


# --- ephemeral ---


NESTED = {
    "deep": "{{ config(materialized='ephemeral') }}\nselect id, v from {{ ref('src') }} -- and no more",
    "middle": "{{ config(materialized='ephemeral') }}\n"
    "with i as (select * from {{ ref('deep') }})\nselect id, v from i",
    "top": (
        "-- a comment first\nwith recursive n as (select 1 as n union all select n + 1 from n where n < 2)\n"
        "select o.id, i.v, n.n from {{ ref('middle') }} as o\njoin {{ ref('deep') }} as i on i.id = o.id cross join n"
    ),
}


def test_nested_ephemeral_models_are_ctes_each_once_and_tables_nowhere(tiny: Tiny) -> None:
    tiny.seed("id,v", "1,10")
    tiny.write(NESTED)
    tiny.build()
    assert tiny.rows("top") == [(1, 10, 1), (1, 10, 2)]
    assert sorted(database.relations(tiny.con)) == ["main.src", "main.top"]
    sql = tiny.compiled().nodes["model.tiny.top"].sql
    assert sql.count("__dbt__cte__deep as (") == 1
    assert sql.index("__dbt__cte__deep as (") < sql.index("__dbt__cte__middle as (") < sql.index("n as (")


@pytest.mark.parametrize(
    ("model", "text", "message"),
    [
        ("top", "select id,\n    w\nfrom {{ ref('middle') }}", "models/top.sql:2:5: there is no column 'w'"),
        (
            "top",
            "with a as (\nselect id, w from {{ ref('middle') }})\nselect * from a",
            "models/top.sql:2:12: there is no",
        ),
        (
            "deep",
            "{{ config(materialized='ephemeral') }}\nselect id,\n  w from {{ ref('src') }}",
            "models/deep.sql:3",
        ),
        (
            "top",
            "select id\nfrom __dbt__cte__middle",
            "models/top.sql:2:6: the table '__dbt__cte__middle' is named outright",
        ),
    ],
)
def test_mistakes_around_ephemeral_models_keep_their_lines(tiny: Tiny, model: str, text: str, message: str) -> None:
    tiny.seed("id,v", "1,10")
    tiny.write({**NESTED, model: text})
    with pytest.raises(CompileError) as caught:
        tiny.compiled()
    assert str(caught.value).startswith(message)


def test_an_ephemeral_model_is_tested_as_any_other(tiny: Tiny) -> None:
    tiny.seed("id,v", "1,10", "1,20", ",30")
    tests = "[unique, not_null]"
    tiny.write({**NESTED, "models/t.yml": f"models: [{{name: middle, columns: [{{name: id, data_tests: {tests}}}]}}]"})
    tiny.build()
    found = {result.name: result.failures for result in run_tests(tiny.con, tiny.compiled().tests())}
    assert found == {"unique_middle_id": 1, "not_null_middle_id": 1}


def test_a_table_that_becomes_ephemeral_or_moves_leaves_nothing_behind(tiny: Tiny) -> None:
    tiny.seed("id,v", "1,10")
    tiny.write({"m": "{{ config(materialized='table') }} select id from {{ ref('src') }}"})
    tiny.write({"reader": "select id from {{ ref('m') }}"})
    tiny.build()
    tiny.write(
        {"m": "{{ config(materialized='table', schema='aside', alias='other') }} select id from {{ ref('src') }}"}
    )
    tiny.build()
    assert sorted(database.relations(tiny.con)) == ["main.reader", "main.src", "main_aside.other"]
    tiny.write({"m": "{{ config(materialized='ephemeral') }} select id from {{ ref('src') }}"})
    tiny.build()
    assert sorted(database.relations(tiny.con)) == ["main.reader", "main.src"]
    assert tiny.rows("reader") == [(1,)]
    assert tiny.rows("select schema_name from duckdb_schemas() where schema_name = 'main_aside'") == []


# --- incremental ---


SECOND = ("id,y,v", "2,2024,20", "2,2024,21", ",2024,30")  # a key twice, and a null for a key


@pytest.mark.parametrize(
    ("settings", "after"),
    [
        ("incremental_strategy='append'", [1, 2, 3, 20, 21, 30]),
        ("unique_key=none", [1, 2, 3, 20, 21, 30]),
        # A null equals no key, so what has none is added again and again, as dbt has it.
        ("unique_key='id'", [1, 3, 20, 21, 30]),
        ("incremental_strategy='delete+insert', unique_key=['id', 'y']", [1, 2, 3, 20, 21, 30]),
        ("incremental_strategy='insert_overwrite', partition_by='y'", [1, 2, 20, 21, 30]),
        ("incremental_strategy='insert_overwrite', partition_by={'field': 'y'}", [1, 2, 20, 21, 30]),
        ("unique_key='id', incremental_predicates=['main.m.y > 2023']", [1, 2, 3, 20, 21, 30]),
        ("unique_key=['id', 'y'], incremental_predicates=['DBT_INCREMENTAL_TARGET.v < 0']", [1, 2, 3, 20, 21, 30]),
        ("incremental_strategy='insert_overwrite', partition_by='id'", [1, 20, 21, 30]),
        ("full_refresh=true, incremental_strategy='append'", [20, 21, 30]),
    ],
)
def test_new_rows_are_added_by_the_strategy(tiny: Tiny, settings: str, after: list[int]) -> None:
    tiny.seed(*FIRST)
    tiny.write({"m": incremental(settings)})
    tiny.build()
    assert tiny.rows("select v from main.m") == [(1,), (2,), (3,)]
    tiny.seed(*SECOND)
    tiny.build()
    assert tiny.rows("select v from main.m") == [(v,) for v in after]


def test_merge_updates_what_is_there_and_adds_what_is_not(tiny: Tiny) -> None:
    tiny.seed(*FIRST)
    tiny.write({"m": incremental("incremental_strategy='merge', unique_key='id', merge_exclude_columns=['y']")})
    tiny.build()
    tiny.seed("id,y,v", "2,2030,20", "3,2030,30")
    tiny.build()
    assert tiny.rows("m") == [(1, 2023, 1), (2, 2023, 20), (3, 2030, 30), (None, 2024, 3)]


@pytest.mark.parametrize("settings", ["unique_key='id'", "incremental_strategy='insert_overwrite', partition_by='y'"])
def test_an_emptied_source_takes_nothing_away(tiny: Tiny, settings: str) -> None:
    tiny.seed(*FIRST)
    tiny.write({"m": incremental(settings)})
    tiny.build()
    tiny.write({"seeds/src.yml": "seeds: [{name: src, config: {column_types: {id: integer, y: integer, v: integer}}}]"})
    tiny.seed("id,y,v")
    tiny.build()
    assert tiny.rows("select v from main.m") == [(1,), (2,), (3,)]
    tiny.build(full_refresh=["m"])
    assert tiny.rows("m") == []


def test_the_table_itself_is_read_only_where_rows_are_added(tiny: Tiny) -> None:
    tiny.seed(*FIRST)
    tiny.write({"m": incremental("incremental_strategy='append'", where="v > (select max(v) from {{ this }})")})
    tiny.build()
    tiny.seed(*FIRST, "4,2024,4")
    tiny.build()
    assert tiny.rows("select v from main.m") == [(1,), (2,), (3,), (4,)]
    tiny.write({"m": incremental("", where="v > (select max(w)\nfrom {{ this }})")})
    with pytest.raises(CompileError, match=r"models/m.sql:3:49: there is no column 'w'"):
        tiny.compiled()
    tiny.write({"m": "{{ config(materialized='incremental') }}\nselect max(v) as v\nfrom {{ this }}"})
    with pytest.raises(CompileError, match=r"models/m.sql:3:6: a model cannot read itself"):
        tiny.compiled()


def test_is_incremental_only_when_its_table_is_there_as_a_table(tiny: Tiny) -> None:
    tiny.seed(*FIRST)
    tiny.write({"m": "select 1 as x"})
    tiny.build()
    tiny.write({"m": incremental("")})
    tiny.build()
    assert len(tiny.rows("m")) == 3
    tiny.build(full_refresh=["m"])
    assert len(tiny.rows("m")) == 3
    tiny.write({"m": "{{ config(materialized='table') }} select {{ is_incremental() }} as x"})
    tiny.build()
    assert tiny.rows("m") == [(False,)]


WIDER = "select id, y, v, v * 2 as twice from {{ ref('src') }}"
OTHER_TYPE = "select id, cast(v as varchar) as v from {{ ref('src') }}"


@pytest.mark.parametrize(
    ("how", "select", "columns"),
    [
        ("ignore", WIDER, {"id": "INTEGER", "y": "INTEGER", "v": "INTEGER"}),
        ("append_new_columns", WIDER, {"id": "INTEGER", "y": "INTEGER", "v": "INTEGER", "twice": "INTEGER"}),
        ("append_new_columns", OTHER_TYPE, {"id": "INTEGER", "y": "INTEGER", "v": "INTEGER"}),
        ("sync_all_columns", WIDER, {"id": "INTEGER", "y": "INTEGER", "v": "INTEGER", "twice": "INTEGER"}),
        ("sync_all_columns", OTHER_TYPE, {"id": "INTEGER", "v": "VARCHAR"}),
    ],
)
def test_on_schema_change(tiny: Tiny, how: str, select: str, columns: dict[str, str]) -> None:
    settings = f"unique_key='id', on_schema_change='{how}'"
    tiny.seed(*FIRST)
    tiny.write({"m": incremental(settings)})
    tiny.build()
    tiny.seed(*SECOND)
    tiny.write({"m": incremental(settings, select)})
    tiny.build()
    assert tiny.columns("m") == columns
    assert tiny.rows("select cast(v as integer) as v from main.m") == [(1,), (3,), (20,), (21,), (30,)]


def test_on_schema_change_fail_tells_what_differs_and_changes_nothing(tiny: Tiny) -> None:
    tiny.seed(*FIRST)
    tiny.write({"m": incremental("on_schema_change='fail'")})
    tiny.build()
    tiny.write({"m": incremental("on_schema_change='fail'", OTHER_TYPE + " -- and more")})
    with pytest.raises(BuildError, match=r"'y' is gone, 'v' is VARCHAR and was INTEGER.*--full-refresh"):
        tiny.build()
    assert len(tiny.rows("m")) == 3


def test_a_value_that_does_not_fit_leaves_the_table_as_it_was(tiny: Tiny) -> None:
    tiny.seed(*FIRST)
    tiny.write({"m": incremental("unique_key='id', on_schema_change='append_new_columns'")})
    tiny.build()
    tiny.seed(*SECOND)
    wrong = "select id, y, 'x' as v, 1 as more from {{ ref('src') }}"
    tiny.write({"m": incremental("unique_key='id', on_schema_change='append_new_columns'", wrong, "true")})
    with pytest.raises(BuildError, match=r"m \(models/m.sql\): Conversion Error"):
        tiny.build()
    assert tiny.rows("m") == [(1, 2023, 1), (2, 2023, 2), (None, 2024, 3)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("unique_key='idd'", "unique_key: 'm' has no column 'idd'. Did you mean 'id'?"),
        ("unique_key=['id', 'year']", "unique_key: 'm' has no column 'year'."),
        ("incremental_strategy='insert_overwrite'", "insert_overwrite needs partition_by"),
        ("incremental_strategy='insert_overwrite', partition_by='report_year'", "partition_by: 'm' has no column"),
        ("incremental_strategy='merge'", "merge needs unique_key"),
        ("incremental_strategy='microbatch'", "incremental_strategy 'microbatch' is not supported."),
        ("on_schema_change='append'", "on_schema_change is one of ignore, fail"),
    ],
)
def test_settings_of_an_incremental_model_are_checked_before_anything_runs(
    tiny: Tiny, settings: str, message: str
) -> None:
    tiny.seed(*FIRST)
    tiny.write({"m": incremental(settings)})
    with pytest.raises(CompileError) as caught:
        tiny.compiled()
    assert message in str(caught.value)


def test_what_defines_a_model_is_its_code_and_that_above_it_but_no_rows(tiny: Tiny) -> None:
    tiny.seed(*FIRST)
    tiny.write({"above": "select id, y, v from {{ ref('src') }}"})
    tiny.write({"m": incremental("", "select id, y, v from {{ ref('above') }}")})
    assert definitions_after(tiny, **{"seeds/src.csv": "\n".join(SECOND) + "\n"}) == set()
    assert definitions_after(tiny, above="select id, y, v -- said\nfrom {{ ref('src') }}") == set()
    assert definitions_after(tiny, above="select id, y, v + 1 as v from {{ ref('src') }}") == {"above", "m"}
    # What is_incremental() yields counts, though the first run does not render it.
    assert definitions_after(tiny, m=incremental("", "select id, y, v from {{ ref('above') }}", "v > 9")) == {"m"}


def test_a_changed_definition_builds_anew_but_where_the_project_says_to_keep_the_rows(tiny: Tiny) -> None:
    tiny.seed(*FIRST)
    protected = {"kept": incremental("full_refresh=false"), "synced": incremental("on_schema_change='ignore'")}
    tiny.write({"plain": incremental(""), **protected})
    graph = tiny.compiled()
    other = {node: NodeRecord(definition="another") for node in graph.nodes}
    message: list[str] = []
    now = definitions(graph)
    assert pipeline.fully_refreshed(graph, other, now, False, message.append) == {"model.tiny.plain"}
    assert message == ["Built from nothing, for what defines them changed: plain."]
    same = {node: NodeRecord(definition=now[node]) for node in graph.nodes}
    assert pipeline.fully_refreshed(graph, same, now, False, quiet) == frozenset()
    assert len(pipeline.fully_refreshed(graph, same, now, True, quiet)) == 3
    # And full_refresh: false holds against a full refresh too.
    tiny.build()
    tiny.seed(*SECOND)
    tiny.build(full_refresh=["plain", "kept", "synced"])
    assert [len(tiny.rows(name)) for name in ("plain", "kept", "synced")] == [3, 6, 3]


# --- seeds ---


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", "", "03"], "integer"),
        (["1.0", "2"], "integer"),
        (["3000000000"], "bigint"),
        (["1.5", "2"], "double"),
        (["1,5"], "varchar"),
        (["2024-01-31", "2024-2-1"], "date"),
        (["2024-01-31 10:00:00"], "timestamp"),
        (["2024-01-31 10:00:00", "2024-01-31"], "varchar"),
        (["2024-01-31T10:00:00Z"], "timestamp"),
        (["10:00:00"], "varchar"),
        (["true", "FALSE"], "boolean"),
        (["t", "f"], "varchar"),
        (["", ""], "integer"),
        (["null", "1"], "varchar"),
    ],
)
def test_a_seeds_columns_have_the_types_dbt_gives_them(values: list[str], kind: str) -> None:
    assert type_of(values) == kind


def test_everything_here_is_bound(tiny: Tiny) -> None:
    tiny.seed(*FIRST)
    tiny.write({**NESTED, "m": incremental("unique_key='id'")})
    columns, mistakes = check_columns(tiny.compiled())
    assert mistakes == []
    assert columns["model.tiny.m"] == (("id", "INTEGER"), ("y", "INTEGER"), ("v", "INTEGER"))


def test_rows_are_added_from_build_to_build_until_the_definition_changes(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path, database.scratch())
    tiny.write({"m": incremental("incremental_strategy='append'", where="v > (select max(v) from {{ this }})")})
    tiny.seed(*FIRST)
    tiny.refresh()
    tiny.seed("id,y,v", "9,2025,9")
    tiny.refresh()
    assert tiny.published("select v from main.m order by v") == [(1,), (2,), (3,), (9,)]
    tiny.refresh()
    tiny.write({"m": incremental("incremental_strategy='append'", where="v >= (select max(v) from {{ this }})")})
    message = tiny.refresh()
    assert "Built from nothing, for what defines them changed: m." in message
    assert tiny.published("select v from main.m") == [(9,)]
