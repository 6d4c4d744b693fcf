"""Selections on a small project, and what dbt makes of them.

The golden file is written by dbt itself, by hand, in an environment that has dbt-core and dbt-duckdb:

    python tests/support/selections.py tests/golden/selections.json

With a project's folder after that, that project is listed instead of the small one.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILES: Mapping[str, str] = {
    "dbt_project.yml": """\
name: shop
profile: shop
model-paths: [models]
seed-paths: [seeds]
test-paths: [tests/sql]
models:
  shop:
    staging: {+schema: staging, +tags: [hourly]}
    marts: {+schema: marts, +materialized: table}
""",
    "models/staging/staging.yml": """\
sources:
  - name: raw
    tags: [raw_data]
    tables:
      - name: calls
        config: {meta: {feed: {key: [call_id]}}}
        columns: [{name: call_id, data_type: varchar, config: {meta: {required: true}}}]
      - name: visits
        config: {meta: {feed: {key: [visit_id]}}}
        columns: [{name: visit_id, data_type: varchar, config: {meta: {required: true}}}]
models:
  - name: stg_calls
    columns:
      - {name: call_id, data_tests: [unique, not_null]}
  - name: stg_visits
    columns:
      - {name: visit_id, data_tests: [{not_null: {config: {severity: warn}}}]}
""",
    "models/staging/stg_calls.sql": "select call_id from {{ source('raw', 'calls') }}",
    "models/staging/stg_visits.sql": "select visit_id from {{ source('raw', 'visits') }}",
    "models/marts/marts.yml": """\
models:
  - name: by_call
    config: {tags: [daily]}
    columns:
      - name: call_id
        data_tests:
          - relationships: {arguments: {to: ref('stg_calls'), field: call_id}}
          - accepted_values: {arguments: {values: [a, b]}}
  - name: both
    columns:
      - {name: call_id, data_tests: [not_null]}
""",
    "models/marts/by_call.sql": "select call_id from {{ ref('stg_calls') }}",
    "models/marts/deep/both.sql": """\
{{ config(tags=['daily', 'wide']) }}
select c.call_id, l.name_en from {{ ref('by_call') }} as c join {{ ref('stg_visits') }} as v on v.visit_id = c.call_id
join {{ ref('lines') }} as l on l.line = c.call_id""",
    "models/marts/deep/last.sql": "{{ config(materialized='view') }} select call_id from {{ ref('both') }}",
    "models/alone.sql": "select 1 as one",
    "seeds/lines.csv": "line,name_en\na,A\n",
    "tests/sql/assert_calls.sql": "select call_id from {{ ref('by_call') }} where call_id is null",
    "tests/sql/deep/assert_both.sql": "{{ config(severity='warn', tags=['slow']) }}"
    " select b.call_id from {{ ref('both') }} as b join {{ ref('alone') }} as a on a.one = 2",
}
# What is asked: the words to select, those to exclude, and the way tests come along (eager when it is empty).
SELECTIONS: tuple[tuple[str, str, str], ...] = (
    ("", "", ""),
    ("stg_calls", "", ""),
    ("stg_calls", "", "cautious"),
    ("stg_calls", "", "buildable"),
    ("by_call", "", "buildable"),
    ("by_call", "", "cautious"),
    ("stg_calls", "", "empty"),
    ("stg_*", "", ""),
    ("staging", "", ""),
    ("staging.*", "", ""),
    ("shop.marts", "", ""),
    ("shop.marts.deep.both", "", ""),
    ("marts.deep", "", ""),
    ("marts.*th", "", ""),
    ("path:models/marts", "", ""),
    ("models/marts/deep", "", ""),
    ("path:models/*/stg_*.sql", "", ""),
    ("path:models/marts/marts.yml", "", "empty"),
    ("path:tests", "", ""),
    ("file:both.sql", "", ""),
    ("file:both", "", ""),
    ("stg_calls.sql", "", ""),
    ("tag:daily", "", ""),
    ("tag:hourly", "", "empty"),
    ("tag:slow", "", ""),
    ("tag:raw_data", "", "empty"),
    ("source:raw", "", ""),
    ("source:raw.calls+", "", ""),
    ("source:shop.raw.vis*", "", ""),
    ("source:*", "", "empty"),
    ("package:shop", "", "empty"),
    ("package:this,resource_type:seed", "", "empty"),
    ("resource_type:test", "", ""),
    ("resource_type:model", "", "empty"),
    ("config.materialized:view", "", "empty"),
    ("config.materialized:table", "", "cautious"),
    ("config.severity:warn", "", ""),
    ("config.tags:daily", "", "empty"),
    ("config.schema:marts", "", "empty"),
    ("test_type:singular", "", ""),
    ("test_type:generic", "", ""),
    ("test_type:data", "", ""),
    ("test_name:not_null", "", ""),
    ("test_name:*_values", "", ""),
    ("+both", "", ""),
    ("1+both", "", ""),
    ("2+both", "", "empty"),
    ("stg_calls+", "", ""),
    ("stg_calls+1", "", "empty"),
    ("stg_calls+2", "", "cautious"),
    ("@stg_calls", "", ""),
    ("@lines", "", "empty"),
    ("+by_call+1", "", "empty"),
    ("stg_calls stg_visits", "", "cautious"),
    ("by_call stg_calls", "", "cautious"),
    ("stg_calls+,tag:daily", "", ""),
    ("stg_calls+,+both", "", "cautious"),
    ("by_call,tag:daily lines", "", ""),
    ("by_call+", "last", ""),
    ("marts", "tag:daily", ""),
    ("", "by_call", ""),
    ("", "test_type:singular", ""),
    ("stg_calls+", "both", "cautious"),
    ("", "stg_calls", "buildable"),
    ("path:models,test_type:generic", "", ""),
    ("both,test_name:not_null", "", ""),
)


def key(selection: tuple[str, str, str]) -> str:
    """A selection as its command says it."""
    wanted, excluded, indirect = selection
    return " ".join(
        f"{option} {value}"
        for option, value in (("--select", wanted), ("--exclude", excluded), ("--indirect-selection", indirect))
        if value
    )


def label(node: Mapping[str, Any]) -> str:
    """A node by what both sides call it: dbt's names of generic tests end in hashes of its own."""
    test = node.get("test_metadata") or {}
    if node["resource_type"] != "test" or not test:
        return ".".join(node["unique_id"].split(".")[:1] + node["unique_id"].split(".")[2:])
    column = (test.get("kwargs") or {}).get("column_name") or node.get("column_name")
    return f"test.{test['name']}.{node['attached_node'].split('.', 2)[2]}.{column}"


def main(target: str, project: str = "") -> None:
    """List every selection with dbt and write what it says."""
    from dbt.cli.main import dbtRunner  # type: ignore[import-not-found, unused-ignore]

    with tempfile.TemporaryDirectory() as folder:
        root = Path(project or folder)
        for name, text in FILES.items() if not project else ():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        name = (root / "dbt_project.yml").read_text(encoding="utf-8").partition("profile: ")[2].partition("\n")[0]
        output = {"type": "duckdb", "path": f"{folder}/x.duckdb"}
        Path(folder, "profiles.yml").write_text(json.dumps({name: {"target": "d", "outputs": {"d": output}}}))
        found = {}
        keys = "unique_id resource_type test_metadata attached_node column_name"
        runner = dbtRunner()
        for selection in SELECTIONS:
            wanted, excluded, indirect = selection
            given = ["--select", *wanted.split()] if wanted else []
            given += ["--exclude", *excluded.split()] if excluded else []
            given += ["--indirect-selection", indirect] if indirect else []
            places = ["--project-dir", str(root), "--profiles-dir", folder, "--target-path", folder + "/t"]
            quiet = ["--quiet", "--log-path", folder + "/l"]
            with contextlib.redirect_stdout(io.StringIO()):
                result = runner.invoke(
                    [*quiet, "ls", *places, "--output", "json", "--output-keys", keys, *given]
                ).result
            nodes = [json.loads(line) for line in result or []]
            found[key(selection)] = sorted(label(node) for node in nodes if node["resource_type"] != "unit_test")
    Path(target).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ["DBT_SEND_ANONYMOUS_USAGE_STATS"] = "false"
    main(*sys.argv[1:])
