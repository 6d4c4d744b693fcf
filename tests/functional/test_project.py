"""What the YAML files say: merged settings, columns and tests, and every mistake in them with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpi.engine.compile import check_project
from kpi.engine.graph import Graph
from kpi.engine.template import Templates
from kpi.errors import ConfigError, KpiError
from kpi.project.project import load_project
from small_project import FILES, write

Y = "models/marts/m.yml"
PROJECT = "dbt_project.yml"


def compiled(root: Path, changes: dict[str, str | bytes | None] | None = None) -> Graph:
    return check_project(load_project(write(root, changes)))


def told(root: Path, changes: dict[str, str | bytes | None]) -> str:
    with pytest.raises(KpiError) as caught:
        compiled(root, changes)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modells:\n  - name: x\n", "1: 'modells' is not supported in a properties file. Did you mean 'models'?"),
        (
            "snapshots:\n  - name: nope\n    config: {strategie: x}\n",
            "3: 'strategie' is not supported in the config of a snapshot. Did you mean 'strategy'?",
        ),
        ("models:\n  name: calls_by_line\n", "1: 'models' must be a list."),
        ("models:\n  - {name: calls_by_line}\n  - x\n", "3: every item of 'models' must be a mapping."),
        ("models:\n  - description: x\n", "2: 'name' is missing."),
        (
            "models:\n  - name: calls_by_line\n    colums: []\n",
            "3: 'colums' is not supported in a model. Did you mean 'columns'?",
        ),
        (
            "models:\n  - name: calls_by_line\n    columns:\n      - name: line\n        descripton: x\n",
            "5: 'descripton' is not supported in a column. Did you mean 'description'?",
        ),
        ("models:\n  - name: calls_by_lines\n", "2: no model is named 'calls_by_lines'. Did you mean 'calls_by_line'?"),
        ("seeds:\n  - name: linez\n", "2: no seed is named 'linez'. Did you mean 'lines'?"),
        (
            "sources:\n  - name: other\n    tables:\n      - name: t\n        columns: [{name: a, data_type: date}]\n",
            "4: nothing loads the source 'other.t': it has no config.meta.feed and no config.meta.external_location,"
            " and no seed or model makes it. If a DuckDB file has it, name the file: config.meta.database_file.",
        ),
        (
            "models:\n  - name: calls_by_line\n    config: {materialized: tabel}\n",
            "3: materialized='tabel' is not supported. Did you mean 'table'?",
        ),
        (
            "models:\n  - name: calls_by_line\n    config: {materialised: table}\n",
            "3: 'materialised' is not supported in the config of a model. Did you mean 'materialized'?",
        ),
        (
            "models:\n  - name: calls_by_line\n    config: {enabled: 'no'}\n",
            "3: enabled must be true or false, not 'no'.",
        ),
        (
            "models:\n  - name: calls_by_line\n    config: {schema: 3}\n",
            "3: schema must be a text, not 3.",
        ),
        (
            "seeds:\n  - name: lines\n    config:\n      column_types:\n        lin: varchar\n",
            "5: column_types: 'lines' has no column 'lin'. Did you mean 'line'?",
        ),
        # YAML itself.
        ("models:\n  - name: a\n   columns: []\n", "3: not valid YAML: did not find expected '-' indicator."),
        ("models:\n\t- name: a\n", "2: not valid YAML: found character that cannot start any token."),
        ("models:\n  - name: a\n    name: b\n", "3: 'name' stands here twice."),
        ("models:\n  - name: 2024-13-45\n", "2: '2024-13-45' is not a value: month must be in 1..12."),
        ("models: *columns\n", "1: not valid YAML: found undefined alias."),
        ("models: []\n---\nmodels: []\n", "2: not valid YAML: but found another document."),
        ("models\n", "1: the top of the file must be a mapping."),
        ("? [a, b]\n: 1\n", "1: a key must be a plain text."),
    ],
)
def test_a_mistake_in_a_properties_file(tmp_path: Path, text: str, message: str) -> None:
    assert told(tmp_path, {Y: text}) == f"{Y}:{message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models:\n  - name: stg_calls\n", "17: 'stg_calls' is described at models/marts/m.yml:2 too."),
        (
            "sources:\n  - name: raw\n    tables:\n      - name: calls\n",
            "4: the source 'raw.calls' is described at models/marts/m.yml:4 too.",
        ),
    ],
)
def test_what_is_described_twice(tmp_path: Path, text: str, message: str) -> None:
    assert told(tmp_path, {Y: text}) == f"models/staging/calls.yml:{message}"


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("- not_nul", "6: the test 'not_nul' is not supported. Did you mean 'not_null'?"),
        ("- not_null\n- uniq", "7: the test 'uniq' is not supported. Did you mean 'unique'?"),
        ("- not_null\n- not_null", "7: the test not_null_calls_by_line_line is also at models/marts/m.yml:6."),
        ("- accepted_values: {value: [a]}", "6: accepted_values takes no 'value'. Did you mean 'values'?"),
        ("- accepted_values", "6: accepted_values needs 'values'."),
        ("- accepted_values: {values: []}", "6: accepted_values needs 'values', a list."),
        ("- accepted_values: {values: [a, null]}", "6: accepted_values: a null always passes, leave it out."),
        ("- accepted_values: {values: [1], quote: false}", "6: 'line' (VARCHAR) cannot be compared with 1."),
        ("- not_null:\n    config: {severity: bad}", "7: severity must be 'error' or 'warn', not 'bad'."),
        (
            "- not_null:\n    config: {error_if: 'many'}",
            "7: error_if must be a comparison such as '>10', not 'many'.",
        ),
        (
            "- not_null:\n  severity: warn",
            "7: 'severity' is not supported in a data test (indent its settings below its name). There is: not_null.",
        ),
        (
            "- not_null:\n    config: {where: linee = 'x'}",
            "6: there is no column 'linee'. Did you mean 'line'?",
        ),
        (
            "- relationships: {to: ref('linez'), field: line}",
            "6: ref('linez'): there is no such model or seed. Did you mean 'lines'?",
        ),
        ("- relationships: {to: ref('lines'), field: 1}", "6: 'field' must be a text, not 1."),
        (
            "- relationships: {to: lines, field: line}",
            "6: 'to' is a ref('…') or source('…', '…'), not 'lines'.",
        ),
        (
            "- relationships: {to: ref('lines'), field: lin}",
            "6: 'lines' has no column 'lin'. Did you mean 'line'?",
        ),
        (
            "- relationships: {to: ref('calls_by_line'), field: call_count}",
            "6: 'line' (VARCHAR) cannot be compared with 'call_count' (BIGINT).",
        ),
    ],
)
def test_a_mistake_in_a_data_test(tmp_path: Path, test: str, message: str) -> None:
    head = "models:\n  - name: calls_by_line\n    columns:\n      - name: line\n        data_tests:\n"
    text = head + "".join(f"          {line}\n" for line in test.split("\n"))
    assert told(tmp_path, {Y: text}) == f"{Y}:{message}"


def test_a_misspelt_column_is_told_once_however_many_tests_it_has(tmp_path: Path) -> None:
    text = (
        "models:\n  - name: calls_by_line\n    columns:\n      - name: linee\n        data_tests: [not_null, unique]\n"
    )
    assert told(tmp_path, {Y: text}) == f"{Y}:4: 'calls_by_line' has no column 'linee'. Did you mean 'line'?"


def test_a_column_named_for_a_whole_table_is_checked_too(tmp_path: Path) -> None:
    text = "models:\n  - name: calls_by_line\n    data_tests:\n      - unique: {column_name: lin}\n"
    assert told(tmp_path, {Y: text}) == f"{Y}:4: 'calls_by_line' has no column 'lin'. Did you mean 'line'?"


def test_accepted_values_must_be_values_the_column_can_have(tmp_path: Path) -> None:
    text = (
        "models:\n  - name: calls_by_line\n    columns:\n      - name: call_count\n        data_tests:\n"
        "          - accepted_values: {values: [1, many]}\n"
    )
    assert told(tmp_path, {Y: text}) == f"{Y}:6: 'call_count' (BIGINT) cannot be compared with 'many'."


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("name: small", "name: my.own", "1: the project's name must be letters, digits and _, not 'my.own'."),
        ("vars:", "varss:", "6: 'varss' is not supported in dbt_project.yml. Did you mean 'vars'?"),
        (
            "vars:",
            "on-run-ends: x\nvars:",
            "6: 'on-run-ends' is not supported in dbt_project.yml. Did you mean 'on-run-end'?",
        ),
        ("[models]", "[modelz]", "2: 'model-paths' names modelz, which is no folder."),
        (
            "+materialized",
            "+materialised",
            "14: the setting 'materialised' is not supported. Did you mean 'materialized'?",
        ),
        ("d: table", "d: tabl", "14: materialized='tabl' is not supported. Did you mean 'table'?"),
        (
            "    staging:\n",
            "    stagin:\n",
            "10: there is nothing named 'stagin' in models. Did you mean 'staging'?",
        ),
        (
            "  small:\n    staging",
            "  smal:\n    staging",
            "9: there is nothing named 'smal' in models. Did you mean 'small'?",
        ),
    ],
)
def test_a_mistake_in_dbt_project_yml(tmp_path: Path, right: str, wrong: str, message: str) -> None:
    assert right in FILES[PROJECT]
    assert told(tmp_path, {PROJECT: FILES[PROJECT].replace(right, wrong, 1)}) == f"{PROJECT}:{message}"


def test_a_properties_file_that_is_not_utf8(tmp_path: Path) -> None:
    message = f"{Y}:2: not UTF-8 (invalid continuation byte at byte 10)."
    assert told(tmp_path, {Y: "models:\n# ä\n".encode("latin-1")}) == message


def test_a_folder_without_a_project_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_project(tmp_path)
    message = "no dbt_project.yml here. Go to the project's folder, or name it with --project-dir."
    assert str(caught.value) == f"{tmp_path}: {message}"


def test_all_mistakes_in_yaml_are_told_together(tmp_path: Path) -> None:
    changes: dict[str, str | bytes | None] = {
        "models/a.yml": "x: 1\n",
        Y: "models:\n  - name: calls_by_line\n    colums: []\n  - name: nope\n    config: {tags: 1}\n",
        "seeds/seeds.yml": "seeds:\n  - name: lines\n    config: {materialized: table}\n",
    }
    assert told(tmp_path, changes).split("\n") == [
        "models/a.yml:1: 'x' is not supported in a properties file.",
        "models/marts/m.yml:3: 'colums' is not supported in a model. Did you mean 'columns'?",
        "models/marts/m.yml:5: tags must be a text or a list of texts, not 1.",
        "seeds/seeds.yml:3: 'materialized' is not supported in the config of a seed.",
    ]


def test_settings_of_deeper_levels_win_and_tags_add_up(tmp_path: Path) -> None:
    settings = FILES[PROJECT].replace("    marts:\n", "    +tags: all\n    marts:\n      +tags: [mart]\n")
    graph = compiled(
        tmp_path,
        {
            PROJECT: settings,
            Y: "models:\n  - name: calls_by_line\n    config: {materialized: view, tags: yaml}\n",
            "models/marts/calls_by_line.sql": "{{ config(materialized='table', tags=['file']) }}\n"
            + FILES["models/marts/calls_by_line.sql"],
        },
    )
    node = graph.nodes["model.small.calls_by_line"]
    assert (node.materialized, node.tags) == ("table", ("all", "mart", "yaml", "file"))
    assert graph.nodes["model.small.stg_calls"].tags == ("all",)


def test_a_setting_can_name_one_model_in_dbt_project_yml(tmp_path: Path) -> None:
    settings = FILES[PROJECT].replace("    marts:\n", "    marts:\n      calls_by_line:\n        +materialized: view\n")
    assert compiled(tmp_path, {PROJECT: settings}).nodes["model.small.calls_by_line"].materialized == "view"


def test_a_disabled_model_is_left_out_with_its_tests(tmp_path: Path) -> None:
    text = "models:\n  - name: extra\n    config: {enabled: false}\n    columns: [{name: x, data_tests: [unique]}]\n"
    graph = compiled(tmp_path, {Y: text, "models/marts/extra.sql": "select 1 as x"})
    assert [node.name for node in graph.nodes.values() if "extra" in node.name] == []


def test_one_list_of_columns_can_serve_many_models(tmp_path: Path) -> None:
    text = (
        "models:\n  - name: calls_by_line\n    columns: &columns\n      - name: line\n        description: The line.\n"
        "  - name: again\n    columns: *columns\n"
    )
    graph = compiled(tmp_path, {Y: text, "models/marts/again.sql": "select line from {{ ref('calls_by_line') }}"})
    for name in ("calls_by_line", "again"):
        assert [column.description for column in graph.nodes[f"model.small.{name}"].columns] == ["The line."]


def test_test_names_are_dbts(tmp_path: Path) -> None:
    changes = {
        "models/staging/calls.yml": FILES["models/staging/calls.yml"].replace(
            "          - name: line\n            data_type: varchar\n",
            "          - name: line\n            data_type: varchar\n            data_tests:\n"
            "              - not_null\n              - unique: {name: my_own_name}\n",
        )
    }
    names = [test.name for test in compiled(tmp_path, dict(changes)).tests()]
    assert names[0] == "assert_in_time_is_part"
    assert names[1:3] == ["my_own_name", "not_null_stg_calls_call_id"]
    assert names[3].startswith("relationships_stg_calls_line_")
    assert names[4:] == ["source_not_null_raw_calls_line", "unique_stg_calls_call_id"]


def test_a_seeds_columns_have_the_types_of_the_yaml(tmp_path: Path) -> None:
    from kpi.engine.compile import check_columns

    changes: dict[str, str | bytes | None] = {
        "seeds/limits.csv": "line;limit_seconds;valid_from;code\nhealth;300;2023-01-01;007\n",
        "seeds/limits.yml": "seeds:\n  - name: limits\n    config:\n      delimiter: ';'\n      column_types:\n"
        "        limit_seconds: decimal(10, 2)\n        code: varchar\n",
    }
    known, mistakes = check_columns(compiled(tmp_path, changes))
    assert mistakes == []
    assert known["seed.small.limits"] == (
        ("line", "VARCHAR"),
        ("limit_seconds", "DECIMAL(10,2)"),
        ("valid_from", "DATE"),
        ("code", "VARCHAR"),
    )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("varchr", "seeds/lines.yml:3: 'line': there is no type 'varchr'. Did you mean 'varchar'?"),
        ("bigint", "seeds/lines.csv:2: column 'line' of the seed 'lines': 'health' is no BIGINT."),
    ],
)
def test_a_seed_that_does_not_have_its_types_is_told(tmp_path: Path, kind: str, message: str) -> None:
    text = f"seeds:\n  - name: lines\n    config: {{column_types: {{line: {kind}}}}}\n"
    assert told(tmp_path, {"seeds/lines.yml": text}) == message


def test_variables_of_the_run_win_and_a_misspelt_one_is_told(tmp_path: Path) -> None:
    write(tmp_path)
    graph = check_project(load_project(tmp_path, {"limit_seconds": 60}))
    assert "waited_seconds <= 60" in graph.nodes["model.small.calls_by_line"].sql
    with pytest.raises(ConfigError) as caught:
        check_project(load_project(tmp_path, {"limit_second": 60}))
    message = "--vars: nothing here asks for the variable 'limit_second'. Did you mean 'limit_seconds'?"
    assert str(caught.value) == message


def test_variables_may_stand_below_the_projects_name(tmp_path: Path) -> None:
    settings = FILES[PROJECT].replace("  limit_seconds: 300", "  limit_seconds: 300\n  small:\n    limit_seconds: 30")
    project = load_project(write(tmp_path, {PROJECT: settings}))
    assert Templates(project).render("{{ var('limit_seconds') }}", Path("x.sql"), ()).sql == "30"
