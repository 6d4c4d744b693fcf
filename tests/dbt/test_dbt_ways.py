"""Ways of other people's dbt projects: each small project builds here to what is said of it, and in real dbt to that.

dbt is in an environment of its own: make dbt. KPI_DBT names another one's dbt.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

import dbt_ways_settings
import dbt_ways_sql
from conftest import ROOT, TODAY
from dbt_way import Way
from kpi.cli.main import cli
from kpi.engine.compile import check_project
from kpi.engine.unit_runner import refuse_failing, run_unit_tests
from kpi.errors import BuildErrors, CheckFailed, KpiError
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.project.project import load_project

DBT = Path(os.environ.get("KPI_DBT") or ROOT / ".venv-dbt/bin/dbt")
OWN = ("marts.expectation_results", "marts.runs")


WAYS = {**dbt_ways_settings.WAYS, **dbt_ways_sql.WAYS}


def write(root: Path, way: Way) -> Path:
    files = {"dbt_project.yml": "name: own\nversion: '1.0'\nprofile: default\n", **way.files}
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (root / "arguments").write_text(way.arguments, encoding="utf-8")
    return root


def contents(database: Path) -> dict[str, tuple[list[tuple[str, str]], list[tuple[Any, ...]]]]:
    """Columns with their types, and rows in order, of every table and view."""
    found = {}
    if not database.is_file():
        return {}
    with duckdb.connect(str(database), read_only=True) as con:
        sql = "select table_schema, table_name from information_schema.tables where table_catalog = 'kpi' order by 1, 2"
        for schema, name in con.execute(sql).fetchall():
            place = f'"{schema}"."{name}"'
            columns = [row[:2] for row in con.execute(f"describe {place}").fetchall()]
            found[f"{schema}.{name}"] = (columns, con.execute(f"select * from {place} order by all").fetchall())
    return {place: one for place, one in found.items() if place not in OWN}


def build(root: Path, arguments: str = "") -> tuple[Path, list[str]]:
    """Build a project, whatever its tests say. Returns the folder of the build, and what was told."""
    message: list[str] = []
    options = Options(TODAY, full_refresh="--full-refresh" in arguments, validate=False, unit_tests=True)
    try:
        refresh(root, options, message.append)
    except KpiError as error:
        message.append(str(error))
    builds = sorted((root / "warehouse/builds").glob("*/kpi.duckdb"))
    assert builds, message
    return builds[-1].parent, message


def statuses(results: Mapping[str, str]) -> dict[str, str]:
    """Statuses of tests by the name before the hash; of two with one name, both."""
    found: dict[str, str] = {}
    for unique_id, status in sorted(results.items()):
        if unique_id.startswith(("test.", "unit_test.")):
            name = unique_id.split(".")[2 if unique_id.startswith("test.") else 3]
            found[name] = f"{found[name]} {status}" if name in found else status
    return found


@pytest.mark.parametrize("name", WAYS)
def test_it_builds_to_what_is_said_of_it(tmp_path: Path, name: str) -> None:
    way = WAYS[name]
    folder, message = build(write(tmp_path, way), way.arguments)
    found = contents(folder / "kpi.duckdb")
    assert {place: found[place][1] if place in found else None for place in way.tables} == dict(way.tables), message
    results = json.loads((folder / "run_results.json").read_text(encoding="utf-8"))["results"]
    judged = statuses({result["unique_id"]: result["status"] for result in results})
    assert {test: judged.get(test) for test in way.results} == dict(way.results), message
    notes = "\n".join(check_project(load_project(tmp_path)).notes) if way.notes else ""
    assert [note for note in way.notes if note not in notes] == [], notes


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Every project built by kpi and by dbt: the folders of kpi's build and of dbt's."""
    if not DBT.is_file():
        message = f"{DBT} is not there. Set it up: make dbt"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    top = tmp_path_factory.mktemp("ways")
    ours = {}
    for number, (name, way) in enumerate(WAYS.items()):
        ours[name] = build(write(top / f"ours/{number}", way), way.arguments)[0]
        write(top / f"theirs/{number}", way)
    python = DBT.with_name("python")
    subprocess.run([python, ROOT / "tests/support/dbt_builds.py", top / "theirs"], check=True, capture_output=True)
    return {name: (ours[name], top / f"theirs/{number}/target") for number, name in enumerate(WAYS)}


@pytest.mark.xdist_group("dbt")
def test_dbt_builds_the_same(both: dict[str, tuple[Path, Path]]) -> None:
    different = {}
    for name, (ours, theirs) in both.items():
        answers = json.loads((theirs / "answers.json").read_text(encoding="utf-8"))
        left, right = contents(ours / "kpi.duckdb"), contents(theirs / "kpi.duckdb")
        results = json.loads((ours / "run_results.json").read_text(encoding="utf-8"))["results"]
        judged = {result["unique_id"]: result["status"] for result in results}
        apart = WAYS[name].apart
        for what, one, other in (
            *((place, left.get(place), right.get(place)) for place in sorted({*left, *right})),
            *(
                (test, judged.get(test), answers["results"].get(test))
                for test in sorted({*judged, *answers["results"]})
            ),
        ):
            if repr(one) != repr(other) and not any(part in what for part in apart):
                different[f"{name}: {what}"] = (one, other, answers["exception"])
    assert different == {}


@pytest.mark.parametrize(
    "files",
    [
        {"models/m.sql": "{{ config(database='elsewhere') }}select 1 as a"},
        {"models/m.sql": "select 1 as a", "models/m.yml": "models: [{name: m, config: {database: elsewhere}}]"},
        {
            "models/m.sql": "select 1 as a",
            "dbt_project.yml": "name: own\nprofile: default\nmodels: {own: {+database: elsewhere}}\n",
        },
    ],
)
def test_another_database_is_refused(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(KpiError, match="database='elsewhere': there is one database here, 'kpi'"):
        check_project(load_project(write(tmp_path, Way(files))))


def test_a_macro_that_names_another_database_is_refused(tmp_path: Path) -> None:
    macro = "{% macro generate_database_name(custom_database_name=none, node=none) %} lake {% endmacro %}"
    way = Way({"models/m.sql": "select 1 as a", "macros/d.sql": macro})
    with pytest.raises(KpiError, match=r"generate_database_name\(\) gives 'lake': there is one database here, 'kpi'"):
        check_project(load_project(write(tmp_path, way)))


def test_the_freshness_of_a_source_that_is_no_feed_is_noted(tmp_path: Path) -> None:
    source = "freshness: {warn_after: {count: 1, period: hour}}, loaded_at_field: a, tables: [{name: s}]"
    way = Way(
        {"seeds/s.csv": "a\n2020-01-01\n", "models/s.yml": f"sources: [{{name: o, schema: main, {source}}}]"},
    )
    notes = check_project(load_project(write(tmp_path, way))).notes
    assert any("the source 'o.s': its freshness is not looked at" in note for note in notes)


def test_a_unit_test_that_cannot_run_hides_no_other_verdict(tmp_path: Path) -> None:
    rows = "given: [{input: ref('src'), format: sql, rows: 'select %s'}], expect: {rows: [{b: %s}]}"
    units = "".join(
        f"  - {{name: {name}, model: m, {rows % given}}}\n"
        for name, given in (
            ("a_broken", ("nope", 1)), ("b_right", ("1 as a", 2)), ("c_wrong", ("1 as a", 3)), ("d_broken", ("1 +", 1)),
        )
    )  # fmt: skip
    way = Way(
        {
            "models/src.sql": "select 1 as a",
            "models/m.sql": "select a + 1 as b from {{ ref('src') }}",
            "models/u.yml": f"unit_tests:\n{units}",
        }
    )
    graph = check_project(load_project(write(tmp_path, way)))
    results = run_unit_tests(graph, graph.unit_tests)
    assert [result.status for result in results] == ["error", "pass", "fail", "error"]
    with pytest.raises(CheckFailed, match=r"(?s)3 of 4 unit tests failed.*a_broken.*nope.*c_wrong.*d_broken"):
        refuse_failing(results)
    with pytest.raises(BuildErrors, match=r"(?s)a_broken.*d_broken"):
        refuse_failing([result for result in results if result.status != "fail"])
    done = CliRunner().invoke(cli, ["test", "--project-dir", str(tmp_path)])
    assert [line[:13] for line in done.output.splitlines() if "_broken" in line] == ["FAIL a_broken", "FAIL d_broken"]
    assert "Ran 4 unit tests: 3 failed." in done.output
