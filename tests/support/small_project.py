"""A small dbt project in a folder of its own, for tests: one feed, one seed, a staging view and a mart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kpi.build_record import BuildRecord
from kpi.warehouse.builds import Warehouse

FILES: Mapping[str, str] = {
    "dbt_project.yml": """\
name: small
model-paths: [models]
seed-paths: [seeds]
macro-paths: [macros]
test-paths: [tests]
vars:
  limit_seconds: 300
models:
  small:
    staging:
      +schema: staging
    marts:
      +schema: marts
      +materialized: table
seeds:
  small:
    +schema: seeds
    +meta: {house_rules: true}
""",
    "macros/macros.sql": """\
{% macro generate_schema_name(custom_schema_name, node) -%}
{{ custom_schema_name or target.schema }}
{%- endmacro %}
{% macro share(part, whole) -%}
100 * {{ part }} / nullif({{ whole }}, 0)
{%- endmacro %}
""",
    "models/staging/calls.yml": """\
sources:
  - name: raw
    tables:
      - name: calls
        config: {meta: {feed: {key: [call_id]}}}
        columns:
          - name: call_id
            data_type: varchar
            config: {meta: {required: true}}
          - name: line
            data_type: varchar
          - name: waited_seconds
            data_type: bigint
          - name: arrived_on
            data_type: date
models:
  - name: stg_calls
    columns:
      - name: call_id
        data_tests: [not_null, unique]
      - name: line
        data_tests:
          - relationships:
              arguments:
                to: ref('lines')
                field: line
""",
    "models/staging/stg_calls.sql": """\
select
    call_id,
    line,
    waited_seconds,
    arrived_on
from {{ source('raw', 'calls') }}
where not _is_superseded
""",
    "models/marts/calls_by_line.sql": """\
select
    line,
    count(*) as call_count,
    count(*) filter (where waited_seconds <= {{ var('limit_seconds') }}) as in_time_count
from {{ ref('stg_calls') }}
group by line
""",
    "seeds/lines.csv": "line,name_en\nhealth,Health line\nsocial,Social line\n",
    "tests/assert_in_time_is_part.sql": """\
select line
from {{ ref('calls_by_line') }}
where in_time_count > call_count
""",
}


def write(root: Path, changes: Mapping[str, str | bytes | None] | None = None) -> Path:
    """Write the small project into `root`, with files changed, added or (None) left out. Returns `root`."""
    for name, text in {**FILES, **(changes or {})}.items():
        path = root / name
        if text is None:
            path.unlink(missing_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return root


def recorded(warehouse: Warehouse) -> BuildRecord:
    """Return the record of the published build."""
    record = warehouse.current_record()
    assert record is not None
    return record
