"""Ways of other people's dbt projects: each small project builds here to what is said of it, and in real dbt to that.

dbt is in an environment of its own: make dbt. KPI_DBT names another one's dbt.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from conftest import ROOT, TODAY
from kpi.base.errors import BuildErrors, CheckFailed, KpiError
from kpi.cli.main import cli
from kpi.compile.bind import check_project
from kpi.compile.unit_runs import refuse_failing, run_unit_tests
from kpi.nightly.refresh import Options, refresh
from kpi.parse.project import load_project

DBT = Path(os.environ.get("KPI_DBT") or ROOT / ".venv-dbt/bin/dbt")
OWN = ("marts.expectation_results", "marts.runs")


@dataclass(frozen=True, slots=True)
class Way:
    """A project, what its tables hold, what its tests come to, and notes that kpi gives of it.

    `results` are statuses of data tests and unit tests by the name before the hash. What is `apart` is as said here in
    kpi and otherwise in dbt, and is not compared.
    """

    files: Mapping[str, str]
    tables: Mapping[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    arguments: str = ""
    apart: tuple[str, ...] = ()


TOOLS = {
    "packages.yml": "packages: [{local: dbt_packages/tools}]",
    "dbt_packages/tools/dbt_project.yml": "name: tools\nversion: '1.0'\nconfig-version: 2\n",
    "dbt_packages/tools/macros/rate.sql": "{% macro rate() %}2{% endmacro %}\n"
    "{% macro twice() %}(2 * {{ tools.rate() }}){% endmacro %}",
}
TWICE = "select 1 as a union all select 1 union all select 2"
TESTS_OF_A = "models: [{name: m, columns: [{name: a, data_tests: [unique, not_null]}]}]"

WAYS: dict[str, Way] = {
    "a unit test puts a macro of a package into another's place": Way(
        {
            **TOOLS,
            "models/src.sql": "select 1 as a",
            "models/m.sql": "select a * {{ tools.rate() }} as b from {{ ref('src') }}",
            "models/n.sql": "select a * {{ own_rate() }} * {{ own.own_rate() }} as b from {{ ref('src') }}",
            "models/o.sql": "select a * {{ tools.twice() }} as b from {{ ref('src') }}",
            "macros/own.sql": "{% macro own_rate() %}2{% endmacro %}",
            "models/m.yml": """\
unit_tests:
  - {name: times_ten, model: m, overrides: {macros: {tools.rate: 10}},
     given: [{input: ref('src'), rows: [{a: 3}]}], expect: {rows: [{b: 30}]}}
  - {name: times_two, model: m, given: [{input: ref('src'), rows: [{a: 3}]}], expect: {rows: [{b: 6}]}}
  - {name: own_times_twenty, model: n, overrides: {macros: {own.own_rate: 10}},
     given: [{input: ref('src'), rows: [{a: 1}]}], expect: {rows: [{b: 20}]}}
  - {name: nested, model: o, overrides: {macros: {tools.rate: 10}},
     given: [{input: ref('src'), rows: [{a: 1}]}], expect: {rows: [{b: 20}]}}
""",
        },
        {"main.m": [(2,)]},
        {"times_ten": "pass", "times_two": "pass", "own_times_twenty": "pass", "nested": "pass"},
    ),
    "a project's get_where_subquery counts": Way(
        {
            "models/m.sql": TWICE,
            "models/m.yml": TESTS_OF_A,
            "macros/g.sql": "{% macro get_where_subquery(relation) %}"
            "(select * from {{ relation }} where a > 1) sub{% endmacro %}",
        },
        results={"unique_m_a": "pass", "not_null_m_a": "pass"},
    ),
    "a project's default__get_where_subquery counts": Way(
        {
            "models/m.sql": TWICE,
            "models/m.yml": TESTS_OF_A,
            "macros/g.sql": "{% macro default__get_where_subquery(relation) %}"
            "(select * from {{ relation }} where a > 1) sub{% endmacro %}",
        },
        results={"unique_m_a": "pass", "not_null_m_a": "pass"},
    ),
    "a project's default__test_unique counts": Way(
        {
            "models/m.sql": TWICE,
            "models/m.yml": TESTS_OF_A,
            "macros/g.sql": "{% macro default__test_unique(model, column_name) %}"
            "select 1 as a where false{% endmacro %}",
        },
        results={"unique_m_a": "pass", "not_null_m_a": "pass"},
    ),
    "a project's duckdb__test_not_null counts": Way(
        {
            "models/m.sql": TWICE,
            "models/m.yml": TESTS_OF_A,
            "macros/g.sql": "{% macro duckdb__test_not_null(model, column_name) %}"
            "select * from {{ model }} where {{ column_name }} = 2{% endmacro %}",
        },
        results={"unique_m_a": "fail", "not_null_m_a": "fail"},
    ),
}


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
    with duckdb.connect(str(database), read_only=True) as con:
        sql = "select table_schema, table_name from information_schema.tables where table_catalog = 'kpi' order by 1, 2"
        for schema, name in con.execute(sql).fetchall():
            place = f'"{schema}"."{name}"'
            columns = [row[:2] for row in con.execute(f"describe {place}").fetchall()]
            found[f"{schema}.{name}"] = (columns, con.execute(f"select * from {place} order by all").fetchall())
    return {place: one for place, one in found.items() if place not in OWN}


def build(root: Path, arguments: str = "") -> tuple[Path, list[str]]:
    """Build a project, whatever its tests say. Returns the folder of the build, and what was told."""
    told: list[str] = []
    options = Options(TODAY, full_refresh="--full-refresh" in arguments, validate=False, unit_tests=True)
    try:
        refresh(root, options, told.append)
    except KpiError as error:
        told.append(str(error))
    builds = sorted((root / "warehouse/builds").glob("*/kpi.duckdb"))
    assert builds, told
    return builds[-1].parent, told


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
    folder, told = build(write(tmp_path, way), way.arguments)
    found = contents(folder / "kpi.duckdb")
    assert {place: found[place][1] if place in found else None for place in way.tables} == dict(way.tables), told
    results = json.loads((folder / "run_results.json").read_text(encoding="utf-8"))["results"]
    judged = statuses({result["unique_id"]: result["status"] for result in results})
    assert {test: judged.get(test) for test in way.results} == dict(way.results), told
    for note in way.notes:
        assert note in "\n".join(told)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Every project built by kpi and by dbt: the folders of kpi's build and of dbt's."""
    if not DBT.is_file():
        told = f"{DBT} is not there. Set it up: make dbt"
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    top = tmp_path_factory.mktemp("ways")
    ours = {}
    for number, (name, way) in enumerate(WAYS.items()):
        ours[name] = build(write(top / f"ours/{number}", way), way.arguments)[0]
        write(top / f"theirs/{number}", way)
    python = DBT.with_name("python")
    subprocess.run([python, ROOT / "tests/dbt_builds.py", top / "theirs"], check=True, capture_output=True)
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
            if one != other and not any(part in what for part in apart):
                different[f"{name}: {what}"] = (one, other, answers["exception"])
    assert different == {}


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
