"""A project of another field, a library's loans and visits, and what it shows: the engine knows no county."""

from __future__ import annotations

import csv
import json
import re
import shutil
from calendar import monthrange
from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.errors import CheckFailed, ConfigError
from kpi.ingest.contract import is_feed
from kpi.jobs.options import Options, Outcome
from kpi.jobs.refresh import refresh
from kpi.project.project import load_project
from kpi.reader.figures import open_build
from kpi.reader.figures_export import ExportOptions, export_figures
from kpi.reader.notebook import indicators
from kpi.warehouse.builds import Warehouse
from page import Page

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "tests/projects/library"
BRANCHES = ("main", "riverside")


def copy_library(folder: Path) -> Path:
    """The library's project in a folder of its own, with deliveries of each month of 2024 and 2025."""
    shutil.copytree(LIBRARY, folder)
    loans, visits = ["loan_id,branch,lent_on,returned_on"], ["branch,counted_on,visitors"]
    for month in (date(year, number, 1) for year in (2024, 2025) for number in range(1, 13)):
        last = month.replace(day=monthrange(month.year, month.month)[1])
        for branch in BRANCHES:
            loans += [f"{branch}-{month:%Y%m}-{days},{branch},{month},{month + timedelta(days)}" for days in (14, 15)]
            visits.append(f"{branch},{last},100")
        loans.append(f"main-{month:%Y%m}-out,main,{last},")
    for feed, lines in (("loans", loans), ("visits", visits)):
        (folder / f"warehouse/raw/{feed}").mkdir(parents=True)
        (folder / f"warehouse/raw/{feed}/all.csv").write_text("\n".join(lines) + "\n")
    return folder


def run(root: Path) -> Outcome:
    return refresh(root, Options(as_of=date(2026, 1, 10)), lambda line: None)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, refreshed and published. Tests must not change it."""
    root = copy_library(tmp_path_factory.mktemp("second") / "library")
    assert run(root).published
    return root


def kpi(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    return result.output


# --- from feeds to pages ---------------------------------------------------------------------------------------------


def test_feeds_become_figures(library: Path) -> None:
    found = indicators(2025, project_dir=library)
    assert found[["figure_id", "service", "value"]].to_numpy().tolist() == [
        ["loans", "main", 36],
        ["loans", "riverside", 24],
        ["mean_loan_days", "main", 14.5],
        ["mean_loan_days", "riverside", 14.5],
        ["visits", "main", 1200],
        ["visits", "riverside", 1200],
    ]
    with pytest.raises(ConfigError, match=r"there are no figures of 1999. There are: 2024, 2025."):
        indicators(1999, project_dir=library)


def test_a_year_is_not_compared_with_itself(library: Path) -> None:
    with pytest.raises(ConfigError, match=r"both 2025. There is: 2024, 2025\."):
        kpi("why", "loans", "--service", "main", "--from", "2025", "--to", "2025", "--project-dir", str(library))


def test_show_puts_printed_figures_beside_them(library: Path) -> None:
    shown = kpi("show", "--project-dir", str(library), "--year", "2025")
    assert re.search(r"= Loans, Pääkirjasto +36\b", shown)
    assert "Report of 2025: 3 printed figures: 3 reproduced, 0 differ" in shown
    assert kpi("show", "mean_loan_days", "--project-dir", str(library)).startswith("mean_loan_days: Mean loan (days)\n")
    assert "Jokirannan kirjasto" in kpi("show", "riverside", "--project-dir", str(library))


def test_they_are_exported_in_every_format_with_the_librarys_names(library: Path, tmp_path: Path) -> None:
    export_figures(library, tmp_path / "out", ExportOptions(lang="fi"))
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"indicators.csv", "definitions.parquet", "figures.xlsx", "json-stat-loans.json", "sdmx.csv"} <= files
    content = json.loads((tmp_path / "out/json-stat-loans.json").read_text())
    labels = {name: axis["category"]["label"] for name, axis in content["dimension"].items()}
    assert labels["figure"] == {"loans": "Lainat", "mean_loan_days": "Laina-aika"}
    assert labels["service"] == {"main": "Pääkirjasto", "riverside": "Jokirannan kirjasto"}
    assert "region" not in labels


def test_report_years_are_judged_by_the_librarys_rules(library: Path) -> None:
    with open_build(project_dir=library) as con:
        rows = con.execute("select report_year, expectation, success from marts.expectation_results").fetchall()
    feeds = {f"every_month_present:{feed}" for feed in ("loans", "visits")}
    own = {"any_figure", "loans_are_short", "every_loan_counts_once"}
    assert {(year, name) for year, name, _ in rows} == {
        *((year, name) for year in (2024, 2025) for name in own | feeds),
        *((2025, name) for name in ("nothing_leaps", "print_is_reproduced", "no_later_years")),
    }
    assert all(success for *_, success in rows)


def test_pages_have_the_librarys_words(library: Path) -> None:
    folder = Warehouse(library / "warehouse").folder()
    text = Page((folder / "site/fi/quality-2025.html").read_text(encoding="utf-8")).text()
    for word in (
        "Lainat",
        "Käynnit",
        "Julkaistut luvut",
        "Pääkirjasto",
        "Jokirannan kirjasto",
        "14,5\u00a0vrk",
        "saadaan aineistosta samana",
    ):
        assert word in text
    assert "Laina kestää keskimäärin 0–60 päivää." in text


def test_validate_judges_the_published_build(library: Path) -> None:
    assert kpi("validate", "--project-dir", str(library)).splitlines()[-1] == "2025: 8 expectations, all hold."


def test_diff_finds_the_figures_under_their_own_names(tmp_path: Path) -> None:
    root = copy_library(tmp_path / "library")
    first = run(root).build
    with (root / "warehouse/raw/loans/all.csv").open("a") as stream:
        stream.write("one-more,riverside,2025-12-31,2026-01-09\n")
    second = run(root).build
    difference = kpi("diff", first, second, "--project-dir", str(root))
    assert "Indicators: 2 differ." in difference
    assert re.search(r"loans\b.*riverside.*24.*25", difference)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_what_differs_from_print_or_breaks_a_rule_is_not_published(tmp_path: Path) -> None:
    root = copy_library(tmp_path / "library")
    printed = root / "seeds/printed_figures.csv"
    printed.write_text(printed.read_text().replace(",1200", ",1300"))
    visits = root / "warehouse/raw/visits/all.csv"
    visits.write_text(re.sub(r"(main,2025-\d\d-\d\d),100", r"\1,300", visits.read_text()))
    with pytest.raises(CheckFailed) as caught:
        run(root)
    message = str(caught.value)
    assert "2025 print_is_reproduced: visits riverside 2025 = 1200 (printed 1300)" in message
    assert "2025 nothing_leaps: visits main 2025 = 3600 (the year before 1200)" in message


MISTAKES = {
    "a table of the engine": ("dbt_project.yml", "reports.feed_coverage", "reports.feed_coverag",
                              r"dbt_project.yml:9: no model or seed makes reports.feed_coverag, which is named for "
                              r"'coverage'. Did you mean 'reports.feed_coverage'?"),
    "a name of the engine": ("dbt_project.yml", "coverage: reports", "converage: reports",
                             r"dbt_project.yml:9: 'converage' is not supported in kpi_tables. Did you mean "
                             r"'coverage'?"),
    "the table of a topic": ("expectations/rules.yml", "judged.judged_print", "judged.judge_print",
                             "expectations/rules.yml:35: no model or seed makes judged.judge_print. Did you mean "
                             "'judged.judged_print'?"),
    "a column": ("expectations/rules.yml", "column: ratio", "column: ration",
                 "expectations/rules.yml:22: judged.judged_figures has no column 'ration'. Did you mean 'ratio'?"),
    "a figure of a rule": ("expectations/rules.yml", "[mean_loan_days]", "[mean_loan_day]",
                           "expectations/rules.yml:16: there is no figure 'mean_loan_day'. Did you mean "
                           "'mean_loan_days'?"),
    "a check": ("expectations/rules.yml", "{none_of: [differs]}", "{non_of: [differs]}",
                "expectations/rules.yml:41: there is no check 'non_of'. Did you mean 'none_of'?"),
    "limits": ("expectations/rules.yml", "[0, 60]", "[0, many]",
               "expectations/rules.yml:17: 'between' is two numbers, [low, high]; null is no limit."),
    "a severity": ("expectations/rules.yml", "severity: warn", "severity: warning",
                   "expectations/rules.yml:18: 'severity' is error or warn, not 'warning'. Did you mean 'warn'?"),
    "a key of a rule": ("expectations/rules.yml", "expects_fi: Vuodella", "expect_fi: Vuodella",
                        "expectations/rules.yml:12: 'expect_fi' is not supported in a rule of "
                        "expectations/rules.yml. Did you mean 'expects_fi'?"),
    "a limit that is none": ("expectations/rules.yml", "{low} to {high} days", "{low} to {hihg} days",
                             "expectations/rules.yml:19: {hihg} stands for nothing here. Did you mean 'high'?"),
    "a name twice": ("expectations/rules.yml", "name: nothing_leaps", "name: any_figure",
                     "expectations/rules.yml:21: 'any_figure' is the name of another rule, at "
                     "expectations/rules.yml:7."),
    "a feed of a formula": ("expectations/sums.yml", "rows:loans", "rows:loan",
                            "expectations/sums.yml:10: there is no feed 'loan'. Did you mean 'loans'?"),
    "a figure of a formula": ("expectations/sums.yml", "<= loans", "<= lones",
                              "expectations/sums.yml:11: there is no figure 'lones'. Did you mean 'loans'?"),
    "an amount of a formula": ("expectations/sums.yml", "days.denominator", "days.denominater",
                               "expectations/sums.yml:11: 'mean_loan_days.denominater' is no term: a figure has no "
                               "'denominater'. Did you mean 'denominator'?"),
    "a formula": ("expectations/sums.yml", "loans@branches = rows", "loans@branches == rows",
                  "expectations/sums.yml:10: 'loans@branches == rows:loans' is not of the form"),
}  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_with_its_line(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    root = copy_library(tmp_path / "library")
    text = (root / file).read_text(encoding="utf-8")
    assert old in text
    (root / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        kpi("compile", "--project-dir", str(root))
    assert message in str(caught.value)
    with pytest.raises(ConfigError):
        run(root)


def test_a_file_that_nothing_reads_and_a_folder_without_rules_are_told(tmp_path: Path) -> None:
    root = copy_library(tmp_path / "library")
    (root / "expectations/sum.yml").write_text("sums: []\n")
    with pytest.raises(ConfigError, match=r"expectations/sum.yml: nothing reads this file. Did you mean 'sums.yml'"):
        kpi("compile", "--project-dir", str(root))
    (root / "expectations/rules.yml").unlink()
    with pytest.raises(ConfigError, match=r"expectations: there is no rules.yml"):
        kpi("compile", "--project-dir", str(root))


def test_without_a_folder_of_expectations_only_the_feeds_are_judged(tmp_path: Path) -> None:
    root = copy_library(tmp_path / "library")
    shutil.rmtree(root / "expectations")
    run(root)
    results = json.loads((Warehouse(root / "warehouse").folder() / "expectations.json").read_text())
    assert {result["expectation"] for result in results} == {
        "every_month_present:loans", "every_month_present:visits", "no_later_years"
    }  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), [
    ("judged.judged_print", "judged.print", r"rules.yml:35: build \S+ has no judged.print: it is not whole"),
    ("column: ratio", "column: share", r"rules.yml:3: build \S+ has no column share in judged.judged_figures: it is"),
])  # fmt: skip
def test_a_build_of_another_project_is_not_judged_in_part(library: Path, old: str, new: str, message: str) -> None:
    rules = library / "expectations/rules.yml"
    text = rules.read_text(encoding="utf-8")
    try:
        rules.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(ConfigError, match=message):
            kpi("validate", "--project-dir", str(library))
    finally:
        rules.write_text(text, encoding="utf-8")


# --- no word of the county's -----------------------------------------------------------------------------------------


def county_words() -> frozenset[str]:
    """The county's figures, families, services and feeds, read from its own project."""

    def column(seed: str, name: str) -> set[str]:
        with (ROOT / f"seeds/{seed}.csv").open(encoding="utf-8", newline="") as stream:
            return {row[name] for row in csv.DictReader(stream)}

    feeds = {source.name.rpartition(".")[2] for source in load_project(ROOT).sources if is_feed(source)}
    rules = set(re.findall(r"- name: ([\w:]+)", (ROOT / "expectations/rules.yml").read_text(encoding="utf-8")))
    sums = set(re.findall(r"- name: (\w+)", (ROOT / "expectations/sums.yml").read_text(encoding="utf-8")))
    return frozenset(
        column("figures", "figure_id") | column("figures", "family") | column("figure_services", "service")
        | column("service_lines", "service_line") | column("service_lines", "service_group") | feeds | rules | sums
    )  # fmt: skip


# Plain English that the engine has other uses for; as a value, in quotes, it has none for them either.
PLAIN = frozenset(
    {"calls", "changes", "decisions", "other", "feedback", "experience", "manual", "visits", "health", "suggestion"}
)


def test_the_engine_has_no_word_of_the_countys() -> None:
    words = county_words() - {""}
    assert len(words) > 150
    bare = re.compile(rf"(?<!\w)(?:{'|'.join(sorted(words - PLAIN, key=len, reverse=True))})(?!\w)")
    quoted = re.compile(rf"""(['"])(?:{"|".join(sorted(PLAIN & words))})\1""")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {hit[0]}"
        for path in sorted((ROOT / "src/kpi").rglob("*"))
        if path.suffix in (".py", ".sql", ".html", ".json")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for hit in (bare.search(line) or quoted.search(line),)
        if hit
    ]
    assert found == []
