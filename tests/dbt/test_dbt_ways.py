"""Ways of other people's dbt projects: each small project builds here to what is said of it, and in real dbt to that.

dbt is in an environment of its own: make dbt. KPI_DBT names another one's dbt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

import dbt_ways_settings
import dbt_ways_sql
from conftest import TODAY
from dbt_way import Way
from kpi.cli.main import cli
from kpi.engine.compile import check_project
from kpi.engine.unit_tests import refuse_failing, run_unit_tests
from kpi.errors import BuildErrors, CheckFailed, KpiError
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.project.project import load_project
from with_dbt import run_dbt

PROFILE = "default:\n  target: kpi\n  outputs: {kpi: {type: duckdb, path: target/kpi.duckdb, threads: 1}}\n"
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


class Builds:
    """Every way's project, built by kpi when a test first asks for it."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self._builds: dict[str, tuple[Path, list[str]]] = {}

    def root(self, name: str) -> Path:
        return self.top / f"ours/{[*WAYS].index(name)}"

    def of(self, name: str) -> tuple[Path, list[str]]:
        """The folder of the build and what was told."""
        if name not in self._builds:
            way = WAYS[name]
            self._builds[name] = build(write(self.root(name), way), way.arguments)
        return self._builds[name]


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    return Builds(tmp_path_factory.mktemp("ways"))


@pytest.mark.xdist_group("dbt")
@pytest.mark.parametrize("name", WAYS)
def test_it_builds_to_what_is_said_of_it(builds: Builds, name: str) -> None:
    way = WAYS[name]
    folder, message = builds.of(name)
    found = contents(folder / "kpi.duckdb")
    assert {place: found[place][1] if place in found else None for place in way.tables} == dict(way.tables), message
    results = json.loads((folder / "run_results.json").read_text(encoding="utf-8"))["results"]
    judged = statuses({result["unique_id"]: result["status"] for result in results})
    assert {test: judged.get(test) for test in way.results} == dict(way.results), message
    notes = "\n".join(check_project(load_project(builds.root(name))).notes) if way.notes else ""
    assert [note for note in way.notes if note not in notes] == [], notes


@pytest.mark.xdist_group("dbt")
def test_dbt_builds_the_same(builds: Builds) -> None:
    """A second of dbt for each of 36 ways: what is said of them above is only what kpi's authors believe of dbt."""
    different = {}
    for name, way in WAYS.items():
        ours, root = builds.of(name)[0], write(builds.top / f"theirs/{builds.root(name).name}", way)
        theirs = root / "target"
        theirs.mkdir()
        (root / "profiles.yml").write_text(PROFILE, encoding="utf-8")
        quiet = ("--profiles-dir", ".", "--log-level-file", "none", "--quiet")
        answers = run_dbt(root, "build", *quiet, *way.arguments.split())
        left, right = contents(ours / "kpi.duckdb"), contents(theirs / "kpi.duckdb")
        results = json.loads((ours / "run_results.json").read_text(encoding="utf-8"))["results"]
        judged = {result["unique_id"]: result["status"] for result in results}
        apart = way.apart
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
