"""Real dbt builds this project on the same raw tables: equal tables, nodes, tests and results. A difference is a bug.

dbt is in an environment of its own: make dbt. KPI_DBT names another one's dbt. All that is compared comes of one build
by dbt, of 30 CPU seconds: nothing else holds the whole project against what dbt makes of it. It runs a sample of the
tests that has each kind (`support/dbt_side.py`), and all with KPI_ALL_SEEDS=1.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from conftest import TODAY, copy_project
from kpi.engine.graph import RESERVED_TABLES
from kpi.ingest import raw_files
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from once import ROOT, copied
from with_dbt import python_of_dbt

pytestmark = pytest.mark.xdist_group("dbt")  # dbt builds once, so one worker has them all

# Beside the project's own: whatever of dbt's ways with names and settings of tests and models it does not use itself.
ODD = {
    "models/odd/odd_years.sql": """\
{{ config(materialized='table', tags=['second'], alias='years_that_are_odd') }}
select distinct report_year
from {{ ref('indicators') }}
""",
    "models/odd/odd_rejects.sql": """\
select file, count(*) as reject_count
from {{ source('odd', 'refused') }}
group by file
""",
    "models/odd/odd_passing.sql": """\
{{ config(materialized='ephemeral') }}
select report_year, figure_id, count(*) as value_count
from {{ ref('indicators') }}
group by report_year, figure_id
""",
    "models/odd/odd_growing.sql": """\
{{ config(
    materialized='incremental',
    unique_key=['report_year', 'figure_id'],
    incremental_strategy='delete+insert',
    post_hook="comment on table {{ this }} is 'grows'",
) }}
select report_year, figure_id, value_count from {{ ref('odd_passing') }}
{% if is_incremental() %}
where report_year >= (select max(report_year) from {{ this }})
{% endif %}
""",
    "snapshots/odd.sql": """\
{% snapshot odd_history %}
{{ config(
    target_schema='odd', unique_key='figure_id', strategy='timestamp', updated_at="updated_at"
) }}
select figure_id, cast('2025-01-01' as timestamp) as updated_at
from {{ ref('odd_passing') }}
where report_year = 2025
{% endsnapshot %}
""",
    "seeds/odd_values.csv": """\
odd_id,amount,starts_on,is_odd,note,mixed
1,1.5,2025-01-01,true,plain,1
2,2,2025-12-31,false,"late, quoted",x
3,,,,,
""",
    "models/odd/odd.md": "{% docs odd_years %}\nYears of *indicators*.\n{% enddocs %}\n",
    "macros/odd.sql": """\
{% test is_at_least(model, column_name, least) %}
select {{ column_name }} from {{ model }} where {{ column_name }} < {{ odd_number(least) }}
{% endtest %}
{% macro odd_number(number) -%}
{{ number }}
{%- endmacro %}
""",
    "models/odd/odd.yml": """\
exposures:
  - name: yearly_report
    type: dashboard
    description: What is printed.
    owner: {name: The manager, email: manager@county.example}
    depends_on: [ref('odd_years'), "source('odd', 'refused')"]
sources:
  - name: odd
    schema: raw
    tables:
      - name: refused
        identifier: rejects
        description: Rows that were not loaded.
        columns:
          - name: file
            data_tests: [not_null]
          - name: feed
            data_tests:
              - accepted_values:
                  arguments: {values: [calls, callbacks, nps_responses]}
                  config: {severity: warn}
models:
  - name: odd_rejects
    columns:
      - name: reject_count
        data_tests:
          - is_at_least: {arguments: {least: 1}}
          - dbt.not_null
  - name: odd_years
    description: "{{ doc('odd_years') }}"
    config: {schema: odd, tags: [first], meta: {owner: nobody}}
    columns:
      - name: report_year
        data_type: bigint
        data_tests:
          - unique: {name: years_are_there_once}
          - not_null: {config: {where: report_year > 2020}}
          - accepted_values: {arguments: {values: [1990, 1991], quote: false}, config: {severity: warn}}
    data_tests:
      - unique: {arguments: {column_name: report_year}}
      - relationships:
          arguments: {to: "ref('odd_years')", field: report_year, column_name: report_year}
""",
}
# dbt has these of what it ran, and it runs a sample of the tests.
OF_A_RUN = ("compiled", "extra_ctes_injected")
# What is dbt's own: when and where it writes files; that its compiled SQL names the database, and the ephemeral models
# apart; that it tells of a reference as often as it occurs, and of the doc blocks that a description is made from.
OF_DBT_ALONE = (
    *("created_at", "build_path", "compiled_path", "root_path", "compiled_code", "extra_ctes", "refs", "doc_blocks"),
)


@dataclass(frozen=True, slots=True)
class Both:
    """What kpi and dbt made of the same project: their databases and artifacts, and what dbt answered."""

    ours: Path
    theirs: Path
    answers: Mapping[str, Any]

    @property
    def left_out(self) -> frozenset[str]:
        """The tests that dbt was not asked to run, by id."""
        return frozenset(self.answers["left_out"])

    def read(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        ours, theirs = (json.loads((folder / name).read_text(encoding="utf-8")) for folder in (self.ours, self.theirs))
        return ours, theirs


def keep(folder: Path) -> None:
    """Write what is kept of deliveries of 2020 that were deleted: a figure, to its last digit, and a file."""
    folder.mkdir(parents=True)
    lines = {
        "kept_indicators": "elderly_housing_mean_wait_days,elderly_housing,2020,calendar_year,100.0,300.0,"
        "0.3333333333333333,300",
        "deleted_deliveries": f"calls,2020.csv,{'0' * 64},4,3,1,0,2020,2020",
    }
    for table, line in lines.items():
        header = ",".join(name for name, _ in raw_files.TABLES[table])
        (folder / f"{table}.csv").write_text(f"{header}\n{line},00000-made-up,2026-01-02\n", encoding="utf-8")
    raw_files.write_sums(folder)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, small_deliveries: Path) -> Both:
    python = python_of_dbt()
    root = copy_project(tmp_path_factory.mktemp("both"))
    (root / "profiles.yml").write_bytes((ROOT / "profiles.yml").read_bytes())
    for name, text in ODD.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    copied(small_deliveries, root / "warehouse/raw")
    keep(root / "warehouse/kept/00000-made-up")
    outcome = refresh(root, Options(as_of=TODAY, validate=False), lambda line: None)
    ours, theirs = root / "warehouse/builds" / outcome.build, root / "target"
    theirs.mkdir()
    with duckdb.connect(str(theirs / "kpi.duckdb")) as con:
        con.execute(f"attach '{ours / 'kpi.duckdb'}' as ours (read_only)")
        con.execute("create schema raw")
        for (table,) in con.execute("select table_name from duckdb_tables() where schema_name = 'raw'").fetchall():
            con.execute(f"create table raw.{table} as from ours.raw.{table}")
    subprocess.run(
        [python, ROOT / "tests/support/dbt_side.py", root, theirs, ours],
        env={**os.environ, "KPI_DBT_DATABASE": str(theirs / "kpi.duckdb")},
        check=True,
        capture_output=True,
        cwd=root,
    )
    return Both(ours, theirs, json.loads((theirs / "answers.json").read_text(encoding="utf-8")))


def contents(database: Path) -> dict[str, tuple[Any, ...]]:
    """Kind, names and types of columns, number of rows and a hash of them all, for every table and view."""
    found = {}
    with duckdb.connect(str(database), read_only=True) as con:
        places = con.execute(
            "select table_schema || '.' || table_name, table_type from information_schema.tables order by 1"
        ).fetchall()
        for place, kind in places:
            columns = con.execute(f"describe {place}").fetchall()
            # dbt has no build that a value could begin in.
            of = f"(select * exclude valid_from from {place})" if place == "marts.vintages" else place
            rows = con.execute(f"select count(*), sum(hash(compared)::hugeint) from {of} as compared").fetchone()
            found[place] = (kind, [column[:2] for column in columns], rows)
    return found


def test_dbt_builds_the_project_and_warns_of_nothing_it_deprecates(both: Both) -> None:
    assert both.answers["exception"] == ""
    assert both.answers["failed"] == []


def test_every_table_and_view_holds_the_same(both: Both) -> None:
    ours, theirs = contents(both.ours / "kpi.duckdb"), contents(both.theirs / "kpi.duckdb")
    ours = {place: found for place, found in ours.items() if place not in RESERVED_TABLES}
    assert {place for place in ours if ours[place] != theirs.get(place)} == set()
    assert set(ours) == set(theirs)
    assert len(ours) > 100
    assert ours["marts.indicators"][2][0] > 100


def test_a_kept_figure_is_told_by_both(both: Both) -> None:
    for folder in (both.ours, both.theirs):
        with duckdb.connect(str(folder / "kpi.duckdb"), read_only=True) as con:
            sql = "select value, origin from marts.indicators natural join marts.indicator_origins"
            assert con.execute(f"{sql} where report_year = 2020").fetchall() == [(1 / 3, "kept")]
            assert con.execute("select file, kept_from from marts.deleted_deliveries").fetchall() == [
                ("2020.csv", "00000-made-up")
            ]


def test_nodes_have_the_ids_settings_columns_and_parents_that_dbt_gives_them(both: Both) -> None:
    ours, theirs = both.read("manifest.json")
    for part in ("nodes", "sources", "macros", "unit_tests", "exposures"):
        own = {name: entry for name, entry in theirs[part].items() if entry["package_name"] == "kpi"}
        assert set(ours[part]) == set(own)
        different = {
            (name, field): (entry.get(field), own[name].get(field))
            for name, entry in ours[part].items()
            for field in entry.keys() | own[name].keys()
            if field not in OF_DBT_ALONE
            and not (field in OF_A_RUN and name in both.left_out)
            and comparable(field, entry.get(field)) != comparable(field, own[name].get(field))
        }
        assert different == {}
    for order in ("parent_map", "child_map"):
        assert {name: sorted(near) for name, near in theirs[order].items()} == ours[order]


def comparable(field: str, value: Any) -> Any:
    """Without the macros that are dbt's own, with dependencies, tags and the rows of unit tests in no order."""
    match field:
        case "depends_on":
            value = {kind: sorted(x for x in names if not x.startswith("macro.dbt")) for kind, names in value.items()}
        case "tags" | "primary_key":
            value = sorted(value or ())
        case "checksum" if isinstance(value, str):
            value = None  # a unit test's, over what Python prints for dbt's own classes
        case "columns" if isinstance(value, dict):
            value = {name: {**column, "doc_blocks": []} for name, column in value.items()}
        case "given":
            value = [{**one, "rows": in_order(one["rows"])} for one in value]
        case "expect":
            value = {**value, "rows": in_order(value["rows"])}
    return value


def in_order(rows: Any) -> Any:
    return sorted(rows, key=str) if isinstance(rows, list) else rows


def test_tests_find_the_same(both: Both) -> None:
    ours, theirs = (
        {result["unique_id"]: (result["status"], result["failures"]) for result in artifact["results"]}
        for artifact in both.read("run_results.json")
    )
    # Unit tests run without the warehouse; that dbt passes them is asked above. Nothing is done with exposures.
    theirs = {name: found for name, found in theirs.items() if not name.startswith(("unit_test.", "exposure."))}
    assert set(ours) - both.left_out == set(theirs)
    assert {name for name in theirs if ours[name] != theirs[name]} == set()
    assert {status for status, _ in ours.values()} == {"success", "pass", "warn"}


def test_the_catalogs_have_the_same_tables_and_columns(both: Both) -> None:
    ours, theirs = both.read("catalog.json")
    for part in ("nodes", "sources"):
        assert set(ours[part]) == set(theirs[part])
        for name, entry in ours[part].items():
            assert entry["metadata"] == theirs[part][name]["metadata"]
            assert entry["columns"] == theirs[part][name]["columns"]


def test_dbt_and_the_artifacts_parser_read_our_artifacts(both: Both) -> None:
    assert both.answers["unreadable"] == []


def test_dbt_takes_our_manifest_for_the_state_of_its_project(both: Both) -> None:
    # is_incremental() is dbt's own macro, which our manifest does not have: what calls it counts as changed.
    assert sorted(both.answers["modified"]) == ["kpi.marts.vintages", "kpi.odd.odd_growing"]


def test_what_the_docs_page_of_dbt_reads_is_there(both: Both) -> None:
    assert both.answers["documented"]
    ours, theirs = both.read("manifest.json")
    assert set(theirs) <= set(ours)
    assert set(theirs["metadata"]) <= set(ours["metadata"])
    assert any(doc["name"] == "__overview__" for doc in ours["docs"].values())
    for name, entry in theirs["nodes"].items():
        assert entry.keys() <= ours["nodes"][name].keys(), name
    ours, theirs = both.read("catalog.json")
    for name, entry in theirs["nodes"].items():
        assert entry.keys() == ours["nodes"][name].keys()
        assert "has_stats" in ours["nodes"][name]["stats"]
