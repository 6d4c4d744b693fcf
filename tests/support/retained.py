"""A small project with a retention, its deliveries of seven years, and what lies there around a kpi prune-raw."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import small_project
from kpi import database
from kpi.jobs import prune_raw as pruning
from kpi.jobs.options import Options
from kpi.jobs.prune_raw import prune_raw
from kpi.jobs.refresh import refresh

TODAY = date(2026, 3, 5)
RUN = Options(as_of=TODAY)
MARKER = "kilpikonna-4711"  # in a row that must be gone, to the last byte
CALLS = """\
sources:
  - name: raw
    tables:
      - name: calls
        config: {meta: {feed: {key: [call_id], time_order: [arrived_on, answered_on], expected_every: year, RETENTION}}}
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
            config: {meta: {required: true}}
          - name: answered_on
            data_type: date
      - name: notes
        config: {meta: {feed: {key: [call_id, note], expected_every: year, NOTES}}}
        columns:
          - name: call_id
            data_type: varchar
            config: {meta: {required: true}}
          - name: note
            data_type: varchar
            config: {meta: {required: true}}
      - name: kept_indicators
      - name: deleted_deliveries
"""
STG_CALLS = """\
select call_id, line, waited_seconds, arrived_on, year(arrived_on) as report_year
from {{ source('raw', 'calls') }}
where not _is_superseded
"""
DERIVED = """\
{{ config(materialized='table') }}
select
    'calls_received' as figure_id,
    line as service,
    report_year,
    'calendar_year' as basis,
    cast(count(*) as double) as numerator,
    cast(null as double) as denominator,
    cast(count(*) as double) as value,
    count(*) as event_count
from {{ ref('stg_calls') }}
group by line, report_year
union all
select
    'call_mean_wait_seconds' as figure_id,
    line as service,
    report_year,
    'calendar_year' as basis,
    cast(sum(waited_seconds) as double) as numerator,
    cast(count(waited_seconds) as double) as denominator,
    sum(waited_seconds) / nullif(cast(count(waited_seconds) as double), 0) as value,
    count(*) as event_count
from {{ ref('stg_calls') }}
group by line, report_year
union all
select
    'call_notes' as figure_id,
    'all' as service,
    report_year,
    'calendar_year' as basis,
    cast(count(*) as double) as numerator,
    cast(null as double) as denominator,
    cast(count(*) as double) as value,
    count(*) as event_count
from {{ source('raw', 'notes') }} as notes
inner join {{ ref('stg_calls') }} as calls using (call_id)
where not notes._is_superseded
group by report_year
"""
INDICATORS = """\
select figure_id, service, report_year, basis, numerator, denominator, value, event_count
from {{ ref('derived') }} as derived
anti join {{ source('raw', 'kept_indicators') }} as kept using (figure_id, service, report_year, basis)
union all
select figure_id, service, report_year, basis, numerator, denominator, value, event_count
from {{ source('raw', 'kept_indicators') }}
"""
ORIGINS = """\
select i.*, case when k.kept_from is null then 'derived' else 'kept' end as origin, k.kept_from
from {{ ref('indicators') }} as i
left join (select figure_id, service, report_year, basis, kept_from from {{ source('raw', 'kept_indicators') }}) as k
    using (figure_id, service, report_year, basis)
"""
DELETED = "select * from {{ source('raw', 'deleted_deliveries') }}\n"
COVERAGE = """\
select 'calls' as feed, report_year, month(arrived_on) as month, count(*) as row_count, 1 as service_count
from {{ ref('stg_calls') }}
group by all
"""
FILES: Mapping[str, str | None] = {
    "models/staging/calls.yml": CALLS,
    "models/staging/stg_calls.sql": STG_CALLS,
    "models/derived.sql": DERIVED,
    "models/marts/indicators.sql": INDICATORS,
    "models/marts/indicator_origins.sql": ORIGINS,
    "models/marts/deleted_deliveries.sql": DELETED,
    "models/marts/coverage.sql": COVERAGE,
    "models/marts/calls_by_line.sql": None,
    "tests/assert_in_time_is_part.sql": None,
}
HEADER = "call_id,line,waited_seconds,arrived_on,answered_on\n"
# 2020 is past retention in 2026 with 5 years; one call of it was answered in 2021.
DELIVERED = {
    "calls/2020.csv": HEADER
    + "a1,health,10,2020-02-01,\na2,health,20,2020-03-01,\n"
    + f"{MARKER},health,31,2020-12-31,2021-01-01\nbad,health,x,2020-01-01,\n",
    "calls/2020_correction.csv.gz": HEADER + "a2,health,25,2020-03-01,\n",
    "calls/2021.csv": HEADER + "b1,health,7,2021-05-01,\nb2,social,,2021-06-01,\n",
    "calls/between.csv": HEADER + "".join(f"m{y},health,4,{y}-05-01,\n" for y in (2022, 2023, 2024)),
    "calls/2025.csv": HEADER + "c1,health,9,2025-05-01,\n",
    "notes/2020.csv": "call_id,note\na1,called back\na1,thanked\nnobody,stray\n",
    "notes/2021.csv": "call_id,note\nb1,called back\n",
}
ALL = "figure_id, service, report_year, basis, numerator, denominator, value, event_count"


class Killed(BaseException):
    """The process is gone."""


def project(
    root: Path, retention: str = "raw_retention_years: 5, raw_retention_by: arrived_on", notes: str = ""
) -> Path:
    """Write the project; its notes go with the calls they are of."""
    years = retention.partition(",")[0]
    notes = notes or (f"{years}, raw_retention_by: calls.arrived_on" if "years" in years else "late_after_days: 9")
    text = CALLS.replace("RETENTION", retention or "late_after_days: 9").replace("NOTES", notes)
    return small_project.write(root, {**FILES, "models/staging/calls.yml": text})


def deliver(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / "warehouse/raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())


def refreshed(root: Path) -> list[str]:
    message: list[str] = []
    refresh(root, replace(RUN, max_reject_share=1), message.append)
    return message


def prune(root: Path, delete: bool = True, **options: Any) -> list[str]:
    message: list[str] = []
    prune_raw(root, replace(RUN, max_reject_share=1), message.append, delete, **{"today": TODAY, **options})
    return message


def ask(root: Path, sql: str) -> list[tuple[Any, ...]]:
    with database.reading(root / "warehouse/current/kpi.duckdb") as con:
        return con.execute(sql).fetchall()


def figures(root: Path) -> list[tuple[Any, ...]]:
    return ask(root, f"select {ALL} from marts.indicators order by all")


def lying(root: Path) -> set[str]:
    raw = root / "warehouse/raw"
    return {str(path.relative_to(raw)) for path in raw.rglob("*.csv*")}


GONE = {"calls/2020.csv", "calls/2020_correction.csv.gz", "notes/2020.csv"}


def killed(*_: object, **__: object) -> None:
    raise Killed


def killed_after(function: Callable[..., Any], times: int = 1) -> Callable[..., Any]:
    count = 0

    def wrapped(*arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        found = function(*arguments, **named)
        if count == times:
            raise Killed
        return found

    return wrapped


STEPS: Mapping[str, Callable[[], Any]] = {
    "while it is tried": lambda: patch("kpi.jobs.prune_raw._write", killed),
    "before it is in effect": lambda: patch.object(Path, "rename", killed),
    "when it is in effect": lambda: patch("kpi.jobs.prune_raw._emit_builds", killed),
    "before the refresh": lambda: patch("kpi.jobs.prune_raw.refresh", killed),
    "in the refresh": lambda: patch("kpi.jobs.candidate.Run._validate", killed),
    "before it is published": lambda: patch("kpi.jobs.candidate.publish", killed),
    "before it is deleted": lambda: patch("kpi.jobs.prune_raw._delete", killed),
    "when one was deleted": lambda: patch("kpi.jobs.prune_raw._delete", killed_after(pruning._delete)),
    "before it is recorded": lambda: patch("kpi.jobs.prune_raw.record", killed),
    "when two were deleted": lambda: patch("kpi.jobs.prune_raw._delete", killed_after(pruning._delete, 2)),
}
