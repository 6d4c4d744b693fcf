"""kpi show and kpi.indicators: a figure, a service, a table, of a year; what is not there is answered with what is."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from datetime import date
from pathlib import Path

import click
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
    return [line.rstrip() for line in result.output.splitlines()]


def words(lines: list[str]) -> list[str]:
    return [" ".join(line.split()) for line in lines if line]


def test_a_figure_of_one_year(root: Path) -> None:
    assert words(show(root, "answered", "--year", "2024")) == [
        "answered: Calls answered (percent)",
        "fi: Vastatut",
        "sv: Besvarade",
        "All.",
        "Report",
        "Report year 2024 value change target Jan–Dec",
        "-" * 80,
        "calls",
        "Calls answered (answered)",
        "= health 99.8%",
    ]
    assert [line for line in words(show(root, "answered")) if line.startswith("Report year")] == [
        "Report year 2025 value change target Jan–Dec",
        "Report year 2024 value change target Jan–Dec",
    ]


def test_a_service_and_a_family(root: Path) -> None:
    assert words(show(root, "social"))[-2:] == ["Calls answered (answered)", "social 0.2%"]
    assert show(root, "--service", "social") == show(root, "social")
    assert (
        words(show(root, "--family", "calls", "--year", "2024")) == words(show(root, "answered", "--year", "2024"))[5:]
    )


def test_one_screen_says_first_what_matters(root: Path) -> None:
    lines = words(show(root))
    assert lines[0].startswith("Report years 2024–2025 · build 00001-")
    assert lines[1:5] == [
        "Report of 2024: 1 printed figures: 1 reproduced, 0 differ.",
        "Late: calls (2024-02-15)",
        "Report year 2025 value change target Jan–Dec",
        "Calls answered, health 100%",
    ]
    assert [line for line in words(show(root, "--year", "2024")) if line.startswith("= C")] == [
        "= Calls answered, health 99.8%"
    ]


def test_the_language_is_that_of_the_option_or_of_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Vastatut, health 100 %" in words(show(root, "--lang", "fi"))
    assert "Vastatut, health 99,8 %" in " ".join(words(show(root, "--lang", "fi", "--year", "2024")))
    monkeypatch.setenv("KPI_LANG", "sv")
    assert "Rapportår 2025 värde förändring mål jan–dec" in words(show(root))
    assert "Report year 2025 value change target Jan–Dec" in words(show(root, "--lang", "en"))
    monkeypatch.setenv("KPI_LANG", "de")
    assert "'de' is not one of 'fi', 'sv', 'en'" in "\n".join(show(root))


def test_as_json_and_as_csv(root: Path) -> None:
    content = json.loads("\n".join(show(root, "--json", "--year", "2024")))
    assert (content["report_years"], content["printed"]) == ([2024, 2025], {"2024": {"reproduced": 1}})
    (figure,) = content["figures"]
    assert (figure["figure_id"], figure["value"], figure["shown"], figure["status"]) == (
        "answered",
        99.793,
        99.8,
        "reproduced",
    )
    header, *rows = show(root, "--csv", "answered")
    assert header.startswith("figure_id,service,report_year,basis,family,name,service_name,")
    assert [row.split(",")[:3] for row in rows] == [
        ["answered", "health", "2025"],
        ["answered", "social", "2025"],
        ["answered", "health", "2024"],
    ]
    assert len(json.loads("\n".join(show(root, "marts.indicators", "--json")))) == 4
    with pytest.raises(click.UsageError, match="one or the other"):
        CliRunner().invoke(
            cli, ["show", "--json", "--csv", "--project-dir", str(root)], catch_exceptions=False, standalone_mode=False
        )


def test_a_terminal_has_colours_and_its_width_and_a_pipe_has_neither(root: Path) -> None:
    command = [sys.executable, "-m", "kpi.cli", "show", "--project-dir", str(root)]
    assert "\x1b" not in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    for environment, is_coloured in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        subprocess.run(command, stdout=theirs, env=plain | environment, check=True)
        os.close(theirs)
        text = os.read(ours, 1 << 16).decode()
        os.close(ours)
        assert ("\x1b[1m" in text) == is_coloured
        lines = re.sub(r"\x1b\[\d+m", "", text).splitlines()
        assert len(lines) <= 24
        assert max(map(len, lines)) in range(81, 101)
        assert "\x1b" not in "".join(lines)


def test_a_shell_completes_commands_options_and_values() -> None:
    def completed(line: str, number: int) -> list[str]:
        environment = os.environ | {"_KPI_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(number)}
        program = Path(sys.executable).with_name("kpi")
        done = subprocess.run([program], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert completed("kpi deliv", 1) == ["plain,deliveries"]
    assert "plain,--lang" in completed("kpi show --la", 2)
    assert completed("kpi show --lang ", 3) == ["plain,fi", "plain,sv", "plain,en"]
    page = (Path(__file__).parents[2] / "docs/guides/notebooks.md").read_text(encoding="utf-8")
    for shell in re.findall(r"_KPI_COMPLETE=(\w+)_source|`(\w+)_source`", page):
        environment = os.environ | {"_KPI_COMPLETE": f"{''.join(shell)}_source"}
        program = Path(sys.executable).with_name("kpi")
        text = subprocess.run([program], env=environment, capture_output=True, text=True, check=True).stdout
        assert "_KPI_COMPLETE" in text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("answered", "--year", "2030"), "'answered' has no figures of 2030. There are: 2024, 2025."),
        (("waits", "--year", "2024"), "'waits' has no figures of 2024. There is: 2025."),
        (("--year", "2030"), "there are no figures of 2030. There are: 2024, 2025."),
        (("marts.indicators", "--year", "1999"), "marts.indicators has no rows of 1999. There are: 2024, 2025."),
        (("raw.calls", "--year", "2024"), "raw.calls has no column report_year, so --year says nothing of it."),
        (("answred",), "there is no figure, service or table 'answred'. Did you mean 'answered'?"),
        (("--family", "cals"), "there is no family 'cals'. Did you mean 'calls'?"),
        (("--service", "x"), "there is no service 'x'. There is: health, social."),
        (("helth",), "there is no figure, service or table 'helth'. Did you mean 'health'?"),
        (("raw.delivereis",), "there is no figure, service or table 'raw.delivereis'. Did you mean 'raw.deliveries'?"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(root: Path, given: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        show(root, *given)
    assert str(caught.value) == message


def test_a_year_that_python_is_asked_for_is_there_or_an_error_says_which_are(root: Path) -> None:
    assert len(kpi.indicators(2025, project_dir=root)) == 3
    assert len(kpi.indicators(project_dir=root)) == 4
    with pytest.raises(ConfigError, match=r"there are no figures of 2019. There are: 2024, 2025."):
        kpi.indicators(2019, project_dir=root)


def test_what_kpi_has_is_listed_before_it_is_imported() -> None:
    assert {"indicators", "open"} <= set(dir(kpi))
    assert "annotations" not in dir(kpi)
    with pytest.raises(AttributeError, match=r"no attribute 'indicator'. Did you mean 'indicators'"):
        kpi.indicator  # noqa: B018
