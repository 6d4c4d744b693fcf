"""Deliveries that are as they were are not read again: what tells, and what is never trusted."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from kpi.ingest.raw_files import Checksums, RawFolder, content_hash, scan

FILE = Path("calls/calls_2024.csv")


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A raw folder whose files are older than what is too new to be trusted."""
    folder = tmp_path / "raw"
    (folder / FILE).parent.mkdir(parents=True)
    (folder / FILE).write_bytes(b"call_id\n1\n")
    clock = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: clock() + 5_000_000_000)
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that are read."""
    found: list[str] = []
    digest = hashlib.file_digest

    def noted(stream: Any, kind: str) -> Any:
        found.append(Path(getattr(stream, "name", "")).name)
        return digest(stream, kind)

    monkeypatch.setattr(hashlib, "file_digest", noted)
    return found


def scanned(raw: Path, is_read: bool = True) -> RawFolder:
    checksums = Checksums(raw.parent / ".cache/deliveries", is_read)
    found = scan(raw, checksums)
    checksums.save()
    return found


def test_a_file_is_read_once_and_again_when_all_is(raw: Path, reads: list[str]) -> None:
    first = scanned(raw)
    assert first.files[0].content_hash == content_hash(b"call_id\n1\n")
    assert scanned(raw) == first
    assert reads == [FILE.name]
    assert scanned(raw, is_read=False) == first
    assert reads == [FILE.name] * 2
    assert (raw.parent / ".cache/deliveries").stat().st_mode & 0o777 == 0o600


def test_a_file_of_the_same_size_and_time_with_another_content_is_read(raw: Path) -> None:
    scanned(raw)
    about = (raw / FILE).stat()
    (raw / FILE).write_bytes(b"call_id\n2\n")
    os.utime(raw / FILE, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (raw / FILE).stat().st_mtime_ns == about.st_mtime_ns
    assert scanned(raw).files[0].content_hash == content_hash(b"call_id\n2\n")


def test_a_file_that_was_just_written_is_read_each_time(
    raw: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = (raw / FILE).stat().st_ctime_ns
    monkeypatch.setattr(time, "time_ns", lambda: changed + 1_000_000)
    scanned(raw)
    scanned(raw)
    assert reads == [FILE.name] * 2


@pytest.mark.parametrize("content", [b"", b"[]", b'{"calls/calls_2024.csv": 1}', b'{"calls/calls_2024.csv": [1, 2]}'])
def test_what_a_damaged_file_says_counts_for_nothing(raw: Path, content: bytes) -> None:
    first = scanned(raw)
    (raw.parent / ".cache/deliveries").write_bytes(content)
    assert scanned(raw) == first
    assert list(json.loads((raw.parent / ".cache/deliveries").read_text())) == [FILE.as_posix()]
