"""The guides "Add a feed" and "Add a figure", followed step by step in a copy of the project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import kpi
from conftest import copy_project
from guide import GUIDES, follow, steps
from kpi.cli.main import cli
from kpi.reader.figures import open_build
from kpi.reader.notebook import indicators
from kpi.warehouse.builds import Warehouse
from page import Page

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("add a figure")]  # one project for all
PAGES = ("add-a-feed.md", "add-a-figure.md")


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A copy of the project after both pages, refreshed, and the files that the pages touch."""
    root = copy_project(tmp_path_factory.mktemp("guides") / "county")
    touched = [file for page in PAGES for file in follow(root, page)]
    despite = ("--publish-despite-checks", "a county of one feed", "--as-of", "2026-02-05")
    result = CliRunner().invoke(cli, ["refresh", *despite, "--project-dir", str(root)], catch_exceptions=False)
    assert "Published build" in result.output
    return root, touched


def test_a_family_touches_nine_files_and_none_of_them_is_python(followed: tuple[Path, list[str]]) -> None:
    _, touched = followed
    files = {file for file in touched if not file.startswith("warehouse/")}
    assert len(files) == 9
    assert {Path(file).suffix for file in files} == {".sql", ".yml", ".csv"}
    for page in PAGES:
        table = [line for line in (GUIDES / page).read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
        assert table, page


def test_the_figures_are_there_and_shown(followed: tuple[Path, list[str]]) -> None:
    root, _ = followed
    found = indicators(2025, project_dir=root)
    assert found[["figure_id", "service", "value"]].to_numpy().tolist() == [
        ["home_visits", "home_care", 4],
        ["home_visits_made_share", "home_care", 50],
    ]
    shown = CliRunner().invoke(cli, ["show", "home_visits", "--project-dir", str(root)]).output
    assert shown.startswith("home_visits: Home visits (count)\n")
    with open_build(project_dir=root) as con:
        assert con.execute("select sum(row_count) from marts.coverage where feed = 'home_visits'").fetchone() == (4,)
        assert con.execute(
            "select count(*) from marts.public_indicators where figure_id = 'home_visits'"
        ).fetchone() == (1,)


def test_they_are_explained_without_more_work(followed: tuple[Path, list[str]]) -> None:
    root, _ = followed
    found = kpi.explain("home_visits_made_share", "home_care", 2025, project_dir=root)
    assert (found.numerator.value, found.denominator.value) == (2, 4)
    assert found.numerator.is_exact
    assert found.denominator.is_exact
    assert found.rows("numerator").column("counts_as").to_pylist() == [1, 1]
    assert {one.clause for one in found.left_out} >= {"is_made"}


def test_what_is_expected_of_them_was_judged(followed: tuple[Path, list[str]]) -> None:
    root, _ = followed
    folder = Warehouse(root / "warehouse").folder()
    results = json.loads((folder / "expectations.json").read_text(encoding="utf-8"))
    of_year = {result["expectation"]: result for result in results if result["report_year"] == 2025}
    assert of_year["home_visits_are_their_records"]["observed"] == "2 values: 0"
    assert of_year["described_figures_told"]["observed"] == "2 values"
    assert {name for name, result in of_year.items() if not result["success"]} == {"every_month_present:home_visits"}
    quality = Page((folder / "site/fi/quality-2025.html").read_text(encoding="utf-8")).text()
    assert "Jokainen suunniteltu käynti lasketaan kerran sekä käyntien määrään että toteutuneiden osuuteen" in quality
    text = Page((folder / "site/fi/figure-home_visits_made_share.html").read_text(encoding="utf-8")).text()
    for word in ("Toteutuneet kotikäynnit", "Toteutuneiden osuus kotikäynneistä.", "Kotihoito"):
        assert word in text


def test_no_figure_is_forgotten_in_silence(tmp_path: Path) -> None:
    """A sum of a figure that is spelt otherwise is refused, with its line."""
    root = copy_project(tmp_path / "county")
    for step in (*steps("add-a-feed.md"), *steps("add-a-figure.md")):
        if step.file.endswith("sums.yml"):
            with (root / step.file).open("a", encoding="utf-8") as stream:
                stream.write(step.text)
    result = CliRunner().invoke(cli, ["compile", "--project-dir", str(root)])
    assert "expectations/sums.yml:" in str(result.exception)
    assert "there is no figure 'home_visits'" in str(result.exception)
