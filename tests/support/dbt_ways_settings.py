"""Ways with tests, settings, variables and descriptions."""

from __future__ import annotations

from dbt_way import Way

TOOLS = {
    "packages.yml": "packages: [{local: dbt_packages/tools}]",
    "dbt_packages/tools/dbt_project.yml": "name: tools\nversion: '1.0'\nconfig-version: 2\n",
    "dbt_packages/tools/macros/rate.sql": "{% macro rate() %}2{% endmacro %}\n"
    "{% macro twice() %}(2 * {{ tools.rate() }}){% endmacro %}",
}
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
}
