"""Why a figure moved when a year was finished between two builds: by what came, and by the day."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

import kpi
from conftest import copy_project
from demo.deliver import write_demo
from demo.feeds import FEEDS
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.provenance.attribution import BuildChange

pytestmark = pytest.mark.long
FEED, FIGURE = "safety_inspections", "safety_inspections"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with one feed; its last file came after the year was over."""
    root = copy_project(tmp_path_factory.mktemp("calendar"))
    write_demo(root / "warehouse/raw", scale=0.05, feeds=[feed for feed in FEEDS if feed.name == FEED])
    *_, last = sorted((root / "warehouse/raw" / FEED).iterdir())
    late = root / last.name
    last.rename(late)
    for day, file in ((date(2025, 12, 5), None), (date(2026, 3, 5), late), (date(2026, 3, 6), None)):
        if file:
            file.rename(last)
        options = Options(day, validate=False, publish_despite_checks="a test", kinds=("model", "seed"))
        refresh(root, options, lambda _: None)
    return root


def test_a_file_and_the_day_that_finish_a_year_have_a_part_each(root: Path) -> None:
    (change,) = kpi.why(FIGURE, "1", "2", year=2025, project_dir=root).changes
    assert isinstance(change, BuildChange)
    assert change.change is not None
    assert change.change > 0
    assert {part.cause for part in change.parts} == {"late_delivery", "calendar"}
    assert sum((part.amount or 0 for part in change.parts), Fraction(0)) == change.change
    assert not change.notes


def test_a_day_that_finishes_nothing_moves_nothing(root: Path) -> None:
    assert kpi.why(FIGURE, "2", "3", year=2025, project_dir=root).text.endswith(f": {FIGURE} is the same.")
