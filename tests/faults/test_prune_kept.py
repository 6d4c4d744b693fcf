"""What is kept of deleted deliveries is used as written or not at all; what changes meanwhile keeps the files."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from kpi.errors import ConfigError, DeliveryError, KpiError
from kpi.ingest import raw_files
from kpi.jobs.prune_raw import prune_raw
from kpi.jobs.refresh import refresh
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.lifecycle import roll_back
from retained import (
    DELIVERED,
    GONE,
    HEADER,
    INDICATORS,
    RUN,
    STEPS,
    Killed,
    ask,
    deliver,
    figures,
    lying,
    prune,
    refreshed,
)


@pytest.fixture
def root(retained_project: Path, tmp_path: Path) -> Path:
    return shutil.copytree(retained_project, tmp_path / "project", symlinks=True)


def edit(change: Callable[[str], str]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "kept_indicators.csv"
        path.write_text(change(path.read_text()))

    return damage


def sums(damage: Callable[[Path], None]) -> Callable[[Path], None]:
    def with_sums(folder: Path) -> None:
        damage(folder)
        raw_files.write_sums(folder)

    return with_sums


DAMAGES: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "edited": (edit(lambda text: text.replace(",28", ",29").replace("22.0", "23.0")), "not as it was written"),
    "a line cut off": (edit(lambda text: text[: text.rstrip().rfind("\n") + 1]), "not as it was written"),
    "cut in a line": (edit(lambda text: text[:-20]), "not as it was written"),
    "emptied": (edit(lambda text: ""), "not as it was written"),
    "a figure twice": (sums(edit(lambda text: text + text.splitlines()[-1] + "\n")), "stands twice"),
    "another header": (sums(edit(lambda text: text.replace("value", "worth"))), "not as it was written"),
    "not a number": (sums(edit(lambda text: text.replace("3.0", "three"))), "cannot be read"),
    "no numbers at all": (sums(edit(lambda text: text.splitlines()[0] + "\n\x00\x01,\n")), "cannot be read"),
    "without sums": (lambda folder: (folder / "SHA256SUMS").unlink(), "not as it was written"),
    "without the list": (lambda folder: (folder / "deleted_deliveries.csv").unlink(), "not as it was written"),
    "gone": (shutil.rmtree, "Gone from"),
}


@pytest.fixture(scope="module")
def pruned(retained_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = shutil.copytree(retained_project, tmp_path_factory.mktemp("pruned") / "project", symlinks=True)
    prune(root)
    return root


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_kept_is_used_as_written_or_not_at_all(pruned: Path, tmp_path: Path, damage: str) -> None:
    """A change nobody signed for, or one that makes no sense, stops the run; readers keep the figures they had."""
    root = shutil.copytree(pruned, tmp_path / "project", symlinks=True)
    before = figures(root)
    change, message = DAMAGES[damage]
    (folder,) = (root / "warehouse/kept").iterdir()
    change(folder)
    with pytest.raises(DeliveryError, match=message):
        refreshed(root)
    assert figures(root) == before


def test_a_kept_figure_is_changed_on_purpose_by_new_sums(pruned: Path, tmp_path: Path) -> None:
    root = shutil.copytree(pruned, tmp_path / "project", symlinks=True)
    (folder,) = (root / "warehouse/kept").iterdir()
    with (folder / "kept_indicators.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (folder / "kept_indicators.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"value": "4.0"} if row["figure_id"] == "calls_received" else row for row in rows)
    raw_files.write_sums(folder)
    refreshed(root)
    values = ask(root, "select value from marts.indicators where figure_id = 'calls_received' and report_year = 2020")
    assert values == [(4.0,)]


def test_what_is_kept_is_given_up_only_with_a_reason(pruned: Path, tmp_path: Path) -> None:
    root = shutil.copytree(pruned, tmp_path / "project", symlinks=True)
    shutil.rmtree(root / "warehouse/kept")
    with pytest.raises(DeliveryError, match="publish-despite-checks"):
        refreshed(root)
    refresh(root, replace(RUN, publish_despite_checks="they were wrong"), lambda line: None)
    assert ask(root, "select count(*) from marts.indicators where report_year = 2020") == [(0,)]


@pytest.mark.parametrize(
    ("as_of", "today", "is_named", "message"),
    [
        (date(2036, 1, 1), date(2036, 1, 1), False, "is the clock right"),
        (date(2027, 1, 1), date(2027, 1, 1), False, "is the clock right"),
        (date(2036, 1, 1), date(2026, 3, 5), True, "has not come yet"),
    ],
)
def test_a_clock_that_is_wrong_deletes_nothing(
    root: Path, as_of: date, today: date, is_named: bool, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        prune_raw(root, replace(RUN, as_of=as_of), lambda line: None, True, today, is_named)
    assert lying(root) == set(DELIVERED)


def test_a_clock_that_went_back_deletes_less(root: Path) -> None:
    message: list[str] = []
    prune_raw(root, replace(RUN, as_of=date(2025, 12, 31)), message.append, True, date(2025, 12, 31), False)
    assert lying(root) == set(DELIVERED)
    assert any("so 2019 and before are past retention" in line for line in message)


def test_only_what_readers_see_is_compared_with(root: Path) -> None:
    """Something was delivered since, or readers were taken back: first a refresh."""
    deliver(root, {"calls/2025_more.csv": HEADER + "c2,health,1,2025-07-01,\n"})
    with pytest.raises(ConfigError, match="Run first: kpi refresh"):
        prune(root)
    warehouse = Warehouse(root / "warehouse")
    first = warehouse.published()
    refreshed(root)
    roll_back(warehouse, first, "")
    with pytest.raises(ConfigError, match="Run first: kpi refresh"):
        prune(root)
    assert lying(root) == {*DELIVERED, "calls/2025_more.csv"}


def test_readers_taken_back_between_the_steps_keep_the_files(root: Path) -> None:
    """The build they see was made of the rows: nothing goes while that is so."""
    with STEPS["before it is deleted"](), pytest.raises(Killed):
        prune(root)
    warehouse = Warehouse(root / "warehouse")
    roll_back(warehouse, warehouse.published_before(warehouse.published()), "")
    with pytest.raises(KpiError, match="so none was deleted"):
        prune(root)
    assert lying(root) == set(DELIVERED)


def test_a_figure_that_went_between_the_steps_keeps_the_files(root: Path) -> None:
    """One of the year that a file that stays makes, and that a changed model leaves out: somebody is to look first."""
    deliver(root, {"calls/2025_x.csv": HEADER + "s1,social,11,2020-02-01,\nc9,health,5,2025-09-01,\n"})
    refreshed(root)
    with STEPS["before the refresh"](), pytest.raises(Killed):
        prune(root)
    without = INDICATORS.replace("union all", "where service <> 'social' union all")
    (root / "models/marts/indicators.sql").write_text(without)
    with pytest.raises(KpiError, match="has not: 2020 call_mean_wait_seconds social, 2020 calls_received social"):
        prune(root)
    assert lying(root) >= set(DELIVERED)
    (root / "models/marts/indicators.sql").write_text(INDICATORS)
    prune(root)
    assert lying(root) == {*DELIVERED, "calls/2025_x.csv"} - GONE


def test_a_file_changed_after_it_was_looked_at_is_not_deleted(root: Path) -> None:
    """It has the name of one on record, and other content: it is a delivery like any other."""
    with STEPS["before it is deleted"](), pytest.raises(Killed):
        prune(root)
    before = figures(root)
    deliver(root, {"calls/2020.csv": HEADER + "b7,health,1,2025-01-02,\nb8,health,1,2020-01-02,\n"})
    prune_or_refresh = refreshed(root)
    assert any("calls/2020_correction.csv.gz" in line for line in prune_or_refresh)
    prune(root)
    assert "calls/2020.csv" in lying(root)
    assert [row for row in figures(root) if row[2] == 2020] == [row for row in before if row[2] == 2020]


def test_what_cannot_be_told_the_age_of_stays(root: Path) -> None:
    """A file of which nothing loaded, and a link: both are for somebody to look at."""
    deliver(root, {"calls/odd.csv": HEADER + "x,health,y,2020-01-01,\n", "calls/empty.csv": HEADER})
    deliver(root, {"elsewhere/linked.csv": HEADER + "k1,health,1,2020-01-05,\n"})
    (root / "warehouse/raw/calls/linked.csv").symlink_to(root / "warehouse/raw/elsewhere/linked.csv")
    refreshed(root)
    message = "\n".join(prune(root))
    assert "stays   calls/odd.csv: not all of it has a date" in message
    assert "stays   calls/empty.csv" not in message
    assert "stays   calls/linked.csv: 2020, a link" in message
    assert lying(root) >= {"calls/odd.csv", "calls/empty.csv", "calls/linked.csv", "elsewhere/linked.csv"}
