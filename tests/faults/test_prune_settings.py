"""Retentions as contracts say them: notes that go with their calls, feeds with years of their own, and none at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import small_project
from kpi.errors import CheckFailed, ConfigError, KpiError
from retained import (
    CALLS,
    DELIVERED,
    DERIVED,
    HEADER,
    STG_CALLS,
    ask,
    deliver,
    figures,
    lying,
    project,
    prune,
    refreshed,
)


@pytest.fixture
def root(retained_project: Path, tmp_path: Path) -> Path:
    return shutil.copytree(retained_project, tmp_path / "project", symlinks=True)


def test_a_retention_by_the_wrong_column_is_refused(tmp_path: Path) -> None:
    """A call that arrived in 2021 and was promised in 2020: by the latter its file would be past."""
    root = project(tmp_path, "raw_retention_years: 5, raw_retention_by: answered_on", notes="late_after_days: 9")
    calls = (root / "models/staging/calls.yml").read_text().replace("time_order: [arrived_on, answered_on], ", "")
    (root / "models/staging/calls.yml").write_text(calls)
    deliver(root, {**DELIVERED, "calls/2021.csv": HEADER + "b1,health,7,2021-05-01,2020-12-31\n"})
    refreshed(root)
    before = figures(root)
    with pytest.raises(CheckFailed, match="raw_retention_by is the column that gives the report year"):
        prune(root)
    assert (figures(root), lying(root)) == (before, set(DELIVERED))


def test_notes_of_a_call_that_stays_stay_with_it(root: Path) -> None:
    """The notes of 2020 in one file with one of 2021 are as young as that call."""
    deliver(root, {"notes/2020.csv": DELIVERED["notes/2020.csv"] + "b2,late\n"})
    refreshed(root)
    message = "\n".join(prune(root))
    assert "stays   notes/2020.csv: 2020 to 2021, not all of it is past" in message
    assert "notes/2020.csv" in lying(root)


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        (
            "raw_retention_years: 4, raw_retention_by: calls.arrived_on",
            "'raw_retention_years' of both must be the same",
        ),
        ("raw_retention_by: calls.arrived_on", "'raw_retention_years' of both must be the same"),
        ("raw_retention_years: 5, raw_retention_by: calls.line", "'calls.line' is no date of a feed"),
        ("raw_retention_years: 5, raw_retention_by: call.arrived_on", "Did you mean 'calls'?"),
    ],
)
def test_a_feed_that_cannot_follow_another_does_not_compile(tmp_path: Path, notes: str, message: str) -> None:
    root = project(tmp_path, notes=notes)
    with pytest.raises(KpiError) as raised:
        refreshed(root)
    assert message in str(raised.value)
    assert "models/staging/calls.yml:" in str(raised.value)


def test_feeds_go_by_their_own_years(tmp_path: Path) -> None:
    """Two feeds with other retentions: a year that only one of them is past may change in nothing of the other."""
    files = {
        name.replace("calls", "chats"): text.replace("call_id", "chat_id")
        for name, text in DELIVERED.items()
        if name.startswith("calls")
    }
    contract = (
        CALLS.partition("      - name: notes")[0].replace("name: calls", "name: chats").replace("call_id", "chat_id")
    )
    root = project(tmp_path)
    text = contract.replace("RETENTION", "raw_retention_years: 4, raw_retention_by: arrived_on")
    text = text.replace("  - name: raw\n    tables:", "  - name: raw_too\n    schema: raw\n    tables:")
    derived = DERIVED.partition("union all")[0].replace("calls_received", "chats").replace("stg_calls", "stg_chats")
    (root / "models/staging/chats.yml").write_text(text)
    stg = STG_CALLS.replace("call_id", "chat_id").replace("'raw', 'calls'", "'raw_too', 'chats'")
    (root / "models/staging/stg_chats.sql").write_text(stg)
    (root / "models/derived.sql").write_text(DERIVED + "union all" + derived.split("}}", 1)[1])
    deliver(root, {**DELIVERED, **files})
    refreshed(root)
    before = figures(root)
    message = "\n".join(prune(root))
    assert figures(root) == before
    assert "chats/2021.csv" not in lying(root)
    assert "calls/2021.csv" in lying(root)
    of_2021 = ask(root, "select distinct figure_id from raw.kept_indicators where report_year = 2021")
    assert of_2021 == [("chats",)]
    assert "of 2020" in message


def test_a_project_without_a_place_for_figures_is_told_so(tmp_path: Path) -> None:
    root = small_project.write(tmp_path)
    deliver(root, {"calls/2020.csv": "call_id,line,waited_seconds,arrived_on\na,health,1,2020-01-01\n"})
    refreshed(root)
    with pytest.raises(ConfigError, match=r"no marts.indicators, raw.deleted_deliveries, raw.kept_indicators"):
        prune(root)


def test_feeds_without_a_retention_keep_everything(tmp_path: Path) -> None:
    root = project(tmp_path, "", "late_after_days: 9")
    deliver(root, DELIVERED)
    refreshed(root)
    assert prune(root) == [
        "No feed has a retention: raw_retention_years in its contract sets one (docs/guides/delete-old-deliveries.md)."
    ]
    assert lying(root) == set(DELIVERED)
