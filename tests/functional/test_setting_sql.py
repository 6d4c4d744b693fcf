"""A project that is not trusted: every setting that becomes a part of SQL is parsed as what it should be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kpi.database import column_problem, confined, expression_problem, location_problem, select_problem, type_problem
from kpi.engine.compile import compiled
from kpi.engine.unit_tests import run_unit_tests
from kpi.errors import KpiError
from small_project import FILES, write

# Ends what it stands in, whatever that is, and writes a file where the project's seeds are, which runs may read.
COPY = "copy (select 1) to 'OUT'"
ENDS = (f"; {COPY}; --", f"); {COPY}; --", f")); {COPY}; --")
SNAPSHOT = """\
snapshots:
  - name: kept
    relation: ref('lines')
    config: {{{}}}
"""
PLACES = {
    "data_type": """\
models:
  - name: m
    config: {contract: {enforced: true}}
    columns: [{name: a, data_type: "integer TEXT"}]
""",
    "check": """\
models:
  - name: m
    config: {contract: {enforced: true}}
    columns: [{name: a, data_type: integer, constraints: [{type: check, expression: "a > 0 TEXT"}]}]
""",
    "custom": """\
models:
  - name: m
    config: {contract: {enforced: true}}
    columns: [{name: a, data_type: integer, constraints: [{type: custom, expression: "default 1 TEXT"}]}]
""",
    "check of the table": """\
models:
  - name: m
    config: {contract: {enforced: true}}
    constraints: [{type: check, name: c, expression: "a > 0 TEXT"}]
    columns: [{name: a, data_type: integer}]
""",
    "where": """\
models:
  - name: m
    columns: [{name: a, data_tests: [{not_null: {config: {where: "a > 0 TEXT"}}}]}]
""",
    "where of a macro": """\
models:
  - name: m
    columns: [{name: a, data_tests: [{own: {config: {where: "a > 0 TEXT"}}}]}]
""",
    "fail_calc": """\
models:
  - name: m
    columns: [{name: a, data_tests: [{not_null: {config: {fail_calc: "max(a) TEXT"}}}]}]
""",
    "accepted_values": """\
models:
  - name: m
    columns: [{name: a, data_tests: [{accepted_values: {arguments: {values: ["1 TEXT"], quote: false}}}]}]
""",
    "argument": """\
models:
  - name: m
    columns: [{name: a, data_tests: [{own: {arguments: {more: "1 TEXT"}}}]}]
""",
    "unit rows": """\
unit_tests:
  - name: u
    model: m
    given: []
    expect: {format: sql, rows: "select 1 as a TEXT"}
""",
    "unit macro": """\
unit_tests:
  - name: u
    model: n
    given: []
    overrides: {macros: {number: "1 TEXT"}}
    expect: {rows: [{a: 1}]}
""",
    "external_location": """\
sources: [{name: o, tables: [{name: t, config: {meta: {external_location: "(select 1 as a) as t TEXT"}}}]}]
""",
    "file": """\
sources: [{name: o, tables: [{name: t, config: {meta: {external_location: "read_csv('seeds/lines.csv') TEXT"}}}]}]
""",
    "unique_key": SNAPSHOT.format('strategy: check, check_cols: all, unique_key: "line TEXT"'),
    "check_cols": SNAPSHOT.format('strategy: check, unique_key: line, check_cols: ["name_en TEXT"]'),
    "updated_at": SNAPSHOT.format('strategy: timestamp, unique_key: line, updated_at: "now() TEXT"'),
    "dbt_valid_to_current": SNAPSHOT.format(
        "strategy: check, unique_key: line, check_cols: all, dbt_valid_to_current: \"date '9999-12-31' TEXT\""
    ),
    "increment key": 'models: [{name: i, config: {unique_key: "line TEXT"}}]\n',
    "increment keys": 'models: [{name: i, config: {unique_key: [line, "name_en TEXT"]}}]\n',
    "predicate": 'models: [{name: i, config: {unique_key: line, incremental_predicates: ["1 = 1 TEXT"]}}]\n',
    "partition": (
        'models: [{name: i, config: {incremental_strategy: insert_overwrite, partition_by: ["line TEXT"]}}]\n'
    ),
    "pre_hook": 'models: [{name: m, config: {pre_hook: "select 1 TEXT"}}]\n',
    "post_hook": 'models: [{name: m, config: {post_hook: ["select 1 TEXT"]}}]\n',
    "column_types": 'seeds: [{name: lines, config: {column_types: {line: "varchar TEXT"}}}]\n',
    "mapping": """\
sources:
  - name: raw
    tables:
      - name: calls
        config:
          meta:
            feed:
              key: [call_id]
              mappings: [{name: old, files: ['o*'], reads: [id], columns: {call_id: "upper(id) TEXT"}}]
        columns: [{name: call_id, data_type: varchar, config: {meta: {required: true}}}]
""",
    "implausible": """\
sources:
  - name: raw
    tables:
      - name: calls
        config:
          meta:
            feed:
              key: [call_id]
              mappings:
                - name: old
                  files: ['o*']
                  reads: [id]
                  columns: {call_id: id}
                  implausible: [{reason: x, when: "1=1 TEXT"}]
        columns: [{name: call_id, data_type: varchar, config: {meta: {required: true}}}]
""",
}
MODELS = {
    "macros/own.sql": (
        "{% macro number() %}1{% endmacro %}"
        "{% test own(model, column_name, more=1) %}select {{ more }} as x from {{ model }}{% endtest %}"
    ),
    "models/m.sql": "select 1 as a",
    "models/n.sql": "select {{ number() }} as a",
    "models/i.sql": "{{ config(materialized='incremental') }}select line, name_en from {{ ref('lines') }}",
    "models/calls_plain.sql": "select 1 as b",
}


def project(root: Path, place: str, text: str) -> Path:
    texts = PLACES[place].replace("TEXT", text.replace('"', '\\"'))
    changes: dict[str, str | None] = {**MODELS, "models/x.yml": texts}
    if place in ("mapping", "implausible"):
        plain = "select call_id, 'health' as line, 1 as waited_seconds from {{ source('raw', 'calls') }}"
        changes |= {"models/staging/calls.yml": None, "models/staging/stg_calls.sql": plain}
    return write(root, {**FILES, **changes})


@pytest.mark.parametrize("place", PLACES)
def test_what_belongs_in_a_setting_is_taken(tmp_path: Path, place: str) -> None:
    graph = compiled(project(tmp_path, place, "")).graph
    assert all(result.passed for result in run_unit_tests(graph, graph.unit_tests))


def raise_what_failed(root: Path) -> None:
    """Compile a project and run its unit tests; raise what the first of them could not run for."""
    graph = compiled(root).graph
    for result in run_unit_tests(graph, graph.unit_tests):
        if result.error:
            raise result.error


@pytest.mark.parametrize("text", ENDS)
@pytest.mark.parametrize("place", PLACES)
def test_what_comes_after_it_is_refused_and_never_runs(tmp_path: Path, place: str, text: str) -> None:
    root = project(tmp_path, place, text.replace("OUT", f"{tmp_path}/seeds/out.csv"))
    with pytest.raises(KpiError) as caught:
        raise_what_failed(root)
    assert not (tmp_path / "seeds/out.csv").exists()
    assert caught.value.exit_code in (3, 5, 6)
    assert re.match(r"(u \()?(models/(x.yml|m.sql|i.sql|n.sql)|seeds/lines.csv):", str(caught.value))


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("a", True),
        ("a, b", True),
        ("(a + 1) * 2 -- why", True),
        ("case when a then 'x;y' else \"b c\" end", True),
        ("a in (select b from t)", True),
        ("exists (select 1 from s.t where x = a)", True),
        ("list_filter(a, lambda x: x > 1)", True),
        ("$$;$$", True),
        ("e'\\';'", True),
        ("a /* ; */", True),
        ("", False),
        ("a) + (b", False),
        ("a] || [b", False),
        ("a)) union all (select (b", False),
        ("a) as b, (c", False),
        ("a) from t where (b", False),
        ("a) as kpi_probe order by (1", False),
        ("a; select 1", False),
        ("a --", True),
        ("a /*", False),
        ("a where 1 = 1", False),
        ("a from t", False),
        ("(select content from read_text('/etc/passwd'))", False),
        ("(select 1 from '/etc/passwd')", False),
        ('(select 1 from "x.csv")', False),
        ("(from glob('*'))", False),
        ("(select 1 from query('select 1'))", False),
    ],
)
def test_what_is_one_expression(text: str, is_one: bool) -> None:
    assert (expression_problem(text) == "") is is_one


def test_an_expression_over_columns_has_no_subquery() -> None:
    assert expression_problem("a in (1, 2)", tables=False) == ""
    assert "subquery" in expression_problem("a in (select b from t)", tables=False)
    assert "subquery" in expression_problem("exists (select 1)", tables=False)


def test_what_is_a_type() -> None:
    for kind in ("integer", "decimal(18, 2)", "struct(a integer, b varchar[])", "enum('a', 'b')", '"my type"'):
        assert type_problem(kind) == ""
    for kind in (
        "",
        "integer) + (1",
        "integer) as a, cast(1 as integer",
        "integer; select 1",
        "integer default 1",
        "1",
    ):
        assert type_problem(kind) != ""


def test_what_is_a_column_a_location_and_a_select() -> None:
    assert column_problem("a integer default 1") == ""
    for text in ("a integer, b integer", "a integer) ; create table t (x integer", "a", "a integer) as (select 1"):
        assert column_problem(text) != ""
    for text in ("'a.csv'", "read_csv('a.csv', header = true)", "(select 1 from 'a.parquet') as t", "'a.csv', 'b.csv'"):
        assert location_problem(text) == ""
    for text in (
        "t",
        "s.t",
        "glob('*')",
        "'a.csv' where 1 = 1",
        "query('select 1')",
        "duckdb_settings()",
        "'a.csv'; x",
    ):
        assert location_problem(text) != ""
    assert select_problem("select 1") == ""
    for text in ("", "select 1; select 2", "copy (select 1) to 'x'", "set threads = 1", "select * from read_blob('x')"):
        assert select_problem(text) != ""


def test_a_confined_connection_reaches_nothing_and_keeps_its_settings(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("a\n1\n")
    (tmp_path / "out.csv").write_text("a\n1\n")
    with confined(within=[tmp_path / "in"]) as con:
        assert con.execute(f"select count(*) from '{tmp_path}/in/a.csv'").fetchall() == [(1,)]
        for sql in (
            f"from '{tmp_path}/out.csv'",
            f"copy (select 1) to '{tmp_path}/b.csv'",
            f"attach '{tmp_path}/c.duckdb'",
            "set threads = 1",
            "set allowed_directories = ['/']",
            "load httpfs",
        ):
            with pytest.raises(Exception, match=r"(?i)permission|cannot|disabled|locked"):
                con.execute(sql)


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd",
        "'/etc/passwd'",
        "../far/a.csv",
        "read_csv('../far/a.csv')",
        "../far/*.csv",
        "data/*/../../../far/a.csv",
        "data/link.csv",
        "data/l*.csv",
        "linked/a.csv",
        "linked/*.csv",
        "file:///etc/passwd",
        "read_text('/etc/host*')",
        "(select * from '../far/a.csv') as t",
    ],
)
def test_a_source_is_a_file_of_the_project_or_of_a_folder_that_it_names(tmp_path: Path, location: str) -> None:
    root = write(tmp_path / "project", {"data/in.csv": "a\n1\n"})
    (tmp_path / "far").mkdir()
    (tmp_path / "far/a.csv").write_text("a\n1\n")
    (root / "data/link.csv").symlink_to(tmp_path / "far/a.csv")
    (root / "linked").symlink_to(tmp_path / "far")
    text = f'sources: [{{name: o, tables: [{{name: t, config: {{meta: {{external_location: "{location}"}}}}}}]}}]\n'
    write(root, {"models/x.yml": text})
    with pytest.raises(KpiError, match=r"models/x.yml:1: external_location of 't': .*(outside the project|Cannot)"):
        compiled(root)
    named = FILES["dbt_project.yml"].replace(
        "vars:\n", f"vars:\n  kpi_warehouse: {{source_folders: ['{tmp_path}/far']}}\n"
    )
    write(root, {"dbt_project.yml": named})
    if "etc" in location or "*/.." in location:
        with pytest.raises(KpiError):
            compiled(root)
    else:
        assert compiled(root).graph.columns["source.small.o.t"] == (("a", "BIGINT"),)
