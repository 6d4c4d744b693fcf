"""A small project with figures of every form over two feeds and a seed, for tests of why a figure moved.

Counts, a share, a mean and a median of calls by line and month, with `all` the sum of its lines; and figures entered by
hand. `Oracle` has the same in plain Python, in fractions.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from datetime import date
from fractions import Fraction
from pathlib import Path
from statistics import median

from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.warehouse.builds import Warehouse, publish

AS_OF = date(2026, 3, 5)
HEADER = "call_id,line,waited_seconds,arrived_on\n"
FIGURE = """\
{% macro figure(figure_id, numerator, denominator, value) -%}
select '{{ figure_id }}' as figure_id, service, report_year, report_month, 'calendar_year' as basis,
    cast({{ numerator }} as double) as numerator, cast({{ denominator }} as double) as denominator,
    cast({{ value }} as double) as value, call_count as event_count
from periods
{%- endmacro %}
{% macro share(part, whole) -%}
100 * cast({{ part }} as double) / nullif({{ whole }}, 0)
{%- endmacro %}
{% macro generate_schema_name(custom_schema_name, node) -%}
{{ custom_schema_name or target.schema }}
{%- endmacro %}
"""
CALLS_FIGURES = """\
{{ config(materialized='table') }}
with lines as (
    select line, line as service from {{ ref('lines') }}
    union all
    select line, 'all' as service from {{ ref('lines') }}
),
timed as (
    select lines.service, calls.line, calls.waited_seconds, year(calls.arrived_on) as report_year,
        month(calls.arrived_on) as report_month, calls.waited_seconds <= limits.limit_seconds as is_in_time
    from {{ ref('stg_calls') }} as calls
    inner join lines on calls.line = lines.line
    inner join {{ ref('limits') }} as limits on calls.line = limits.line
),
periods as (
    select service, report_year, report_month, count(*) as call_count, sum(waited_seconds) as waited,
        count(case when is_in_time then 1 end) as in_time, median(waited_seconds) as middle
    from timed
    group by grouping sets ((service, report_year), (service, report_year, report_month))
)
{{ figure('calls_received', 'call_count', 'null', 'call_count') }}
union all
{{ figure('calls_in_time_share', 'in_time', 'call_count', share('in_time', 'call_count')) }}
union all
{{ figure('call_mean_seconds', 'waited', 'call_count', 'cast(waited as double) / call_count') }}
union all
{{ figure('call_median_seconds', 'null', 'call_count', 'middle') }}
"""
FILES: Mapping[str, str] = {
    "dbt_project.yml": """\
name: figures
model-paths: [models]
seed-paths: [seeds]
macro-paths: [macros]
vars:
  kpi_warehouse: {keep_published: 90, keep_failed: 90, keep_of_a_day: 0}
models:
  figures:
    staging: {+schema: staging}
    intermediate: {+schema: intermediate}
    marts: {+schema: marts, +materialized: table}
seeds:
  figures: {+schema: seeds}
""",
    "macros/figures.sql": FIGURE,
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
      - name: manual_figures
        config: {meta: {feed: {key: [figure_id, report_year], raw_retention_by: report_year}}}
        columns:
          - {name: figure_id, data_type: varchar, config: {meta: {required: true}}}
          - {name: report_year, data_type: bigint, config: {meta: {required: true}}}
          - {name: value, data_type: bigint}
""",
    "models/staging/stg_calls.sql": """\
select call_id, line, waited_seconds, arrived_on from {{ source('raw', 'calls') }} where not _is_superseded
""",
    "models/staging/stg_manual_figures.sql": """\
select figure_id, report_year, value from {{ source('raw', 'manual_figures') }} where not _is_superseded
""",
    "models/intermediate/int_calls_figures.sql": CALLS_FIGURES,
    "models/intermediate/int_figure_sums.sql": """\
select figure_id || ' all' as sum_id, 2 as level, true as is_exhaustive, service = 'all' as is_whole, figure_id, service
from (select distinct figure_id, service from {{ ref('int_calls_figures') }})
""",
    "models/marts/indicators.sql": """\
select figure_id, service, report_year, basis, numerator, denominator, value, event_count
from {{ ref('int_calls_figures') }}
where report_month is null
union all
select figure_id, service, report_year, basis, numerator, denominator, value, event_count from {{ ref('ind_changes') }}
union all
select figure_id, 'hand' as service, report_year, 'calendar_year' as basis, cast(value as double) as numerator,
    cast(null as double) as denominator, cast(value as double) as value, 1 as event_count
from {{ ref('stg_manual_figures') }}
""",
    "models/marts/ind_changes.sql": """\
select 'calls_received_change' as figure_id, service, report_year, 'change_from_previous_year' as basis,
    cast(null as double) as numerator, cast(null as double) as denominator,
    value - lag(value) over (partition by service order by report_year) as value, event_count
from {{ ref('int_calls_figures') }}
where figure_id = 'calls_received' and report_month is null
""",
    "models/marts/monthly_series.sql": """\
select figure_id, service, report_year, report_month as month, numerator, denominator, value
from {{ ref('int_calls_figures') }}
where report_month is not null
""",
    "models/marts/comparability_breaks.sql": """\
select 'calls_received' as figure_id, 'all' as service, cast('2025-01-01' as date) as starts_on, 'scope' as kind,
    'Alue kasvoi.' as reason_fi, 'Området växte.' as reason_sv, 'The county grew.' as reason_en
""",
    "seeds/lines.csv": "line,name_en\nhealth,Health line\nsocial,Social line\n",
    "seeds/limits.csv": "line,limit_seconds\nhealth,300\nsocial,60\n",
    "seeds/figures.csv": (
        "figure_id,unit,decimals\ncalls_received,count,0\ncalls_in_time_share,percent,1\ncall_mean_seconds,seconds,0\n"
        "call_median_seconds,seconds,0\ncalls_received_change,count,0\nvolunteers,count,0\n"
    ),
}
Call = tuple[str, str, int, str]  # id, line, waited seconds, day


def calls_of(year: int, month: int, first: int, count: int) -> list[Call]:
    """Return calls of a month, the same for the same arguments and different from month to month."""
    lines = ("health", "social", "health")
    return [
        (f"{first + n}", lines[n % 3], (37 * (first + n)) % 500, f"{year}-{month:02}-{1 + n % 28:02}")
        for n in range(count)
    ]


class FiguresProject:
    """The project in a folder, its deliveries and its builds."""

    def __init__(self, root: Path) -> None:
        self.root, self.warehouse = root, Warehouse(root / "warehouse")
        self.write(FILES)

    def write(self, files: Mapping[str, str]) -> None:
        """Write files of the project."""
        for name, text in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text, encoding="utf-8")

    def deliver(self, file: str, calls: Iterable[Call]) -> None:
        """Write a delivery of calls."""
        text = HEADER + "".join(f"{','.join(map(str, call))}\n" for call in calls)
        self.write({f"warehouse/raw/calls/{file}": text})

    def enter(self, value: int, file: str = "manual.csv") -> None:
        """Write a delivery with a figure of 2025 entered by hand."""
        text = f"figure_id,report_year,value\nvolunteers,2024,100\nvolunteers,2025,{value}\n"
        self.write({f"warehouse/raw/manual_figures/{file}": text})

    def build(self) -> str:
        """Refresh without judging report years, let readers see it, and return the build's id."""
        build = refresh(self.root, Options(AS_OF, validate=False), lambda _: None).build
        publish(self.warehouse, self.warehouse.builds / build)
        return build


def figure(figure_id: str, calls: Iterable[Call], limits: Mapping[str, int], service: str = "all") -> Fraction:
    """Return a figure of calls, in plain Python."""
    found = [(line, waited) for _, line, waited, _ in calls if service in ("all", line)]
    waits = [waited for _, waited in found]
    if figure_id in ("calls_received", "calls_received_change"):  # the year before is the same in all builds
        return Fraction(len(found))
    if figure_id == "call_mean_seconds":
        return Fraction(sum(waits), len(waits))
    if figure_id == "call_median_seconds":
        return Fraction(median(waits))
    return 100 * Fraction(sum(waited <= limits[line] for line, waited in found), len(found))


def read_calls(files: Iterable[Path]) -> list[Call]:
    """Return the calls of delivered files, a later file's row in place of an earlier one's of the same key."""
    found: dict[str, Call] = {}
    for file in files:
        with file.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                found[row["call_id"]] = (row["call_id"], row["line"], int(row["waited_seconds"]), row["arrived_on"])
    return list(found.values())
