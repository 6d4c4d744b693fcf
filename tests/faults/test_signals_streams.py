"""Ctrl-C in a statement, output that nobody takes any more, files that are none: a run says what readers have."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from faults.victim import Plan, finish, log_of, start
from kpi import database, files
from kpi.errors import exit_code_of, interruptible
from kpi.jobs.doctor import examine
from kpi.jobs.notifications import addresses, unreadable
from kpi.jobs.options import Options
from kpi.jobs.progress import Unbroken
from kpi.jobs.refresh import refresh
from kpi.warehouse import builds
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.run_log import history
from small_project import recorded, write

FOR_EVER = "select sum(sin(a.range * b.range)) as x from range(1000000) as a, range(1000000) as b"
CALLS = "call_id,line,waited_seconds,arrived_on\n1,health,5,2025-01-01\n"
AS_OF = Options(date(2026, 3, 5), validate=False)


def deliver(root: Path, text: str = CALLS) -> Path:
    (root / "warehouse/raw/calls").mkdir(parents=True, exist_ok=True)
    (root / "warehouse/raw/calls/a.csv").write_text(text)
    return root


def published(root: Path) -> Warehouse:
    refresh(deliver(write(root)), AS_OF, lambda _: None)
    return Warehouse(root / "warehouse")


def started(root: Path, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kpi.cli", *words, "--project-dir", str(root)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})},
    )  # fmt: skip


def busy(process: subprocess.Popen[str]) -> None:
    """Wait until the process has computed for a while and read nothing meanwhile: the statement runs and does not end.

    All before it is short or reads files. DuckDB computes in the thread that asked or in one of its own, as it likes,
    so all are counted.
    """
    about, ticks, until = Path(f"/proc/{process.pid}"), os.sysconf("SC_CLK_TCK"), time.monotonic() + 240
    reads, since = "", 0.0
    while process.poll() is None and time.monotonic() < until:
        with suppress(OSError):
            seconds = int((about / "stat").read_text().rpartition(")")[2].split()[11]) / ticks
            if (now := (about / "io").read_text().partition("syscr: ")[2].split()[0]) != reads:
                reads, since = now, seconds
            if seconds - since > 0.7:
                return
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.communicate(timeout=10))


REFRESH = ("refresh", "--as-of", "2026-03-05", "--no-expectations", "--log-format", "plain")
PLACES: Mapping[str, tuple[Sequence[str], Mapping[str, str]]] = {
    "a model": (REFRESH, {"models/marts/n.sql": FOR_EVER}),
    "a test": (REFRESH, {"tests/never.sql": f"select x from ({FOR_EVER}) as found where x = 0.5"}),
    "a hook": (REFRESH, {"models/marts/m.sql": f'{{{{ config(post_hook="{FOR_EVER}") }}}}select 1 as a'}),
    "build": (("build", "--select", "m"), {"models/marts/m.sql": FOR_EVER}),
    "query": (("query", FOR_EVER), {}),
    "show": (("show", "marts.for_ever"), {}),
    "test": (("test", "--select", "never"), {"tests/never.sql": f"select x from ({FOR_EVER}) as found where x = 0.5"}),
    "compile": (("compile",), {"models/marts/m.sql": f"select {{{{ run_query('{FOR_EVER}').rows }}}} as a"}),
}


@pytest.mark.parametrize("place", PLACES)
def test_ctrl_c_in_a_statement_is_130_and_no_traceback(tmp_path: Path, place: str) -> None:
    warehouse = published(write(tmp_path, {"models/marts/for_ever.sql": "select 1 as x"}))
    before = warehouse.current()
    words, changes = PLACES[place]
    if place == "show":
        changes = {}
        refresh(
            write(tmp_path, {"models/marts/for_ever.sql": f"{{{{ config(materialized='view') }}}}{FOR_EVER}"}),
            AS_OF, lambda _: None,
        )  # fmt: skip
        before = warehouse.current()
    write(tmp_path, changes)
    process = started(tmp_path, *words, env={"KPI_NOTIFY": "json://127.0.0.1:9/"})
    try:
        busy(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 130, (out, err)
    assert "Traceback" not in err
    assert "interrupted" in err
    assert warehouse.current() == before
    if words[0] in ("refresh", "build"):
        last = warehouse.last_run()
        assert last is not None
        assert (last.status, last.reason) == ("failed", "interrupted")
        assert history(warehouse.root)[-1].exit_code == 130
        assert not (warehouse.root / "runs/told.json").exists()
        assert not list(warehouse.builds.glob(".tmp-*"))
        assert "told" not in err


def test_what_duckdb_raises_at_ctrl_c_is_recognised() -> None:
    code = (
        "import os, signal, threading, duckdb\n"
        "from kpi.errors import exit_code_of, interruptible\n"
        "try:\n"
        "    threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "    with interruptible():\n"
        f"        duckdb.connect(config={{'threads': 1}}).execute({FOR_EVER!r}).fetchall()\n"
        "except KeyboardInterrupt as error:\n"
        "    raise SystemExit(exit_code_of(error))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=240, check=False).returncode == 130
    with pytest.raises(RuntimeError, match="other"), interruptible():
        raise RuntimeError("other")
    assert exit_code_of(RuntimeError("Query interrupted")) == 130


def test_a_full_output_stops_no_run(tmp_path: Path) -> None:
    deliver(write(tmp_path))
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kpi.cli", *REFRESH, "--project-dir", str(tmp_path)],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the output of this run cannot be written any more" in done.stderr
    warehouse = Warehouse(tmp_path / "warehouse")
    assert warehouse.ledger()[-1].build == warehouse.published()  # held back is not among them
    assert history(warehouse.root)[-1].exit_code == 0


@pytest.mark.parametrize(
    ("word", "log_format"), [("", "plain"), ("Compiled", "plain"), ("Ran", "plain"), ("Built", "json")]
)
def test_a_reader_that_leaves_stops_no_run(tmp_path: Path, word: str, log_format: str) -> None:
    deliver(write(tmp_path))
    process = started(tmp_path, *REFRESH[:-1], log_format)
    assert process.stdout
    while word and (line := process.stdout.readline()):
        if word in line:
            break
    process.stdout.close()
    process.stdout = None
    try:
        _, err = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 0, err
    warehouse = Warehouse(tmp_path / "warehouse")
    last = warehouse.ledger()[-1]
    assert last.event in ("published", "held back")
    assert history(warehouse.root)[-1].outcome == last.event
    assert not (warehouse.root / "runs/told.json").exists() or not json.loads(
        (warehouse.root / "runs/told.json").read_text()
    ).get("failing")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", ">/dev/full 2>/dev/full"])
def test_closed_streams_stop_no_run(tmp_path: Path, closed: str) -> None:
    deliver(write(tmp_path))
    command = f'"{sys.executable}" -m kpi.cli {" ".join(REFRESH)} --project-dir "{tmp_path}" {closed}'
    assert subprocess.run(["sh", "-c", command], check=False, timeout=120).returncode == 0
    assert Warehouse(tmp_path / "warehouse").ledger()


def test_a_command_that_shows_says_that_its_output_cannot_be_written(tmp_path: Path) -> None:
    published(tmp_path)
    for words, streams in (
        (("ls",), ">/dev/full"),
        (("builds",), ">/dev/full"),
        (("runs", "show", "x"), "2>/dev/full"),
    ):
        command = f'"{sys.executable}" -m kpi.cli {" ".join(words)} --project-dir "{tmp_path}" {streams}'
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=240)
        assert "Traceback" not in done.stderr
        assert "disk is full" not in done.stderr
        assert done.returncode == (3 if words[0] == "runs" else 1), (words, done)


def test_an_unbroken_stream_tells_once_that_it_broke() -> None:
    message: list[str] = []
    with open("/dev/full", "w", buffering=1) as full:
        stream = Unbroken(full, message.append)
        for _ in range(3):
            stream.write("x\n")
            stream.flush()
    assert len(message) == 1
    assert Unbroken(None, message.append).write("x") == 1


def test_what_goes_wrong_after_the_swap_makes_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse = published(tmp_path)
    deliver(tmp_path, CALLS + "2,health,6,2025-01-02\n")
    real = files.to_disk

    def to_disk(path: Path) -> None:
        if path == warehouse.root:
            raise OSError(5, "Input/output error")
        real(path)

    def emit(line: str) -> None:
        if line.startswith("Published"):
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(builds, "to_disk", to_disk)
    outcome = refresh(tmp_path, Options(date(2026, 3, 5)), emit)
    assert outcome.published
    assert warehouse.published() == outcome.build == warehouse.ledger()[-1].build
    assert warehouse.ledger()[-1].event == "published"
    assert ["Input/output" in line or "Broken pipe" in line for line in map(str, outcome.warnings[-2:])] == [True, True]


def made_wrong(path: Path, how: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    match how:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "dangling":
            path.symlink_to("nowhere")
        case "loop":
            path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *(("runs/000050-x.jsonl", how) for how in ("pipe", "folder", "dangling", "loop")),
        *(("builds/ledger.jsonl", how) for how in ("pipe", "folder", "dangling")),
        *((name, "pipe") for name in ("runs/idle.jsonl", "runs/told.json", "notify.txt", "raw/README.txt")),
        ("notify.txt", "folder"),
    ],
)
def test_what_is_no_file_hangs_and_stops_no_run(tmp_path: Path, name: str, how: str) -> None:
    warehouse = published(tmp_path)
    made_wrong(warehouse.root / name, how)
    deliver(tmp_path, CALLS + "2,health,6,2025-01-02\n")
    for words in (REFRESH, REFRESH, ("runs",)):
        assert finish(start(tmp_path, Plan(tuple(words))), 60) == 0, (words, log_of(tmp_path).read_text())
    found = [finding for finding in examine(warehouse) if finding.level != "ok"]
    if name in ("runs/000050-x.jsonl", "builds/ledger.jsonl", "notify.txt"):
        shown = {"builds/ledger.jsonl": "unreadable-ledger"}.get(name, Path(name).name)
        assert any(shown in finding.what for finding in found), found
    if name == "runs/000050-x.jsonl":
        assert any("000050-x" in line for line in map(str, recorded(warehouse).warnings))
    assert len(warehouse.ledger()) > (0 if "ledger" in name else 1)


def test_files_of_another_user_stop_no_run() -> None:
    """As `sudo kpi refresh` under umask 077 leaves them. Root may read everything, so it gives its rights up first."""
    with TemporaryDirectory() as name:  # pytest's own folders are closed to others
        root = deliver(write(Path(name)))
        code = Path(__file__).parents[1] / "support/without_rights.py"
        done = subprocess.run(
            [sys.executable, code, str(root)], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "may not read" in done.stdout


def test_an_address_file_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KPI_NOTIFY", raising=False)
    (tmp_path / "notify.txt").write_bytes(b"# one\njson://127.0.0.1/?x=\xe4\n")
    assert addresses(tmp_path) == ()
    assert unreadable(tmp_path) == "it is not UTF-8 (line 2)"
    monkeypatch.setenv("KPI_NOTIFY", "json://127.0.0.1/")
    assert unreadable(tmp_path) == ""


def test_a_run_that_fails_says_that_nobody_is_told_when_the_addresses_cannot_be_read(tmp_path: Path) -> None:
    warehouse = published(tmp_path)
    made_wrong(warehouse.root / "notify.txt", "folder")
    write(tmp_path, {"models/marts/m.sql": "select 1/"})
    process = started(tmp_path, *REFRESH)
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 5
    assert "warning: nobody is notified: notify.txt cannot be read: it is no file" in out
    process = started(tmp_path, "notify", "--test")
    _, err = process.communicate(timeout=240)
    assert process.returncode == 3
    assert "cannot be read: it is no file" in err


@pytest.mark.parametrize("name", ["calls/loop.csv", "loop", "loop.csv"])
def test_a_link_to_itself_among_the_deliveries_is_passed_over_and_told(tmp_path: Path, name: str) -> None:
    warehouse = published(tmp_path)
    made_wrong(warehouse.raw / name, "loop")
    deliver(tmp_path, CALLS + "2,health,6,2025-01-02\n")
    message: list[str] = []
    refresh(tmp_path, AS_OF, message.append)
    assert any(f"warning: {name}: " in line and "not read" in line for line in message), message
    with database.reading(warehouse.folder("latest") / "kpi.duckdb") as con:
        assert con.execute("select count(*) from raw.calls").fetchall() == [(2,)]
