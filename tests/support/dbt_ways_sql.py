"""Ways with models, macros, seeds and files."""

from __future__ import annotations

from dbt_way import Way

RUN = "{% set t = run_query('select 1 as a, 2 as b union all select 3, null order by 1') %}"
TESTS_OF_A = "models: [{name: m, columns: [{name: a, data_tests: [unique, not_null]}]}]"

WAYS: dict[str, Way] = {
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
