"""Ways of other people's dbt projects: each small project builds here to what is said of it, and in real dbt to that.

dbt is in an environment of its own: make dbt. KPI_DBT names another one's dbt.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from conftest import ROOT, TODAY
from kpi.cli.main import cli
from kpi.engine.compile import check_project
from kpi.engine.unit_runner import refuse_failing, run_unit_tests
from kpi.errors import BuildErrors, CheckFailed, KpiError
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.project.project import load_project

DBT = Path(os.environ.get("KPI_DBT") or ROOT / ".venv-dbt/bin/dbt")
OWN = ("marts.expectation_results", "marts.runs")


@dataclass(frozen=True, slots=True)
class Way:
    """A project, what its tables hold, what its tests come to, and notes that kpi gives of it.

    `results` are statuses of data tests and unit tests by the name before the hash. What is `apart` is as said here in
    kpi and otherwise in dbt, and is not compared.
    """

    files: Mapping[str, str]
    tables: Mapping[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    arguments: str = ""
    apart: tuple[str, ...] = ()


TOOLS = {
    "packages.yml": "packages: [{local: dbt_packages/tools}]",
    "dbt_packages/tools/dbt_project.yml": "name: tools\nversion: '1.0'\nconfig-version: 2\n",
    "dbt_packages/tools/macros/rate.sql": "{% macro rate() %}2{% endmacro %}\n"
    "{% macro twice() %}(2 * {{ tools.rate() }}){% endmacro %}",
}
RUN = "{% set t = run_query('select 1 as a, 2 as b union all select 3, null order by 1') %}"
TWICE = "select 1 as a union all select 1 union all select 2"
TESTS_OF_A = "models: [{name: m, columns: [{name: a, data_tests: [unique, not_null]}]}]"

WAYS: dict[str, Way] = {
    "a unit test puts a macro of a package into another's place": Way(
        {
            **TOOLS,
            "models/src.sql": "select 1 as a",
            "models/m.sql": "select a * {{ tools.rate() }} as b from {{ ref('src') }}",
            "models/n.sql": "select a * {{ own_rate() }} * {{ own.own_rate() }} as b from {{ ref('src') }}",
            "models/o.sql": "select a * {{ tools.twice() }} as b from {{ ref('src') }}",
            "macros/own.sql": "{% macro own_rate() %}2{% endmacro %}",
            "models/m.yml": """\
unit_tests:
  - {name: times_ten, model: m, overrides: {macros: {tools.rate: 10}},
     given: [{input: ref('src'), rows: [{a: 3}]}], expect: {rows: [{b: 30}]}}
  - {name: times_two, model: m, given: [{input: ref('src'), rows: [{a: 3}]}], expect: {rows: [{b: 6}]}}
  - {name: own_times_twenty, model: n, overrides: {macros: {own.own_rate: 10}},
     given: [{input: ref('src'), rows: [{a: 1}]}], expect: {rows: [{b: 20}]}}
  - {name: nested, model: o, overrides: {macros: {tools.rate: 10}},
     given: [{input: ref('src'), rows: [{a: 1}]}], expect: {rows: [{b: 20}]}}
""",
        },
        {"main.m": [(2,)]},
        {"times_ten": "pass", "times_two": "pass", "own_times_twenty": "pass", "nested": "pass"},
    ),
    "a project's get_where_subquery counts": Way(
        {
            "models/m.sql": TWICE,
            "models/m.yml": TESTS_OF_A,
            "macros/g.sql": "{% macro get_where_subquery(relation) %}"
            "(select * from {{ relation }} where a > 1) sub{% endmacro %}",
        },
        results={"unique_m_a": "pass", "not_null_m_a": "pass"},
    ),
    "a project's default__get_where_subquery counts": Way(
        {
            "models/m.sql": TWICE,
            "models/m.yml": TESTS_OF_A,
            "macros/g.sql": "{% macro default__get_where_subquery(relation) %}"
            "(select * from {{ relation }} where a > 1) sub{% endmacro %}",
        },
        results={"unique_m_a": "pass", "not_null_m_a": "pass"},
    ),
    "a project's default__test_unique counts": Way(
        {
            "models/m.sql": TWICE,
            "models/m.yml": TESTS_OF_A,
            "macros/g.sql": "{% macro default__test_unique(model, column_name) %}"
            "select 1 as a where false{% endmacro %}",
        },
        results={"unique_m_a": "pass", "not_null_m_a": "pass"},
    ),
    "a project's duckdb__test_not_null counts": Way(
        {
            "models/m.sql": TWICE,
            "models/m.yml": TESTS_OF_A,
            "macros/g.sql": "{% macro duckdb__test_not_null(model, column_name) %}"
            "select * from {{ model }} where {{ column_name }} = 2{% endmacro %}",
        },
        results={"unique_m_a": "fail", "not_null_m_a": "fail"},
    ),
    "jinja in the settings of data tests": Way(
        {
            "models/m.sql": TWICE,
            "models/m.yml": """\
models:
  - name: m
    columns:
      - name: a
        data_tests:
          - not_null: {config: {enabled: "{{ target.type == 'duckdb' }}"}}
          - unique:
              config:
                severity: "{{ 'warn' if target.name == 'kpi' else 'error' }}"
                warn_if: "{{ '>0' }}"
                tags: ["{{ 'tag' }}"]
                where: "a < {{ var('under', 9) }}"
          - accepted_values: {arguments: {values: [7]}, config: {enabled: "{{ var('no', false) }}"}}
          - accepted_values: {arguments: {values: [1]}, config: {enabled: "{{ env_var('KPI_NO', 'x') == 'y' }}"}}
""",
            "tests/some.sql": "select 1 as a",
            "tests/some.yml": "data_tests: [{name: some, config: {severity: \"{{ 'warn' }}\"}}]",
        },
        results={"not_null_m_a": "pass", "unique_m_a": "warn", "some": "warn"},
    ),
    "jinja in variables": Way(
        {
            "dbt_project.yml": """\
name: own
profile: default
vars:
  year: "{{ run_started_at.strftime('%Y') | length }}"
  of_target: "{{ target.type }}"
  of_other: "{{ var('of_target') }}!"
  block: "{% if true %}k{% endif %}"
  deep: {word: "{{ target.type }}", number: 3}
""",
            "models/m.sql": "select {{ var('year') }} as a, '{{ var('of_other') }}' as b, '{{ var('block') }}' as c,"
            " '{{ var('deep').word }}' as d, {{ var('deep').number }} as e",
        },
        {"main.m": [(4, "duckdb!", "k", "{{ target.type }}", 3)]},
    ),
    "filters that say what a value is": Way(
        {
            "models/m.sql": "{{ config(enabled=(var('switch', true) | as_bool)) }}\n"
            "select {{ '7' | as_number }} as n, '{{ 'x' | as_text }}' as t, '{{ '[1]' | as_native }}' as l,"
            " {{ (['1', '2'] | as_native) | length }} as k, {{ own_number() }} as m",
            "macros/n.sql": "{% macro own_number() %}{{ 5 | as_number }}{% endmacro %}",
        },
        {"main.m": [(7, "x", "[1]", 2, 5)]},
    ),
    "a resource described as another kind": Way(
        {
            "seeds/s.csv": "id\n1\n1\n",
            "seeds/s.yml": "seeds: [{name: s, columns: [{name: id, data_tests: [not_null]}]},"
            " {name: m, columns: [{name: a, data_tests: [not_null]}]}]",
            "models/m.sql": "select 1 as a",
            "models/m.yml": "models: [{name: s, description: x, columns: [{name: id, data_tests: [unique]}]}]",
            "snapshots/n.yml": "snapshots: [{name: m, columns: [{name: a, data_tests: [unique]}]}]",
        },
        results={"unique_s_id": "fail", "not_null_s_id": "pass", "not_null_m_a": "pass", "unique_m_a": "pass"},
        notes=("'s' is a seed and described as a model. Describe it under seeds. Its tests run",),
    ),
    "rows of unit tests with jinja": Way(
        {
            "models/src.sql": "select 1 as a",
            "models/m.sql": "select a + 1 as b from {{ ref('src') }}",
            "models/m.yml": """\
unit_tests:
  - name: adds
    model: m
    overrides: {vars: {four: 4}}
    given:
      - input: ref('src')
        format: sql
        rows: |
          {% set kind = 'integer' if target.type == 'duckdb' else 'int64' %}
          select cast(4 as {{ kind }}) as a
    expect:
      format: sql
      rows: "select {{ 2 + 3 }} as b"
""",
        },
        {"main.m": [(2,)]},
        {"adds": "pass"},
    ),
    "keys of other tools": Way(
        {
            "dbt_project.yml": "name: own\nprofile: default\nmodels: {own: {+zork: 1, zork2: 2, zork3: {a: 1}}}\n",
            "models/m.sql": "{{ config(zork4=4) }}select {{ config.get('zork') }} as a, {{ config.get('zork2') }} as b,"
            " '{{ config.get('zork3') }}' as c, {{ config.get('zork4') }} as d, {{ model.config.monitoring.b }} as e",
            "models/m.yml": """\
zork: 1
models:
  - name: m
    config: {monitoring: {b: 5}}
    owner: someone
    columns:
      - {name: a, type: integer, config: {zork: 1}, data_tests: [{not_null: {config: {zork: 1}}}]}
      - {name: e, constraints: [{type: not_null, zork: 1}]}
sources: [{name: s, config: {zork: 1}, schema: main, tables: [{name: s, zork: 1, config: {zork: 1}}]}]
""",
            "seeds/s.csv": "a\n1\n",
            "seeds/s.yml": "seeds: [{name: s, config: {zork: 1}}]",
        },
        {"main.m": [(1, 2, "None", 4, 5)]},
        {"not_null_m_a": "pass"},
        notes=("'zork' is not supported in a properties file.", "'monitoring' is not supported", "'owner'", "zork2"),
    ),
    "settings that have no effect": Way(
        {
            "models/m.sql": "{{ config(materialized='table', grants={'select': ['x']}, indexes=[{'columns': ['a']}]) }}"
            "select 1 as a",
            "models/n.sql": "select 1 as a",
            "models/m.yml": "models: [{name: n, access: public, config: {query_tag: x, group: y}}]\n"
            "groups: [{name: y, owner: {name: z, email: z@z}}]",
            "snapshots/s.sql": "{% snapshot s %}{{ config(strategy='check', unique_key='a', check_cols='all',"
            " copy_grants=true) }}select 1 as a{% endsnapshot %}",
        },
        {"main.m": [(1,)], "main.n": [(1,)]},
        notes=tuple(
            f"{place}: the setting '{name}' has no effect here."
            for place, name in (
                ("models/m.sql", "grants"),
                ("models/m.sql", "indexes"),
                ("models/m.yml:1", "access"),
                ("models/m.yml:1", "query_tag"),
                ("models/m.yml:1", "group"),
                ("snapshots/s.sql", "copy_grants"),
            )
        ),
        apart=("main.s",),
    ),
    "columns described twice, and columns that are gone": Way(
        {
            "models/m.sql": "select 1 as store_health_score, 2 as b",
            "models/m.yml": """\
models:
  - name: m
    columns:
      - {name: b, description: first, data_tests: [unique]}
      - {name: b, data_tests: [not_null]}
      - {name: health_score, description: was renamed}
""",
        },
        results={"unique_m_b": "pass", "not_null_m_b": "pass"},
        notes=("the column 'b' stands here twice.", "'m' has no column 'health_score'"),
    ),
    "settings of a package much like the project": Way(
        {
            **TOOLS,
            "dbt_project.yml": "name: tools_tests\nprofile: default\nmodels: {tools: {+schema: of_tools}}\n",
            "models/m.sql": "select {{ tools.rate() }} as a",
            "models/m.yml": "models: [{name: mm, columns: [{name: a, data_tests: [not_null]}]}]\nseeds: [{name: m2}]",
        },
        {"main.m": [(2,)]},
        notes=("no model is named 'mm'. Did you mean 'm'? Nothing of this is used.",),
    ),
    "folders by the names that dbt had first": Way(
        {
            "dbt_project.yml": "name: own\nprofile: default\nsource-paths: [sql]\ndata-paths: [data]\n",
            "sql/m.sql": "select * from {{ ref('s') }}",
            "data/s.csv": "a\n1\n",
        },
        {"main.m": [(1,)]},
        notes=("'source-paths' is the old name of 'model-paths'.",),
    ),
    "an argument of a test left out": Way(
        {
            "models/m.sql": TWICE,
            "models/m.yml": "models: [{name: m, columns: [{name: a, data_tests: [{small: {arguments: {most: 5}}}]}]}]",
            "tests/generic/s.sql": "{% test small(model, column_name, most, only_where, more) %}\n"
            "select * from {{ model }} where {{ column_name }} > {{ most }} {% if only_where %} and {{ only_where }}"
            "{% endif %} {{ more }} -- {{ more is none }}\n{% endtest %}",
        },
        results={"small_m_a__5": "pass"},
        notes=("small needs 'only_where'. Without a value it is nothing.",),
    ),
    "null among the accepted values": Way(
        {
            "models/m.sql": "select 'x' as a union all select null union all select 'None'",
            "models/n.sql": "select 'y' as a",
            "models/m.yml": "models:\n"
            "  - {name: m, columns: [{name: a, data_tests: [{accepted_values: {arguments: {values: [x, null]}}}]}]}\n"
            "  - {name: n, columns: [{name: a, data_tests: [{accepted_values: {arguments: {values: [x, null]}}}]}]}\n",
        },
        results={"accepted_values_m_a__x__None": "pass", "accepted_values_n_a__x__None": "fail"},
    ),
    "tests of one name": Way(
        {
            "models/m.sql": "select 'a@b' as mail",
            "models/m.yml": "models: [{name: m, columns: [{name: mail, data_tests:"
            " [{has_sign: {arguments: {sign: '@'}}}, {has_sign: {arguments: {sign: '&'}}}]}]}]",
            "tests/generic/h.sql": "{% test has_sign(model, column_name, sign) %}\n"
            "select * from {{ model }} where not contains({{ column_name }}, '{{ sign }}')\n{% endtest %}",
        },
        results={"has_sign_m_mail___": "fail pass"},
    ),
    "models that switch themselves off": Way(
        {
            "models/on.sql": "select 1 as a",
            "models/off.sql": "{{ config(enabled=var('use_it', false)) }} select * from {{ var('outside_table') }}",
            "models/off2.sql": "{{ config(enabled=false) }}{% if execute %}"
            "{% set found = run_query('select a from ' ~ ref('on')) %}select {{ found.rows[0][0] }} as b{% endif %}",
            "models/off3.sql": "{{ config(enabled=false) }} select * from {{ ref('nowhere') }}",
            "models/off4.sql": "select {{ nowhere() }}\n{{ config(\n  enabled = false\n) }}",
            "models/off5.sql": "{{- config(enabled=false, materialized='table') -}} pivot what is no SQL",
            "models/off.yml": "models: [{name: off3, columns: [{name: q, data_tests: [not_null]}]}]",
            "snapshots/s.sql": "{% snapshot s %}{{ config(enabled=false) }}select {{ nope }}{% endsnapshot %}",
            "analyses/a.sql": "{{ config(enabled=false) }}select {{ run_query('from x') }}",
        },
        {"main.on": [(1,)]},
        apart=("off",),
    ),
    "an analysis that asks a table": Way(
        {
            "models/m.sql": "select 1 as a",
            "analyses/look.sql": "{% if execute %}{% set r = run_query('select 1 from ' ~ ref('m')) %}{% endif %}\n"
            "select * from {{ ref('m') }}",
        },
        {"main.m": [(1,)]},
        notes=("analyses/look.sql:1:", "The analysis is not compiled."),
    ),
    "results of a query without tables": Way(
        {
            f"models/r{number}.sql": f"{{% if execute %}}{RUN}select {text} as f{{% else %}}select 1 as f{{% endif %}}"
            for number, text in enumerate(
                (
                    "{{ t.rows[0]['b'] }}",
                    "{{ t.rows[0].a }}",
                    "{{ t.columns['a'].values() | sum }}",
                    "{% for row in t.rows %}{{ row['a'] }} + {% endfor %}0",
                    "{{ t.columns[1].values()[0] }}",
                    "'{{ t.column_names | join('|') }}'",
                    "{{ t.rows | length }} + {{ t.columns | length }}",
                    "{{ t.rows[0].values()[1] }}{% do t.print_table() %}",
                    "{{ t.columns.keys() | list | length }}",
                    "'{{ t.columns.b.values() | list }}'",
                    "'{% for k, v in t.rows[0].items() %}{{ k }}{{ v }}{% endfor %}'",
                    "{{ t.rows[0].get('c', 9) }}",
                    "{{ t.columns[0].name | length }}",
                    "{{ t.limit(1).rows | length }}",
                    "{{ t.select(['b']).rows[0][0] }}",
                    "{{ 4 if t else 5 }}",
                    "{{ t.rows[-1]['a'] }}",
                )
            )
        }
        | {
            "models/s.sql": "{%- call statement('x', fetch_result=True) -%} select 5 as a {%- endcall -%}"
            "select {{ load_result('x')['table'].columns['a'].values()[0] if execute else 0 }} as f",
            "models/u.sql": "{%- call statement('x', fetch_result=True) -%} select 5 as a {%- endcall -%}"
            "select {{ load_result('x')['data'][0][0] if execute else 0 }} as f",
        },
        {"main.r0": [(2,)], "main.r6": [(4,)], "main.r10": [("a1b2",)], "main.s": [(5,)], "main.u": [(5,)]},
    ),
    "relations as text": Way(
        {
            "models/m.sql": "{{ config(alias='M x', schema='s') }} select '{{ this }}' as a,"
            " '{{ this.include(database=false) }}' as b, '{{ this.include(identifier=false) }}' as c,"
            " '{{ this.quote(identifier=false) }}' as d, '{{ this.without_identifier() }}' as e,"
            " '{{ this | string | length }}' as f, '{{ this.render() }}' as g, '{{ this is mapping }}' as h,"
            " '{{ this.database }}.{{ this.schema }}.{{ this.identifier }}' as i, '{{ this.type }}' as j",
            "models/n.sql": "{{ config(materialized='table') }} -- it's of {{ ref('m') }}\n"
            "select x.a, '{{ ref('m') }}' as me, {{ split(ref('m')) }} as parts /* '{{ this }}' */\n"
            "from {{ ref('m') }} as x join {{ ref('m').include(database=false) }} as y on x.a = y.a"
            " where '-- ' || '{{ this }}' <> $$'{{ this }}'$$ and \"x\".\"a\" is not null",
            "models/k.sql": "{{ config(post_hook=\"comment on view {{ this }} is '{{ this }}'\") }}"
            "select a from \"kpi\".\"main_s\".\"M x\" where '{{ ref('m') }}' = a and {{ ref('m') }}.a <> ''",
            "models/o.sql": "{{ config(materialized='ephemeral') }}select 1 as a",
            "models/p.sql": "select '{{ ref('o') }}' as t, a from {{ ref('o') }}",
            "macros/s.sql": "{% macro split(relation) %}'{{ (relation ~ '').split('.') | length }}'{% endmacro %}",
            "models/m.yml": "models: [{name: n, data_tests: [{same: {arguments: {to: ref('m')}}}]}]",
            "tests/generic/same.sql": "{% test same(model, to) %}"
            'select \'{{ model }}\' as t where \'{{ model }} {{ to }}\' <> \'"kpi"."main"."n" "kpi"."main_s"."M x"\''
            "{% endtest %}",
        },
        {"main.n": [('"kpi"."main_s"."M x"', '"kpi"."main_s"."M x"', "3")], "main.p": [("__dbt__cte__o", 1)]},
        {"same_n_ref_m_": "pass"},
    ),
    "the graph": Way(
        {
            "models/m.sql": "{% if execute %}{% for n in graph.nodes.values() | sort(attribute='unique_id') %}"
            "select '{{ n.unique_id }}' as id, '{{ n.resource_type }} {{ n.name }} {{ n.config.materialized }}"
            " {{ n.alias }} {{ n.schema if n.resource_type != 'test' }} {{ n.tags | join('+') }}"
            " {{ n.depends_on.nodes | join('+')"
            " if n.name not in ('m', 'k') }} {{ n.fqn | join('.') }} {{ n.relation_name }}"
            " {{ n.columns.keys() | join('+')"
            " if n.resource_type != 'test' }} {{ n.description }} {{ n.config.meta.get('who', '') }}"
            " {{ n.original_file_path }}' as t"
            " union all {% endfor %}{% endif %}select 'end', '{{ graph.sources.keys() | join('+') if execute }}'",
            "models/k.sql": "{{ config(materialized='table', tags=['x']) }}"
            "select {{ graph.nodes.values() | selectattr('resource_type', 'equalto', 'model') | list | length"
            " if execute else 0 }} as n, {{ ('model.own.b' in graph.nodes) | string if execute else 0 }} as is_there",
            "models/a/b.sql": "select 1 as a from {{ ref('s') }}",
            "models/a/c.sql": "select * from {{ ref('b') }} join {{ ref('k') }} on true",
            "models/a/b.yml": "models: [{name: b, description: B, config: {meta: {who: me}, tags: [y]},"
            " columns: [{name: a, data_tests: [unique]}]}]\n"
            "sources: [{name: o, schema: main, tables: [{name: s}]}]",
            "models/a/off.sql": "{{ config(enabled=false) }}select 1",
            "seeds/s.csv": "a\n1\n",
            "tests/t.sql": "select 1 where {{ graph.nodes | length if execute else 0 }} < 3",
        },
        {"main.k": [(4, True)]},
        {"unique_b_a": "pass", "t": "pass"},
    ),
    "flags and selected resources": Way(
        {
            "models/m.sql": "select '{{ flags.FULL_REFRESH }} {{ should_full_refresh() }} {{ flags.WHICH }}"
            " {{ flags.STORE_FAILURES }} {{ flags.nope }} {{ invocation_args_dict.which }}' as a,"
            " '{{ selected_resources | sort | join(',') }}' as b, {{ full() }} as c",
            "models/m.yml": "models: [{name: m, columns: [{name: a, data_tests: [not_null]}]}]",
            "macros/f.sql": "{% macro full() %}{{ 1 if flags.FULL_REFRESH else 0 }}{% endmacro %}",
        },
        {"main.m": [("False False build False  build", "model.own.m,test.own.not_null_m_a.afd377d77e", 0)]},
    ),
    "flags of a full refresh": Way(
        {
            "models/m.sql": "select '{{ flags.FULL_REFRESH }} {{ should_full_refresh() }}' as a",
        },
        {"main.m": [("True True",)]},
        arguments="--full-refresh",
    ),
    "odd values of seeds": Way(
        {
            "seeds/numbers.csv": "id,a,b,c,d,e\n0,1_000,inf,-2147483648,1_0.5,x\n1,5,1.5,0,nan,1_0\n",
            "seeds/singles.csv": "id,v,w\n0,x,'a''b'\n1,'',it's\n2,'yy',\n",
            "seeds/mixed.csv": "id,v\n0,''\n1,\"x, y\"\n",
            "seeds/lone.csv": "id,v\n0,''\n1,'\n",
            "seeds/blank.csv": "a,b\n1,x\n\n2,y\n\n",
            "seeds/one.csv": "a\n1\n\n2\n",
            "seeds/one_text.csv": "a\nx\n\n",
        },
        {
            "main.singles": [(0, "x", "a'b"), (1, None, "it's"), (2, "yy", None)],
            "main.mixed": [(0, "''"), (1, "x, y")],
            "main.lone": [(0, "''"), (1, "'")],
            "main.blank": [(1, "x"), (2, "y")],
            "main.one": [(1,), (2,), (None,)],
        },
    ),
    "tests that name what is not there": Way(
        {
            "models/m.sql": "select 1 as a",
            "models/off.sql": "{{ config(enabled=false) }}select 1 as a",
            "models/m.yml": """\
models:
  - name: m
    columns:
      - name: a
        data_tests:
          - unique
          - relationships: {arguments: {to: ref('gone'), field: a}}
          - relationships: {arguments: {to: "source('gone', 'too')", field: a}}
          - relationships: {arguments: {to: ref('off'), field: a}}
""",
            "tests/t.sql": "select * from {{ ref('gone') }}",
            "tests/u.sql": "select * from {{ ref('off') }}",
            "tests/v.sql": "select * from {{ ref('m') }} where false",
        },
        {"main.m": [(1,)]},
        {"unique_m_a": "pass", "v": "pass"},
        notes=(
            "ref('gone'): there is no such model or seed. There is: m, off. The test is not run.",
            "source('gone', 'too'): there is no such source table. The test is not run.",
            "ref('off'): it is disabled (enabled: false). The test is not run.",
            "tests/t.sql:1:",
            "tests/u.sql:1:",
        ),
    ),
    "a macro that names the database": Way(
        {
            "models/m.sql": "{{ config(database='elsewhere') }}select 1 as a",
            "models/n.sql": "select a from {{ ref('m') }}",
            "macros/d.sql": "{% macro generate_database_name(custom_database_name=none, node=none) %}\n"
            "{{ target.database }}\n{% endmacro %}",
        },
        {"main.n": [(1,)]},
    ),
    "a source whose seed is disabled": Way(
        {
            "dbt_project.yml": "name: own\nprofile: default\nseeds: {own: {+enabled: \"{{ var('load', false) }}\"}}\n",
            "seeds/s.csv": "a\n1\n",
            "models/s.yml": "sources: [{name: o, schema: main, tables: [{name: s}]}]",
            "models/m.sql": "select 1 as a",
        },
        {"main.m": [(1,)]},
        notes=("nothing loads or reads the source 'o.s'.",),
    ),
    "tables of the project named outright": Way(
        {
            "seeds/raw_calls.csv": "id\n1\n2\n",
            "seeds/Codes.csv": "id\n1\n",
            "models/a_first.sql": "select id from main.raw_calls",
            "models/b.sql": "{{ config(materialized='table') }}with raw_calls as (select 3 as id)\n"
            "select raw_calls.id, c.id as code, d.id as other\n"
            'from raw_calls cross join CODES as c cross join "main"."a_first" as d',
            "models/c.sql": "{{ config(materialized='incremental') }}select id from raw_calls"
            "{% if is_incremental() %} where id > (select max(id) from {{ this }}){% endif %}",
            "models/d.sql": "{{ config(materialized='table') }}select raw_calls.id from kpi.main.raw_calls",
        },
        {
            "main.a_first": [(1,), (2,)],
            "main.b": [(3, 1, 1), (3, 1, 2)],
            "main.c": [(1,), (2,)],
            "main.d": [(1,), (2,)],
        },
        notes=(
            "models/b.sql:3:27: the table 'CODES' is named outright; write {{ ref('Codes') }}. It is read as that.",
        ),
        apart=("main.a_first", "main.b", "main.c", "main.d", "model."),  # dbt may run them before what they read
    ),
    "a folder of models that is not there": Way(
        {
            "dbt_project.yml": "name: own\nprofile: default\nmodel-paths: [models, sql]\n",
            "models/m.sql": "select 1 as a",
        },
        {"main.m": [(1,)]},
        notes=("dbt_project.yml:3: 'model-paths' names sql, which is no folder. No models are read from it.",),
    ),
    "tests of quoted columns": Way(
        {
            "models/m.sql": 'select 1 as "Branch Id", 1 as "parent"',
            "models/m.yml": """\
models:
  - name: m
    columns:
      - {name: Branch Id, quote: true, data_tests: [unique, not_null, {seen: {arguments: {least: 1}}}]}
      - {name: parent, data_tests: [{relationships: {arguments: {to: ref('m'), field: '"Branch Id"'}}}]}
sources: [{name: s, schema: main, tables: [{name: m, columns: [{name: Branch Id, quote: true, data_tests: [unique]}]}]}]
""",
            "tests/generic/s.sql": "{% test seen(model, column_name, least) %}\n"
            "select * from {{ model }} where {{ column_name }} < {{ least }}\n{% endtest %}",
        },
        results={
            "unique_m__Branch_Id_": "pass",
            "not_null_m__Branch_Id_": "pass",
            "relationships_m_parent___Branch_Id___ref_m_": "pass",
            "seen_m__Branch_Id___1": "pass",
        },
        apart=("source_unique",),
    ),
    "models that DuckDB takes, and that are no SELECT": Way(
        {
            "models/v.sql": "values (1, 'a'), (2, 'b')",
            "models/w.sql": "-- by name\n{{ config(materialized='table') }}\nvalues (1, 'a')",
            "models/s.sql": "{{ config(materialized='table') }}summarize select 1 as a",
            "models/u.sql": "unpivot (select id, 5 as v, 6 as w from {{ ref('i') }}) on v, w into name k value x",
            "models/i.sql": "select 1 as id, 'a' as k, 5 as v",
            "models/p.sql": "pivot {{ ref('i') }} on k in ('a', 'b') using sum(v)",
            "models/q.sql": "select id, a from {{ ref('p') }}",
            "models/f.sql": "from {{ ref('v') }}",
        },
        {
            "main.v": [(1, "a"), (2, "b")],
            "main.w": [(1, "a")],
            "main.u": [(1, "v", 5), (1, "w", 6)],
            "main.p": [(1, 5, None)],
            "main.q": [(1, 5)],
            "main.f": [(1, "a"), (2, "b")],
        },
    ),
    "two columns of one name": Way(
        {
            "models/m.sql": "select 1 as id, 'x' as a",
            "models/n.sql": "select m.*, o.* from {{ ref('m') }} as m join {{ ref('m') }} as o on m.id = o.id",
            "models/o.sql": "{{ config(materialized='table') }}select 1 as a, 2 as \"A\", 3 as a, 4 as a_1",
            "models/p.sql": "select id_1, a_1 from {{ ref('n') }} cross join (select 1 as q from {{ ref('o') }}) as o",
            "models/n.yml": "models: [{name: n, columns: [{name: id, data_tests: [unique]},"
            " {name: a_1, data_tests: [not_null]}]}]",
        },
        {"main.n": [(1, "x", 1, "x")], "main.o": [(1, 2, 3, 4)]},
        {"unique_n_id": "pass", "not_null_n_a_1": "pass"},
        notes=(
            "models/n.sql:1: the model has two columns named 'a'. DuckDB gives what comes later other names:"
            " 'id_1', 'a_1'.",
        ),
    ),
    "models that read files outright": Way(
        {
            "data/calls.csv": "id,line\n1,a\n2,b\n",
            "data/a_1.json": '[{"k": 1}]',
            "data/a_2.json": '[{"k": 2}]',
            "models/m.sql": "{{ config(materialized='table') }}\nselect * from read_csv_auto('data/calls.csv')",
            "models/n.sql": "{{ config(materialized='table') }}\n{% set folder = 'data' %}"
            "with c as (select * from read_csv('{{ folder }}/calls.csv', all_varchar = true))\n"
            "select c.id || j.k as a from c join read_json('{{ folder }}/a_*.json') as j on j.k::varchar = c.id",
            "models/o.sql": "{{ config(materialized='incremental') }}select c.line from 'data/calls.csv' as c"
            " {% if is_incremental() %} where line not in (select line from {{ this }}) {% endif %}",
            "models/p.sql": "{{ config(materialized='table') }}"
            "select 'from ''data/calls.csv''' as t from {{ ref('m') }}",
            "models/q.sql": "{{ config(materialized='ephemeral') }}select * from \"data/calls.csv\"",
            "models/s.sql": "{{ config(materialized='table') }}select * from read_csv(\"data/calls.csv\")",
            "models/r.sql": "{{ config(materialized='table') }}select id from {{ ref('q') }}",
            "models/m.yml": TESTS_OF_A.replace("{name: a,", "{name: id,"),
        },
        {
            "main.m": [(1, "a"), (2, "b")],
            "main.n": [("11",), ("22",)],
            "main.o": [("a",), ("b",)],
            "main.p": [("from 'data/calls.csv'",)] * 2,
            "main.r": [(1,), (2,)],
            "main.s": [(1, "a"), (2, "b")],
        },
        {"unique_m_id": "pass", "not_null_m_id": "pass"},
        notes=("models/m.sql:2: read_csv_auto('data/calls.csv') is read once, as the table files.calls_",),
        apart=("files.",),
    ),
    "files by their names": Way(
        {
            "models/UPPER.SQL": "select 2 as a",
            "models/.hidden.sql": "select 3 as a",
            "models/#emacs.sql": "select 3 as a",
            "models/~backup.sql": "select 3 as a",
            "models/.hid/in_hidden.sql": "select 4 as a",
            "models/_base/in_base.sql": "select 5 as a",
            "models/empty.sql": "",
            "models/blank.sql": "  \n\n",
            "models/with-dash.sql": "select 6 as a",
            "models/with.dot.sql": "select 7 as a",
            "models/comment.yml": "# nothing\n",
            "models/none.yml": "\n",
            "models/.hidden.yml": "models: [{name: UPPER, columns: [{name: a, data_tests: [unique]}]}]",
            "models/M.YML": "models: [{name: UPPER, columns: [{name: a, data_tests: [not_null]}]}]",
            "models/uses.sql": "select {{ upper_macro() }} as a",
            "macros/U.SQL": "{% macro upper_macro() %}1{% endmacro %}",
            "macros/.h.sql": "{% macro upper_macro() %}2{% endmacro %}",
            "seeds/S.CSV": "a\n1\n",
            "tests/nothing.sql": "\n",
            "tests/T.SQL": "select 1 as a where false",
        },
        {"main.UPPER": [(2,)], "main.in_hidden": [(4,)], "main.in_base": [(5,)], "main.uses": [(1,)], "main.S": [(1,)]},
        {"not_null_UPPER_a": "pass", "T": "pass"},
        notes=("models/empty.sql:1: a model is one SELECT, here is none. The file is passed over.",),
    ),
}


def write(root: Path, way: Way) -> Path:
    files = {"dbt_project.yml": "name: own\nversion: '1.0'\nprofile: default\n", **way.files}
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (root / "arguments").write_text(way.arguments, encoding="utf-8")
    return root


def contents(database: Path) -> dict[str, tuple[list[tuple[str, str]], list[tuple[Any, ...]]]]:
    """Columns with their types, and rows in order, of every table and view."""
    found = {}
    if not database.is_file():
        return {}
    with duckdb.connect(str(database), read_only=True) as con:
        sql = "select table_schema, table_name from information_schema.tables where table_catalog = 'kpi' order by 1, 2"
        for schema, name in con.execute(sql).fetchall():
            place = f'"{schema}"."{name}"'
            columns = [row[:2] for row in con.execute(f"describe {place}").fetchall()]
            found[f"{schema}.{name}"] = (columns, con.execute(f"select * from {place} order by all").fetchall())
    return {place: one for place, one in found.items() if place not in OWN}


def build(root: Path, arguments: str = "") -> tuple[Path, list[str]]:
    """Build a project, whatever its tests say. Returns the folder of the build, and what was told."""
    message: list[str] = []
    options = Options(TODAY, full_refresh="--full-refresh" in arguments, validate=False, unit_tests=True)
    try:
        refresh(root, options, message.append)
    except KpiError as error:
        message.append(str(error))
    builds = sorted((root / "warehouse/builds").glob("*/kpi.duckdb"))
    assert builds, message
    return builds[-1].parent, message


def statuses(results: Mapping[str, str]) -> dict[str, str]:
    """Statuses of tests by the name before the hash; of two with one name, both."""
    found: dict[str, str] = {}
    for unique_id, status in sorted(results.items()):
        if unique_id.startswith(("test.", "unit_test.")):
            name = unique_id.split(".")[2 if unique_id.startswith("test.") else 3]
            found[name] = f"{found[name]} {status}" if name in found else status
    return found


@pytest.mark.parametrize("name", WAYS)
def test_it_builds_to_what_is_said_of_it(tmp_path: Path, name: str) -> None:
    way = WAYS[name]
    folder, message = build(write(tmp_path, way), way.arguments)
    found = contents(folder / "kpi.duckdb")
    assert {place: found[place][1] if place in found else None for place in way.tables} == dict(way.tables), message
    results = json.loads((folder / "run_results.json").read_text(encoding="utf-8"))["results"]
    judged = statuses({result["unique_id"]: result["status"] for result in results})
    assert {test: judged.get(test) for test in way.results} == dict(way.results), message
    notes = "\n".join(check_project(load_project(tmp_path)).notes) if way.notes else ""
    assert [note for note in way.notes if note not in notes] == [], notes


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Every project built by kpi and by dbt: the folders of kpi's build and of dbt's."""
    if not DBT.is_file():
        message = f"{DBT} is not there. Set it up: make dbt"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    top = tmp_path_factory.mktemp("ways")
    ours = {}
    for number, (name, way) in enumerate(WAYS.items()):
        ours[name] = build(write(top / f"ours/{number}", way), way.arguments)[0]
        write(top / f"theirs/{number}", way)
    python = DBT.with_name("python")
    subprocess.run([python, ROOT / "tests/support/dbt_builds.py", top / "theirs"], check=True, capture_output=True)
    return {name: (ours[name], top / f"theirs/{number}/target") for number, name in enumerate(WAYS)}


@pytest.mark.xdist_group("dbt")
def test_dbt_builds_the_same(both: dict[str, tuple[Path, Path]]) -> None:
    different = {}
    for name, (ours, theirs) in both.items():
        answers = json.loads((theirs / "answers.json").read_text(encoding="utf-8"))
        left, right = contents(ours / "kpi.duckdb"), contents(theirs / "kpi.duckdb")
        results = json.loads((ours / "run_results.json").read_text(encoding="utf-8"))["results"]
        judged = {result["unique_id"]: result["status"] for result in results}
        apart = WAYS[name].apart
        for what, one, other in (
            *((place, left.get(place), right.get(place)) for place in sorted({*left, *right})),
            *(
                (test, judged.get(test), answers["results"].get(test))
                for test in sorted({*judged, *answers["results"]})
            ),
        ):
            if repr(one) != repr(other) and not any(part in what for part in apart):
                different[f"{name}: {what}"] = (one, other, answers["exception"])
    assert different == {}


@pytest.mark.parametrize(
    "files",
    [
        {"models/m.sql": "{{ config(database='elsewhere') }}select 1 as a"},
        {"models/m.sql": "select 1 as a", "models/m.yml": "models: [{name: m, config: {database: elsewhere}}]"},
        {
            "models/m.sql": "select 1 as a",
            "dbt_project.yml": "name: own\nprofile: default\nmodels: {own: {+database: elsewhere}}\n",
        },
    ],
)
def test_another_database_is_refused(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(KpiError, match="database='elsewhere': there is one database here, 'kpi'"):
        check_project(load_project(write(tmp_path, Way(files))))


def test_a_macro_that_names_another_database_is_refused(tmp_path: Path) -> None:
    macro = "{% macro generate_database_name(custom_database_name=none, node=none) %} lake {% endmacro %}"
    way = Way({"models/m.sql": "select 1 as a", "macros/d.sql": macro})
    with pytest.raises(KpiError, match=r"generate_database_name\(\) gives 'lake': there is one database here, 'kpi'"):
        check_project(load_project(write(tmp_path, way)))


def test_the_freshness_of_a_source_that_is_no_feed_is_noted(tmp_path: Path) -> None:
    source = "freshness: {warn_after: {count: 1, period: hour}}, loaded_at_field: a, tables: [{name: s}]"
    way = Way(
        {"seeds/s.csv": "a\n2020-01-01\n", "models/s.yml": f"sources: [{{name: o, schema: main, {source}}}]"},
    )
    notes = check_project(load_project(write(tmp_path, way))).notes
    assert any("the source 'o.s': its freshness is not looked at" in note for note in notes)


def test_a_unit_test_that_cannot_run_hides_no_other_verdict(tmp_path: Path) -> None:
    rows = "given: [{input: ref('src'), format: sql, rows: 'select %s'}], expect: {rows: [{b: %s}]}"
    units = "".join(
        f"  - {{name: {name}, model: m, {rows % given}}}\n"
        for name, given in (
            ("a_broken", ("nope", 1)), ("b_right", ("1 as a", 2)), ("c_wrong", ("1 as a", 3)), ("d_broken", ("1 +", 1)),
        )
    )  # fmt: skip
    way = Way(
        {
            "models/src.sql": "select 1 as a",
            "models/m.sql": "select a + 1 as b from {{ ref('src') }}",
            "models/u.yml": f"unit_tests:\n{units}",
        }
    )
    graph = check_project(load_project(write(tmp_path, way)))
    results = run_unit_tests(graph, graph.unit_tests)
    assert [result.status for result in results] == ["error", "pass", "fail", "error"]
    with pytest.raises(CheckFailed, match=r"(?s)3 of 4 unit tests failed.*a_broken.*nope.*c_wrong.*d_broken"):
        refuse_failing(results)
    with pytest.raises(BuildErrors, match=r"(?s)a_broken.*d_broken"):
        refuse_failing([result for result in results if result.status != "fail"])
    done = CliRunner().invoke(cli, ["test", "--project-dir", str(tmp_path)])
    assert [line[:13] for line in done.output.splitlines() if "_broken" in line] == ["FAIL a_broken", "FAIL d_broken"]
    assert "Ran 4 unit tests: 3 failed." in done.output
