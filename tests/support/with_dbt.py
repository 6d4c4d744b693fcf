"""A small project of dbt's kind, built by kpi and by real dbt, and the tables of both."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pytest

from kpi.jobs.options import Options, Outcome
from kpi.jobs.refresh import refresh
from once import ROOT

DBT = Path(os.environ.get("KPI_DBT") or ROOT / ".venv-dbt/bin/dbt")
NAME = "own"
PROFILE = f"{NAME}:\n  target: dev\n  outputs:\n    dev: {{type: duckdb, path: theirs/kpi.duckdb, threads: 1}}\n"
Tables = Mapping[str, tuple[Any, ...]]


def write(root: Path, files: Mapping[str, str]) -> Path:
    """Write the files of a project; one has a name and nothing else where they do not say otherwise."""
    usual = {} if (root / "dbt_project.yml").is_file() else {"dbt_project.yml": f"name: {NAME}\nprofile: {NAME}\n"}
    for name, text in {**usual, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def build(root: Path) -> Outcome:
    """Build with kpi, without judging report years, and only of models whose unit tests pass."""
    return refresh(root, Options(date(2026, 3, 5), validate=False, unit_tests=True), lambda line: None)


def ours(root: Path) -> Tables:
    """What kpi published."""
    return tables_of(root / "warehouse/current/kpi.duckdb", ("marts.runs", "marts.expectation_results"))


def theirs(root: Path, *words: str, command: Sequence[str] = ("build",)) -> Tables:
    """What dbt builds of the same project, without kpi's profile: dbt has one of its own."""
    profiles = root / "theirs"
    profiles.mkdir(exist_ok=True)
    (profiles / "profiles.yml").write_text(PROFILE.replace("theirs/", f"{profiles}/"), encoding="utf-8")
    where = ["--project-dir", str(root), "--profiles-dir", str(profiles), "--target-path", str(profiles / "target")]
    done = run_dbt(root, *command, *where, "--log-path", str(profiles), "--no-use-colors", *words)
    assert done["success"], done
    return tables_of(profiles / "kpi.duckdb")


def python_of_dbt() -> Path:
    """The Python of dbt's own environment; where it is missing, the test is skipped, or fails in CI."""
    if not DBT.is_file():
        message = f"{DBT} is not there. Set it up: make dbt"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return DBT.with_name("python")


def run_dbt(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run dbt in a folder. Returns `results`, statuses by node and test, `success`, `exception` and `output`."""
    process = _process(python_of_dbt())
    assert process.stdin is not None
    assert process.stdout is not None
    answer = folder / ".answer.json"
    answer.unlink(missing_ok=True)
    request = {"folder": str(folder), "arguments": arguments, "answer": str(answer)}
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found


@cache
def _process(python: Path) -> subprocess.Popen[str]:
    """One process for all tests of a worker, which ends with it."""
    command = [python, Path(__file__).with_name("dbt_process.py")]
    process = subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    atexit.register(process.communicate)  # the end of its input is its end
    return process


def tables_of(database: Path, without: Sequence[str] = ()) -> Tables:
    """The rows of every table and view, in an order of their own."""
    with duckdb.connect(str(database), read_only=True) as con:
        places = con.execute(
            "select table_schema || '.' || table_name from information_schema.tables"
            " where table_catalog = current_database() and table_schema not in ('raw', 'dbt_test__audit') order by 1"
        ).fetchall()
        return {
            place: tuple(con.execute(f"from {place} order by all").fetchall())
            for (place,) in places
            if place not in without
        }
