"""dbt's project format: what projects that others wrote say, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
import pytest

from building import build_nodes
from kpi import database
from kpi.engine.template import Templates
from kpi.project.external import content_of
from kpi.project.project import load_project
from plain_project import compiled, told

UTILS = {
    "dbt_packages/utils/dbt_project.yml": "name: utils\nvars: {suffix: _u}\n",
    "dbt_packages/utils/macros/all.sql": """\
{% macro star(from, except=[]) -%}
{{ return(adapter.dispatch('star', 'utils')(from, except)) }}
{%- endmacro %}
{% macro default__star(from, except) -%}
{% for column in adapter.get_columns_in_relation(from) if column.name not in except %}
{{- adapter.quote(column.name) }}{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}
{% macro _hidden() %}{{ nowhere }}{{ var('suffix') }}{% endmacro %}
{% macro shown() %}{{ utils._hidden() }}{% endmacro %}
{% test at_least(model, column_name, least=1) %}
{{ config(severity='warn', fail_calc='sum(n)') }}
select count(*) as n from {{ model }} where {{ column_name }} < {{ least }}
{% endtest %}
""",
}


def rendered(root: Path, text: str, files: Mapping[str, str] | None = None) -> str:
    graph = compiled(root, files or {})
    templates = Templates(graph.project)
    templates.relations.update({node.id: node.relation for node in graph.nodes.values()})
    return templates.render(text, Path("models/m.sql"), ("materialized",)).sql


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("{{ names() | join('-') }}", "a-b"),
        ("{{ own.names()[1] }}", "b"),
        ("{{ plus(1) }}", "3"),
        ("{{ many(1, 2, three=3) }}", "1/2 3"),
        ("{{ greeting() }}", "duckdb"),
        ("{% for i in range(4) %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "023"),
        ("{{ dbt.type_string() }} {{ type_int() }}", "TEXT integer"),
        ("{{ dbt.dateadd('quarter', 1, 'd') }}", "(d + (cast(1 as bigint) * 3) * interval 1 month)"),
        ("{{ hash('x') }}", "own_hash(x)"),
        ("{{ utils.shown() }}", "_u"),
        ("{{ run_query('select 6 * 7 as n').columns[0].values()[0] }}", "42"),
        ("{{ fromjson('[1]')[0] }}{{ tojson([2]) }}{{ fromyaml('{a: 3}').a }}{{ set([4]) | first }}", "1[2]34"),
        ("{{ zip([1], [2])[0] }} {{ modules.datetime.date(2020, 2, 29) }}", "(1, 2) 2020-02-29"),
        ("{{ log('x', info=true) }}{{ print('y') }}{{ exceptions.warn('z') }}.", "."),
        (
            "{{ env_var('KPI_FORMAT', 'none') }} {{ var.has_var('x') }} {{ execute }} {{ is_incremental() }}",
            "set False True False",
        ),
        ("{{ target.name }} {{ target['schema'] }} {{ target.get('type') }}", "kpi main duckdb"),
        (
            "{{ config.get('tags', 'x') }}{{ config({'materialized': 'view'}) }} {{ config.get('materialized') }}",
            "x view",
        ),
        (
            "{{ ref('one').include(schema=false) }} {{ ref('one').identifier }} {{ ref('own', 'one').schema }}",
            '"kpi"."one" one main',
        ),
    ],
)
def test_what_templates_may_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sql: str) -> None:
    monkeypatch.setenv("KPI_FORMAT", "set")
    macros = """\
{% macro plus(n) %}{{ n + helper() }}{% endmacro %}
{% macro helper() %}{{ return(2) }}{% endmacro %}
{% macro names() %}{% do return(['a', 'b']) %}{% endmacro %}
{% macro many() %}{{ varargs | join('/') }} {{ kwargs.three }}{% endmacro %}
{% macro greeting() %}{{ adapter.dispatch('greeting')() }}{% endmacro %}
{% macro default__greeting() %}default{% endmacro %}
{% macro duckdb__greeting() %}duckdb{% endmacro %}
{% macro default__hash(x) %}own_hash({{ x }}){% endmacro %}
"""
    assert rendered(tmp_path, text, {**UTILS, "macros/m.sql": macros}) == sql


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ exceptions.raise_compiler_error('no') }}", "1: no"),
        (
            "{{ run_query('select x from y') }}",
            "1: run_query(): kpi compiles every model before anything runs, so a template cannot read tables."
            " Name the values in a variable (vars), a seed or the SQL itself.",
        ),
        (
            "{{ adapter.drop_relation(ref('one')) }}",
            "1: adapter.drop_relation is not supported: kpi compiles every model before anything runs, so a template"
            " cannot read tables or change them. There is: behavior, dispatch, get_columns_in_relation, quote,"
            " quote_as_configured, type.",
        ),
        (
            "{{ adapter.dispatch('nope')() }}",
            "1: adapter.dispatch('nope'): there is no macro duckdb__nope or default__nope.",
        ),
        ("{{ utils.stor() }}", "1: there is no macro 'utils.stor'. Did you mean 'star'?"),
        (
            "{{ gone_utils.star(ref('one')) }}",
            "1: the package 'gone_utils' is asked for, but is not in dbt_packages."
            " Run `dbt deps`, or copy the package there.",
        ),
        (
            "select * from {{ ref('utils', 'x') }}",
            "1: ref('x'): there is no such model or seed. There is: m, one.",
        ),
        ("\n{{ config.require('unique_key') }}", "2: config.require('unique_key'): this has no setting 'unique_key'."),
    ],
)
def test_what_templates_may_not(tmp_path: Path, text: str, message: str) -> None:
    packages = "packages:\n  - package: some/gone_utils\n    version: 1.0.0\n"
    assert told(tmp_path, {**UTILS, "packages.yml": packages, "models/m.sql": text}) == f"models/m.sql:{message}"


def test_environment_variables_that_were_read_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPI_FORMAT", "set")
    graph = compiled(
        tmp_path,
        {
            "dbt_project.yml": "name: own\nmodels: {own: {+enabled: \"{{ env_var('KPI_ON', 'true') | as_bool }}\"}}\n",
            "models/m.sql": "select '{{ env_var('KPI_FORMAT') }}' as x",
        },
    )
    assert graph.environment_read == {"KPI_FORMAT": "set", "KPI_ON": "true"}


def test_a_macro_may_ask_for_the_columns_of_a_model_that_comes_later_in_name_order(tmp_path: Path) -> None:
    files = {
        "models/a.sql": "select {{ utils.star(ref('z'), ['b']) }} from {{ ref('z') }}",
        "models/z.sql": "select 1 as a, 2 as b, 3 as c",
    }
    assert compiled(tmp_path, {**UTILS, **files}).nodes["model.own.a"].sql == 'select "a", "c" from main.z'


def test_generic_tests_of_the_project_and_of_packages(tmp_path: Path) -> None:
    files = {
        **UTILS,
        "macros/t.sql": "{% test like_other(model, column_name, other, values=[]) %}"
        "select {{ column_name }} from {{ model }} where {{ column_name }} not in"
        " (select {{ column_name }} from {{ other }}"
        " where {{ column_name }} not in ({{ values | join(', ') }})){% endtest %}"
        "{% test not_null(model, column_name) %}"
        "select 1 as own from {{ model }} where {{ column_name }} is null{% endtest %}",
        "tests/generic/g.sql": "{% data_test whole(model) %}select 1 from {{ model }} where false{% enddata_test %}",
        "models/two.sql": "select 1 as id",
        "models/m.yml": """\
models:
  - name: one
    data_tests: [whole]
    columns:
      - name: id
        data_tests:
          - not_null
          - utils.at_least: {arguments: {least: 0}}
          - like_other:
              other: ref('two')
              values: "{{ [7, 8] }}"
              config: {where: id > 0, severity: warn, error_if: '>10', limit: 5, tags: x}
          - unique: {column_name: id}
  - name: two
    data_tests:
      - unique: {column_name: "id || 'x'"}
""",
    }
    graph = compiled(tmp_path, files)
    tests = {test.test.kind: test for test in graph.tests() if test.test}
    assert sorted(tests) == ["dbt.unique", "like_other", "own.not_null", "unique", "utils.at_least", "whole"]
    like = tests["like_other"]
    assert like.sql == (
        "select id from (select * from main.one where id > 0\n) as dbt_subquery where id not in"
        " (select id from main.two where id not in (7, 8))"
    )
    assert like.depends_on == ("model.own.one", "model.own.two")
    assert like.test is not None
    assert (like.test.severity, like.test.error_if, like.test.limit, like.tags) == ("warn", ">10", 5, ("x",))
    assert tests["own.not_null"].sql == "select 1 as own from main.one where id is null"
    least = tests["utils.at_least"].test
    assert least is not None
    assert (least.severity, least.fail_calc) == ("warn", "sum(n)")


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("utils.at_most", "5: the test 'utils.at_most' is not supported. Did you mean 'utils.at_least'?"),
        ("utils.at_least: {lest: 1}", "5: utils.at_least takes no 'lest'. Did you mean 'least'?"),
        ("utils.at_least: {least: nope}", "5: there is no column 'nope'. The nearest is 'Name'."),
    ],
)
def test_a_mistake_in_a_test_of_a_package(tmp_path: Path, test: str, message: str) -> None:
    text = f"models:\n  - name: one\n    columns:\n      - name: id\n        data_tests: [{test}]\n"
    assert told(tmp_path, {**UTILS, "models/m.yml": text}) == f"models/m.yml:{message}"


def test_settings_of_tests_come_from_folders_too(tmp_path: Path) -> None:
    files = {
        "dbt_project.yml": "name: own\ndata_tests:\n  own:\n    +severity: warn\n    checks: {+store_failures: true}\n",
        "models/m.yml": "models:\n  - name: one\n    columns:\n      - name: id\n"
        "        data_tests: [not_null, {unique: {config: {enabled: false}}}]\n",
        "tests/checks/some.sql": "{{ config(severity='error') }}select id from {{ ref('one') }} where id < 0",
    }
    tests = {test.name: test.test for test in compiled(tmp_path, files).tests() if test.test}
    assert {name: (test.severity, test.store_failures) for name, test in tests.items()} == {
        "not_null_one_id": ("warn", False),
        "some": ("error", True),
    }


def test_where_a_model_stands_is_known_before_it_is_referred_to(tmp_path: Path) -> None:
    files = {
        "models/zz.sql": "{{ config(alias='order', schema='Odd one') }}select 1 as x",
        "models/a.sql": "select x from {{ ref('zz') }}",
        "models/Capital-Model.sql": "select x from {{ ref('a') }}",
        "models/b.sql": "select x from {{ ref('Capital-Model') }}",
    }
    graph = compiled(tmp_path, files)
    assert graph.nodes["model.own.a"].sql == 'select x from "main_Odd one"."order"'
    with database.building(tmp_path / "kpi.duckdb", tmp_path / "spill") as con:
        build_nodes(con, graph, list(graph.built()))
        assert database.relations(con)['main."Capital-Model"'] == "view"


def test_docs_exposures_snapshots_and_analyses(tmp_path: Path) -> None:
    files = {
        "models/about.md": "{% docs ones %}\nThe ones.\n{% enddocs %}\n",
        "snapshots/s.sql": "{% snapshot first_s %}\n{{ config(unique_key='id', strategy='check', check_cols='all') }}\n"
        "select id from {{ ref('one') }}\n{% endsnapshot %}\n\n{% snapshot second_s %}\n"
        "{{ config(target_schema='kept', unique_key='id', strategy='timestamp', updated_at='id') }}\n"
        "select nope from {{ ref('one') }}\n{% endsnapshot %}\n",
        "analyses/a.sql": "drop table {{ ref('one') }}",
        "models/m.yml": """\
models:
  - name: one
    description: "{{ doc('ones') }} {{ var('x', 3) }}"
    columns: [{name: id, description: "{{ doc('own', 'ones') }}"}, {name: gone_for_ever, description: x}]
snapshots:
  - name: in_yaml
    relation: ref('one')
    config: {unique_key: id, strategy: check, check_cols: [id]}
exposures:
  - {name: report, type: dashboard, owner: {name: x}, depends_on: ["ref('one')"]}
metrics:
  - name: many
""",
    }
    message = "snapshots/s.sql:8:8: there is no column 'nope'. The nearest is 'Name'."
    assert told(tmp_path, files) == message
    files["snapshots/s.sql"] = files["snapshots/s.sql"].replace("select nope", "select id")
    graph = compiled(tmp_path, files)
    one = graph.nodes["model.own.one"]
    assert (one.description, one.columns[0].description) == ("The ones. 3", "The ones.")
    places = {node.name: str(node.relation) for node in graph.nodes.values() if node.kind == "snapshot"}
    assert places == {"first_s": "main.first_s", "second_s": "kept.second_s", "in_yaml": "main.in_yaml"}
    assert graph.nodes["snapshot.own.first_s"].config["check_cols"] == "all"
    assert graph.nodes["analysis.own.a"].sql == "drop table main.one"
    assert graph.nodes["exposure.own.report"].depends_on == ("model.own.one",)
    assert graph.notes == (
        "models/m.yml:11: metrics are not built.",
        "models/m.yml:4: 'one' has no column 'gone_for_ever'; its description is not used.",
    )


def test_settings_are_merged_as_dbt_does(tmp_path: Path) -> None:
    files = {
        "dbt_project.yml": "name: own\nmodels:\n  +meta: {a: 1}\n  +pre-hook: select 1\n  own:\n    +meta: {b: 2}\n"
        "    +grants: {select: [x]}\n    gone_folder: {+tags: x}\n    nothing:\n  other_package: {+enabled: false}\n",
        "models/y.yml": "models: [{name: long_gone}]",
        "macros/o.sql": "{% materialization odd, default %}{{ nowhere }}{% endmaterialization %}\n"
        "{% macro default__get_merge_sql(a) %}{% endmacro %}",
        "models/m.sql": "{{ config(meta={'c': 3}, pre_hook=['select 2']) }}select 1 as x",
    }
    graph = compiled(tmp_path, files)
    config = graph.nodes["model.own.m"].config
    assert (config["meta"], config["pre_hook"]) == ({"a": 1, "b": 2, "c": 3}, ("select 1", "select 2"))
    assert [note.partition(": ")[2] for note in graph.notes] == [
        "the setting 'grants' has no effect here.",
        "there is nothing named 'gone_folder' in models: no effect.",
        "there is nothing named 'nothing' in models: no effect.",
        "there is nothing named 'other_package' in models: no effect.",
        "no model is named 'long_gone': nothing of this is used.",
        "the macro 'materialization_odd' is one of dbt's own; nothing here calls it.",
        "the macro 'default__get_merge_sql' is one of dbt's own; nothing here calls it.",
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"models/m.py": "def model(dbt, session): ..."},
            "models/m.py:1: models in Python are not supported."
            " Write a SELECT, or prepare the data outside and read it as a source.",
        ),
        (
            {"models/m.yml": "models:\n  - name: one\n    versions: [{v: 1, latest: true}]\n"},
            "models/m.yml:3: 'latest' is not supported in a version of a model. Did you mean 'tests'?",
        ),
        (
            {"models/m.yml": "models:\n  - name: one\n    description: \"{{ doc('x') }}\"\n"},
            "models/m.yml:3: doc('x'): there is no such doc block.",
        ),
        (
            {"models/m.yml": "models:\n  - name: one\n    config: {enabled: \"{{ var('x') }}\"}\n"},
            "models/m.yml:3: var('x') has no value in dbt_project.yml and no default.",
        ),
    ],
)
def test_what_is_not_supported_is_told_with_what_to_write_instead(
    tmp_path: Path, files: Mapping[str, str], message: str
) -> None:
    assert told(tmp_path, files) == message


def test_dbts_own_macros_give_sql_that_duckdb_takes(tmp_path: Path) -> None:
    compiled(tmp_path, {})
    templates = Templates(load_project(tmp_path))
    calls = {
        "dbt.datediff(\"date '2020-01-04'\", \"date '2020-01-05'\", 'week')": 1,
        "dbt.last_day(\"date '2020-02-03'\", 'quarter')": "2020-03-31",
        "dbt.split_part(\"'a-b-c'\", \"'-'\", -1)": "c",
        "dbt.concat([\"'a'\", \"'b'\"])": "ab",
        "dbt.right(\"'abc'\", 2)": "bc",
        "dbt.position(\"'b'\", \"'abc'\")": 2,
        "dbt.safe_cast(\"'1'\", dbt.type_int())": 1,
        "dbt.string_literal('x')": "x",
        "dbt.date(2020, 2, 29)": "2020-02-29",
        "dbt.cast_bool_to_text('true')": "true",
    }
    for call, value in calls.items():
        sql = templates.render(f"select {{{{ {call} }}}}", Path("m.sql"), ()).sql
        row = duckdb.execute(sql).fetchone()
        assert row is not None
        assert str(row[0]) == str(value), call
    # As dbt has it: as many days as lie between the two, so not the last one.
    spine = "{{ dbt.date_spine('day', \"date '2020-01-01'\", \"date '2020-01-03'\") }}"
    assert len(duckdb.execute(templates.render(spine, Path("m.sql"), ()).sql).fetchall()) == 2


def test_a_project_that_is_copied_has_the_same_files_outside(tmp_path: Path) -> None:
    for root in ("one", "other"):
        (tmp_path / root / "data").mkdir(parents=True)
        (tmp_path / root / "data/a.csv").write_text("id\n1\n")
    one, other = (content_of(tmp_path / root, "'data/*.csv'") for root in ("one", "other"))
    assert one == other
    (tmp_path / "other/data/a.csv").rename(tmp_path / "other/data/b.csv")
    assert content_of(tmp_path / "other", "'data/*.csv'") != one
