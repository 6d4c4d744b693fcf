"""The guide "Begin a warehouse of your own", followed in an empty folder; and projects that lack a part of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date
from fnmatch import fnmatch
from pathlib import Path

import pytest
from click.testing import CliRunner

import kpi
from guide import follow
from kpi.cli.main import cli
from kpi.errors import ConfigError
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.settings import REPORT_COLUMNS, column_types
from kpi.warehouse.builds import Warehouse
from page import Page

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("begin a warehouse")]  # one project for all
PAGE = "begin-a-warehouse.md"
INDICATORS, PRINT = "models/marts/indicators.sql", "models/marts/reconciliation.sql"
TODAY = Options(as_of=date(2026, 2, 5))


@pytest.fixture(scope="module")
def brigade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that was empty, after the page. Tests must not change it."""
    root = tmp_path_factory.mktemp("begin") / "brigade"
    root.mkdir()
    touched = follow(root, PAGE)
    assert not [file for file in touched if file.endswith(".py")]
    return root


@pytest.fixture
def copy(brigade: Path, tmp_path: Path) -> Path:
    """The project of the page without its builds."""
    shutil.copytree(brigade, tmp_path / "copy", ignore=shutil.ignore_patterns("builds", "current", "runs", ".cache"))
    return tmp_path / "copy"


def test_its_figures_are_counted_compared_and_explained(brigade: Path) -> None:
    found = kpi.indicators(2025, project_dir=brigade)
    assert found[["figure_id", "service", "value"]].to_numpy().tolist() == [
        ["first_unit_median_seconds", "north", 420],
        ["first_unit_median_seconds", "south", 300],
        ["incidents", "north", 3],
        ["incidents", "south", 1],
    ]
    shown = CliRunner().invoke(cli, ["show", "--lang", "en", "--project-dir", str(brigade)]).output
    assert "Report of 2025: 2 printed figures: 2 reproduced, 0 differ." in shown
    explained = kpi.explain("first_unit_median_seconds", "north", 2025, project_dir=brigade)
    assert [(one.clause, one.row_count) for one in explained.left_out] == [
        ("station = 'north'", 1),
        ("report_year = 2025", 1),
        ("seconds_to_first_unit IS NOT NULL", 1),
    ]


def test_its_pages_are_in_the_language_it_has(brigade: Path) -> None:
    site = Warehouse(brigade / "warehouse").folder() / "site"
    for language in ("en", "fi", "sv"):
        quality = Page((site / language / "quality-2025.html").read_text(encoding="utf-8")).text()
        assert "The first unit is there in 60 to 1800 seconds" in quality
        assert "First unit on scene" in (site / language / "figures.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (INDICATORS, "report_year,\n    'cal", "report_year as year,\n    'cal",
         "models/marts/indicators.sql: marts.indicators has no column 'report_year', which is read of it."),
        (INDICATORS, "'calendar_year' as basis", "'calendar_year' as bases", "Did you mean 'bases'?"),
        (INDICATORS, "median(seconds_to_first_unit) as value", "'7 min' as value",
         "marts.indicators.value is read as a number, and is VARCHAR."),
        (PRINT, "printed.value as published_value", "printed.value as published", "no column 'published_value'"),
        (PRINT, "end as status", "end as state", "marts.reconciliation has no column 'status'"),
        ("seeds/figures.csv", "figure_id", "figure", "seeds.figures has no column 'figure_id', which is read of it."),
        ("seeds/figures.csv", "good_direction", "since",
         "seeds/figures.csv: seeds.figures.since is read as a day, and is 'none'."),
        ("seeds/figures.csv", "seconds,0,", "seconds,3,", "seeds.figures.decimals is 0, 1, 2 or minute, not '3'."),
        ("seeds/figures.csv", ",lower,", ",lowest,", "good_direction is higher, lower or none, not 'lowest'."),
        ("seeds/figures.csv", "first_unit_median_seconds,", "incidents,", "seeds.figures has 'incidents' twice."),
        ("seeds/figure_services.csv", "service,service_name_en", "station,service_name_en",
         "seeds.figure_services has no column 'service'"),
    ],
)  # fmt: skip
def test_a_table_that_would_be_read_as_nothing_is_refused(
    copy: Path, file: str, old: str, new: str, message: str
) -> None:
    """A column by another name, or that holds something else, is no empty page but a mistake with its file."""
    text = (copy / file).read_text(encoding="utf-8")
    assert old in text
    (copy / file).write_text(text.replace(old, new), encoding="utf-8")
    shutil.rmtree(copy / "expectations")
    if file == INDICATORS:
        (copy / PRINT).unlink()
    result = CliRunner().invoke(cli, ["compile", "--project-dir", str(copy)], standalone_mode=False)
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
    with pytest.raises(ConfigError) as caught:
        refresh(copy, TODAY, lambda line: None)
    assert message in str(caught.value)


def test_columns_are_read_as_the_kinds_that_are_listed_and_checked() -> None:
    kinds = {"bigint": "number", "double": "number", "decimal(38, 2)": "number", "decimal(38, 6)": "number"}
    kinds |= {"date": "day", "timestamp": "day", "boolean": "truth value", "varchar": "text"}
    for table, (required, optional) in REPORT_COLUMNS.items():
        types = column_types(table)
        for column, kind in {**required, **optional}.items():
            found = {kinds[type_] for name, type_ in types.items() if fnmatch(name, column)}
            assert found == {kind}, f"{table}.{column}"


def test_a_project_without_feeds_may_call_its_tables_as_it_likes(copy: Path) -> None:
    for folder in ("models", "seeds", "expectations", "warehouse/raw"):
        shutil.rmtree(copy / folder)
    (copy / "models/marts").mkdir(parents=True)
    (copy / "models/marts/coverage.sql").write_text("select 'all' as policy\n")
    assert CliRunner().invoke(cli, ["compile", "--project-dir", str(copy)]).exit_code == 0


READERS: tuple[Callable[[Path], object], ...] = (
    lambda root: kpi.indicators(2025, project_dir=root),
    lambda root: kpi.indicators(lang="en", project_dir=root),
    lambda root: kpi.series("incidents", project_dir=root),
    lambda root: kpi.plot("incidents", project_dir=root),
    lambda root: kpi.explain("incidents", "north", 2025, project_dir=root),
    lambda root: kpi.why("incidents", service="north", project_dir=root),
)


def test_readers_of_a_build_without_figures_say_what_is_missing(copy: Path) -> None:
    (copy / INDICATORS).unlink()
    (copy / PRINT).unlink()
    shutil.rmtree(copy / "expectations")
    assert refresh(copy, TODAY, lambda line: None).published
    for read in READERS:
        with pytest.raises(ConfigError, match=r"no table marts\.|no months"):
            read(copy)
    arguments = (["export", str(copy / "out")], ["release", "2025"], ["explain", "incidents"], ["revisions"])
    for given in arguments:
        result = CliRunner().invoke(cli, [*given, "--project-dir", str(copy)], standalone_mode=False)
        assert isinstance(result.exception, ConfigError), given
    assert CliRunner().invoke(cli, ["show", "--project-dir", str(copy)]).exit_code == 0


def test_figures_that_nothing_describes_are_read_all_the_same(copy: Path) -> None:
    shutil.rmtree(copy / "seeds")
    (copy / PRINT).unlink()
    shutil.rmtree(copy / "expectations")
    assert refresh(copy, TODAY, lambda line: None).published
    assert len(kpi.indicators(2025, lang="en", project_dir=copy)) == 4
    assert kpi.explain("incidents", "north", 2025, project_dir=copy).numerator.value == 3
    assert kpi.why("incidents", service="north", project_dir=copy)
    assert CliRunner().invoke(cli, ["show", "--project-dir", str(copy)]).exit_code == 0
    assert CliRunner().invoke(cli, ["export", str(copy / "out"), "--project-dir", str(copy)]).exit_code == 0
