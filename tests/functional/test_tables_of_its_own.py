"""A dbt project without feeds whose tables have names that the engine knows, and hold something else."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from test_unusable_figures import FILES

from kpi.cli.main import cli
from kpi.settings import ReportTables

COMMANDS = {
    ("refresh",): 0,
    ("show",): 0,
    ("explain", "calls"): 3,
    ("why", "calls", "--from", "2024", "--to", "2025"): 3,
    ("diff", "1", "1"): 0,
    ("validate",): 0,
    ("site", "{out}"): 3,
    ("export", "{out}"): 3,
    ("builds",): 0,
    ("revisions",): 3,
    ("release", "2025", "--note", "x"): 3,
    ("freshness",): 3,
    ("deliveries",): 0,
    ("rejects",): 3,
    ("query", "select * from marts.indicators"): 0,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own") / "project"
    files = {name: text for name, text in FILES.items() if not name.startswith(("models/", "seeds/"))}
    for key, table in ReportTables().names().items():
        schema, _, name = table.partition(".")
        if schema == "marts":
            files[f"models/{name}.sql"] = f"select 1 as size, '{key}' as word"
        if schema == "seeds":
            files[f"seeds/{name}.csv"] = f"size,word\n1,{key}\n"
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    result = CliRunner().invoke(cli, ["build", "--project-dir", str(root)], standalone_mode=False)
    assert result.exception is None, result.output + repr(result.exception)
    return root


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_they_are_built_and_read_as_the_projects_own(root: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    command = [word.format(out=tmp_path / "out") for word in words]
    result = CliRunner().invoke(cli, [*command, "--project-dir", str(root)], standalone_mode=False)
    code = getattr(result.exception, "exit_code", 1) if result.exception else 0
    assert code == COMMANDS[words], result.output + repr(result.exception)
    assert "Error:" not in str(result.exception)
