"""A project that asks for too much, or for what is not its own, is told so at once and in little memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kpi import yaml_loader
from kpi.engine.compile import compiled
from kpi.errors import ConfigError, KpiError
from kpi.project import packages
from kpi.project.project import load_project
from small_project import FILES, write

# CPU seconds; here it takes a tenth of one, and what it would take if it were not refused is without an end.
AT_ONCE = 60

LINES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINES, "with its aliases the file has more than 100000 values"),
        (LINES.replace("[", "{k: [").replace("]", "]}"), "values"),
        ("models: &m [*m]\n", "holds an alias of itself"),
        ("models: &m\n  - name: x\n    config: {meta: *m}\n", "holds an alias of itself"),
        ("&a {*a : b}\n", "must be a plain text"),
        ("a: " + "[" * 100_000, "nested more than 100 deep"),
        ("a: " + "{a: " * 100_000, "nested more than 100 deep"),
        ("a:\n" + "".join(" " * n + "a:\n" for n in range(1, 500)), "nested more than 100 deep"),
        ("- a\n" * 200_000, "more than 100000 values"),
        ("a: " + "x" * 5_000_000, "bytes, and a YAML file may have 4000000"),
        ("a: " + "9" * 1_000_000, "a number of 1000000 digits"),
        ("a: " + "1:" * 100_000 + "1", "a number of 200001 digits"),
        ("a: !!python/object/apply:os.system [id]\n", "the tag"),
        ("a: !!python/name:os.system x\n", "tag"),
        ("a: !!set {b}\n", "the tag"),
        ("!own {a: b}\n", "the tag"),
        ("a: 1\n---\nb: 2\n", "another document"),
        ("a: 1\na: 2\n", "'a' stands here twice"),
        ("a: \0\n", "not valid YAML"),
    ],
)
def test_a_yaml_file_that_asks_for_too_much_is_refused_at_once(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "x.yml"
    file.write_text(text)
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ConfigError) as caught:
        yaml_loader.read_yaml(file, Path("x.yml"))
    assert message in str(caught.value)
    assert str(caught.value).startswith("x.yml:")
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)
    assert time.process_time() - begun < AT_ONCE
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_aliases_within_reason_are_what_they_stand_for(tmp_path: Path) -> None:
    (tmp_path / "x.yml").write_text("a: &a {b: [1, 2]}\nc: *a\nd: [*a, *a]\n")
    found = yaml_loader.read_yaml(tmp_path / "x.yml", Path("x.yml"))
    assert found["d"][1]["b"] == found["c"]["b"] == [1, 2]


@pytest.mark.parametrize("name", ["dbt_project.yml", "models/x.yml", "dbt_packages/p/dbt_project.yml", "models/x.yaml"])
def test_every_yaml_file_of_a_project_is_read_so(tmp_path: Path, name: str) -> None:
    write(tmp_path, {name: LINES})
    with pytest.raises(KpiError, match="with its aliases"):
        load_project(tmp_path)


@pytest.mark.parametrize("key", ["model", "seed", "macro", "test", "snapshot", "analysis", "docs", "packages-install"])
@pytest.mark.parametrize("folder", ["/etc", "../..", "models/../../far", "far"])
def test_a_folder_of_the_project_lies_in_the_project(tmp_path: Path, key: str, folder: str) -> None:
    root = tmp_path / "project"
    (tmp_path / "far").mkdir()
    root.mkdir()
    (root / "far").symlink_to(tmp_path / "far")
    value = f"{key}-path: '{folder}'" if key == "packages-install" else f"{key}-paths: ['{folder}']"
    kept = [line for line in FILES["dbt_project.yml"].splitlines() if not line.startswith(f"{key}-path")]
    write(root, {"dbt_project.yml": "\n".join([*kept, value]) + "\n"})
    begun = time.process_time()
    with pytest.raises(ConfigError, match=rf"dbt_project.yml:\d+: .*{folder}.* lies outside the project"):
        load_project(root)
    assert time.process_time() - begun < AT_ONCE


@pytest.mark.parametrize("name", ["models/x.sql", "models/x.yml", "seeds/x.csv", "macros/x.sql", "models/x.md"])
def test_a_file_of_the_project_is_no_link_out_of_it(tmp_path: Path, name: str) -> None:
    root = write(tmp_path / "project")
    (tmp_path / "secret").write_text("password: rosebud\n")
    (root / name).symlink_to(tmp_path / "secret")
    with pytest.raises(KpiError, match=f"{name}: a link that leads out of the project") as caught:
        compiled(root)
    assert "rosebud" not in str(caught.value)
    (root / name).unlink()
    (root / name).symlink_to(Path(name).name)  # to itself
    load_project(root)


def test_a_package_may_be_a_link_but_nothing_in_it(tmp_path: Path) -> None:
    root = write(tmp_path / "project", {"models/marts/m.sql": "select {{ p.one() }} as a"})
    package = tmp_path / "p"
    (package / "macros").mkdir(parents=True)
    (package / "dbt_project.yml").write_text("name: p\n")
    (package / "macros/one.sql").write_text("{% macro one() %}1{% endmacro %}")
    (root / "dbt_packages").mkdir()
    (root / "dbt_packages/p").symlink_to(package)
    compiled(root)
    (package / "dbt_project.yml").write_text("name: p\nmacro-paths: ['../project']\n")
    with pytest.raises(ConfigError, match="lies outside"):
        load_project(root)


def test_a_folder_with_more_files_than_a_project_has_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "MOST_ENTRIES", 100)
    root = write(tmp_path, {f"models/more/{number}.txt": "" for number in range(120)})
    with pytest.raises(ConfigError, match=r"models, which holds more than 100 files"):
        load_project(root)


def test_a_file_of_text_has_a_size_that_somebody_wrote(tmp_path: Path) -> None:
    write(tmp_path, {"models/x.sql": "select 1 as a -- " + "x" * 5_000_000})
    with pytest.raises(KpiError, match=r"models/x.sql:1: a file of more than"):
        compiled(tmp_path)


@pytest.mark.parametrize(
    "sql",
    [
        "select " + "(" * 20_000 + "1" + ")" * 20_000 + " as a",
        "select " + "[" * 5_000 + "1" + "]" * 5_000 + " as a",
        "select " + "not " * 20_000 + "true as a",
        "select " + "-" * 1 + "- " * 3_000 + "1 as a",
        "select " + "case when true then " * 3_000 + "1" + " end" * 3_000 + " as a",
        "select " + "f(" * 3_000 + "1" + ")" * 3_000 + " as a",
        "select 1 as a from " + "(select 1 from " * 900 + "(select 1)" + ")" * 900,
        "with "
        + ", ".join(f"c{n} as (select 1 as a{f' from c{n - 1}' if n else ''})" for n in range(400))
        + " select a from c399",
        "select 1 as a where " + " or ".join(f"1 = {n}" for n in range(20_000)),
        " union all ".join(["select 1 as a"] * 5_000),
    ],
    ids=["brackets", "lists", "not", "minus", "case", "calls", "subqueries", "with", "or", "union"],
)
def test_sql_that_is_nested_too_deeply_is_told_or_taken(tmp_path: Path, sql: str) -> None:
    root = write(tmp_path, {"models/marts/x.sql": sql})
    done = subprocess.run(
        [sys.executable, "-m", "kpi.cli", "compile", "--project-dir", str(root)],
        capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
    )  # fmt: skip
    assert done.returncode in (0, 5), done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    if done.returncode:
        assert "models/marts/x.sql" in done.stderr
