"""Unit tests of models: what they mean, what is refused before anything runs, and what a failing one shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.engine.compile import check_project
from kpi.engine.unit_tests import Difference, UnitResult, refuse_failing, run_unit_tests, shown, unit_tests_of
from kpi.errors import BuildError, CheckFailed, CompileError, ConfigError
from kpi.jobs.check_build import chosen_tests
from kpi.project.project import load_project
from small_project import write

Changes = dict[str, str | bytes | None]
# A model of every type there is, read in the ways that are hard to replace: by its own name, twice, beside a CTE named
# as it is, and with the table's name in a text and in a comment.
MORE: Changes = {
    "models/typed.sql": "select 1 as id, 'a' as name, date '2024-01-01' as on_day,"
    " timestamp '2024-01-01 00:00:00' as at,"
    " 1.5 as share, 1.25::double as x, true as is_it, [1, 2] as items\n",
    "models/read.sql": "with typed as (select * from {{ ref('typed') }}),\n"
    "lines as (select lines.line, lines.name_en from {{ ref('lines') }})\n"
    "select typed.*, lines.name_en, 'main.typed' as said -- from main.typed\n"
    "from typed left join lines on typed.name = lines.line\n"
    "where exists (select 1 from {{ ref('typed') }} as other where other.id = typed.id)\n",
    "models/asked.sql": "select id, {{ outer_number() }} as outer_number, '{{ var('word', 'none') }}' as word,\n"
    "    '{{ env_var('KPI_TEST_WORD', 'none') }}' as env_word\nfrom {{ ref('typed') }}\n",
    "macros/numbers.sql": "{% macro number() %}1{% endmacro %}\n"
    "{% macro outer_number() %}10 + {{ number() }}{% endmacro %}\n",
}
BOTH = "given: [{input: ref('typed'), rows: [%s]}, {input: ref('lines'), rows: [%s]}]"


def results(root: Path, yaml: str, changes: Changes | None = None) -> dict[str, UnitResult]:
    """Results by name of the unit tests in `yaml`, which is what stands below `unit_tests:`."""
    graph = check_project(
        load_project(write(root, {**MORE, **(changes or {}), "models/unit.yml": f"unit_tests:\n{yaml}"}))
    )
    return {result.test.name: result for result in run_unit_tests(graph, graph.unit_tests)}


def unit(given: str, expect: str, model: str = "read", more: str = "") -> str:
    """One unit test as YAML."""
    return f"  - name: tested\n    model: {model}\n    {given}\n    expect: {expect}\n    {more}\n"


@pytest.mark.parametrize(
    ("typed", "lines", "expected", "passes"),
    [
        # What is left out is null, values are cast to the type of the column, and only what is expected is compared.
        ("{id: 1}", "", "{rows: [{id: 1, name: null, on_day: null, at: null, is_it: null, items: null}]}", True),
        ("{id: '1', share: 0.26, x: 1}", "", "{rows: [{id: 1.0, share: '0.3', x: 1.0}]}", True),
        (
            "{on_day: 2024-02-29, at: 2024-02-29 10:00:00}",
            "",
            "{rows: [{on_day: 2024-02-29, at: '2024-02-29 10:00'}]}",
            False,
        ),
        (
            "{id: 1, on_day: 2024-02-29, at: 2024-02-29 10:00:00}",
            "",
            "{rows: [{on_day: '2024-02-29', at: 2024-02-29 10:00:00}]}",
            True,
        ),
        ("{id: 1, items: [3, 4], is_it: yes}", "", "{rows: [{items: [3, 4], is_it: true}]}", True),
        ("{id: 1, items: [3, 4]}", "", "{rows: [{items: [4, 3]}]}", False),
        # Rows are a multiset, whatever their order.
        ("{id: 2}, {id: 1}", "", "{rows: [{id: 1}, {id: 2}]}", True),
        ("{id: 1}, {id: 1}", "", "{rows: [{id: 1}]}", False),
        ("{id: 1}, {id: 1}", "", "{rows: [{id: 1}, {id: 1}]}", True),
        ("{id: 1}", "", "{rows: [{id: 1}, {id: 1}]}", False),
        ("", "", "{rows: []}", True),
        ("{id: 1}", "", "{rows: []}", False),
        ("{}", "", "{rows: []}", True),
        # An empty text is no null, and a quote is a quote.
        ("{id: 1, name: ''}", "", "{rows: [{name: null}]}", False),
        (
            '{id: 1, name: "it\'s"}',
            "{line: \"it's\", name_en: '\"'}",
            "{rows: [{NAME: \"it's\", name_en: '\"', said: main.typed}]}",
            True,
        ),
        ("{id: 1, name: 'null'}", "", "{rows: [{name: 'null'}]}", True),
    ],
)
def test_rows_mean_what_they_mean_to_dbt(tmp_path: Path, typed: str, lines: str, expected: str, passes: bool) -> None:
    assert results(tmp_path, unit(BOTH % (typed, lines), expected))["tested"].passed == passes


CSV = '''\
  - name: tested
    model: read
    given:
      - input: ref('typed')
        format: csv
        rows: |
          ID,name,x
          1,"a,""b""",
          2,"",0.5
      - {input: ref('lines'), rows: []}
    expect:
      format: csv
      fixture: expected
'''
FIXTURE = 'id,name,x\n1,"a,""b""",\n\n2,,0.5\n'


def test_csv_is_read_as_dbt_reads_it_in_place_and_from_a_file(tmp_path: Path) -> None:
    assert results(tmp_path, CSV, {"tests/fixtures/deep/expected.csv": FIXTURE})["tested"].passed


def test_rows_as_a_select_may_be_of_other_types(tmp_path: Path) -> None:
    typed = "{input: ref('typed'), format: sql, rows: \"select 'x' as id, 'health' as name\"}"
    said = "select 'x' as id, 'health' as name, 'Health line' as name_en, 'main.typed' as said"
    yaml = unit(f"given: [{typed}, {{input: ref('lines')}}]", f'{{format: sql, rows: "{said}"}}')
    assert results(tmp_path, yaml)["tested"].passed


def test_a_seed_without_rows_is_as_it_is(tmp_path: Path) -> None:
    given = "given: [{input: ref('typed'), rows: [{id: 1, name: health}]}, {input: \"ref('small', 'lines')\"}]"
    assert results(tmp_path, unit(given, "{rows: [{name_en: Health line}]}"))["tested"].passed


def test_a_source_is_given_with_the_columns_that_loading_adds(tmp_path: Path) -> None:
    given = "given: [{input: \"source('raw', 'calls')\", rows: [{call_id: a, _is_superseded: false},"
    given += " {call_id: b, _is_superseded: true}, {call_id: c}]}]"
    assert results(tmp_path, unit(given, "{rows: [{call_id: a}]}", "stg_calls"))["tested"].passed


def test_overrides_render_the_model_anew_and_leave_other_tests_alone(tmp_path: Path) -> None:
    given = "given: [{input: ref('typed'), rows: [{id: 1}]}]"
    more = "overrides: {macros: {number: 7}, vars: {word: yes_it_is}, env_vars: {KPI_TEST_WORD: said}}"
    changed = unit(given, "{rows: [{outer_number: 17, word: yes_it_is, env_word: said}]}", "asked", more)
    whole = "overrides: {macros: {outer_number: \"'many'\"}}"
    other = unit(given, "{rows: [{outer_number: many, word: none}]}", "asked", whole).replace("tested", "other")
    plain = unit(given, "{rows: [{outer_number: 11, word: none, env_word: none}]}", "asked").replace("tested", "plain")
    found = results(tmp_path, changed + other + plain)
    assert {name: result.passed for name, result in found.items()} == {"tested": True, "other": True, "plain": True}


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        (
            unit(BOTH % ("", ""), "{rows: []}", "raed"),
            "models/unit.yml:3: there is no model 'raed'. Did you mean 'read'?",
        ),
        (
            unit("given: [{input: ref('typo'), rows: []}]", "{rows: []}"),
            "models/unit.yml:4: ref('typo'): there is no such ref.",
        ),
        (
            unit("given: [{input: typed, rows: []}]", "{rows: []}"),
            "models/unit.yml:4: an input is ref('…'), source('…', '…') or this, not 'typed'.",
        ),
        (
            unit("given: [{input: ref('typed'), rows: []}]", "{rows: []}"),
            "models/unit.yml:2: the unit test 'tested' gives no input ref('lines'), which",
        ),
        (
            unit("given: [{input: ref('typed')}, {input: ref('lines')}]", "{rows: []}"),
            "models/unit.yml:4: 'rows' must be a list",
        ),
        (
            unit(BOTH % ("{idd: 1}", ""), "{rows: []}"),
            "models/unit.yml:4: 'typed' has no column 'idd'. Did you mean 'id'?",
        ),
        (
            unit(BOTH % ("", ""), "{rows: [{idd: 1}]}"),
            "models/unit.yml:5: 'read' has no column 'idd'. Did you mean 'id'?",
        ),
        (
            unit(BOTH % ("{id: 1}, {id: one}", ""), "{rows: []}"),
            "models/unit.yml:4: 'id' is INTEGER, which 'one' is not.",
        ),
        (
            unit(BOTH % ("{on_day: '2024-02-30'}", ""), "{rows: []}"),
            "models/unit.yml:4: 'on_day' is DATE, which '2024-02-30' is not.",
        ),
        (
            unit(BOTH % ("", ""), "{rows: [{is_it: maybe}]}"),
            "models/unit.yml:5: 'is_it' is BOOLEAN, which 'maybe' is not.",
        ),
        (
            unit(BOTH % ("", ""), "{rows: [{id: 1, x: 1}, {id: 2}]}"),
            "models/unit.yml:5: every expected row needs the same columns; this one",
        ),
        (unit(BOTH % ("", ""), "{rows: [], format: cvs}"), "models/unit.yml:5: format 'cvs'. Did you mean 'csv'?"),
        (unit(BOTH % ("", ""), "{fixture: none, format: csv}"), "models/unit.yml:5: there is no fixture 'none.csv'"),
        (
            unit(BOTH % ("", ""), "{rows: []}", more="overides: {}"),
            "models/unit.yml:6: 'overides' is not supported in a unit test. Did",
        ),
        (
            unit(BOTH % ("", ""), "{rows: []}") * 2,
            "models/unit.yml:7: the unit test 'tested' is also at models/unit.yml:2.",
        ),
        (CSV.replace("expected", "short"), "tests/fixtures/short.csv:3: the header has 2 columns, this row 3."),
        (CSV.replace('2,"",0.5', "2,,half"), "models/unit.yml:10: 'x' is DOUBLE, which 'half' is not."),
    ],
)
def test_what_is_wrong_is_told_with_its_line_before_anything_runs(tmp_path: Path, yaml: str, message: str) -> None:
    files: Changes = {"tests/fixtures/expected.csv": FIXTURE, "tests/fixtures/short.csv": "id,name\n1,a\n1,b,c\n"}
    with pytest.raises(Exception, match=r"^") as caught:
        results(tmp_path, yaml, files)
    assert str(caught.value).startswith(message)
    assert caught.value.exit_code in (3, 5)  # type: ignore[attr-defined]


def test_a_disabled_test_and_one_of_a_disabled_model_are_left_out(tmp_path: Path) -> None:
    off = unit(BOTH % ("", ""), "{rows: []}", more="config: {enabled: false}")
    gone = unit("given: []", "{rows: []}", "gone")
    changes: Changes = {"models/gone.sql": "{{ config(enabled=false) }} select 1 as id\n"}
    assert results(tmp_path, off + gone, changes) == {}


def test_what_only_an_override_breaks_names_the_test(tmp_path: Path) -> None:
    given = "given: [{input: ref('typed'), rows: [{id: 1}]}]"
    found = results(tmp_path, unit(given, "{rows: []}", "asked", "overrides: {macros: {number: idd}}"))["tested"]
    assert (found.status, type(found.error)) == ("error", BuildError)
    assert "tested (models/unit.yml:2): there is no column 'idd'" in found.message
    changes: Changes = {"models/asked.sql": "select id {% if var('a', 0) %}from {{ ref('lines') }}{% endif %}"
                        "{% if not var('a', 0) %}from {{ ref('typed') }}{% endif %}"}  # fmt: skip
    found = results(tmp_path, unit(given, "{rows: []}", "asked", "overrides: {vars: {a: 1}}"), changes)["tested"]
    assert (found.status, type(found.error)) == ("error", CompileError)
    assert re.search(r"models/unit.yml:2: .* gives no input ref\('lines'\), which asked reads", found.message)


def test_a_failing_test_shows_the_rows_that_differ(tmp_path: Path) -> None:
    yaml = unit(
        BOTH % ("{id: 1, name: a, x: 0.5}, {id: 2, name: ''}, {id: 4, name: d}", ""),
        "{rows: [{id: 1, name: a, x: 0.25}, {id: 2, name: null, x: null},"
        " {id: 3, name: c, x: 9}, {id: 4, name: d, x: null}]}",
    )
    assert results(tmp_path, yaml)["tested"].message.split("\n") == [
        "tested (models/unit.yml:2): read yields other rows",
        "       id  name        x",
        "    ~  1   a           0.25 -> 0.5",
        "    ~  2   null -> ''  null",
        "    -  3   c           9.0",
        "    (- expected but not there, + there but not expected, ~ expected -> found)",
    ]


def test_a_long_difference_is_cut() -> None:
    lines = shown(["id"], [Difference(-30, ("1",))]).split("\n")
    assert len(lines) == 23
    assert lines[-2] == "    and 10 more rows that differ"


TWO = unit(
    "given: [{input: ref('stg_calls'), rows: [{line: a}]}]", "{rows: [{line: a, call_count: 1}]}", "calls_by_line"
)
WRONG = (
    TWO.replace("call_count: 1", "call_count: 2")
    .replace("tested", "wrong")
    .replace("    \n", "    config: {tags: [new]}\n")
)


def test_selection_means_the_tests_of_what_it_selects(tmp_path: Path) -> None:
    graph = check_project(load_project(write(tmp_path, {"models/unit.yml": f"unit_tests:\n{TWO}{WRONG}"})))

    def names(*words: str, excluded: tuple[str, ...] = ()) -> list[str]:
        units, data = chosen_tests(graph, words, excluded)
        return [name.partition("_stg_")[0] for name in (*(unit.name for unit in units), *(test.name for test in data))]

    assert names("calls_by_line") == ["tested", "wrong", "assert_in_time_is_part"]
    assert names("stg_calls") == ["not_null", "relationships", "unique"]
    # As in dbt, a test of two nodes is a test of either.
    assert names("lines") == ["relationships"]
    assert names("tag:new") == ["wrong"]
    assert names("tested") == ["tested"]
    assert names("resource_type:unit_test") == ["tested", "wrong"]
    assert names(excluded=("stg_calls",)) == ["tested", "wrong", "assert_in_time_is_part"]
    assert len(names()) == 6


def test_the_command_runs_unit_tests_without_a_warehouse_and_fails_with_seven(tmp_path: Path) -> None:
    write(tmp_path, {"models/unit.yml": f"unit_tests:\n{TWO}{WRONG}"})
    done = CliRunner().invoke(cli, ["test", "--project-dir", str(tmp_path), "-s", "resource_type:unit_test"])
    assert isinstance(done.exception, CheckFailed)
    assert done.exception.exit_code == 7
    assert "FAIL wrong (models/unit.yml:7): calls_by_line yields other rows" in done.output
    assert "~  a     2 -> 1" in done.output
    assert "Ran 2 unit tests: 1 failed." in done.output
    assert not (tmp_path / "warehouse/builds").exists()
    # Nor do all tests: those of the data then have nothing to judge.
    done = CliRunner().invoke(cli, ["test", "--project-dir", str(tmp_path)])
    assert "Ran 2 unit tests: 1 failed." in done.output
    assert isinstance(done.exception, ConfigError)
    assert "nothing is published here yet" in str(done.exception)


def test_a_build_stops_before_a_model_whose_unit_test_fails(tmp_path: Path) -> None:
    graph = check_project(load_project(write(tmp_path, {"models/unit.yml": f"unit_tests:\n{TWO}{WRONG}"})))
    assert unit_tests_of(graph, ["model.small.stg_calls"]) == []
    due = unit_tests_of(graph, ["model.small.calls_by_line"])
    with pytest.raises(CheckFailed, match=r"1 of 2 unit tests failed; nothing was built.\nwrong \(models/unit.yml:7\)"):
        refuse_failing(run_unit_tests(graph, due))
    # Of a model that is selected only the tests that are selected too: --exclude test_type:unit leaves them out.
    assert unit_tests_of(graph, ["model.small.calls_by_line"], {"model.small.calls_by_line"}) == []


EPHEMERAL: Changes = {
    "models/base.sql": "{{ config(materialized='ephemeral') }}\nselect 1 as id, 'a' as name\n",
    "models/top.sql": "with base as (select * from {{ ref('base') }})\nselect id + 1 as n, name from base\n",
}


def test_an_ephemeral_model_is_given_as_any_other_and_tested_with_those_it_is_built_into(tmp_path: Path) -> None:
    top = unit("given: [{input: ref('base'), rows: [{id: 5}]}]", "{rows: [{n: 6, name: null}]}", "top")
    base = unit("given: []", "{rows: [{id: 1, name: b}]}", "base").replace("tested", "wrong")
    found = results(tmp_path, top + base, EPHEMERAL)
    assert {name: result.passed for name, result in found.items()} == {"tested": True, "wrong": False}
    graph = check_project(load_project(tmp_path))
    due = unit_tests_of(graph, ["model.small.top"])
    with pytest.raises(CheckFailed, match="1 of 2 unit tests failed"):
        refuse_failing(run_unit_tests(graph, due))


def test_failing_rows_of_a_published_build_are_kept_beside_it(tmp_path: Path) -> None:
    tests = "select line from {{ ref('calls_by_line') }} where call_count > 1\n"
    write(tmp_path, {"tests/assert_in_time_is_part.sql": "{{ config(severity='warn') }}\n" + tests})
    raw = tmp_path / "warehouse/raw/calls"
    raw.mkdir(parents=True)
    raw.joinpath("a.csv").write_text(
        "call_id,line,waited_seconds,arrived_on\n1,health,1,2025-01-01\n2,health,1,2025-01-01\n"
    )
    runner = CliRunner()
    project = ["--project-dir", str(tmp_path)]
    built = runner.invoke(cli, ["build", *project])
    assert built.exit_code == 0, built.output
    published = (tmp_path / "warehouse/current/kpi.duckdb").resolve()
    before = published.read_bytes()
    message = runner.invoke(cli, ["test", "--store-failures", *project]).output
    assert "WARN assert_in_time_is_part (tests/assert_in_time_is_part.sql:1): 1 failing row: line=health\n" in message
    assert "Ran 4 data tests: 0 failed, 1 warned." in message
    assert published.read_bytes() == before
    asked = "select * from dbt_test__audit.assert_in_time_is_part"
    assert "health" in runner.invoke(cli, ["query", "--failures", asked, *project]).output
    kept = runner.invoke(cli, ["build", "--store-failures", "--full-refresh", *project])
    assert kept.exit_code == 0, kept.output
    assert "health" in runner.invoke(cli, ["query", asked, *project]).output


GROWING: Changes = {
    "models/growing.sql": "{{ config(materialized='incremental', unique_key='id') }}\n"
    "select id, name from {{ ref('typed') }}\n"
    "{% if is_incremental() %}where id > (select max(id) from {{ this }}){% endif %}\n"
}


def growing(choice: str, this: str, expected: str) -> str:
    given = f"given: [{{input: ref('typed'), rows: [{{id: 1}}, {{id: 2}}]}}{this}]"
    return unit(given, f"{{rows: [{expected}]}}", "growing", f"overrides: {{macros: {{is_incremental: {choice}}}}}")


def test_an_incremental_model_is_tested_as_new_or_as_growing(tmp_path: Path) -> None:
    this = ", {input: this, rows: [{id: 1, name: old}]}"
    grows = growing("true", this, "{id: 2, name: null}")
    new = growing("false", "", "{id: 1}, {id: 2}").replace("tested", "new")
    found = results(tmp_path, grows + new, GROWING)
    assert {name: result.passed for name, result in found.items()} == {"tested": True, "new": True}
    with pytest.raises(CompileError, match=r"unit.yml:2: growing asks is_incremental\(\): say true or false under"):
        results(tmp_path, growing("maybe", "", ""), GROWING)
    with pytest.raises(CompileError, match=r"unit.yml:2: with is_incremental true, rows for 'input: this' are needed"):
        results(tmp_path, growing("true", "", ""), GROWING)
