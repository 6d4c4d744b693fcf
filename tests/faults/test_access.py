"""A reader without write permission can neither alter a build nor reach beyond it, by any route we thought of."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from kpi import database
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from small_project import FILES, write

SETTINGS = {
    "one file": FILES["dbt_project.yml"],
    "a file for stewards": FILES["dbt_project.yml"].replace(
        "vars:\n", "vars:\n  kpi_warehouse: {stewards_schemas: [raw, staging]}\n"
    ),
}


@pytest.fixture(params=SETTINGS)
def root(request: pytest.FixtureRequest) -> Iterator[Path]:
    # Not pytest's own folder: another user could not even look into that, and every attempt would fail.
    folder = Path(tempfile.mkdtemp(prefix="kpi-access-"))
    folder.chmod(0o755)
    write(folder, {"dbt_project.yml": SETTINGS[request.param]})
    raw = folder / "warehouse/raw/calls"
    raw.mkdir(parents=True)
    (raw / "a.csv").write_text("call_id,line,waited_seconds,arrived_on\n1,health,3,2024-01-01\n")
    (folder / "secret.csv").write_text("secret\n1\n")
    refresh(folder, Options(date(2026, 3, 5), validate=False), lambda _: None)
    yield folder
    shutil.rmtree(folder)


def content(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def attempts(*arguments: Path) -> list[str]:
    """What succeeded."""
    command = [sys.executable, str(Path(__file__).parents[1] / "support/attempts.py"), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_no_attempt_succeeds_and_nothing_changes(root: Path) -> None:
    before = content(root)
    assert attempts(root / "warehouse") == ["ended"]
    assert content(root) == before


def test_the_same_attempts_succeed_where_nothing_guards(root: Path) -> None:
    copy = root / "copy.duckdb"
    copy.write_bytes((root / "warehouse/current/kpi.duckdb").read_bytes())
    assert len(attempts(root / "warehouse", copy)) > 10


def test_what_a_query_spills_is_for_its_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    database._own_spill.cache_clear()
    own = Path(database._own_spill(os.getuid()))
    assert (own.parent, own.stat().st_mode & 0o777) == (tmp_path, 0o700)
    own.chmod(0o755)  # as if somebody else had made it, to look into it
    database._own_spill.cache_clear()
    other = Path(database._own_spill(os.getuid()))
    assert other != own
    assert other.stat().st_mode & 0o777 == 0o700
    database._own_spill.cache_clear()
