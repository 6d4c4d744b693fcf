"""Every mistake in a model or a singular test is told before anything runs, with file, line and the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpi.engine.compile import check_project
from kpi.project.project import load_project
from mistakes import FROM, M, told
from small_project import write

# DuckDB renames the second column of a name in a table or view; into a table that grows it cannot be put.
INCREMENTAL = "{{ config(materialized='incremental') }}"
A_FILE = " Describe the file as a source (config.meta.external_location) and read that."


def test_the_small_project_is_right(tmp_path: Path) -> None:
    graph = check_project(load_project(write(tmp_path)))
    assert [node.name for node in graph.built()] == ["lines", "stg_calls", "calls_by_line"]
    assert [str(node.relation) for node in graph.built()] == ["seeds.lines", "staging.stg_calls", "marts.calls_by_line"]
    assert [node.materialized for node in graph.built()] == ["seed", "view", "table"]
    assert len(graph.tests()) == 4


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        # Tables.
        (
            "select line\nfrom staging.stg_calls",
            "2: the table 'staging.stg_calls' is named outright; write {{ ref('stg_calls') }}.",
        ),
        ("select line\nfrom stg_cals", "2: the table 'stg_cals' is named outright; write {{ ref('stg_calls') }}."),
        (
            "with a as (select 1 as x)\nselect a.x\nfrom a, raw.calls",
            "3: the table 'raw.calls' is named outright; write {{ source('raw', 'calls') }}.",
        ),
        (
            "select 1 as x from quite_another",
            "1: the table 'quite_another' is named outright; write ref() or source().",
        ),
        (
            "select (\n    select max(line) from stg_calls\n) as x " + FROM,
            "2: the table 'stg_calls' is named outright; write {{ ref('stg_calls') }}.",
        ),
        ("select 1 as x\nfrom {{ this }}", "2: a model cannot read itself."),
        ("select 1 as x\nfrom {{ ref('m') }}", "2: these models depend on each other in a circle: m -> m."),
        (
            "select 1 as x\nfrom {{ ref('stg_cals') }}",
            "2: ref('stg_cals'): there is no such model or seed. Did you mean 'stg_calls'?",
        ),
        (
            "select 1 as x\nfrom {{ ref('other', 'stg_calls') }}",
            "2: ref('other', 'stg_calls'): there is no package 'other' here.",
        ),
        (
            "select 1 as x\nfrom {{ ref('stg_calls', version=2) }}",
            "2: ref('stg_calls', v=2): 'stg_calls' has no versions.",
        ),
        (
            "select 1 as x\nfrom {{ source('raw', 'cals') }}",
            "2: source('raw', 'cals'): there is no such source table. Did you mean 'raw.calls'?",
        ),
        ("select *\nfrom read_csv('x.csv')", "2: a model reads ref() and source() only, not read_csv()." + A_FILE),
        (
            f"select a.line\n{FROM} as a,\nlateral read_csv('x.csv') as b",
            "3: a model reads ref() and source() only, not read_csv()." + A_FILE,
        ),
        ("select *\nfrom 'x.csv'", "2: a model reads ref() and source() only, not the file 'x.csv'." + A_FILE),
        ("select *\nfrom query('select 1')", "2: a model reads ref() and source() only, not query()."),
        (
            "with stg_calls as (\n    select * from stg_calls\n)\nselect line from stg_calls",
            "2: the table 'stg_calls' is named outright; write {{ ref('stg_calls') }}.",
        ),
        (
            "with a as (select 1 as x),\nb as (\n  with a as (select 2 as x)\n  select x from a\n)\nselect x from b",
            "3: the CTE 'a' hides another of that name. Rename one of them.",
        ),
        ("with a as (select 1 as x), a as (select 2 as x)\nselect x from a", '1: Duplicate CTE name "a".'),
        (
            f"with a as (select line, 1 as n {FROM})\nselect * from (\n    pivot a on line using sum(n)\n)",
            "3: PIVOT takes its columns from the data, so what they are is not known. Name them: ON x IN ('a', 'b').",
        ),
        # Columns, functions and types.
        (
            "select\n    line,\n    waited_second\n" + FROM,
            "3: there is no column 'waited_second'. Did you mean 'waited_seconds'?",
        ),
        (
            f"select line\n{FROM}\nwhere waited_second > 3",
            "3: there is no column 'waited_second'. Did you mean 'waited_seconds'?",
        ),
        (
            f"select a.line\n{FROM} as a\ninner join {{{{ ref('lines') }}}} as b on a.line = b.lin",
            "3: 'b' has no column 'lin'. Did you mean 'line'?",
        ),
        (
            f"select a.line\n{FROM} as a\ninner join {{{{ ref('lines') }}}} as b\nusing (lin)",
            "4: there is no column 'lin' on both sides of the join. Did you mean 'line'?",
        ),
        (f"select line\n{FROM}\ngroup by linee", "3: there is no column 'linee'. Did you mean 'line'?"),
        (
            f"with a as (\n    select line as service {FROM}\n)\nselect servce\nfrom a",
            "4: there is no column 'servce'. Did you mean 'service'?",
        ),
        (
            f"with a as (select line as service {FROM})\nselect\n    x.servce\nfrom a as x",
            "3: 'x' has no column 'servce'. Did you mean 'service'?",
        ),
        (
            f"select s.servce\nfrom (select line as service {FROM}) as s",
            "1: 's' has no column 'servce'. Did you mean 'service'?",
        ),
        (
            f"select x.x\nfrom (select line {FROM}) as x",
            "1: 'x' has no column 'x'.",
        ),
        ("select\n    name_e\nfrom {{ ref('lines') }}", "2: there is no column 'name_e'. Did you mean 'name_en'?"),
        (f"select b.line\n{FROM} as a", "1: there is no table or alias 'b' here. The nearest is 'a'."),
        (f"{INCREMENTAL}select line,\n    LINE\n{FROM}", "2: the model has two columns named 'line'."),
        (
            f"select line, count(*) as n\n{FROM}",
            "1: the column 'line' is neither grouped nor in an aggregate. Add it to group by, or aggregate it.",
        ),
        (
            f"select line\n{FROM}\nwhere waited_seconds > cast(arrived_on as timestamp)",
            "3: BIGINT cannot be compared with TIMESTAMP. Write the cast that is meant.",
        ),
        (f"select\n    summ(waited_seconds) as n\n{FROM}", "2: there is no function 'summ'. Did you mean 'sum'?"),
        (
            f"select\n    sum(line) as n\n{FROM}",
            "2: no function takes sum(VARCHAR). There is: sum(arg DECIMAL) -> DECIMAL;"
            " sum(arg BOOLEAN, /) -> HUGEINT; sum(arg SMALLINT, /) -> HUGEINT; ….",
        ),
        (
            f"select\n    cast(line as bigintt) as n\n{FROM}",
            "2: there is no type 'bigintt'. Did you mean 'bigint'?",
        ),
        # One SELECT.
        ("select 1 as x;\n\nselect 2 as x", "3: a model is one SELECT, here a second one begins."),
        ("-- why\ninsert into x select 1", "2: a model is one SELECT, here is INSERT."),
        ("create table x as select 1 as y", "1: a model is one SELECT, here is CREATE."),
        ("explain select 1", "1: a model is one SELECT, here is EXPLAIN."),
        ("pragma version", "1: a model is one SELECT, here is PRAGMA."),
        (
            "with a as (\n    insert into b values (1) returning *\n)\nselect 1 as x",
            "2: a model only selects, INSERT is not allowed.",
        ),
        ("-- nothing yet\n", "1: a model is one SELECT, here is none."),
        ("", "1: a model is one SELECT, here is none."),
        (f"select\n    line,\n    count(* as n\n{FROM}", '3: not SQL: syntax error at or near "as".'),
        ("select\n    'abc as x", "2: not SQL: unterminated string literal."),
        # Jinja and configuration.
        (f"select {{{{ shar(1, 2) }}}} as n\n{FROM}", "1: there is no macro or variable 'shar'. Did you mean 'share'?"),
        (
            f"select\n    {{{{ share(1, hole=3) }}}} as n\n{FROM}",
            "2: the template fails: macro 'share' takes no keyword argument 'hole'.",
        ),
        (
            f"select\n    {{{{ share(1) }}}} as n\n{FROM}",
            "2: Jinja: parameter 'whole' was not provided. (in macros/macros.sql:5)",
        ),
        (
            "select {{ env_var('KPI_NOT_SET') }} as x",
            "1: env_var('KPI_NOT_SET'): this environment variable is not set. Set it, or give a default.",
        ),
        (
            "select {{ var('limit_second') }} as x",
            "1: var('limit_second') has no value in dbt_project.yml and no default. Did you mean 'limit_seconds'?",
        ),
        (
            "\n{% snapshot x %}\nselect 1\n{% endsnapshot %}",
            "2: {% snapshot %} is not supported here. Put it into an .sql file of the folder snapshots.",
        ),
        ("{% fro x in y %}{% endfor %}", "1: {% fro %} is not supported. Did you mean 'for'?"),
        ("select 1 as x\n{{ ref('a' ", "2: Jinja: unexpected end of template, expected ','."),
        (
            "\n{{ config(materialised='view') }}\nselect 1 as x",
            "2: config(materialised=...) is not supported here. Did you mean 'materialized'?",
        ),
        (
            "{{ config(materialized='materialized_view') }}\nselect 1 as x",
            "1: materialized='materialized_view' is not supported."
            " There is: ephemeral, external, incremental, table, view.",
        ),
        ("{{ config(enabled='no') }}\nselect 1 as x", "1: enabled must be true or false, not 'no'."),
        (
            "{{ config(strategy='check') }}\nselect 1 as x",
            "1: config(strategy=...) is not supported here.",
        ),
    ],
)
def test_a_mistake_in_a_model(tmp_path: Path, sql: str, message: str) -> None:
    assert told(tmp_path, {M: sql}) == f"{M}:{message}"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (
            "select *\nfrom marts.calls_by_line",
            "2: the table 'marts.calls_by_line' is named outright; write {{ ref('calls_by_line') }}.",
        ),
        (
            "-- why\nselect lin\nfrom {{ ref('calls_by_line') }}",
            "2: there is no column 'lin'. Did you mean 'line'?",
        ),
        ("select 1 as x;\nselect 2 as x", "2: a test is one SELECT, here a second one begins."),
        ("\n{{ config(severity='bad') }}\nselect 1 as x", "2: severity must be 'error' or 'warn', not 'bad'."),
        (
            "{{ config(materialized='table') }}\nselect 1 as x",
            "1: config(materialized=...) is not supported here.",
        ),
        (
            "select line from {{ this }}",
            "1: there is no macro or variable 'this'.",
        ),
    ],
)
def test_a_mistake_in_a_singular_test(tmp_path: Path, sql: str, message: str) -> None:
    assert told(tmp_path, {"tests/assert_x.sql": sql}) == f"tests/assert_x.sql:{message}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {M: "select line\n\nfrom {{ ref('n') }}", "models/marts/n.sql": "select line\nfrom {{ ref('m') }}"},
            "models/marts/m.sql:3: these models depend on each other in a circle: m -> n -> m.",
        ),
        (
            {"models/staging/calls_by_line.sql": "select 1 as x"},
            "models/staging/calls_by_line.sql:1: 'calls_by_line' is also the name of models/marts/calls_by_line.sql."
            " Rename one of them.",
        ),
        (
            {"seeds/stg_calls.csv": "a\n1\n"},
            "seeds/stg_calls.csv:1: 'stg_calls' is also the name of models/staging/stg_calls.sql. Rename one of them.",
        ),
        (
            {"models/marts/By-Line.sql": f"{INCREMENTAL}select 1 as x, 2 as x"},
            "models/marts/By-Line.sql:1: the model has two columns named 'x'.",
        ),
        ({M: b"select 1 as x\n-- \xe4\n"}, "models/marts/m.sql:2: not UTF-8 (invalid continuation byte at byte 17)."),
        (
            {"macros/n.sql": "\n{% macro share(a) %}{{ a }}{% endmacro %}"},
            "macros/n.sql:2: the macro 'share' is in macros/macros.sql too. Rename one of them.",
        ),
        (
            {
                "macros/n.sql": "{% macro ref(a) %}"
                "{{ return(builtins.ref(a ~ ('z' if a == 'line' else ''))) }}{% endmacro %}",
                M: "{{ ref('line') }}",
            },
            "models/marts/m.sql:1: ref('linez'): there is no such model or seed. Did you mean 'lines'?"
            " (in macros/n.sql:1)",
        ),
        (
            {"macros/n.sql": "{% macro a() %}\nselect 1 as x from {{ ref('nope' }}\n{% endmacro %}"},
            "macros/n.sql:2: Jinja: unexpected '}', expected ')'",
        ),
        (
            {
                "macros/n.sql": "{% macro all_calls() %}\nselect line from {{ ref('stg_cals') }}\n{% endmacro %}",
                M: "\n\n{{ all_calls() }}",
            },
            "models/marts/m.sql:3: ref('stg_cals'): there is no such model or seed. Did you mean 'stg_calls'?"
            " (in macros/n.sql:2)",
        ),
        (
            {"models/staging/stg_calls.sql": "{{ config(enabled=false) }}\nselect 1 as line"},
            "models/marts/calls_by_line.sql:5: ref('stg_calls'): it is disabled (enabled: false).",
        ),
        (
            {"models/staging/more.yml": "seeds:\n  - name: lines\n    config: {enabled: false}\n"},
            "models/staging/calls.yml:23: ref('lines'): it is disabled (enabled: false).",
        ),
        (
            {"tests/more/assert_in_time_is_part.sql": "select 1 as x"},
            "tests/more/assert_in_time_is_part.sql:1: the test assert_in_time_is_part is also at"
            " tests/assert_in_time_is_part.sql:1.",
        ),
        ({"seeds/lines.csv": ""}, "seeds/lines.csv:1: the seed is empty; its first line must name the columns."),
        ({"seeds/lines.csv": "line,line\na,b\n"}, "seeds/lines.csv:1: the header has 'line' twice."),
        ({"seeds/lines.csv": "line,\na,b\n"}, "seeds/lines.csv:1: the header has a column without a name."),
        ({"seeds/lines.csv": "line,n\na,b\nc\n"}, "seeds/lines.csv:3: the header has 2 columns, this row 1."),
        ({"seeds/lines.csv": "line,n\na,b,c\n"}, "seeds/lines.csv:2: the header has 2 columns, this row 3."),
        ({"seeds/lines.csv": 'line,n\na,"b\n'}, "seeds/lines.csv:2: not CSV: unexpected end of data."),
        ({"seeds/lines.csv": "line,LINE\na,b\n"}, "seeds/lines.csv:1: the header has 'line' twice."),
        *(
            ({"seeds/lines.csv": content}, f"seeds/lines.csv:{message}")
            for content, message in {
                "line,n\u00a0\na,b\n": "1: the name of column 2 holds a letter that cannot be seen, U+00A0.",
                "line,n\nab,1\na\u200bc,2\n": "3: 'ac' of column 'line' holds a letter that cannot be seen, U+200B.",
                "line,n\nab,1\nac ,2\n": "3: 'ac' of column 'line' begins or ends with a blank.",
                'line,n\nab,"1\nac,2\nad,3"\n': "2: a cell holds line ends and as many separators as a row has:"
                " rows between two quotes?",
            }.items()
        ),
        (
            {"seeds/lines.csv": b"line,n\na,\xe4\n"},
            "seeds/lines.csv:2: not UTF-8 (invalid continuation byte at byte 9).",
        ),
    ],
)
def test_a_mistake_between_files(tmp_path: Path, changes: dict[str, str | bytes], message: str) -> None:
    assert told(tmp_path, changes) == message


@pytest.mark.parametrize(
    "sql",
    [
        "select line from {{ ref('small', 'stg_calls') }}",
        f"-- a comment\nselect line {FROM} -- and another",
        f"select line {FROM};\n-- the end\n",
        "with Calls as (select 1 as x) select x from calls",
        "with recursive a as (select 1 as x union all select x + 1 from a where x < 3) select x from a",
        "with a as (select 1 as x), b as (select x from a) select b.x from b inner join a on a.x = b.x",
        "select d from (select unnest(generate_series(1, 3)) as d)",
        "select i from generate_series(1, 3) as t(i)",
        f"select a.line, b.n {FROM} as a, lateral (select count(*) as n {FROM} as c where c.line = a.line) as b",
        f"select a.line, b.n {FROM} as a, lateral unnest([1, 2]) as b(n)",
        f"with stg_calls as (select * {FROM}) select line from stg_calls",
        f"(select line {FROM}) union all (select line {FROM})",
        f"with a as (select line, 1 as n {FROM}) select * from (pivot a on line in ('x') using sum(n))",
        f"with a as (select line, 1 as n {FROM}) select * from (unpivot a on n into name m value v)",
    ],
)
def test_what_must_not_be_taken_for_a_mistake(tmp_path: Path, sql: str) -> None:
    assert told(tmp_path, {M: sql}) == ""


@pytest.mark.parametrize(
    "seed",
    [
        "line,name_en\nhealth,Health\u00a0line\nsocial,So\u00adcial line\n",  # a name, not an identifier
        'line,name_en\nhealth,"Health\nline"\nsocial,"Social, line"\n',
        "line,name_en\nhealth,\nsocial,a \u00e4\n",
    ],
)
def test_names_in_a_seed_are_written_as_one_likes(tmp_path: Path, seed: str) -> None:
    assert told(tmp_path, {"seeds/lines.csv": seed}) == ""
