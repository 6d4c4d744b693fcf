"""Where a mistake is told to stand: the line of the file, whatever Jinja did to it, and all mistakes in their order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.engine.compile import check_project
from kpi.errors import CompileErrors
from kpi.project.project import load_project
from mistakes import FROM, M, told, told_with_columns
from small_project import write

BIG = "{% macro big() %}\n1\n+\n2\n{% endmacro %}{% macro wrong() %}\n\nnope\n{% endmacro %}"
WRAP = "{% macro wrap() %}\n\n{{ caller() }}{% endmacro %}"


@pytest.mark.parametrize(
    ("line", "sql"),
    [
        (9, "{{ config(\n    materialized='view'\n) }}\n\n-- nope\n/* more\n   nope */\nselect\n    nope\n" + FROM),
        (7, "{#\n nope\n#}\n{#- nope -#}\n\n\nselect nope\n" + FROM),
        (9, "{%- set a = 1 -%}\n\n\n\nselect\n\n{{- ' line' -}}\n\n  , nope\n" + FROM),
        (3, "select\n{% for c in ['line', 'nope'] %}\n    {{ c }}{{ ',' if not loop.last }}\n{% endfor %}\n" + FROM),
        (5, "select\n{%- for c in ['line', 'call_id'] %}\n    {{ c }},\n{%- endfor %}\n    nope\n" + FROM),
        (5, "select\n    {{ share('1',\n        '2') }} as a,\n    {{ big() }} as b,\n    nope\n" + FROM),
        (3, "select\n    line,\n    {{ wrong() }}\n" + FROM),
        (6, "{% set columns %}\n  line,\n  nope\n{% endset %}\nselect\n  {{ columns }}\n" + FROM),
        (3, "{% set c %}line{% endset %}\nselect\n  {% if c == 'line' %}nope{% else %}line{% endif %}\n" + FROM),
        (6, "{% macro m() %}\nnope\n{% endmacro %}\nselect\n  line,\n  {{ m() }}\n" + FROM),
        (2, "select line,\n{% call wrap() %}\nnope\n{% endcall %}\n" + FROM),
        (2, "select line,\n{% filter lower %}\n\nNOPE\n{% endfilter %}\n" + FROM),
        (6, "select line,\n{% if false %}\n1,\n2,\n{% elif true %}\n nope\n{% endif %}\n" + FROM),
        (4, "select line,\n{% raw %}\n'{{' as x,\nnope\n{% endraw %}\n" + FROM),
        (4, "{{ config(materialized='view') }}\r\n\r\nselect\r\n    nope\r\n" + FROM),
        (3, "\ufeff\nselect\n    nope\n" + FROM),
        (4, "-- äöå €€€€€€€\nselect 'ääääää\nöööö' as x,\n    nope\n" + FROM),
        (3, "select line as nope_,\n  'nope' as y, -- nope\n  nope\n" + FROM),
        (5, "select a.line,\n  1 as x\n" + FROM + " as a\ninner join {{ ref('lines') }} as b\nusing (nope)"),
        (4, "select line\n" + FROM + "\nunion all\nselect nope\n" + FROM),
        (
            4,
            "{% for m in ['stg_calls', 'calls_by_line'] %}\nselect\n  line,\n  in_time_count as nope\n"
            "from {{ ref(m) }}\n{% if not loop.last %}union all{% endif %}\n{% endfor %}",
        ),
    ],
)
def test_the_line_is_the_files_whatever_jinja_does(tmp_path: Path, line: int, sql: str) -> None:
    found = told_with_columns(tmp_path, {M: sql, "macros/n.sql": BIG, "macros/o.sql": WRAP})
    place = re.match(rf"{M}:{line}:?(\d*): there is no column ", found)
    assert place is not None
    if place[1]:
        # The column is that of the name itself, or of the call that yields it.
        source = sql.removeprefix("\ufeff").splitlines()[line - 1]
        assert source[int(place[1]) - 1 :].startswith(("nope", "{{", "in_time_count as nope"))


def test_the_command_line_lists_and_prints(tmp_path: Path) -> None:
    write(tmp_path)

    def kpi(*words: str) -> list[str]:
        found = CliRunner().invoke(cli, [*words, "--project-dir", str(tmp_path)], catch_exceptions=False)
        return found.output.splitlines()

    assert kpi("compile") == ["3 seeds and models and 4 tests compile."]
    assert kpi("compile", "assert_in_time_is_part")[1] == "from marts.calls_by_line"
    assert [line.split() for line in kpi("ls", "--select", "+stg_calls", "--exclude", "resource_type:test")] == [
        ["source", "raw.calls", "models/staging/calls.yml"],
        ["model", "stg_calls", "models/staging/stg_calls.sql"],
    ]


def test_all_mistakes_are_told_together_in_file_and_line_order(tmp_path: Path) -> None:
    changes = {
        M: f"select linee {FROM}",
        "models/marts/n.sql": "select line from {{ ref('nope') }}",
        "models/marts/reads_m.sql": "select whatever from {{ ref('m') }}",
        "models/marts/m.yml": "models:\n  - name: calls_by_line\n    columns:\n      - name: lyne\n"
        "        data_tests: [not_null]\n      - name: line\n        data_tests:\n          - not_null\n"
        "          - not_nul\n",
        "tests/assert_x.sql": "select * from quite_another",
    }
    with pytest.raises(CompileErrors) as caught:
        check_project(load_project(write(tmp_path, changes)))
    assert str(caught.value).split("\n") == [
        "models/marts/m.sql:1:8: there is no column 'linee'. Did you mean 'line'?",
        "models/marts/m.yml:4: 'calls_by_line' has no column 'lyne'. Did you mean 'line'?",
        "models/marts/m.yml:9: the test 'not_nul' is not supported. Did you mean 'not_null'?",
        "models/marts/n.sql:1: ref('nope'): there is no such model or seed."
        " There is: calls_by_line, lines, m, n, reads_m, stg_calls.",
        "tests/assert_x.sql:1:15: the table 'quite_another' is named outright; write ref() or source().",
    ]


def test_sql_that_only_sqlglot_does_not_read_is_told_as_such(tmp_path: Path) -> None:
    sql = "select\n    line,\n    x'00' as nothing\n" + FROM
    message = "DuckDB reads this SQL but sqlglot, which kpi needs to, does not near '00'. Write it in another way."
    assert told(tmp_path, {M: sql}) == f"{M}:3: {message}"
