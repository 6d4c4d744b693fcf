"""Hooks of a model and of a run: in order, all or none, and inside the candidate only."""

from __future__ import annotations

from pathlib import Path

import pytest

from building import build_nodes
from kpi import database
from kpi.engine import runner
from kpi.engine.materializations import check_hook
from kpi.errors import BuildError, CompileError
from tiny import FIRST, SETTINGS, Tiny, definitions_after, incremental


def test_hooks_run_in_order_with_quotes_and_semicolons(tiny: Tiny) -> None:
    tiny.seed("id,v", "1,10")
    tiny.write(
        {
            "dbt_project.yml": SETTINGS
            + "models:\n  tiny:\n    +post_hook: \"insert into seen values ('project; ''{{ this.name }}''')\"\n",
            "m": (
                "{{ config(materialized='table', pre_hook=[\"create or replace table seen (what varchar);"
                " insert into seen values ('before; --')\", {'sql': \"insert into seen values ('first')\","
                " 'transaction': false}],"
                " post_hook=\"insert into seen select 'rows ' || count(*) from {{ this }}\") }}\n"
                "select id from {{ ref('src') }}"
            ),
        }
    )
    graph = tiny.compiled()
    hooks = graph.nodes["model.tiny.m"].hooks
    assert [text.partition("(")[0] for text in hooks.before] == [
        "insert into seen values ",
        "create or replace table seen ",
    ]
    tiny.con.execute("create table seen (what varchar)")
    build_nodes(tiny.con, graph, graph.built(), unmanaged=["main.seen"])
    assert tiny.rows("seen") == [("before; --",), ("project; 'm'",), ("rows 1",)]


def test_a_failing_hook_undoes_its_model(tiny: Tiny) -> None:
    tiny.seed("id,v", "1,10")
    tiny.write({"m": "{{ config(materialized='table') }} select 1 as x"})
    tiny.build()
    broken = "create table made as select 1 as x; select error('no; ''good''')"
    tiny.write({"m": f"{{{{ config(materialized='table', post_hook=\"{broken}\") }}}} select 2 as x"})
    with pytest.raises(BuildError) as caught:
        tiny.build()
    assert str(caught.value) == "m (models/m.sql): Invalid Input Error: no; 'good'"
    assert caught.value.sql == broken
    assert tiny.rows("m") == [(1,)]
    assert "main.made" not in database.relations(tiny.con)


def test_a_hook_counts_in_the_fingerprint(tiny: Tiny) -> None:
    tiny.seed(*FIRST)
    tiny.write({"m": incremental("")})
    assert definitions_after(tiny, m=incremental("post_hook='select 1'")) == {"m"}
    # Also what it is only where rows are added.
    said = 'post_hook="{% if is_incremental() %}select 2{% else %}select 1{% endif %}"'
    assert definitions_after(tiny, m=incremental(said)) == {"m"}


@pytest.mark.parametrize(
    "sql",
    [
        "insert into main.log values ('x; ''y''; --', 1.5); select 2",
        "create index i on marts.t (a)",
        "comment on table marts.t is 'see docs/models.md'",
        "create macro half(x) as x / 2",
        "select '/etc/passwd' as harmless",
    ],
)
def test_hooks_that_work_in_the_candidate(sql: str) -> None:
    check_hook(sql, Path("models/m.sql"), 1, "post_hook")


@pytest.mark.parametrize(
    ("sql", "refused"),
    [
        ("copy main.t to 'x.csv'", "COPY MAIN.T"),
        ("attach 'other.duckdb'", "ATTACH"),
        ("install httpfs", "INSTALL HTTPFS"),
        ("load httpfs", "LOAD HTTPFS"),
        ("set memory_limit = '1GB'", "SET MEMORY_LIMIT"),
        ("create secret (type s3)", "CREATE SECRET"),
        ("begin; select 1", "BEGIN"),
        ("insert into main.t select * from read_csv('/etc/passwd')", "read_csv()"),
        ("insert into main.t select * from \"read_text\"('/etc/passwd')", "read_text()"),
        ("create view v as from 'x.parquet'", "the file 'x.parquet'"),
        ("select * from main.t, 'x.csv'", "the file 'x.csv'"),
        ("select * from query('from x')", "query()"),
        ("summarize 'x.csv'", "SUMMARIZE"),
        ("delete from raw.calls", "to write to raw.calls"),
        ("drop schema raw cascade", "to write to raw."),
        ("selec 1", "not SQL"),
    ],
)
def test_hooks_that_reach_further_are_refused(sql: str, refused: str) -> None:
    with pytest.raises(CompileError) as caught:
        check_hook(sql, Path("models/m.sql"), 3, "post_hook")
    assert str(caught.value).startswith(f"models/m.sql:3: post_hook: {refused}")


def test_hooks_of_a_run_are_checked_as_those_of_a_model(tiny: Tiny) -> None:
    tiny.seed("id,v", "1,10")
    tiny.write({"dbt_project.yml": SETTINGS + "on-run-start: create table if not exists log (x int)\n"})
    tiny.write({"m": "select 1 as x"})
    assert tiny.compiled().on_run.before == ("create table if not exists log (x int)",)
    tiny.write({"dbt_project.yml": SETTINGS + "on-run-end: ['select 1', 'attach ''x''']\n"})
    with pytest.raises(CompileError, match="on-run-end: ATTACH 'X' is refused"):
        tiny.compiled()
    with pytest.raises(BuildError, match=r"on-run-end 2 \(dbt_project.yml\)"):
        runner.run_hooks(tiny.con, "on-run-end", ["select 1", "select * from nowhere"])
