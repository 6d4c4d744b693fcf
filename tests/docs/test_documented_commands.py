"""Every command that README and docs show is run, one after the other, on a warehouse of synthetic deliveries.

Some 60 CPU seconds for 80 commands: whoever reads the documentation types them as they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_commands import shown

from conftest import TODAY, copy_project
from demo.deliver import write_demo
from demo.feeds import FEEDS
from kpi.cli.main import cli
from kpi.errors import exit_code_of
from kpi.jobs.notifications import VARIABLE
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from once import ROOT

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("documented commands")]  # one project for all
SMALL_FEEDS = ("housing_placements", "ombudsman_contacts", "safety_inspections", "digital_users")
# What stands for something of the reader's own, and what it is here.
PLACEHOLDERS = {
    "MODEL": "int_calls_figures",
    "MODEL+": "int_calls_figures+",
    "FIGURE": "ombudsman_contacts",
    "name|path|json|selector": "selector",
    "DIR": "{scratch}/given",
    "elsewhere": "{scratch}/given",
    "pages": "{scratch}/given",
    "/srv/open/2025": "{scratch}/given",
    "/srv/out/2025-03-05": "{scratch}/given",
    "left_out.csv": "{scratch}/left_out.csv",
    "…": "digital_users_over_70_share",
    "ID": "1",
    "12": "1",
    "42": "1",
    "...": "select 1",
}
# In a sentence, without what it takes.
NAMED_ALONE: dict[tuple[str, ...], str] = {
    ("query", "--csv"): "select 1",
    ("explain",): "digital_users_over_70_share",
    ("why",): "ombudsman_contacts",
    ("export",): "{scratch}/given",
    ("publish", "--public"): "{scratch}/given",
    ("validate", "--html"): "{scratch}/given",
}
LEFT_OUT = {"[ID]", "[A]", "[B]"}
# Commands that change the machine, wait for a person or need something broken, and the tests that run them.
ELSEWHERE = {
    ("build", "--watch"): "test_watch.py",
    ("query", "--failures"): "test_unit_tests.py",
    ("schedule", "--install"): "test_schedule.py",
    ("schedule", "--user"): "test_schedule.py",
    ("demo",): "test_demo.py",
    ("show", "home_visits"): "test_add_a_figure.py",
    ("test", "--fail-fast"): "test_dbt_commands.py",
    ("release",): "test_releases.py",
    ("show", "--as-of"): "test_releases.py",
    ("revisions", "acknowledge"): "test_revisions.py",
    ("serve",): "test_serve.py",
    ("diff", "--against"): "test_diff_against.py",
    ("refresh", "--engine"): "test_engine_setting.py",
    ("refresh", "--remote"): "test_spark_builds.py",
}
HEALTH_LINES = ("--service", "health_lines", "--from", "2024", "--to", "2025")
# Where the answer is not 0: nobody to notify, no failed run to continue, and no watch that runs.
REFUSED = {
    ("notify", "--test"): "no address is set",
    ("retry",): "there is nothing to retry",
    ("query", "--build", "watch", "..."): "there is no build 'watch'",
    # Its feed is left out here: it is the largest.
    ("why", "calls_received", *HEALTH_LINES): "there is no figure 'calls_received'",
    ("rejects", "--feed", "calls"): "nothing is delivered for a feed 'calls'",
    ("rejects", "--file", "calls/calls_2025-03.csv", "--json"): "there is no delivery 'calls/calls_2025-03.csv'",
}


def commands() -> list[tuple[str, ...]]:
    """The commands in order, readers taken back last; not those that install, nor those that others run.

    What is typed in several places with other words for the same is run once.
    """
    each = sorted(shown() - {("--help",)}, key=lambda words: (words[0] == "rollback", words))
    once: dict[tuple[str, ...], tuple[str, ...]] = {}
    for words in each:
        if "--install" not in words and not any(words[: len(other)] == other for other in ELSEWHERE):
            once.setdefault(words if words in REFUSED else tuple(arguments(words, Path(), Path())), words)
    return [*once.values()]


def arguments(words: Sequence[str], project: Path, scratch: Path) -> list[str]:
    """The words of a command with its placeholders filled, for this project and its day."""
    given = [PLACEHOLDERS.get(word, word).format(scratch=scratch) for word in words if word not in LEFT_OUT]
    given += [NAMED_ALONE[tuple(words)].format(scratch=scratch)] if tuple(words) in NAMED_ALONE else []
    if "--project-dir" in given:
        place = given.index("--project-dir")
        del given[place : place + 2]
    given += ["--project-dir", str(project)]
    takes = {name for option in cli.commands[given[0]].params for name in option.opts}
    # With a day given, synthetic feeds are late, and reading is of another build.
    if "--as-of" in takes - set(given) and given[0] not in ("freshness", "show", "query", "diff"):
        given += ["--as-of", str(TODAY)]
    if given[0] == "validate" and "--year" not in given:
        given += ["--year", "2025"]  # one is as good as five
    if given[0] == "test" and "--select" not in given:
        given += ["--select", "int_calls_figures"]
    return given


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with a few small feeds, so that the printed figures come out, two builds and one held back."""
    root = copy_project(tmp_path_factory.mktemp("documented"))
    raw = root / "warehouse/raw"
    write_demo(raw, feeds=[feed for feed in FEEDS if feed.name in SMALL_FEEDS])
    # Callbacks are many, so there are a few of them, and nothing that was printed of them.
    write_demo(raw, scale=0.02, feeds=[feed for feed in FEEDS if feed.name == "callbacks"])
    for seed in ("published_figures", "documented_inconsistencies"):
        path = root / f"seeds/{seed}.csv"
        path.write_text("".join(line for line in path.read_text().splitlines(True) if "callback" not in line))
    refresh(root, Options(as_of=TODAY), lambda line: None)
    with (root / "dbt_project.yml").open("a", encoding="utf-8") as file:
        file.write("\n# a word more\n")
    refresh(root, Options(as_of=TODAY), lambda line: None)
    refresh(root, Options(as_of=TODAY, select=("int_calls_figures",), validate=False), lambda line: None)
    return root


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_that_is_shown_runs(
    words: tuple[str, ...], project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    result = CliRunner().invoke(cli, arguments(words, project, tmp_path))
    message = f"{result.output}{result.exception or ''}"
    if words in REFUSED:
        assert REFUSED[words] in message
    else:
        assert (exit_code_of(result.exception) if result.exception else result.exit_code) == 0, message


def test_what_is_run_elsewhere_is_run_there() -> None:
    for words, name in ELSEWHERE.items():
        (path,) = (ROOT / "tests").glob(f"*/{name}")
        text = path.read_text(encoding="utf-8")
        assert all(word in text for word in words), name
