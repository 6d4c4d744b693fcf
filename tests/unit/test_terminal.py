"""What comes from a delivery cannot command a terminal, nor make of one message two, nor be longer than one may be."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpi.ingest.masking import message, quoted
from kpi.presentation import LONGEST, bare, guard_streams, lines, one_line, visible
from small_project import write

ESCAPES = {
    "title": "\x1b]0;PWNED\x07",
    "clipboard": "\x1b]52;c;Y3VybCBldmls\x07",
    "colour": "\x1b[31mred",
    "up": "\x1b[1A\x1b[2K",
    "eight bits": "\x9b31m\x9d0;x\x9c",
    "back": "\x08\x08\x08\r",
    "bell": "\x07\x7f",
    "turned": "\u202egpj.exe\u2066\u2069",
    "line": "one\u2028two\u2029three\u0085four",
    "unseen": "a\u200bb\ufeffc\u00add\U000e0041",
}


def is_harmless(text: str) -> bool:
    """Whether a terminal shows all of it and does nothing else: by Unicode's own classes, not by our list."""
    return not [letter for letter in text if letter not in "\n\t" and unicodedata.category(letter) in BAD]


BAD = ("Cc", "Cf", "Cs", "Zl", "Zp")


@pytest.mark.parametrize("name", ESCAPES)
def test_each_is_written_out(name: str) -> None:
    assert not is_harmless(ESCAPES[name])
    for form in (visible, one_line, lines, message, quoted):
        assert is_harmless(form(ESCAPES[name]))
        assert form("Hyvää päivää: 5 % – 7 €") == "Hyvää päivää: 5 % – 7 €"


@given(st.text(st.characters(exclude_categories=("Cn", "Co"))))
def test_whatever_it_is_nothing_but_lines_and_tabs_is_left(text: str) -> None:
    # Cf has a few marks of Arabic and Syriac, and notes of music, that only shape letters.
    rest = [letter for letter in visible(text) if letter not in "\n\t" and not is_harmless(letter)]
    assert all(unicodedata.category(letter) == "Cf" for letter in rest)
    assert json.loads(visible(json.dumps(text, ensure_ascii=False))) == text
    assert len(one_line(text).splitlines()) <= 1


def test_a_message_is_one_line_and_not_too_long() -> None:
    assert one_line("a\nb\tc\r\n") == "a\\nb\\tc\\u000d\\n"
    assert len(one_line("x" * 5_000)) == LONGEST
    assert one_line("x" * 5_000).endswith("x…")
    assert [len(line) for line in lines("a\n" + "x" * 5_000).split("\n")] == [1, LONGEST]


def test_streams_are_guarded_once_and_what_draws_can_have_them_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    guard_streams()
    guard_streams()
    sys.stdout.write(ESCAPES["title"])
    assert out.getvalue() == "\\u001b]0;PWNED\\u0007"
    assert bare(sys.stdout) is out
    assert bare(out) is out


def hostile(folder: Path) -> Path:
    """A project with a delivery for each place that a name can come from: header, file, folder, cell."""
    root = write(folder)
    raw = root / "warehouse/raw"
    (raw / "calls").mkdir(parents=True)
    rows = "1,health,3,2025-01-01"
    for number, text in enumerate(ESCAPES.values()):
        header = f'call_id,line,waited_seconds,arrived_on,"extra {text}\nnext line"'
        (raw / f"calls/{number}-{text}.csv").write_text(f"{header}\n{number}{rows},x\n", newline="")
        (raw / f"calls/{number}-{text}.txt").write_text("not read")
        (raw / f"calls/cell{number}.csv").write_text(f"call_id,line,waited_seconds,arrived_on\n{number},{text},x,y\n")
        (raw / f"feed-{text}").mkdir()
        (raw / f"feed-{text}/a.csv").write_text("a\n1\n")
    (raw / "calls/long.csv").write_text(f"call_id,line,waited_seconds,arrived_on,{'y' * 100_000}\nz{rows},x\n")
    (raw / "calls/many.csv").write_text(f"call_id,line,waited_seconds,arrived_on,{','.join(map(str, range(9_999)))}\n")
    return root


COMMANDS = (
    ("refresh", "--as-of", "2026-03-05", "--log-format", "plain"),
    ("refresh", "--as-of", "2026-03-05", "--max-reject-share", "1", "--log-format", "json"),
    ("refresh", "--as-of", "2026-03-05", "--max-reject-share", "1", "--full-refresh"),  # a bar
    ("runs", "show"),
    ("doctor",),
    ("query", "from raw.rejects"),
    ("query", "--csv", "select file, unknown_columns from raw.deliveries"),
    ("plan",),
)


@pytest.mark.long
def test_nothing_of_a_delivery_reaches_a_terminal_as_a_command(tmp_path: Path) -> None:
    root = hostile(tmp_path / "project")
    for command in COMMANDS:
        message = on_a_terminal([sys.executable, "-m", "kpi.cli", *command, "--project-dir", str(root)])
        for sent in (
            "PWNED\x07",
            "\x1b]",
            "\x1b[31m",
            "\x9b",
            "\x9d",
            "\u202e",
            "\u2066",
            "\u2028",
            "\u200b",
            "\x07",
            "\x08",
        ):
            assert sent not in message, (command, sent)
    for path in [*root.glob("warehouse/runs/*.json*"), *root.glob("warehouse/builds/*.jsonl")]:
        for line in path.read_text().split("\n"):
            assert is_harmless(line)
            said = json.loads(line) if line else {}
            texts = [text for value in said.values() for text in (value if isinstance(value, list) else [value])]
            assert all(len(str(text)) <= LONGEST and "\n" not in str(text) for text in texts)
    for path in root.glob("warehouse/builds/*/build.json"):
        assert is_harmless(path.read_text())


def on_a_terminal(command: list[str]) -> str:
    """Run a command whose stdout and stderr are a terminal, and return what reaches that."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(command, stdout=follower, stderr=follower, stdin=follower, env=environment) as process:
        os.close(follower)
        pieces = []
        while True:
            try:
                piece = os.read(leader, 65_536)
            except OSError:  # how a terminal ends when nobody holds its other side
                break
            if not piece:
                break
            pieces.append(piece)
        process.wait()
    os.close(leader)
    return b"".join(pieces).decode("utf-8", "replace")
