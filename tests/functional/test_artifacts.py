"""What a build leaves for dbt's tools. That it is what dbt itself writes is in test_dbt_agrees.py."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from conftest import TODAY
from kpi.cli.main import cli
from kpi.engine import artifacts
from kpi.engine.artifacts import write_project_manifest
from kpi.engine.manifest import test_names as names_of_tests
from kpi.engine.manifest import write_manifest
from kpi.engine.nodes import compile_project
from kpi.errors import CheckFailed
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.project.project import load_project
from small_project import write


@pytest.fixture
def small(tmp_path: Path) -> Path:
    root = write(tmp_path)
    calls = root / "warehouse/raw/calls/calls.csv"
    calls.parent.mkdir(parents=True)
    rows = "".join(f"c{number},health,{number},2025-03-0{number}\n" for number in range(1, 4))
    calls.write_text("call_id,line,waited_seconds,arrived_on\n" + rows)
    return root


def build(root: Path) -> Path:
    return root / "warehouse/builds" / refresh(root, Options(as_of=TODAY, validate=False), lambda line: None).build


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_a_build_leaves_what_ran_what_it_holds_and_what_it_is_made_of(small: Path) -> None:
    folder = build(small)
    results = {result["unique_id"]: result for result in read(folder, "run_results.json")["results"]}
    assert results["model.small.calls_by_line"]["status"] == "success"
    assert results["model.small.calls_by_line"]["adapter_response"]["rows_affected"] == 1
    assert results["test.small.assert_in_time_is_part"]["status"] == "pass"
    catalog = read(folder, "catalog.json")
    assert list(catalog["nodes"]["model.small.calls_by_line"]["columns"]) == ["line", "call_count", "in_time_count"]
    assert catalog["nodes"]["model.small.calls_by_line"]["stats"]["num_rows"]["value"] == 1
    assert catalog["sources"]["source.small.raw.calls"]["columns"]["waited_seconds"]["type"] == "BIGINT"
    manifest = read(folder, "manifest.json")
    assert manifest["parent_map"]["model.small.stg_calls"] == ["source.small.raw.calls"]
    assert "model.small.calls_by_line" in manifest["child_map"]["model.small.stg_calls"]
    assert "where waited_seconds <= 300" in manifest["nodes"]["model.small.calls_by_line"]["compiled_code"]


def test_what_did_not_run_is_not_among_the_results(small: Path) -> None:
    build(small)
    mart = small / "models/marts/calls_by_line.sql"
    mart.write_text(mart.read_text().replace("count(*) as call_count", "count(*) + 0 as call_count"))
    ran = {result["unique_id"] for result in read(build(small), "run_results.json")["results"]}
    assert "model.small.calls_by_line" in ran
    assert not ran & {"seed.small.lines", "model.small.stg_calls"}


def test_a_failing_test_is_told_with_its_rows(small: Path) -> None:
    (small / "tests/assert_in_time_is_part.sql").write_text("select line from {{ ref('calls_by_line') }}")
    with pytest.raises(CheckFailed):
        build(small)
    (folder,) = (entry for entry in (small / "warehouse/builds").iterdir() if entry.name[0].isdigit())
    results = {result["unique_id"]: result for result in read(folder, "run_results.json")["results"]}
    message = results["test.small.assert_in_time_is_part"]
    assert (message["status"], message["failures"]) == ("fail", 1)
    assert message["message"] == "Got 1 result, configured to fail if != 0"


def test_a_project_with_parts_switched_off_has_a_manifest_too(small: Path) -> None:
    (small / "models/marts/idle.sql").write_text("{{ config(enabled=false) }} select 1 as one")
    (small / "models/marts/idle.yml").write_text(
        "unit_tests: [{name: of_idle, model: idle, given: [], expect: {rows: [{one: 1}]}}]\n"
        "models: [{name: idle, columns: [{name: one, data_tests: [not_null]}]}]\n"
    )
    manifest = read(build(small), "manifest.json")
    assert not [name for part in ("nodes", "unit_tests") for name in manifest[part] if name.split(".")[2] == "idle"]


def test_the_same_project_has_the_same_manifest_but_for_times(small: Path) -> None:
    graph = compile_project(load_project(small))
    texts = []
    for name in ("first.json", "second.json"):
        write_project_manifest(small / name, graph)
        manifest = read(small, name)
        for part in ("nodes", "sources", "macros"):
            for entry in manifest[part].values():
                del entry["created_at"]
        for field in ("generated_at", "invocation_started_at", "run_started_at"):
            del manifest["metadata"][field]
        texts.append(json.dumps(manifest))
    assert texts[0] == texts[1]
    assert str(small) not in texts[0]


def test_a_build_of_the_same_project_has_the_manifest_of_the_one_before_with_its_own_times(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(small)
    calls = small / "warehouse/raw/calls/calls.csv"
    calls.write_text(calls.read_text() + "c4,health,4,2025-03-04\n")
    with monkeypatch.context() as patched:
        patched.setattr(artifacts, "write_manifest", None)  # not asked for
        second = build(small)
    found = read(second, "manifest.json")
    made = datetime.fromisoformat(found["metadata"]["generated_at"])
    assert found["metadata"]["generated_at"] > read(first, "manifest.json")["metadata"]["generated_at"]
    stamps = {node["created_at"] for part in ("nodes", "macros", "sources") for node in found[part].values()}
    assert stamps == {made.timestamp()}
    expected = write_manifest(
        graph := compile_project(load_project(small)), names_of_tests(graph), artifacts._made(second.name)
    )
    for one in (expected, found):
        one["metadata"] = None
        for part in ("nodes", "macros", "sources"):
            for node in one[part].values():
                node["created_at"] = None
    assert json.loads(json.dumps(expected, default=artifacts._plain)) == found


def test_a_manifest_that_is_cut_is_written_anew(small: Path) -> None:
    first = build(small)
    (first / "manifest.json").write_text((first / "manifest.json").read_text()[:-50])
    calls = small / "warehouse/raw/calls/calls.csv"
    calls.write_text(calls.read_text() + "c4,health,4,2025-03-04\n")
    assert "model.small.calls_by_line" in read(build(small), "manifest.json")["nodes"]


def test_the_command_writes_them_into_target(small: Path) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(cli, ["artifacts", "--project-dir", str(small), *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    assert "Nothing is published yet" in run()
    assert (small / "target/manifest.json").is_file()
    build(small)
    run("--target-path", str(small / "elsewhere"))
    assert sorted(path.name for path in (small / "elsewhere").iterdir()) == [
        "catalog.json",
        "manifest.json",
        "run_results.json",
    ]
