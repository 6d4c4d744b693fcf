"""A failing data test shows up to three of the failing rows, and nothing of a person."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.errors import CheckFailed
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.warehouse.builds import Warehouse
from small_project import FILES, write

CONTRACT = FILES["models/staging/calls.yml"]
PERSONAL = """\
          - name: caller
            data_type: varchar
            config: {meta: {pseudonym: true}}
          - name: said
            data_type: varchar
            config: {meta: {free_text: mask}}
"""
STAGING = "select * from {{ source('raw', 'calls') }} where not _is_superseded"
# Written in two parts, so that nothing here looks like one.
CODE = "131052-" + "308T"


def project(root: Path, files: dict[str, str | bytes | None], *settings: str) -> Path:
    contract = CONTRACT.replace("          - name: arrived_on\n", f"{PERSONAL}          - name: arrived_on\n")
    if settings:
        given = "".join(f"    {line}\n" for line in settings)
        files["dbt_project.yml"] = FILES["dbt_project.yml"].replace("vars:\n", f"vars:\n  kpi_warehouse:\n{given}")
    return write(root, {"models/staging/calls.yml": contract, "models/staging/stg_calls.sql": STAGING, **files})


def failing(root: Path, rows: str) -> str:
    """What a refresh whose tests fail says on the screen."""
    folder = root / "warehouse/raw/calls"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.csv").write_text(f"call_id,line,waited_seconds,caller,said,arrived_on\n{rows}", encoding="utf-8")
    message: list[str] = []
    with pytest.raises(CheckFailed) as caught:
        refresh(root, Options(date(2026, 3, 5), validate=False), message.append)
    # The error goes into mails, which quote no row: after the number of rows nothing follows.
    assert re.search(r"\d failing rows?$", str(caught.value), re.MULTILINE)
    assert "failing rows:" not in str(caught.value)
    return "\n".join(message)


def test_up_to_three_of_the_values_are_shown_in_the_message_the_build_and_by_kpi_test(tmp_path: Path) -> None:
    root = project(tmp_path, {})
    rows = "".join(f"{number},nowhere{number},3,p{number},,2024-01-01\n" for number in range(5))
    shown = "from_field=nowhere0; from_field=nowhere1; from_field=nowhere2; …"
    assert f", failing rows: {shown}" in failing(root, rows)
    last = Warehouse(root / "warehouse").last_run()
    assert last is not None
    (check,) = [one for one in last.checks if one.status == "fail"]
    assert check.examples == tuple(f"from_field=nowhere{number}" for number in range(3))
    result = CliRunner().invoke(cli, ["test", "--build", "candidate", "--project-dir", str(root)])
    assert f"5 failing rows: {shown}" in result.output


@pytest.mark.parametrize(
    ("test", "shown"),
    [
        ("select call_id, line, said, caller from {{ ref('stg_calls') }}", "call_id=1, line=health"),
        ("select line || ' ' || 'CODE' as told from {{ ref('stg_calls') }}", "told=health [henkilötunnus poistettu]"),
        (
            "select 'a@b.fi' as x, null as y, 1.5 as z from {{ ref('stg_calls') }}",
            "x=[sähköposti poistettu], y is null, z=1.5",
        ),
        ("select 'x\x1b[31m' || chr(10) || 'y' as x from {{ ref('stg_calls') }}", "x=x [31m y"),
        ("select repeat('long ', 30) as x from {{ ref('stg_calls') }}", "x=" + "long " * 8 + "…"),
        ("select caller, said from {{ ref('stg_calls') }}", ""),
    ],
)
def test_nothing_of_a_person_is_shown(tmp_path: Path, test: str, shown: str) -> None:
    root = project(tmp_path, {"tests/no_call.sql": test.replace("CODE", CODE)})
    message = failing(root, "1,health,3,p1,words,2024-01-01\n")
    assert [line for line in message.splitlines() if ", failing rows: " in line] == (
        [f"  no_call, failing rows: {shown}"] if shown else []
    )
    assert CODE not in message
    assert "p1" not in message
    assert "words" not in message


def test_nothing_is_shown_of_what_only_stewards_may_open(tmp_path: Path) -> None:
    ephemeral = "{{ config(materialized='ephemeral', schema='marts') }}\nselect * from {{ ref('stg_calls') }}"
    files: dict[str, str | bytes | None] = {
        "models/marts/passing.sql": ephemeral,
        "tests/direct.sql": "select call_id from {{ ref('stg_calls') }}",
        "tests/through.sql": "select call_id from {{ ref('passing') }}",
        "tests/mart.sql": "select line from {{ ref('calls_by_line') }}",
    }
    root = project(tmp_path, files, "stewards_schemas: [raw, staging]")
    message = failing(root, "secret1,health,3,p1,,2024-01-01\n")
    assert "secret1" not in message
    assert [line for line in message.splitlines() if ", failing rows: " in line] == [
        "  mart, failing rows: line=health"
    ]
