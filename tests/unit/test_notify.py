"""Messages arrive at a server of the test's own; whatever goes wrong is told without the address."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from kpi.errors import BuildError, CheckFailed, CompileError, DeliveryError, DiskFull, Place, Problem
from kpi.jobs import notifications
from kpi.jobs.notifications import Message, addresses, identity, is_exposed, recovery_message, send, what_failed
from kpi.warehouse.builds import Warehouse

MESSAGE = Message("failure", "a title", "a body\n")
UNIQUE = Problem("test.failed", "2 failing rows", Place("m.yml:3"), subject="unique_a")


def year(number: int, observed: str) -> Problem:
    """An expectation that a report year breaks."""
    return Problem("expectation.failed", "does not hold", restricted=observed, subject=f"{number} every_month:calls")


class Inbox:
    """A web server that keeps what it is sent."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status = 200
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                inbox.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(inbox.status)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True, kwargs={"poll_interval": 0.05}).start()

    @property
    def url(self) -> str:
        return f"json://user:secret@127.0.0.1:{self.server.server_port}/hidden?cto=60&rto=60"


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    box = Inbox()
    yield box
    box.server.shutdown()
    box.server.server_close()


def test_a_message_reaches_every_address(inbox: Inbox) -> None:
    assert send([inbox.url, inbox.url], MESSAGE) == []
    assert [(sent["title"], sent["message"].strip(), sent["type"]) for sent in inbox.messages] == [
        ("a title", "a body", "failure")
    ] * 2


def test_what_goes_wrong_is_told_without_the_address(inbox: Inbox) -> None:
    inbox.status = 500
    urls = [inbox.url, "nosuch://user:secret@host", "secret", "json://user:secret@127.0.0.1:1/hidden"]
    troubles = send(urls, MESSAGE)
    assert [line.partition(")")[0] for line in troubles] == [
        "notification address 1 (json",
        "notification address 2 (nosuch",
        "notification address 3 (not a URL",
        "notification address 4 (json",
    ]
    assert not any(word in line for line in troubles for word in ("secret", "hidden", "user", "127"))


def test_a_plugin_that_raises_or_hangs_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plugin:
        def notify(self, **_: object) -> bool:
            raise ValueError("json://user:secret@host")

    fake = types.ModuleType("apprise")
    fake.Apprise = types.SimpleNamespace(instantiate=lambda url, suppress_exceptions: Plugin())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "apprise", fake)
    assert send(["json://x"], MESSAGE) == ["notification address 1 (json) failed: ValueError."]
    monkeypatch.setattr(notifications, "PATIENCE_SECONDS", 0.05)
    is_over = Event()
    monkeypatch.setattr(Plugin, "notify", lambda self, **_: is_over.wait())
    assert "it was given up" in send(["json://x"], MESSAGE)[0]
    is_over.set()


def test_without_apprise_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    assert send(["json://x"], MESSAGE) == [
        "apprise is not installed, so no notification was sent. Run: pip install apprise"
    ]


def test_addresses_come_from_the_environment_else_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KPI_NOTIFY", raising=False)
    assert addresses(tmp_path) == ()
    (tmp_path / "notify.txt").write_text("# ours\n\n json://a \nmailto://b?to=c,d\n")
    assert addresses(tmp_path) == ("json://a", "mailto://b?to=c,d")
    monkeypatch.setenv("KPI_NOTIFY", "json://e json://f")
    assert addresses(tmp_path) == ("json://e", "json://f")
    monkeypatch.setenv("KPI_NOTIFY", "")
    assert addresses(tmp_path) == ()


def test_a_file_of_passwords_that_others_can_read_is_noticed(tmp_path: Path) -> None:
    assert not is_exposed(tmp_path)
    (tmp_path / "notify.txt").write_text("json://a")
    (tmp_path / "notify.txt").chmod(0o640)
    assert is_exposed(tmp_path)
    (tmp_path / "notify.txt").chmod(0o600)
    assert not is_exposed(tmp_path)


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (
            BuildError(
                "one",
                "Conversion Error",
                place=Place("models/one.sql"),
                restricted="Conversion Error: Could not convert '010190-123A'",
            ),
            ["one (models/one.sql): Conversion Error"],
        ),
        (BuildError("one", "failed while it ran", restricted="row 010190-123A"), ["one: failed while it ran"]),
        (
            CheckFailed("Checks failed.\n  2025 every_month:calls: 3 of 12\nMore.", [UNIQUE, year(2025, "3 of 12")]),
            ["unique_a (m.yml:3): 2 failing rows", "2025 every_month:calls: does not hold"],
        ),
        (DeliveryError("calls/a.csv: 11 of 11 records rejected"), ["calls/a.csv: 11 of 11 records rejected"]),
        (CompileError("m.sql", 3, "no column 'a'"), ["m.sql:3: no column 'a'"]),
        (DiskFull("the disk is full"), ["the disk is full"]),
        (ValueError("010190-123A"), ["ValueError, which kpi did not expect."]),
    ],
)
def test_no_value_of_a_row_leaves_the_house(error: BaseException, lines: list[str]) -> None:
    assert what_failed(error) == lines


def test_a_warning_is_new_when_it_is_another_not_when_its_count_is() -> None:
    same = replace(UNIQUE, message="900 failing rows", place=Place("m.yml:7"))
    assert identity(same) == identity(UNIQUE)
    assert identity(year(2025, "104")) == identity(year(2025, "101.5").public())
    assert identity(year(2026, "101.5")) != identity(year(2025, "101.5"))
    assert identity(replace(UNIQUE, subject="unique_b")) != identity(UNIQUE)
    files = [Problem("file.empty", "holds no records.", Place(f"calls/{name}.csv")) for name in "ab"]
    assert identity(files[0]) != identity(files[1])
    readings = [Problem("file.reading", text, Place("calls/a.csv")) for text in ("read as cp850.", "a cell holds it.")]
    assert identity(readings[0]) != identity(readings[1])


def test_a_feed_that_is_very_late_is_told_as_a_failure(tmp_path: Path) -> None:
    message = recovery_message(
        Warehouse(tmp_path / "warehouse"),
        None,
        (),
        [Problem("feed.very_late", "very late: its newest day is 2025-10-31.", subject="calls")],
    )
    assert (message.kind, "deliveries are very late (1)" in message.title) == ("failure", True)
    assert "Deliveries that are late:\n  calls: very late" in message.body
