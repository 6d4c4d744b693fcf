"""SQL as analytics engineers write it, each shape a figure of one project: `tests/data/sql_shapes.sql` has them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CALLS = """\
call_id,line,waited_seconds,arrived_on,caller,topics
c01,health,10,2025-01-03,p1,flu;fever
c02,health,400,2025-01-04,p1,fever
c03,social,20,2025-01-09,p2,money
c04,social,,2025-02-01,p3,
c05,dental,30,2025-02-02,p3,tooth
c06,health,50,2025-02-03,p4,flu
c07,health,50,2025-02-14,p4,flu;rash
c08,social,700,2025-03-01,,home;money
c09,dental,90,2025-03-02,p5,tooth
c10,health,310,2025-03-05,p5,rash
c11,social,60,2025-03-08,p2,money
c12,health,,2025-04-01,p6,
c13,health,15,2024-05-01,p1,flu
c14,social,25,2024-06-01,p2,money
c15,dental,500,2024-07-01,p5,tooth
c16,health,305,2025-05-01,p6,flu
"""
CORRECTION = """\
call_id,line,waited_seconds,arrived_on,caller,topics
c03,social,120,2025-01-09,p2,money
c17,social,5,2025-06-01,p7,home
"""
CALLBACKS = """\
callback_id,call_id,done_on
b01,c01,2025-01-03
b02,c01,2025-01-05
b03,c02,2025-01-10
b04,c06,2025-02-03
b05,c08,2025-03-09
b06,c09,2025-03-02
b07,c99,2025-03-20
b08,c13,2024-05-02
b09,c11,2025-03-08
"""
FILES: Mapping[str, str] = {
    "dbt_project.yml": """\
name: shapes
model-paths: [models]
seed-paths: [seeds]
macro-paths: [macros]
models:
  shapes:
    staging: {+schema: staging}
    marts: {+schema: marts, +materialized: table}
seeds:
  shapes: {+schema: seeds}
""",
    "macros/names.sql": """\
{% macro generate_schema_name(custom_schema_name, node) -%}
{{ custom_schema_name or target.schema }}
{%- endmacro %}
""",
    "models/staging/feeds.yml": """\
sources:
  - name: raw
    tables:
      - name: calls
        config: {meta: {feed: {key: [call_id]}}}
        columns:
          - {name: call_id, data_type: varchar, config: {meta: {required: true}}}
          - {name: line, data_type: varchar}
          - {name: waited_seconds, data_type: bigint}
          - {name: arrived_on, data_type: date}
          - {name: caller, data_type: varchar}
          - {name: topics, data_type: varchar}
      - name: callbacks
        config: {meta: {feed: {key: [callback_id]}}}
        columns:
          - {name: callback_id, data_type: varchar, config: {meta: {required: true}}}
          - {name: call_id, data_type: varchar}
          - {name: done_on, data_type: date}
""",
    "models/staging/stg_calls.sql": (
        "select call_id, line, waited_seconds, arrived_on, caller, topics, year(arrived_on) as report_year\n"
        "from {{ source('raw', 'calls') }} where not _is_superseded\n"
    ),
    "models/staging/stg_callbacks.sql": (
        "select callback_id, call_id, done_on from {{ source('raw', 'callbacks') }} where not _is_superseded\n"
    ),
    "models/staging/lines.sql": "select * from {{ ref('line_names') }}\n",
    "seeds/line_names.csv": "line,name_en\nhealth,Health line\nsocial,Social line\n",
    "seeds/limits.csv": (
        "line,limit_seconds,valid_from,valid_to\nhealth,100,2024-01-01,2025-02-28\nhealth,300,2025-03-01,2099-12-31\n"
        "social,60,2024-01-01,2099-12-31\n"
    ),
    "warehouse/raw/calls/calls_1.csv": CALLS,
    "warehouse/raw/calls/calls_2.csv": CORRECTION,
    "warehouse/raw/callbacks/callbacks.csv": CALLBACKS,
}
DELIVERED = (
    "with calls as (select * from raw.calls where not _is_superseded),"
    " callbacks as (select * from raw.callbacks where not _is_superseded),"
    " y as (select * from calls where year(arrived_on) = 2025) "
)


SHAPES = Path(__file__).parents[1] / "data/sql_shapes.sql"
BRANCHES = 16  # of one union: few enough to be read quickly


@dataclass(frozen=True)
class Shape:
    """One way to write a figure: `sql` with `<<numerator>>` for the columns of a figure and `@calls` for models.

    `rows` is plain SQL over the delivered rows: the id of each that makes the numerator, and what it counts as. A shape
    whose rows cannot be told has `refusal` instead, words that the refusal must say; a number without rows has neither.
    """

    name: str
    sql: str
    rows: str = ""
    refusal: str = ""

    @property
    def rows_sql(self) -> str:
        """SELECT of `rows` on the build."""
        return DELIVERED + self.rows

    @property
    def model(self) -> str:
        """The model of the shape, in dbt's form."""

        def columns(match: re.Match[str]) -> str:
            value = f"cast({match[1]} as double)"
            return (
                f"'{self.name}' as figure_id, 'all' as service, 2025 as report_year, 'calendar_year' as basis,"
                f" {value} as numerator, cast(null as double) as denominator, {value} as value, 1 as event_count"
            )

        sql = re.sub(r"<<(.+?)>>", columns, self.sql, flags=re.S)
        return re.sub(r"@(\w+)", lambda match: "{{ ref('" + NAMES.get(match[1], match[1]) + "') }}", sql) + "\n"


NAMES = {"calls": "stg_calls", "callbacks": "stg_callbacks"}


def read() -> tuple[Shape, ...]:
    """Return all shapes."""
    shapes = []
    for section in SHAPES.read_text(encoding="utf-8").split("\n---- ")[1:]:
        name, _, text = section.partition("\n")
        sql, rows = text.partition("\n-- rows\n")[::2]
        sql, refusal = sql.partition("\n-- refused: ")[::2]
        sql = sql.partition("\n-- number")[0]
        shapes.append(Shape(name, sql.strip(), rows.strip(), refusal.strip()))
    return tuple(shapes)


def project(shapes: Sequence[Shape], branches: int = BRANCHES) -> dict[str, str]:
    """Return the files of a project that has each shape as a figure, so many in one union below the indicators."""
    files = dict(FILES)
    for shape in shapes:
        files[f"models/marts/ind_{shape.name}.sql"] = shape.model
    families = [shapes[first : first + branches] for first in range(0, len(shapes), branches)]
    for number, family in enumerate(families):
        files[f"models/marts/family_{number}.sql"] = _union([f"ind_{one.name}" for one in family])
    files["models/marts/indicators.sql"] = _union([f"family_{number}" for number in range(len(families))])
    return files


def _union(models: Sequence[str]) -> str:
    columns = "figure_id, service, report_year, basis, numerator, denominator, value, event_count"
    return "\nunion all\n".join(f"select {columns} from {{{{ ref('{one}') }}}}" for one in models) + "\n"
