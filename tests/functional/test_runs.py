"""What a run leaves behind: lines that survive its death, a table, and nothing that could make it fail."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

import duckdb
import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.errors import ConfigError, DiskFull, LockHeld, exit_code_of
from kpi.events import Event, Listeners, emit_event
from kpi.warehouse import run_log
from kpi.warehouse.builds import held, is_held
from kpi.warehouse.run_log import (
    KEPT,
    RunEnded,
    RunLog,
    close_killed,
    history,
    last_invocation,
    lines_of,
    seconds_of_stages,
    write_table,
)

DYING = """
import sys, time
from pathlib import Path
from kpi.events import Event
from kpi.warehouse.builds import held
from kpi.warehouse.run_log import RunLog
root = Path(sys.argv[1])
with held(root / "builds/.lock"):
    log = RunLog(root, "refresh")
    log.on_event(Event("built", stage="build", name="one", rows=3))
    print("ready", flush=True)
    time.sleep(600)
"""


def ended(root: Path, outcome: str = "published", code: int = 0) -> RunLog:
    log = RunLog(root, "refresh")
    log.on_event(Event("loaded", stage="load", name="calls/a.csv"))
    log.on_event(Event("built", stage="build", name="one"))
    log.on_event(Event("built", stage="build", name="two"))
    log.end(outcome, code, "00001-x", ["a warning"], "what was wrong")
    return log


def test_a_run_is_told_by_its_first_line_and_its_last(tmp_path: Path) -> None:
    log = ended(tmp_path, "checks failed", 7)
    (run,) = history(tmp_path)
    assert (run.run, run.command, run.outcome, run.exit_code) == (log.run, "refresh", "checks failed", 7)
    assert (run.changed, run.warnings, run.message) == ("1 file loaded, 2 nodes built", 1, "what was wrong")
    kinds = [event.event for event in lines_of(tmp_path, log.run)]
    assert kinds == ["begun", "loaded", "stage ended", "built", "built", "stage ended", "end"]
    assert lines_of(tmp_path, "../told") == []


def test_a_killed_process_leaves_what_it_did_and_no_lock(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", DYING, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        assert [run.outcome for run in history(tmp_path)] == ["running"]
        assert close_killed(tmp_path) == []
        assert is_held(tmp_path / "builds/.lock")
        message = rf"process {child.pid} on .* since 20.* UTC\. Waited 0 s"
        with pytest.raises(LockHeld, match=message), held(tmp_path / "builds/.lock", 0.2):
            pass
        child.send_signal(signal.SIGKILL)
    (run,) = history(tmp_path)
    assert (run.outcome, run.message) == ("killed", "in the stage build")
    events = [line for line in lines_of(tmp_path, run.run) if isinstance(line, Event)]
    assert [event.name for event in events if event.event == "built"] == ["one"]
    assert [dead.run for dead in close_killed(tmp_path)] == [run.run]
    assert close_killed(tmp_path) == []
    assert [(run.outcome, run.exit_code) for run in history(tmp_path)] == [("killed", 137)]
    with held(tmp_path / "builds/.lock"):
        assert is_held(tmp_path / "builds/.lock")


def test_who_waits_for_the_lock_says_for_whom_and_gets_it(tmp_path: Path) -> None:
    lines: list[str] = []

    def let_go(line: str) -> None:
        lines.append(line)
        first.__exit__(None, None, None)

    first = held(tmp_path / ".lock")
    first.__enter__()
    with held(tmp_path / ".lock", 120, let_go):
        pass
    assert len(lines) == 1
    assert lines[0].startswith(f"Waiting: the warehouse is being written by process {os.getpid()} on ")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_lock_that_may_not_be_written_says_whose_it_is() -> None:
    # Not below tmp_path, where nobody else may look.
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    with held(folder / ".lock"):
        pass
    code = (
        "import os, sys; from pathlib import Path; import kpi.warehouse.builds, kpi.errors\n"
        "os.setuid(65534)\n"
        "try:\n    kpi.warehouse.builds.held(Path(sys.argv[1])).__enter__()\n"
        "except kpi.errors.ConfigError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, folder / ".lock"], capture_output=True, text=True, check=True)
    shutil.rmtree(folder)
    assert "cannot be written by user 65534; .lock belongs to user 0. Run as the owner" in done.stdout


def test_lines_that_were_cut_short_are_passed_over(tmp_path: Path) -> None:
    log = ended(tmp_path)
    path = tmp_path / "runs" / f"{log.run}.jsonl"
    path.write_bytes(path.read_bytes() + b'{"event": "en')
    assert [run.outcome for run in history(tmp_path)] == ["published"]
    path.write_bytes(b"\xff\x00 no json")
    (run,) = history(tmp_path)
    assert (run.run, run.outcome, run.started_at[:4]) == (log.run, "killed", log.run[7:11])
    (tmp_path / "runs/000009-no-time.jsonl").touch()
    with duckdb.connect() as con:
        write_table(con, tmp_path)
        assert con.execute("select count(*), count(started_at) from marts.runs").fetchone() == (2, 1)


def test_a_disk_that_takes_nothing_does_not_stop_a_run(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    ended(tmp_path).rest("00001-x")
    assert history(tmp_path) == []


def test_a_full_disk_cuts_a_line_and_the_next_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    log = RunLog(tmp_path, "refresh")
    log.on_event(Event("message", "one"))
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:20]))
    log.on_event(Event("message", "two"))
    monkeypatch.setattr(os, "write", write)
    log.on_event(Event("message", "three"))
    message = [getattr(event, "message", "") for event in lines_of(tmp_path, log.run) if event.event == "message"]
    assert message == ["one", "three"]


def test_runs_that_found_nothing_to_do_share_a_file_that_stays_small(tmp_path: Path) -> None:
    for _ in range(3):
        RunLog(tmp_path, "refresh").rest("00001-x")
    path = tmp_path / "runs/idle.jsonl"
    assert len(path.read_text().splitlines()) == 3
    path.write_text('{"at": "2025"}\n' * 10_000)
    RunLog(tmp_path, "refresh").rest("00002-x")
    lines = path.read_text().splitlines()
    assert path.stat().st_size < 1 << 17
    assert json.loads(lines[0]) == {"at": "2025"}
    assert json.loads(lines[-1])["build"] == "00002-x"
    assert history(tmp_path) == []


def test_only_the_newest_runs_are_kept(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for number in range(1, KEPT + 6):
        (tmp_path / f"runs/{number:06}-20250101T000000Z.jsonl").touch()
    log = ended(tmp_path)
    names = sorted(path.stem for path in (tmp_path / "runs").glob("0*.jsonl"))
    assert (len(names), names[-1]) == (KEPT, log.run)
    assert log.run.startswith(f"{KEPT + 6:06}-")


def test_the_history_is_a_table(tmp_path: Path) -> None:
    ended(tmp_path)
    running = RunLog(tmp_path, "refresh")
    running.on_event(Event("message", "begun"))
    with duckdb.connect() as con:
        write_table(con, tmp_path)
        write_table(con, tmp_path)
        rows = con.execute("select outcome, exit_code, finished_at is null, year(started_at) > 2000 from marts.runs")
        assert rows.fetchall() == [("published", 0, False, True), ("running", None, True, True)]


def test_stages_of_the_last_run_that_published_are_known(tmp_path: Path) -> None:
    ended(tmp_path)
    ended(tmp_path, "checks failed", 7)
    assert set(seconds_of_stages(tmp_path)) == {"load", "build"}


def test_a_run_is_found_by_systemds_name_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOCATION_ID", "abc")
    log = ended(tmp_path)
    found = last_invocation(tmp_path, "abc")
    assert found is not None
    assert found.run == log.run
    assert last_invocation(tmp_path, "other") is None


def test_a_plain_listener_gets_lines_and_another_events() -> None:
    lines: list[str] = []
    heard: list[Event] = []

    class Ear:
        def __call__(self, line: str) -> None:
            raise AssertionError(line)

        def on_event(self, event: Event) -> None:
            heard.append(event)

    everyone = Listeners(lines.append, Ear())
    everyone("a line")
    emit_event(everyone, Event("built", stage="build", name="one", rows=0))
    assert lines == ["a line"]
    assert [event.as_dict() for event in heard] == [
        {"event": "message", "message": "a line"},
        {"event": "built", "stage": "build", "name": "one", "rows": 0},
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(28, "No space left on device"), 9),
        (OSError(122, "Disk quota exceeded"), 9),
        (OSError(13, "Permission denied"), 3),
        (OSError(30, "Read-only file system"), 3),
        (RuntimeError("IO Error: Could not write all bytes: No space left on device"), 9),
        (DiskFull("full"), 9),
        (ConfigError("No space left on device is a strange name for a model"), 3),
        (KeyboardInterrupt(), 130),
        (SystemExit(2), 2),
    ],
)
def test_each_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert exit_code_of(error) == code


def test_an_end_longer_than_what_is_read_of_a_log_is_found(tmp_path: Path) -> None:
    for warnings in (["x" * 90] * 2_000, ["y" * 3_000_000], ['{"event": "begun"}\n' * 9_000]):
        log = RunLog(tmp_path, "refresh")
        log.on_event(Event("built", stage="build", name="one"))
        log.end("published", 0, "00001-x", warnings)
        run = history(tmp_path)[-1]
        assert (run.outcome, run.exit_code, run.warnings) == ("published", 0, len(warnings))
    assert close_killed(tmp_path) == []


def test_a_run_that_ends_while_it_is_looked_at_was_not_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RunLog(tmp_path, "refresh")
    log.on_event(Event("built", stage="build", name="one"))
    read = run_log._end_of

    def late(stream: BinaryIO) -> tuple[RunEnded | None, str]:
        end = read(stream)
        log.end("published", 0, "00001-x", ())
        return end

    monkeypatch.setattr(run_log, "_end_of", late)
    assert [run.outcome for run in history(tmp_path)] == ["running"]


def test_a_run_is_shown_a_warning_a_line(tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text("name: small\n")
    log = RunLog(tmp_path / "warehouse", "refresh")
    log.on_event(Event("built", stage="build", name="one", rows=3))
    log.end("published", 0, "00001-x", ["one that is\nlong", "another"])
    shown = CliRunner().invoke(cli, ["runs", "show", "--project-dir", str(tmp_path)], catch_exceptions=False).output
    assert re.sub(r"(?m)^[\d:]{8}|[\d.]+$", "", shown).splitlines()[-4:] == [
        "  stage ended  stage=build  seconds=",
        "  end          outcome=published  exit_code=0  build=00001-x  changed=1 node built  run_seconds=",
        "              warning: one that is long",
        "              warning: another",
    ]
