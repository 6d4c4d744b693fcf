"""Where a mistake is told: at the setting or the argument that is wrong, not only at the entry that it belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpi.engine.compile import compiled
from kpi.errors import KpiError, mistakes
from small_project import FILES, write

MART, YAML = "models/marts/calls_by_line.sql", "models/marts/marts.yml"
TESTED = """\
models:
  - name: calls_by_line
    columns:
      - name: line
        data_tests:
          - accepted_values:
              arguments:
                values: [health, social]
              config:
                where: "call_count > 0"
          - relationships:
              arguments:
                to: ref('lines')
                field: line
"""
SNAPSHOT = """\
snapshots:
  - name: lines_then
    relation: ref('lines')
    config:
      strategy: check
      unique_key: line
      check_cols: [line]
"""
CONTRACT = """\
models:
  - name: calls_by_line
    config: {contract: {enforced: true}}
    columns:
      - name: line
        data_type: varchar
      - name: call_count
        data_type: bigint
      - name: in_time_count
        data_type: bigint
"""


@pytest.mark.parametrize(
    ("file", "text", "old", "new"),
    [
        (YAML, TESTED, "values: [", "¦value: ["),
        (YAML, TESTED, "call_count > 0", "¦call_cont > 0"),
        (YAML, TESTED, "ref('lines')", "ref('¦line')"),
        (YAML, TESTED, "field: line", "field: ¦lin"),
        (YAML, TESTED, "relationships:\n", "¦relationship:\n"),
        ("snapshots/s.yml", SNAPSHOT, "ref('lines')", "ref('¦liens')"),
        ("snapshots/s.yml", SNAPSHOT, "strategy: check", "strategy: ¦chek"),
        ("snapshots/s.yml", SNAPSHOT, "unique_key: line", "unique_key: ¦lin"),
        ("snapshots/s.yml", SNAPSHOT, "check_cols: [line]", "check_cols: [¦name_fo]"),
        (YAML, CONTRACT, "data_type: varchar", "data_type: ¦varchr"),
        (MART, "{{ config(materialized='incremental',\n    unique_key='line') }}\n", "key='line'", "key='¦lin'"),
        (MART, "{{ config(materialized='incremental',\n    incremental_strategy='append') }}\n", "='app", "='¦ap"),
        (MART, "{{ config(tags=['x'],\n    pre_hook='select 1') }}\n", "pre_hook='select", "¦pre_hook='selec"),
        ("dbt_project.yml", FILES["dbt_project.yml"] + "    lines:\n      +column_types:\n        line: text\n",
         "line: text", "¦line: txet"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_where_it_stands(tmp_path: Path, file: str, text: str, old: str, new: str) -> None:
    write(tmp_path)
    whole = text + (FILES[file] if file == MART else "")
    assert whole.count(old) == 1
    marked = whole.replace(old, new)
    place = marked.index("¦")
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(marked.replace("¦", ""))
    with pytest.raises(KpiError) as caught:
        compiled(tmp_path)
    (message,) = mistakes(caught.value)
    assert (message.file, message.line, message.column) == (
        file,
        marked[:place].count("\n") + 1,
        place - marked.rfind("\n", 0, place),
    )


def test_a_broken_contract_names_both_places(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / YAML).write_text(
        CONTRACT.replace("call_count\n        data_type: bigint", "call_count\n        data_type: date")
    )
    with pytest.raises(KpiError) as caught:
        compiled(tmp_path)
    first = mistakes(caught.value)[0]
    assert (first.file, first.source.strip()) == (MART, "count(*) as call_count,")
    assert f"{YAML}:7" in str(caught.value)


def test_what_a_wrong_model_makes_unknown_is_not_told_too(tmp_path: Path) -> None:
    """A unit test that is given rows of a model that does not compile is not wrong itself."""
    write(tmp_path)
    (tmp_path / "models/staging/stg_calls.sql").write_text("select 1 as line; select 2")
    (tmp_path / YAML).write_text(
        "unit_tests:\n  - name: u\n    model: calls_by_line\n    given:\n"
        "      - {input: ref('stg_calls'), rows: []}\n    expect: {rows: []}\n"
    )
    with pytest.raises(KpiError) as caught:
        compiled(tmp_path)
    assert [message.file for message in mistakes(caught.value)] == ["models/staging/stg_calls.sql"]


def test_a_test_may_ask_for_the_columns_of_what_it_judges(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "macros/own.sql": "{% test no_text(model) %}\n{% for column in adapter.get_columns_in_relation(model) %}\n"
            "select '{{ column.name }}' as name where '{{ column.dtype }}' = 'VARCHAR' union all\n{% endfor %}\n"
            "select '' where false\n{% endtest %}\n",
            YAML: "models: [{name: calls_by_line, data_tests: [no_text]}]\n",
        },
    )
    (test,) = (node for node in compiled(tmp_path).graph.tests() if node.test and node.test.kind == "no_text")
    assert test.sql.count("'in_time_count' as name") == 1
