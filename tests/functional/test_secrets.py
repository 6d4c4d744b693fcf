"""What the environment gives to a template stands in nothing that is kept, and still counts when it changes."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from kpi import environment
from kpi.cli.main import cli
from kpi.ingest.masking import message
from small_project import FILES, write

PASSWORD = "hunter2-Käpy'lä"
FOLLOWED = "models/marts/after.sql"
MODELS = {
    "models/marts/hashed.sql": "select md5('{{ env_var('DB_PASSWORD') | replace(\"'\", '') }}') as a\n",
    "models/marts/plain.sql": "{{ config(meta={'key': env_var('DB_PASSWORD')}) }}\n"
    "select length('{{ env_var('DB_TOKEN') }}') as a\n",
    FOLLOWED: "select a, {{ env_var('LEFT_OUT', '17') }} as b from {{ ref('plain') }}\n",
    "macros/token.sql": "{% macro token() %}'{{ env_var('DB_TOKEN') }}'{% endmacro %}\n",
    "models/marts/by_macro.sql": "select md5({{ token() }}) as a\n",
    "tests/no_token.sql": "select a from {{ ref('by_macro') }} where a = {{ token() }}\n",
    "dbt_project.yml": FILES["dbt_project.yml"] + "on-run-end: \"select '{{ env_var('DB_TOKEN') }}'\"\n",
}
TOKEN = "tok_4f9a8b7c6d"


def refresh(root: Path, *options: str) -> Result:
    given = ["refresh", "--as-of", "2026-03-05", "--project-dir", str(root), *options]
    result = CliRunner().invoke(cli, given)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    monkeypatch.setenv("DB_TOKEN", TOKEN)
    monkeypatch.setattr(environment, "_read", {})
    root = write(tmp_path / "project", MODELS)
    (root / "warehouse/raw/calls").mkdir(parents=True)
    (root / "warehouse/raw/calls/a.csv").write_text("call_id,line,waited_seconds,arrived_on\n1,health,3,2024-01-01\n")
    return root


def holding(root: Path, *values: str) -> list[str]:
    files = [path for path in root.rglob("*") if path.is_file() and path.name != environment.SALT]
    written = [value.encode() for value in values] + [json.dumps(value)[1:-1].encode() for value in values]
    return [str(path) for path in files if any(value in path.read_bytes() for value in written)]


def test_no_file_of_a_run_holds_a_value(root: Path) -> None:
    ran = refresh(root)
    again = refresh(root, "--full-refresh")
    assert holding(root, PASSWORD, "hunter2-Käpylä", TOKEN) == []
    assert TOKEN not in ran.output + again.output
    manifest = json.loads((root / "warehouse/current/manifest.json").read_text())
    assert manifest["nodes"]["model.small.plain"]["compiled_code"] == "select length('{{ env_var('DB_TOKEN') }}') as a"
    assert manifest["nodes"]["model.small.plain"]["config"]["meta"] == {"key": "{{ env_var('DB_PASSWORD') }}"}
    assert (root / "warehouse" / environment.SALT).stat().st_mode & 0o777 == 0o600


def test_a_value_that_changes_builds_what_it_is_in_and_one_that_does_not_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(root)
    assert "nothing to do" in refresh(root).output
    facts = json.loads((root / "warehouse/current/build.json").read_text())
    monkeypatch.setenv("DB_TOKEN", "another")
    environment._read.clear()
    planned = CliRunner().invoke(cli, ["plan", "--project-dir", str(root), "--as-of", "2026-03-05"]).output
    assert "marts.plain" in planned
    assert "the environment variable DB_TOKEN changed" in planned
    assert "marts.hashed" not in planned
    refresh(root)
    now = json.loads((root / "warehouse/current/build.json").read_text())
    same = [node for node in facts["nodes"] if facts["nodes"][node]["built_in"] == now["nodes"][node]["built_in"]]
    assert {"model.small.hashed", "model.small.calls_by_line"} <= set(same)
    assert not {"model.small.plain", "model.small.by_macro"}.intersection(same)
    monkeypatch.setenv("LEFT_OUT", "18")
    assert "Built 1 of" in refresh(root).output
    monkeypatch.delenv("LEFT_OUT")
    assert "Built 1 of" in refresh(root).output
    assert "nothing to do" in refresh(root).output


def test_a_hash_cannot_be_repeated_without_the_salt(root: Path, tmp_path: Path) -> None:
    refresh(root)
    facts = json.loads((root / "warehouse/current/build.json").read_text())
    kept = facts["ingredients"]["environment"]
    assert set(kept) == {"DB_PASSWORD", "DB_TOKEN", "LEFT_OUT"}
    assert kept == environment.environment_of(kept, root)
    assert kept != environment.environment_of(kept, tmp_path / "another")
    shapes = [node["shape"] for node in facts["nodes"].values()]
    from kpi.engine.nodes import compile_project
    from kpi.project.project import load_project

    nodes = compile_project(load_project(root)).nodes
    assert nodes["model.small.plain"].shape not in shapes
    assert nodes["model.small.calls_by_line"].shape in shapes


def test_an_error_that_quotes_the_sql_hides_it(root: Path) -> None:
    write(root, {**MODELS, "models/marts/fails.sql": "select error('no ' || '{{ env_var('DB_TOKEN') }}') as a\n"})
    result = CliRunner().invoke(cli, ["refresh", "--as-of", "2026-03-05", "--project-dir", str(root)])
    assert "env_var('DB_TOKEN')" in str(result.exception)
    assert TOKEN not in str(result.exception) + result.output
    assert holding(root, TOKEN) == []


def test_a_secret_variable_may_stand_in_profiles_and_is_not_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBT_ENV_SECRET_KEY", "verySecret99")
    outputs = "{dev: {type: duckdb, path: \"md:x?motherduck_token={{ env_var('DBT_ENV_SECRET_KEY') }}\", attach: [%s]}}"
    (root / "profiles.yml").write_text(f"small: {{target: dev, outputs: {outputs % '{path: elsewhere.duckdb}'}}}\n")
    with duckdb.connect(root / "elsewhere.duckdb") as con:
        con.execute("create table there as select 1 as a")
    source = "sources: [{name: main, database: elsewhere, tables: [{name: there}]}]\n"
    write(root, {**MODELS, "models/staging/more.yml": source})
    result = CliRunner().invoke(cli, ["compile", "--project-dir", str(root)])
    assert result.exit_code == 0, (result.output, result.exception)
    assert holding(root, "verySecret99") == []


@pytest.mark.parametrize(
    "files",
    [
        {"models/marts/secret.sql": "select '{{ env_var('DBT_ENV_SECRET_KEY') }}' as a\n"},
        {"models/marts/secret.sql": "select '{{ env_var('DBT_ENV_SECRET_KEY', 'none') }}' as a\n"},
        {"macros/token.sql": "{% macro token() %}'{{ env_var('DBT_ENV_SECRET_KEY') }}'{% endmacro %}\n"},
        {
            "dbt_project.yml": FILES["dbt_project.yml"]
            + "on-run-end: \"select '{{ env_var('DBT_ENV_SECRET_KEY') }}'\"\n"
        },
        {
            "dbt_project.yml": FILES["dbt_project.yml"].replace(
                "+schema: staging", "+schema: \"{{ env_var('DBT_ENV_SECRET_KEY') }}\""
            )
        },
    ],
)
def test_a_secret_variable_is_refused_wherever_a_template_stands(
    root: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBT_ENV_SECRET_KEY", "verySecret99")
    write(root, {**MODELS, **files})
    result = CliRunner().invoke(cli, ["refresh", "--as-of", "2026-03-05", "--project-dir", str(root)])
    assert "DBT_ENV_SECRET_KEY" in str(result.exception)
    assert "profiles.yml" in str(result.exception)
    assert holding(root, "verySecret99") == []
    assert message("it is verySecret99") == "it is *****"
