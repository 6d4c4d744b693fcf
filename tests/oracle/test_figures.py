"""The printed figures come out of the full synthetic deliveries, and read well on a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import kpi
from kpi.cli.main import cli
from kpi.errors import ConfigError
from kpi.reader import figures


def show(root: Path, *words: str) -> list[str]:
    result = CliRunner().invoke(cli, ["show", *words, "--project-dir", str(root)], catch_exceptions=False)
    return [line for line in result.output.splitlines() if not re.search(r"(build|koonti|version) \d", line)]


def test_every_printed_figure_is_reproduced(demo_project: Path) -> None:
    with kpi.open(project_dir=demo_project) as con:
        status = dict(con.execute("select status, count(*) from marts.reconciliation group by status").fetchall())
    assert status == {"reproduced": 92}


def test_the_table_of_indicators(demo_project: Path, golden: Callable[[str, str], None]) -> None:
    lines = {lang: show(demo_project, "--lang", lang) for lang in ("fi", "sv", "en")}
    assert {max(map(len, of_lang)) for of_lang in lines.values()} == {80}
    assert {len(of_lang) for of_lang in lines.values()} == {38}
    every = show(demo_project, "--all", "--year", "2025", "--lang", "fi")
    golden("show.txt", "\n".join([*lines["en"], *lines["fi"], *every]) + "\n")


def test_one_figure(demo_project: Path, golden: Callable[[str, str], None]) -> None:
    with kpi.open(project_dir=demo_project) as con:
        assert figures.resolve(con, "same_day_callback_share") == ("figure", "same_day_callback_share")
        assert figures.resolve(con, "health_lines") == ("service", "health_lines")
    text = [*show(demo_project, "same_day_callback_share"), *show(demo_project, "nps", "--lang", "sv")]
    golden("show_figure.txt", "\n".join(text) + "\n")


def test_a_frame_of_one_report_year(demo_project: Path) -> None:
    frame = kpi.indicators(2025, project_dir=demo_project)
    keys = ["figure_id", "service", "report_year", "basis"]
    assert list(frame.columns) == [*keys, "numerator", "denominator", "value", "event_count", "last_full_month"]
    assert not frame.duplicated(keys).any()
    assert frame["last_full_month"].isna().all()  # of finished years there is nothing to say
    assert set(frame["report_year"]) == {2025}
    assert set(kpi.indicators(project_dir=demo_project)["report_year"]) == {2021, 2022, 2023, 2024, 2025}


def test_a_misspelt_name_is_answered_with_the_nearest(demo_project: Path) -> None:
    with kpi.open(project_dir=demo_project) as con:
        for wanted, meant in (
            ("npz", "nps"),
            ("marts.indicator", "marts.indicators"),
            ("coverge", "coverage"),
            ("oral_helth", "oral_health"),
        ):
            with pytest.raises(ConfigError, match=f"no figure, service or table '{wanted}'. Did you mean '{meant}'?"):
                figures.resolve(con, wanted)


def test_a_table_as_text() -> None:
    rows = [("a", 1.5, None), ("line\nbreak", 10.0, "x" * 80)]
    assert figures.table_lines(["name", "n", "long"], rows) == [
        "name           n  long",
        "-----------  ---  " + "-" * 60,
        "a            1.5",
        "line\\nbreak   10  " + "x" * 59 + "…",
    ]


def test_deliveries_are_conserved(demo_project: Path) -> None:
    with kpi.open(project_dir=demo_project) as con:
        files, wrong = con.execute(
            "select count(*), count(*) filter (where rows_loaded + rows_rejected <> records) from raw.deliveries"
        ).fetchall()[0]
        rejects = con.execute("select count(*) from raw.rejects").fetchall()
        message = con.execute("select sum(rows_rejected)::bigint from raw.deliveries").fetchall()
    assert files > 90
    assert wrong == 0
    assert rejects == message
