"""The last screen of CI: which tests failed, and why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FILE = Path(__file__).parents[2] / ".ci/failed"
TESTS = """
import pytest

@pytest.fixture
def broken():
    raise ValueError("no fixture")

def test_right(): pass
def test_wrong():
    assert [1, 2] == [1, 3]
def test_not_set_up(broken): pass
"""


def test_what_failed_is_named_with_its_reason_and_place(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    words = ["-p", "no:cacheprovider", "--rootdir", ".", "--junit-xml=found.xml", "test_it.py"]
    subprocess.run([sys.executable, "-m", "pytest", "-q", *words], cwd=tmp_path, capture_output=True, check=False)
    command = [sys.executable, str(FILE), "found.xml", "not-there.xml"]
    lines = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0] == "FAILED test_it::test_wrong"
    assert lines[1].startswith("    E       assert [1, 2] == [1, 3]")
    assert "    test_it.py:10: AssertionError" in lines
    assert "ERROR test_it::test_not_set_up" in lines
    assert lines[-2:] == ["    E       ValueError: no fixture", "    test_it.py:6: ValueError"]
    assert not any("test_right" in line for line in lines)
