"""What a dbt user types: done as dbt does it, or answered with the command that does it. No flag is without effect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kpi.cli.main import cli
from once import ROOT
from with_dbt import write

FILES = {
    "dbt_project.yml": "name: own\nprofile: own\nvars: {low: 1}\n",
    "seeds/src.csv": "id\n1\n2\n",
    "models/a.sql": "{{ config(tags=['night']) }}select id, '{{ target.name }}' as target from {{ ref('src') }}"
    " where id >= {{ var('low') }}",
    "models/b.sql": "{{ config(materialized='ephemeral') }}select id + 1 as id from {{ ref('a') }}",
    "models/c.sql": "{{ config(tags=['night', 'late']) }}select id from {{ ref('b') }}",
    "models/y.yml": "models: [{name: a, columns: [{name: id, data_tests: [unique, not_null]}]}]",
    "selectors.yml": """\
selectors:
  - name: nightly
    description: what runs at night
    definition: tag:night
  - name: alone
    definition: {method: fqn, value: a, indirect_selection: empty}
  - name: around
    definition: {method: fqn, value: b, parents: true, parents_depth: 1, children: true}
  - name: late
    definition:
      intersection:
        - {method: selector, value: nightly}
        - tag: late
  - name: seeds_and_more
    definition:
      union:
        - resource_type:seed
        - tag: night
        - exclude: [{method: test_type, value: data}, {method: tag, value: late}]
  - name: circle
    definition: {method: selector, value: circle}
""",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path, FILES)


def kpi(root: Path, *words: str) -> Result:
    place = [] if words[0] in ("run", "deps") else ["--project-dir", str(root)]
    return CliRunner().invoke(cli, [*words, *place])


def said(root: Path, *words: str) -> str:
    done = kpi(root, *words)
    assert done.exit_code == 0, f"{done.output}{done.exception!r}"
    return done.output


def names(root: Path, *words: str) -> list[str]:
    return sorted(said(root, "ls", "--output", "name", *words).split())


@pytest.mark.parametrize(
    ("typed", "instead"),
    [
        (
            ["run", "-s", "a+", "--full-refresh"],
            "dbt run is here: kpi build -s a+ --full-refresh (models are built with",
        ),
        (["run"], "dbt run is here: kpi build (models are built with"),
        (["seed"], "dbt seed is here: kpi build --resource-type seed "),
        (["snapshot", "-s", "x"], "dbt snapshot is here: kpi build --resource-type snapshot -s x "),
        (["deps"], "dbt deps is here: dbt deps (kpi fetches nothing; it reads what lies in dbt_packages/"),
        (["docs", "generate"], "dbt docs is here: kpi artifacts, then "),
        (["parse"], "dbt parse is here: kpi compile "),
        (["run-operation", "m"], "dbt run-operation is here: kpi compile --inline '{{ macro() }}' "),
        (["debug"], "dbt debug is here: kpi doctor "),
        (["build", "--defer"], "--defer: what is not selected is always that of the published build"),
    ],
)
def test_a_command_of_dbts_says_what_it_is_here(root: Path, typed: list[str], instead: str) -> None:
    done = CliRunner().invoke(cli, typed)
    assert done.exit_code == 2
    assert instead in " ".join(done.output.split())


def test_list_is_ls(root: Path) -> None:
    assert said(root, "list", "-s", "a") == said(root, "ls", "-s", "a")


def test_source_freshness_is_freshness(root: Path) -> None:
    assert kpi(root, "source", "freshness").output == kpi(root, "freshness").output


def test_variables_and_the_target_count_wherever_something_is_compiled(root: Path) -> None:
    assert "id >= 1" in said(root, "compile", "a")
    assert "id >= 7" in said(root, "compile", "a", "--vars", "{low: 7}")
    assert "'kpi' as target" in said(root, "compile", "a")
    assert "'prod' as target" in said(root, "compile", "a", "--target", "prod")
    assert said(root, "compile", "--inline", "select {{ var('low') }} as x", "--vars", "low: 3") == "select 3 as x\n"
    for command in ("ls", "artifacts", "plan"):
        assert "asks for the variable 'lo'" in str(kpi(root, command, "--vars", "{lo: 7}").exception)
    said(root, "build", "--no-expectations", "--vars", "{low: 2}", "--target", "prod")
    assert "prod" in said(root, "show", "--inline", "select * from {{ ref('a') }} where id = {{ var('low') }} + 1")
    assert "nothing to do" in said(root, "build", "--no-expectations", "--vars", "{low: 2}", "--target", "prod").lower()


def test_a_target_that_the_profile_does_not_have(root: Path) -> None:
    write(root, {"profiles.yml": "own:\n  outputs:\n    prod: {type: duckdb, path: x.duckdb}\n"})
    done = kpi(root, "compile", "--target", "pord")
    assert str(done.exception) == (
        "--target: the profile 'own' in profiles.yml has no target 'pord'. Did you mean 'prod'?"
    )


def test_a_select_that_is_typed_is_compiled_and_shown(root: Path) -> None:
    said(root, "build", "--no-expectations")
    compiled = said(root, "compile", "--inline", "select sum(id) as total from {{ ref('b') }}")
    assert "from main.a" in compiled
    shown = said(root, "show", "--inline", "select sum(id) as total from {{ ref('b') }}")
    assert shown.split() == ["total", "─────", "5"] or shown.split()[-1] == "5"
    assert "more rows" in said(root, "show", "--inline", "select id from {{ ref('a') }} order by id", "--limit", "1")
    for text, message in (
        ("select nope from {{ ref('a') }}", "--inline:1:8: there is no column 'nope'."),
        ("delete from {{ ref('a') }}", "--inline:1:1: a query is one SELECT, here is DELETE."),
        ("select * from read_csv('/etc/passwd')", "--inline:1"),
    ):
        done = kpi(root, "show", "--inline", text)
        assert str(done.exception).startswith(message)
    assert kpi(root, "show", "a", "--inline", "select 1 as x").exit_code == 2
    assert kpi(root, "show", "a", "--vars", "{low: 1}").exit_code == 2


def test_selectors_mean_what_dbt_means_by_them(root: Path) -> None:
    tests = ["not_null_a_id", "unique_a_id"]
    assert names(root, "--selector", "nightly") == ["a", "c", *tests]
    assert names(root, "--selector", "alone") == ["a"]
    assert names(root, "--selector", "around") == ["a", "b", "c", *tests]
    assert names(root, "--selector", "late") == ["c"]
    assert names(root, "--selector", "seeds_and_more") == ["a", "src"]


def test_a_default_selector_counts_where_nothing_is_selected(root: Path) -> None:
    text = FILES["selectors.yml"].replace("  - name: late\n", "  - name: late\n    default: true\n")
    write(root, {"selectors.yml": text})
    assert names(root) == ["c"]
    assert names(root, "-s", "a", "--indirect-selection", "empty") == ["a"]
    assert "no test of what is selected" in said(root, "test")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--selector", "nightli"),
            "--selector: there is no selector 'nightli' (selectors.yml). Did you mean 'nightly'?",
        ),
        (("--selector", "nightly", "-s", "a"), "--selector stands instead of --select and --exclude: give it alone."),
        (("--selector", "circle"), "selectors.yml: the selector 'circle' leads to itself."),
    ],
)
def test_a_mistake_in_a_selector(root: Path, words: tuple[str, ...], message: str) -> None:
    assert str(kpi(root, "ls", *words).exception) == message


def test_state_may_be_a_build_its_folder_or_a_folder_with_a_manifest(root: Path) -> None:
    said(root, "build", "--no-expectations")
    said(root, "artifacts", "--target-path", str(root / "then"))
    modified = ("-s", "state:modified", "--resource-type", "model", "--state")
    places = [str(root / "then"), str(root / "warehouse/current")]
    for place in places:
        assert names(root, *modified, place) == []
    write(root, {"models/c.sql": FILES["models/c.sql"] + " where id > 0", "models/new.sql": "select 1 as x"})
    for place in places:
        assert names(root, *modified, place) == ["c", "new"]
        assert names(root, "-s", "state:new", "--state", place) == ["new"]
        assert names(root, "-s", "state:modified.body", "--state", place, "--resource-type", "model") == ["c", "new"]
    write(root, {"models/a.sql": FILES["models/a.sql"].replace("'night'", "'day'")})
    assert "a" in names(root, "-s", "state:modified.configs", "--state", places[0])
    (root / "empty").mkdir()
    message = str(kpi(root, "ls", "-s", "state:new", "--state", str(root / "empty")).exception)
    assert "holds neither a build nor a manifest.json" in message


def test_a_manifest_of_dbts_own_is_state_too(root: Path) -> None:
    said(root, "artifacts", "--target-path", str(root / "then"))
    file = root / "then/manifest.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    manifest["macros"]["macro.dbt.is_incremental"] = {"macro_sql": "{% macro is_incremental() %}{% endmacro %}"}
    del manifest["nodes"]["model.own.c"]
    file.write_text(json.dumps(manifest), encoding="utf-8")
    assert names(root, "-s", "state:modified", "--state", str(root / "then")) == ["c"]


def test_fail_fast_stops_at_the_first_test_that_fails(root: Path) -> None:
    said(root, "build", "--no-expectations")
    write(root, {"models/y.yml": FILES["models/y.yml"], "tests/a_fails.sql": "select id from {{ ref('a') }}"})
    write(root, {"tests/b_fails.sql": "select id from {{ ref('a') }} where id > 0"})
    both = kpi(root, "test")
    assert both.output.count("FAIL") == 2
    first = kpi(root, "test", "--fail-fast")
    assert (first.output.count("FAIL"), first.exit_code) == (1, both.exit_code)
    assert "a_fails" in str(kpi(root, "build", "--no-expectations", "--fail-fast").exception)


def test_the_words_of_this_page_are_in_the_documentation() -> None:
    text = (ROOT / "docs/reference/dbt.md").read_text(encoding="utf-8")
    assert all(word in text for word in ("--selector", "--defer", "show --inline", "source freshness", "--state"))
