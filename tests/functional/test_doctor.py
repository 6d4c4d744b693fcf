"""kpi doctor finds what was broken on purpose, and finds a healthy warehouse healthy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import pytest

from kpi.events import silent
from kpi.jobs.doctor import Finding, examine
from kpi.jobs.options import Options, Outcome
from kpi.jobs.recorded_run import attend
from kpi.jobs.refresh import refresh
from kpi.warehouse.builds import Warehouse, writing
from once import copied
from small_project import FILES, write

DAY = date(2026, 3, 5)
ASKED = Options(DAY, validate=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two builds."""
    root = tmp_path_factory.mktemp("built")
    contract = FILES["models/staging/calls.yml"].replace("{key: [call_id]}", "{key: [call_id], expected_every: once}")
    write(root, {"models/staging/calls.yml": contract})
    raw = root / "warehouse/raw/calls"
    raw.mkdir(parents=True)
    (raw / "a.csv").write_text("call_id,line,waited_seconds,arrived_on\n1,health,3,2024-01-01\n")
    for variables in ({}, {"limit_seconds": 5}):
        refresh(root, Options(date(2026, 3, 5), validate=False, variables=variables), lambda _: None)
    return root


@pytest.fixture
def warehouse(built: Path, tmp_path: Path) -> Warehouse:
    """A copy of its warehouse and the project around it, to be damaged."""
    return Warehouse(copied(built, tmp_path) / "warehouse")


def findings(warehouse: Warehouse) -> list[Finding]:
    return [finding for finding in examine(warehouse) if finding.level != "ok"]


def database(warehouse: Warehouse) -> Path:
    return warehouse.build_folders()[0] / "kpi.duckdb"


def flip_a_bit(warehouse: Warehouse) -> None:
    path = database(warehouse)
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    path.chmod(0o444)


def cut_short(warehouse: Warehouse) -> None:
    database(warehouse).chmod(0o644)
    os.truncate(database(warehouse), 8192)
    database(warehouse).chmod(0o444)


def spoil_record(warehouse: Warehouse) -> None:
    (database(warehouse).parent / "build.json").write_text("{")


def break_link(warehouse: Warehouse) -> None:
    shutil.rmtree(warehouse.build_folders()[-1])


def by_a_leaking_duckdb(warehouse: Warehouse) -> None:
    facts = database(warehouse).parent / "build.json"
    facts.write_text(facts.read_text().replace(f"duckdb {duckdb.__version__}", "duckdb 2.0.0"))


FAULTS: dict[str, tuple[Callable[[Warehouse], object], str, str]] = {
    "a bit": (flip_a_bit, "error", "is not what was written"),
    "a truncated file": (cut_short, "error", "is not what was written"),
    "no facts": (spoil_record, "error", "its build.json is damaged"),
    "current dangles": (break_link, "error", "which is gone"),
    "a lost build": (lambda w: shutil.rmtree(w.build_folders()[0]), "warning", "whose folder is gone"),
    "a strange build": (
        lambda w: shutil.copytree(w.build_folders()[0], w.builds / "00000-copy"),
        "warning",
        "not in the ledger",
    ),
    "writable": (lambda w: database(w).chmod(0o644), "error", "is not read-only"),
    "open to all": (lambda w: w.builds.chmod(0o777), "error", "can be written by everybody"),
    "a dead run": (lambda w: (w.builds / ".tmp-00009-x").mkdir(), "warning", "was left by a run that died"),
    "a log": (lambda w: database(w).with_name("kpi.duckdb.wal").touch(), "error", "blocks opening the build"),
    "a leak": (
        by_a_leaking_duckdb,
        "warning",
        "was written by DuckDB 2.0.0: its file may hold text of tables it lacks",
    ),
    "another file": (lambda w: (w.raw / "calls/a.xlsx").touch(), "warning", "raw/calls/a.xlsx is passed over"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_with_its_remedy(warehouse: Warehouse, fault: str) -> None:
    assert findings(warehouse) == []
    make, level, message = FAULTS[fault]
    make(warehouse)
    found = [finding for finding in findings(warehouse) if message in finding.what]
    assert [finding.level for finding in found] == [level]
    assert found[0].remedy


def test_a_build_published_despite_a_failed_check_is_told_with_the_reason(warehouse: Warehouse) -> None:
    (warehouse.raw / "calls/b.csv").write_text("call_id,line,waited_seconds,arrived_on\n2,nowhere,3,2024-01-01\n")
    despite = Options(DAY, validate=False, publish_despite_checks="the new line, see ticket 12")
    build = refresh(warehouse.root.parent, despite, silent).build
    message = f"{build} was published despite 1 failed check: the new line, see ticket 12"
    assert [finding.what for finding in findings(warehouse)] == [message]


def test_a_running_refresh_is_no_fault(warehouse: Warehouse) -> None:
    with writing(warehouse):
        (warehouse.builds / ".tmp-00009-x").mkdir()
        assert findings(warehouse) == []


def test_a_warehouse_without_builds(tmp_path: Path) -> None:
    assert [finding.what for finding in findings(Warehouse(tmp_path / "warehouse"))] == ["nothing is published yet"]


def test_a_late_feed_a_failed_run_and_passwords_in_the_open_are_found(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KPI_NOTIFY", raising=False)
    contract = warehouse.root.parent / "models/staging/calls.yml"
    contract.write_text(contract.read_text().replace(", expected_every: once", ""))
    attend(warehouse.root.parent, "refresh", DAY, silent, lambda emit: refresh(warehouse.root.parent, ASKED, emit))
    with pytest.raises(ZeroDivisionError):
        attend(warehouse.root.parent, "refresh", DAY, silent, lambda emit: Outcome(str(1 // 0), published=True))
    (warehouse.root / "notify.txt").write_text("json://user:secret@host")
    (warehouse.root / "notify.txt").chmod(0o644)
    message = {finding.what: finding for finding in findings(warehouse)}
    assert [finding.level for finding in message.values()] == ["warning", "error", "error"]
    assert "ended as: failed" in " ".join(message)
    assert "calls: very late: its newest day is 2024-01-01" in " ".join(message)
    assert "secret" not in " ".join(message)
