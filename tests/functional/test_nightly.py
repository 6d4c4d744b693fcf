"""A night as the operator lives it: what is logged, who is told what, and with which code it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kpi.cli.main import cli
from kpi.errors import CheckFailed, KpiError
from kpi.events import Event, silent
from kpi.jobs import notifications
from kpi.jobs.options import Options
from kpi.jobs.recorded_run import attend, notify_crash
from kpi.jobs.refresh import refresh
from kpi.warehouse.builds import Warehouse, writing
from kpi.warehouse.run_log import RunLog, history, lines_of
from small_project import write

DAY = date(2026, 3, 5)
FIGURES = """\
select 'answered_in_time' as figure_id, in_time_count as numerator
from {{ ref('calls_by_line') }}
"""


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[notifications.Message]:
    """The messages that would have been sent."""
    found: list[notifications.Message] = []
    monkeypatch.setenv("KPI_NOTIFY", "json://nobody")

    def send(_: Sequence[str], message: notifications.Message) -> list[str]:
        found.append(message)
        return []

    monkeypatch.setattr(notifications, "send", send)
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = write(tmp_path / "county", {"models/marts/ind_calls.sql": FIGURES})
    deliver(root, "2026.csv", "1,health,3,2026-03-01")
    return root


def deliver(root: Path, name: str, *lines: str) -> None:
    path = root / "warehouse/raw/calls" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(("call_id,line,waited_seconds,arrived_on", *lines)) + "\n")


def night(root: Path, as_of: date = DAY, emit: Callable[[str], None] = silent, **options: object) -> None:
    asked = Options(as_of, validate=False, **options)  # type: ignore[arg-type]
    attend(root, "refresh", as_of, emit, lambda emit: refresh(root, asked, emit))


def run(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--project-dir", str(root)])


def test_a_quiet_night_is_quiet_and_leaves_one_line(project: Path, sent: list[notifications.Message]) -> None:
    night(project)
    night(project)
    assert sent == []
    (ended,) = history(project / "warehouse")
    assert (ended.outcome, ended.exit_code, ended.changed) == ("published", 0, "1 file loaded, 4 nodes built")
    kinds = {event.event for event in lines_of(project / "warehouse", ended.run)}
    assert {"begun", "loaded", "built", "message", "stage ended", "end"} <= kinds
    idle = (project / "warehouse/runs/idle.jsonl").read_text().splitlines()
    assert [json.loads(line)["build"] for line in idle] == [ended.build]


def test_a_failed_check_is_told_with_figures_readers_and_remedy_and_so_is_recovery(
    project: Path, sent: list[notifications.Message]
) -> None:
    night(project)
    (build,) = (build.id for build in Warehouse(project / "warehouse").list_builds())
    deliver(project, "2027.csv", "2,unheard-of-line,3,2026-03-02")
    with pytest.raises(CheckFailed):
        night(project)
    (message,) = sent
    assert (message.kind, message.title) == ("failure", "kpi county: the refresh failed: checks failed")
    assert "relationships_stg_calls_line" in message.body
    assert "Figures concerned:\n  answered_in_time\n" in message.body
    assert f"What readers see:\n  Build {build}, of 2026-03-05, finished 20" in message.body
    assert "--publish-despite-checks REASON" in message.body
    assert "unheard-of-line" not in message.body
    deliver(project, "2027.csv", "2,social,3,2026-03-02")
    night(project)
    night(project)
    assert [message.title for message in sent[1:]] == ["kpi county: the refresh works again"]
    assert "failed: checks failed." in sent[1].body


def test_a_night_with_nothing_to_do_is_a_recovery_too(project: Path, sent: list[notifications.Message]) -> None:
    night(project)
    deliver(project, "2027.csv", "2,unheard-of-line,3,2026-03-02")
    with pytest.raises(CheckFailed):
        night(project)
    (project / "warehouse/raw/calls/2027.csv").unlink()
    night(project)
    night(project)
    assert [message.kind for message in sent] == ["failure", "success"]


def test_a_model_that_fails_is_told_without_what_it_was_fed(project: Path, sent: list[notifications.Message]) -> None:
    night(project)
    mart = project / "models/marts/calls_by_line.sql"
    mart.write_text(
        mart.read_text().replace("    line,\n", "    line,\n    any_value(cast(line as integer)) as n,\n", 1)
    )
    with pytest.raises(KpiError):
        night(project)
    assert "calls_by_line (models/marts/calls_by_line.sql): Conversion Error" in sent[0].body
    assert "health" not in sent[0].body


def test_a_new_warning_is_told_once(project: Path, sent: list[notifications.Message]) -> None:
    night(project)
    test = project / "tests/assert_few_calls.sql"
    test.write_text("{{ config(severity='warn') }}\nselect call_id from {{ ref('stg_calls') }}\n")
    night(project)
    deliver(project, "2027.csv", "2,social,3,2026-03-02")
    night(project)
    assert [(message.kind, message.title) for message in sent] == [("warning", "kpi county: new warnings (1)")]
    assert "assert_few_calls" in sent[0].body


def test_a_feed_that_falls_silent_is_told_when_it_is_late_and_when_very_late(
    project: Path, sent: list[notifications.Message]
) -> None:
    lines: list[str] = []
    night(project)
    for day in ("2026-04-29", "2026-04-30", "2026-05-16", "2026-05-17", "2026-06-15"):
        night(project, date.fromisoformat(day), lines.append)
    assert [message.kind for message in sent] == ["warning", "failure"]
    assert "calls: late: its newest day is 2026-03-01, more was expected by 2026-05-15." in sent[0].body
    assert "calls: very late" in sent[1].body
    deliver(project, "2027.csv", "2,social,3,2026-04-30", "3,social,3,2026-05-30", "4,social,3,2026-06-16")
    night(project, date(2026, 6, 17))
    night(project, date(2026, 8, 16))
    assert [message.kind for message in sent[2:]] == ["warning"]


def test_what_goes_wrong_in_telling_does_not_make_a_run_fail(
    project: Path, monkeypatch: pytest.MonkeyPatch, sent: list[notifications.Message]
) -> None:
    def broken(*_: object) -> list[str]:
        raise RuntimeError("json://user:secret@host")

    monkeypatch.setattr(notifications, "send", broken)
    night(project)
    deliver(project, "2027.csv", "2,unheard-of-line,3,2026-03-02")
    lines: list[str] = []
    with pytest.raises(CheckFailed):
        night(project, emit=lines.append)
    assert "  warning: people could not be notified: RuntimeError." in lines
    assert [run.exit_code for run in history(project / "warehouse")] == [0, 7]


def test_a_killed_run_is_told_by_who_finds_it(project: Path, sent: list[notifications.Message]) -> None:
    warehouse = Warehouse(project / "warehouse")
    assert notify_crash(warehouse, {}, silent) is None
    assert sent == []
    night(project)
    log = RunLog(warehouse.root, "refresh")
    log.on_event(Event("building", stage="build", name="one"))
    os.close(log._file or 0)
    found = notify_crash(warehouse, {"MONITOR_SERVICE_RESULT": "oom-kill"}, silent)
    assert found is not None
    assert found.run == log.run
    assert (sent[0].title, "ended from outside in the stage build (oom-kill)" in sent[0].body) == (
        "kpi county: the refresh was killed",
        True,
    )
    assert notify_crash(warehouse, {}, silent) is None
    notify_crash(warehouse, {"MONITOR_INVOCATION_ID": "none", "MONITOR_SERVICE_RESULT": "exit-code"}, silent)
    assert sent[1].title == "kpi county: no refresh began"
    night(project)
    assert sent[2].title == "kpi county: the refresh works again"


def test_exit_codes_in_detail(project: Path, sent: list[notifications.Message]) -> None:
    arguments = ("--no-expectations", "--as-of", "2026-03-05", "--detailed-exit-codes")
    assert run(project, "refresh", *arguments).exit_code == 0
    assert run(project, "refresh", *arguments).exit_code == 10
    (project / "tests/few.sql").write_text("{{ config(severity='warn') }}\nselect 1 as x from {{ ref('stg_calls') }}\n")
    assert run(project, "refresh", *arguments).exit_code == 11
    assert run(project, "refresh", *arguments[:-1]).exit_code == 0
    mart = project / "models/marts/calls_by_line.sql"
    mart.write_text(mart.read_text().replace("count(*) as", "count(line) as"))
    assert run(project, "build", "--exclude", "calls_by_line+", *arguments).exit_code == 12


def test_runs_are_listed_and_shown(project: Path) -> None:
    night(project)
    listed = run(project, "runs").output
    assert "published" in listed
    assert "1 file loaded, 4 nodes built" in listed
    shown = run(project, "runs", "show", "1")
    assert "Compiled " in shown.output
    assert "outcome=published" in shown.output
    assert run(project, "runs", "show", "77").exception is not None


def test_freshness_is_listed_and_very_late_is_an_error(project: Path) -> None:
    night(project)
    listed = run(project, "freshness", "--as-of", "2026-05-16")
    assert (listed.exit_code, listed.output.split()[-1]) == (0, "late")
    assert "2026.csv" in listed.output
    very_late = run(project, "freshness", "--as-of", "2026-06-15")
    assert str(very_late.exception) == "very late: calls."
    assert isinstance(very_late.exception, CheckFailed)


def test_synthetic_deliveries_are_not_late_unless_a_day_is_asked_for(project: Path) -> None:
    (project / "warehouse/raw/README.txt").write_text("SYNTEETTISTÄ AINEISTOA - SYNTHETIC DATA\n", encoding="utf-8")
    night(project)
    listed = run(project, "freshness")
    assert listed.exit_code == 0
    assert "not expected\nThese deliveries are SYNTHETIC" in listed.output
    assert listed.output.endswith("Try: --as-of 2026-03-01\n")
    assert isinstance(run(project, "freshness", "--as-of", "2026-06-15").exception, CheckFailed)
    assert "labelled SYNTHETIC" in run(project, "doctor").output


def test_notify_says_what_it_lacks_and_tries_what_it_has(
    project: Path, sent: list[notifications.Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Sent to 1 address." in run(project, "notify", "--test").output
    assert sent[0].title == "kpi county: a test"
    monkeypatch.delenv("KPI_NOTIFY")
    assert "no address is set" in str(run(project, "notify", "--test").exception)
    assert "takes --test or --crashed" in str(run(project, "notify").exception)
    assert run(project, "notify", "--crashed").exit_code == 0


def test_json_lines_on_standard_output(project: Path) -> None:
    out = run(project, "refresh", "--no-expectations", "--log-format", "json").output.splitlines()
    events = [json.loads(line) for line in out]
    assert (events[0]["event"], events[-1]["event"], events[-1]["exit_code"]) == ("compiling", "end", 0)


def test_a_run_waits_for_the_lock_and_says_whose_it_is(project: Path) -> None:
    with writing(Warehouse(project / "warehouse")):
        out = run(project, "refresh", "--no-expectations", "--wait", "0.3")
    assert "Waiting: the warehouse is being written by process" in out.output
    assert (type(out.exception).__name__, history(project / "warehouse")[-1].exit_code) == ("LockHeld", 8)


def test_who_waited_finds_that_the_other_run_did_it_all(project: Path, sent: list[notifications.Message]) -> None:
    lines: list[str] = []
    lock = writing(Warehouse(project / "warehouse"))
    lock.__enter__()

    def other_run(line: str) -> None:
        lines.append(line)
        if line.startswith("Waiting"):
            lock.__exit__(None, None, None)
            night(project)

    night(project, emit=other_run, wait_seconds=30)
    assert lines[-1].startswith("Nothing changed since build 00001-")
    assert {run.outcome for run in history(project / "warehouse")} == {"nothing to do", "published"}
    assert len(Warehouse(project / "warehouse").list_builds()) == 1


def in_a_process(root: Path, *arguments: str, limit: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kpi.cli", "refresh", "--no-expectations", "--project-dir", str(root), *arguments]
    if limit:
        command = ["/bin/sh", "-c", f'ulimit -f {limit // 512}; exec "$@"', "sh", *command]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("limit", [50_000, 400_000])
def test_a_full_disk_ends_with_9_frees_what_was_written_and_readers_keep_theirs(project: Path, limit: int) -> None:
    night(project)
    warehouse = Warehouse(project / "warehouse")
    before = [folder.name for folder in warehouse.build_folders()]
    (project / "models/marts/large.sql").write_text(
        "select unnest(generate_series(1, 3000000)) as n, random() as r, uuid() as u\n"
    )
    child = in_a_process(project, limit=limit)
    _, message = child.communicate(timeout=240)
    assert child.returncode == 9, message
    assert "the disk is full (" in message
    assert [folder.name for folder in warehouse.build_folders()] == before
    assert list(warehouse.builds.glob(".tmp-*")) == []
    assert history(warehouse.root)[-1].outcome == "disk full"
    assert warehouse.published() == before[0]


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_killed_in_a_query_dies_at_once_and_the_next_one_tells(
    project: Path, sent: list[notifications.Message], by: signal.Signals
) -> None:
    night(project)
    slow = project / "models/marts/slow.sql"
    slow.write_text("select count(*) as n from range(4000000) as a(x), range(4000000) as b(y) where a.x + b.y = 17\n")
    child = in_a_process(project, "--threads", "1")
    warehouse = project / "warehouse"
    while child.poll() is None:
        events = [event for ended in history(warehouse)[1:] for event in lines_of(warehouse, ended.run)]
        if any(getattr(event, "name", "") == "slow" for event in events):
            break
        time.sleep(0.05)
    child.send_signal(by)
    child.communicate(timeout=60)
    assert (child.returncode, history(warehouse)[-1].outcome) == (-by, "killed")
    slow.unlink()
    (project / "models/marts/other.sql").write_text("select 1 as n\n")
    night(project)
    assert [message.title for message in sent] == ["kpi county: the refresh works again"]
    assert "failed: killed in the stage build." in sent[0].body
    assert list((warehouse / "builds").glob(".tmp-*")) == []
