"""Report years judged in a refresh and again by `kpi validate`: results, pages, exit codes, and bad deliveries."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
import threading
from datetime import date
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from demo.deliver import LABEL, LABEL_NAME
from kpi.cli.main import cli
from kpi.errors import CheckFailed, ConfigError, ContractError
from kpi.ingest.contract import read_feed
from kpi.jobs.check_build import result_lines, validate_build
from kpi.jobs.options import Options, Outcome
from kpi.jobs.refresh import refresh
from kpi.project.project import load_project
from kpi.validation.expectations import YearResult
from kpi.warehouse.builds import Warehouse
from page import Page

pytestmark = pytest.mark.xdist_group("validation")  # one county for all

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 1, 15)
PROJECT = """
name: small
models: {small: {+schema: marts, +materialized: table, expectations: {+schema: expectations}}}
seeds: {small: {+schema: seeds}}
"""
CONTRACT = """
sources:
  - name: raw
    tables:
      - name: visits
        config: {meta: {feed: {key: [visit_id], expected_every: month}}}
        columns:
          - {name: visit_id, data_type: varchar, config: {meta: {required: true}}}
          - {name: came_on, data_type: date, config: {meta: {required: true}}}
"""
RULES = """
topics:
  figures:
    table: expectations.exp_figures
    row: ["{figure_id} {service} {report_year} = {value}"]
    rules:
      - name: year_has_figures
        check: any_row
        severity: error
        running_year: skip
        expects_en: The year has figures
        expects_fi: Vuodella on tunnuslukuja
        found_en: no figures
      - {name: few, column: value, check: {between: [null, 99]}, severity: warn, expects_en: Few, expects_fi: Vähän}
"""
MODELS = {
    "expectations/exp_figures": "select * from {{ ref('indicators') }}",
    "indicators": """
        select 'visits' as figure_id, 'clinic' as service, year(came_on) as report_year, 'calendar_year' as basis,
            cast(count(*) as double) as numerator, cast(null as double) as denominator,
            cast(count(*) as double) as value, count(*) as event_count
        from {{ source('raw', 'visits') }}
        group by year(came_on)
    """,
    "coverage": """
        select 'visits' as feed, year(came_on) as report_year, month(came_on) as month, count(*) as row_count
        from {{ source('raw', 'visits') }}
        group by year(came_on), month(came_on)
    """,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """One feed and the two marts that are judged, of the whole year 2025: it builds in a second."""
    for name in ("models/expectations", "seeds", "macros", "expectations", "warehouse/raw/visits"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "dbt_project.yml").write_text(PROJECT)
    shutil.copy(ROOT / "macros/generate_schema_name.sql", tmp_path / "macros")
    (tmp_path / "models/visits.yml").write_text(CONTRACT)
    for name, sql in MODELS.items():
        (tmp_path / f"models/{name}.sql").write_text(sql)
    (tmp_path / "expectations/rules.yml").write_text(RULES)
    (tmp_path / "seeds/figures.csv").write_text("figure_id,family,name_fi,unit,decimals\nvisits,v,Käynnit,count,0\n")
    deliver(tmp_path, *(f"2025-{month:02}-01" for month in range(1, 13)))
    return tmp_path


def deliver(root: Path, *days: str) -> None:
    lines = [f"{number},{day}" for number, day in enumerate(days)]
    (root / "warehouse/raw/visits/a.csv").write_text("\n".join(("visit_id,came_on", *lines)) + "\n")


def run(root: Path, **options: object) -> Outcome:
    return refresh(root, Options(as_of=TODAY, **options), lambda line: None)  # type: ignore[arg-type]


def built(root: Path) -> Path:
    """The folder of the latest build."""
    builds = Warehouse(root / "warehouse").builds.iterdir()
    return max((path for path in builds if path.is_dir()), key=lambda path: path.name)


# --- in a refresh ----------------------------------------------------------------------------------------------------


def test_a_refresh_leaves_results_and_pages_in_the_folder_of_the_build(project: Path) -> None:
    message: list[str] = []
    outcome = refresh(project, Options(as_of=TODAY), message.append)
    folder = built(project)
    assert outcome.build in (folder / "site/fi/quality-2025.html").read_text(encoding="utf-8")
    assert any(line.endswith(str(folder / "site/fi/index.html")) for line in message)
    results = json.loads((folder / "expectations.json").read_text(encoding="utf-8"))
    assert {result["report_year"] for result in results} == {2025}
    assert all(result["success"] for result in results)


def test_a_candidate_that_fails_has_its_pages_too(project: Path) -> None:
    deliver(project, "2025-01-01", "2025-12-01")
    with pytest.raises(CheckFailed, match="2025 every_month_present:visits: missing months 2, 3, 4, 5, 6, 7"):
        run(project)
    text = Page((built(project) / "site/fi/quality-2025.html").read_text(encoding="utf-8")).text()
    assert "✗ virhe Aineistossa ”visits” on tietueita vuoden jokaiselta täydeltä kuukaudelta" in text
    assert "visits, helmikuu 0" in text


def test_what_was_judged_is_carried_over_while_nothing_that_is_judged_changes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(project)
    first = built(project)
    (project / "models/other.sql").write_text("select 1 as one\n")
    with monkeypatch.context() as patch:
        patch.delattr("kpi.validation.expectations.validate")
        run(project)
    second = built(project)
    assert second != first
    for name in ("expectations.json",):
        assert (second / name).read_bytes() == (first / name).read_bytes()


def test_a_warehouse_from_nothing_imports_great_expectations_where_answers_of_it_are_lacking(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[str] = []
    monkeypatch.setattr("kpi.validation.expectations.import_great_expectations", partial(_imported, imported))
    run(project)
    assert set(imported) == {"MainThread", "great expectations"}
    imported.clear()
    shutil.rmtree(project / "warehouse/builds")
    (project / "warehouse/current").unlink()
    run(project)
    assert imported == []
    run(project, full_refresh=True)  # nothing that is remembered is used
    assert "great expectations" in imported


def _imported(threads: list[str]) -> ModuleType:
    threads.append(threading.current_thread().name)
    return importlib.import_module("great_expectations")


@pytest.mark.parametrize("change", ["contract", "label", "rules"])
def test_another_rule_or_expectation_of_a_feed_or_another_label_is_judged_anew(project: Path, change: str) -> None:
    run(project)
    if change == "contract":
        text = CONTRACT.replace("expected_every: month", "expected_every: month, expected_from: '2025-03-01'")
        (project / "models/visits.yml").write_text(text)
    elif change == "rules":
        (project / "expectations/rules.yml").write_text(RULES.replace("[null, 99]", "[null, 9]"))
    else:
        (project / "warehouse/raw" / LABEL_NAME).write_text(LABEL)
        (project / "models/other.sql").write_text("select 1 as one\n")
    run(project)
    page = (built(project) / "site/fi/quality-2025.html").read_text(encoding="utf-8")
    results = json.loads((built(project) / "expectations.json").read_text(encoding="utf-8"))
    judged = {result["expectation"]: result["judged"] for result in results}
    assert judged["every_month_present:visits"] == (10 if change == "contract" else 12)
    assert ("! varoitus Vähän" in Page(page).text()) == (change == "rules")
    assert ("SYNTEETTISTÄ AINEISTOA" in page) == (change == "label")


# --- the contract ----------------------------------------------------------------------------------------------------


def contract(project: Path, settings: str) -> None:
    (project / "models/visits.yml").write_text(CONTRACT.replace("expected_every: month", settings))
    (source,) = load_project(project).sources
    read_feed(source)


@pytest.mark.parametrize(("settings", "message"), [
    ("expected_every: week", "'expected_every' is month, year or once, not 'week'"),
    ("expected_from: 1.6.2023", "'expected_from' is a date as '2023-06-01'"),
    ("expected_from: '2023-13-01'", "'expected_from' is a date as '2023-06-01'"),
])  # fmt: skip
def test_a_contract_that_says_it_wrong_is_told(project: Path, settings: str, message: str) -> None:
    with pytest.raises(ContractError, match=rf"models/visits.yml:6: {message}"):
        contract(project, settings)


def test_a_contract_says_how_often_its_feed_is_expected_and_from_when(project: Path) -> None:
    (project / "models/visits.yml").write_text(CONTRACT.replace("month", "once, expected_from: '2023-06-01'"))
    (source,) = load_project(project).sources
    feed = read_feed(source)
    assert (feed.expected_every, feed.expected_from) == ("once", date(2023, 6, 1))


# --- kpi validate ----------------------------------------------------------------------------------------------------


def validate(root: Path, *arguments: str) -> tuple[str, Exception | None]:
    result = CliRunner().invoke(cli, ["validate", "--project-dir", str(root), *arguments])
    return result.output, result.exception if isinstance(result.exception, Exception) else None


def test_validate_judges_the_published_build_and_changes_nothing(project: Path) -> None:
    run(project)
    before = {path: path.stat().st_mtime_ns for path in (project / "warehouse").rglob("*")}
    output, error = validate(project)
    assert error is None
    assert output == f"2025: {len(validate_build(project, None, None, None, None))} expectations, all hold.\n"
    assert {path: path.stat().st_mtime_ns for path in (project / "warehouse").rglob("*")} == before


def test_validate_judges_by_the_rules_and_contracts_of_today(project: Path) -> None:
    deliver(project, *(f"2025-{month:02}-01" for month in range(3, 13)))
    with pytest.raises(CheckFailed):
        run(project)
    build = built(project).name
    output, error = validate(project, "--build", build)
    assert isinstance(error, CheckFailed)
    assert error.exit_code == 7
    assert output.splitlines()[:3] == [
        "year  severity  expectation                 seen",
        f"----  --------  {'-' * 26}  {'-' * 56}",
        "2025  error     every_month_present:visits  missing months 1, 2",
    ]
    contract(project, "expected_every: month, expected_from: '2025-03-01'")
    output, error = validate(project, "--build", build)
    assert error is None
    assert output.endswith("all hold.\n")


def test_validate_takes_a_year_a_day_and_a_place_for_the_pages(project: Path, tmp_path: Path) -> None:
    run(project)
    output, error = validate(project, "--year", "2025", "--as-of", "2025-07-01", "--html", str(tmp_path / "a/b"))
    assert error is None
    assert output.endswith("all hold, not over yet.\n")
    assert "tilanne 1.7.2025" in (tmp_path / "a/b/fi/quality-2025.html").read_text(encoding="utf-8")
    output, error = validate(project, "--year", "2019")
    assert isinstance(error, CheckFailed)
    assert output.splitlines()[2:] == [
        "2019  error     year_has_figures  no figures",
        "",
        "2019: 1 expectation, 1 error.",
    ]


def test_validate_says_so_when_there_is_nothing_to_judge(project: Path) -> None:
    _, error = validate(project)
    assert isinstance(error, ConfigError)
    run(project)
    _, error = validate(project, "--build", "nope")
    assert isinstance(error, ConfigError)


def test_the_command_exits_with_7(project: Path) -> None:
    deliver(project, "2025-01-01")
    run(project, publish_despite_checks="try")
    command = [sys.executable, "-m", "kpi.cli", "validate", "--project-dir", str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (7, "kpi: 1 expectation failed.\n")


def result(**changes: object) -> YearResult:
    facts: dict[str, object] = {
        "report_year": 2025, "expectation": "odd", "topic": "figures", "description": "Odd.", "description_fi": "Outo.",
        "severity": "error", "success": False, "observed": "seen", "is_provisional": False, "judged": 1,
        "lowest": None, "highest": None, "rows": (),
    }  # fmt: skip
    return YearResult(**{**facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [100, 80])
def test_the_table_fits_whatever_stands_in_it(width: int) -> None:
    long = "word " * 90 + "x" * 300
    results = [
        result(observed=long),
        result(expectation="a_name_that_is_longer_than_any_of_ours_" * 3, severity="warn"),
        result(observed="\x1b[31mred\x07\n\u202e"),
    ]
    lines = result_lines(results, width)
    assert max(map(len, lines)) <= width
    assert "".join(lines).count("x") >= 300
    assert all(line.isprintable() for line in lines)
    assert lines[-1] == "2025: 3 expectations, 2 errors and 1 warning."
