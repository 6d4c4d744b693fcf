"""kpi show and kpi.indicators: a figure, a service, a table, of a year; what is not there is answered with what is."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

import kpi
from kpi.cli.main import cli
from kpi.errors import ConfigError
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.warehouse.builds import Warehouse, publish
from small_project import write

FIGURES = """\
figure_id,family,name_en,name_fi,name_sv,definition_en,unit,decimals,source
answered,calls,Calls answered,Vastatut,Besvarade,All.,percent,0,Report
waits,calls,Waits,Odotukset,Tid,All.,seconds,0,Report
"""
INDICATORS = """\
select f as figure_id, s as service, y as report_year, 'calendar_year' as basis, v as value,
    cast(1 as double) as numerator, cast(1 as double) as denominator, 1 as event_count
from (values ('answered', 'health', 2024, 99.793), ('answered', 'health', 2025, 100.0), ('waits', 'health', 2025, 3.0),
    ('answered', 'social', 2025, 0.2)) as t(f, s, y, v)
"""
RECONCILIATION = """\
select figure_id, service, report_year, basis, 'exact' as qualifier, 100.0 as published_value, '0' as decimals,
    'reproduced' as status, 2024 as source_report
from {{ ref('indicators') }}
where report_year = 2024
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    models = {"models/marts/indicators.sql": INDICATORS, "models/marts/reconciliation.sql": RECONCILIATION}
    write(root, {**models, "seeds/figures.csv": FIGURES})
    (root / "warehouse/raw/calls").mkdir(parents=True)
    (root / "warehouse/raw/calls/a.csv").write_text("call_id,line,waited_seconds,arrived_on\n1,health,3,2024-01-01\n")
    build = refresh(root, Options(date(2026, 3, 5), validate=False), lambda _: None).build
    publish(Warehouse(root / "warehouse"), root / "warehouse/builds" / build)  # unjudged
    return root


def show(root: Path, *words: str) -> list[str]:
    result = CliRunner().invoke(cli, ["show", *words, "--project-dir", str(root)], catch_exceptions=False)
    return [
        line.rstrip() for line in result.output.splitlines() if line.startswith(("Report year", "  health", "  soc"))
    ]


def test_a_figure_of_one_year(root: Path) -> None:
    assert [" ".join(line.split()) for line in show(root, "answered", "--year", "2024")] == [
        "Report year 2024 value printed status",
        "health 99.8 % 100 reproduced",
    ]
    assert [line[:16] for line in show(root, "answered") if line.startswith("Report")] == [
        "Report year 2025",
        "Report year 2024",
    ]
    assert len(show(root, "--year", "2025")) == 4


def test_a_service(root: Path) -> None:
    assert [" ".join(line.split()) for line in show(root, "social")] == [
        "Report year 2025 value printed status",
        "social 0.2 %",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("answered", "--year", "2030"), "'answered' is not told of 2030. There are: 2024, 2025."),
        (("waits", "--year", "2024"), "'waits' is not told of 2024. There is: 2025."),
        (("--year", "2030"), "no figure is told of 2030. There are: 2024, 2025."),
        (("marts.indicators", "--year", "1999"), "marts.indicators has no rows of 1999. There are: 2024, 2025."),
        (("raw.calls", "--year", "2024"), "raw.calls has no column report_year, so --year says nothing of it."),
        (("answred",), "there is no figure, service or table 'answred'. Did you mean 'answered'?"),
        (("helth",), "there is no figure, service or table 'helth'. Did you mean 'health'?"),
        (("raw.delivereis",), "there is no figure, service or table 'raw.delivereis'. Did you mean 'raw.deliveries'?"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(root: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        show(root, *words)
    assert str(caught.value) == message


def test_a_year_that_python_is_asked_for_is_there_or_an_error_says_which_are(root: Path) -> None:
    assert len(kpi.indicators(2025, project_dir=root)) == 3
    assert len(kpi.indicators(project_dir=root)) == 4
    with pytest.raises(ConfigError, match=r"no figure is told of 2019. There are: 2024, 2025."):
        kpi.indicators(2019, project_dir=root)


def test_what_kpi_has_is_listed_before_it_is_imported() -> None:
    assert {"indicators", "open"} <= set(dir(kpi))
    assert "annotations" not in dir(kpi)
    with pytest.raises(AttributeError, match=r"no attribute 'indicator'. Did you mean 'indicators'"):
        kpi.indicator  # noqa: B018
