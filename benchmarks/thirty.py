"""Thirty models and sixty tests over 1.6 million rows, written out for each tool that is measured.

The same SELECTs for all: a staging view of one Parquet file and five views of it, fourteen intermediate tables, ten
marts. Each model has two data tests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

ROWS = 1_600_000
LINES = ("health", "dental", "social", "maternity", "mental")
CHANGED = "int_waits"


@dataclass(frozen=True, slots=True)
class Model:
    """One model: its SELECT with other models named in braces, and the columns two data tests are of."""

    name: str
    kind: str
    sql: str
    not_null: str
    unique: str = ""
    accepted: str = ""


def write_rows(file: Path, rows: int = ROWS) -> None:
    """Write so many raw rows; the same content every time."""
    with duckdb.connect() as con:
        lines = ", ".join(f"'{line}'" for line in LINES)
        con.execute(
            f"""copy (
                select
                    'c' || range as call_id,
                    [{lines}][1 + cast(hash(range) % 5 as integer)] as line,
                    cast(hash(range * 7) % 400 as integer) as agent,
                    timestamp '2023-01-01' + interval 1 minute * (hash(range * 13) % 1576800) as arrived_at,
                    cast(hash(range * 17) % 900 as integer) as waited_seconds,
                    hash(range * 19) % 10 > 0 as is_answered
                from range({rows})
            ) to '{file}' (format parquet)"""
        )


def models() -> tuple[Model, ...]:
    """All thirty, parents first."""
    staged = """select
    call_id,
    line,
    agent,
    arrived_at,
    cast(arrived_at as date) as arrived_on,
    year(arrived_at) as report_year,
    month(arrived_at) as report_month,
    waited_seconds,
    is_answered
from {source}"""
    found = [Model("stg_calls", "view", staged, "call_id", accepted="line")]
    found += [
        Model(f"stg_{x}", "view", f"select *\nfrom {{stg_calls}}\nwhere line = '{x}'", "call_id", accepted="line")
        for x in LINES
    ]
    everything = """select
    call_id,
    line,
    agent,
    arrived_on,
    report_year,
    report_month,
    waited_seconds,
    is_answered,
    waited_seconds <= 300 as is_in_time
from {stg_calls}"""
    found.append(Model("int_calls", "table", everything, "call_id", unique="call_id"))
    daily = """select
    line || arrived_on as day_key,
    line,
    arrived_on,
    report_year,
    count(*) as call_count,
    count(case when is_answered then 1 end) as answered_count,
    sum(waited_seconds) as waited_seconds
from {stg_X}
group by line, arrived_on, report_year"""
    agents = """select
    line || '/' || agent || '/' || report_year || '/' || report_month as agent_key,
    line,
    agent,
    report_year,
    report_month,
    count(*) as call_count,
    max(waited_seconds) as longest_seconds
from {stg_X}
group by line, agent, report_year, report_month"""
    found += [Model(f"int_daily_{x}", "table", daily.replace("X", x), "line", unique="day_key") for x in LINES]
    found += [Model(f"int_agents_{x}", "table", agents.replace("X", x), "line", unique="agent_key") for x in LINES]
    for part, key in (("daily", "day_key"), ("agents", "agent_key")):
        union = "\nunion all\n".join(f"select * from {{int_{part}_{x}}}" for x in LINES)
        found.append(Model(f"int_{part}", "table", union, "line", unique=key))
    waits = """select
    line,
    report_year,
    call_id,
    waited_seconds,
    row_number() over (partition by line, report_year order by waited_seconds desc, call_id) as place
from {int_calls}
qualify place <= 1000"""
    found.append(Model(CHANGED, "table", waits, "place", unique="call_id"))
    grain = "{table}.line || '/' || {table}.report_year as line_year"
    by_year = [
        ("answered", "int_calls", "100.0 * count(case when is_answered then 1 end) / nullif(count(*), 0) as value"),
        ("in_time", "int_calls", "100.0 * count(case when is_in_time then 1 end) / nullif(count(*), 0) as value"),
        ("median_wait", "int_calls", "median(waited_seconds) as value"),
        ("busiest_day", "int_daily", "max(call_count) as value"),
        ("mean_wait", "int_daily", "1.0 * sum(waited_seconds) / nullif(sum(call_count), 0) as value"),
        ("agents", "int_agents", "count(distinct agent) as value"),
        ("longest_wait", "int_waits", "max(waited_seconds) as value"),
        ("tail_wait", "int_waits", "min(waited_seconds) as value"),
    ]
    for name, parent, value in by_year:
        key = grain.replace("{table}", "calls")
        sql = f"""select
    {key},
    calls.line,
    calls.report_year,
    cast({value.removesuffix(" as value")} as double) as value
from {{{parent}}} as calls
group by calls.line, calls.report_year"""
        found.append(Model(f"ind_{name}", "table", sql, "value", unique="line_year"))
    union = "\nunion all\n".join(
        f"select '{name}' || line_year as indicator_key, '{name}' as figure, line, report_year, value"
        f" from {{ind_{name}}}"
        for name, _, _ in by_year
    )
    found.append(Model("indicators", "table", union, "value", unique="indicator_key"))
    changes = """select
    indicator_key,
    figure,
    value - lag(value) over (partition by figure, line order by report_year) as change
from {indicators}"""
    found.append(Model("changes", "table", changes, "figure", unique="indicator_key"))
    return tuple(found)


def named(sql: str, names: Mapping[str, str]) -> str:
    """Put names of tables into the braces of a SELECT."""
    for name, place in names.items():
        sql = sql.replace(f"{{{name}}}", place)
    return sql


def bare_statements(parquet: Path, only: frozenset[str] | None = None) -> list[str]:
    """The thirty statements and sixty counts for bare DuckDB, or those of some models."""
    names = {model.name: f"main.{model.name}" for model in models()} | {"source": f"'{parquet}'"}
    chosen = [model for model in models() if only is None or model.name in only]
    made = [f"create or replace {m.kind} main.{m.name} as {named(m.sql, names)}" for m in chosen]
    counts = [f"select count(*) from ({failing(m, kind, names[m.name])})" for m in chosen for kind in kinds(m)]
    return made + counts


def kinds(model: Model) -> tuple[str, str]:
    """The kinds of a model's two tests."""
    return ("not_null", "unique" if model.unique else "accepted_values")


def failing(model: Model, kind: str, table: str) -> str:
    """SQL of the rows that fail one of the tests."""
    values = ", ".join(f"'{line}'" for line in LINES)
    return {
        "not_null": f"select 1 from {table} where {model.not_null} is null",
        "unique": f"select {model.unique} from {table} where {model.unique} is not null group by 1 having count(*) > 1",
        "accepted_values": f"select {model.accepted} from {table} where {model.accepted} not in ({values})",
    }[kind]


def descendants(name: str) -> frozenset[str]:
    """A model and all that is made from it."""
    found = {name}
    for model in models():
        if any(f"{{{parent}}}" in model.sql for parent in found):
            found.add(model.name)
    return frozenset(found)


def write_dbt(root: Path, parquet: Path, changed: str = "") -> None:
    """Write the dbt project that dbt and kpi both build; `changed` is a condition that CHANGED gets."""
    (root / "models").mkdir(parents=True, exist_ok=True)
    names = {model.name: f"{{{{ ref('{model.name}') }}}}" for model in models()}
    names["source"] = "{{ source('raw', 'calls') }}"
    for model in models():
        head = "" if model.kind == "table" else "{{ config(materialized='view') }}\n"
        sql = named(model.sql, names)
        _write(root / f"models/{model.name}.sql", head + (_changed(sql, changed) if model.name == CHANGED else sql))
    (root / "dbt_project.yml").write_text(
        "name: thirty\nversion: '1.0'\nconfig-version: 2\nprofile: thirty\n"
        "models:\n  thirty:\n    +materialized: table\n"
        f"vars:\n  kpi_warehouse:\n    source_folders: [{json.dumps(str(parquet.parent))}]\n"
    )
    (root / "profiles.yml").write_text(
        "thirty:\n  target: dev\n  outputs:\n    dev: {type: duckdb, path: thirty.duckdb, schema: main, threads: 2}\n"
    )
    sources = [{"name": "raw", "tables": [{"name": "calls", "config": {"meta": {"external_location": str(parquet)}}}]}]
    described = [{"name": model.name, "columns": _columns(model)} for model in models()]
    # YAML reads JSON.
    (root / "models/models.yml").write_text(json.dumps({"version": 2, "sources": sources, "models": described}))


def write_sqlmesh(root: Path, parquet: Path, changed: str = "") -> None:
    """Write the same for SQLMesh."""
    (root / "models").mkdir(parents=True, exist_ok=True)
    (root / "config.yaml").write_text(
        "gateways:\n  local:\n    connection: {type: duckdb, database: thirty.duckdb}\ndefault_gateway: local\n"
        "model_defaults: {dialect: duckdb, start: 2024-01-01}\ndisable_anonymized_analytics: true\n"
    )
    names = {model.name: f"thirty.{model.name}" for model in models()} | {"source": f"read_parquet('{parquet}')"}
    lines = ", ".join(f"'{line}'" for line in LINES)
    for model in models():
        second = f"unique_values(columns := ({model.unique}))"
        if model.accepted:
            second = f"accepted_values(column := {model.accepted}, is_in := ({lines}))"
        kind = "VIEW" if model.kind == "view" else "FULL"
        first = f"not_null(columns := ({model.not_null}))"
        head = f"MODEL (name thirty.{model.name}, kind {kind}, audits ({first}, {second}));"
        sql = named(model.sql, names)
        sql = _changed(sql, changed) if model.name == CHANGED else sql
        _write(root / f"models/{model.name}.sql", f"{head}\n{sql}")


def write_lea(root: Path, parquet: Path, changed: str = "") -> None:
    """Write the same for lea, which makes a table of every script, and a test of those in a folder of that name."""
    names = {model.name: f"core.{model.name}" for model in models()} | {"source": f"read_parquet('{parquet}')"}
    for folder in ("core", "tests"):
        (root / "scripts" / folder).mkdir(parents=True, exist_ok=True)
    _write(root / ".env", "LEA_WAREHOUSE=duckdb\nLEA_DUCKDB_PATH=lea.duckdb\n")
    for model in models():
        sql = named(model.sql, names)
        sql = _changed(sql, changed) if model.name == CHANGED else sql
        _write(root / f"scripts/core/{model.name}.sql", sql)
        for kind in kinds(model):
            _write(root / f"scripts/tests/{kind}_{model.name}.sql", failing(model, kind, names[model.name]))


def _changed(sql: str, condition: str) -> str:
    return sql.replace("\nqualify", f"\nwhere {condition}\nqualify") if condition else sql


def _columns(model: Model) -> list[object]:
    tests: dict[str, list[object]] = {model.not_null: ["not_null"]}
    if model.unique:
        tests.setdefault(model.unique, []).append("unique")
    else:
        tests.setdefault(model.accepted, []).append({"accepted_values": {"arguments": {"values": list(LINES)}}})
    return [{"name": name, "data_tests": found} for name, found in tests.items()]


def _write(file: Path, text: str) -> None:
    if not file.is_file() or file.read_text() != text:
        file.write_text(text)
