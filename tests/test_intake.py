"""What a run tells of its deliveries: each kind of warning once, and a refusal once."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from kpi.errors import DeliveryError
from kpi.jobs.options import Options
from kpi.jobs.pipeline import grouped
from kpi.jobs.refresh import refresh
from kpi.warehouse.builds import Warehouse
from small_project import recorded, write

HEADER = "call_id,line,waited_seconds,arrived_on"


def deliver(root: Path, name: str, header: str = HEADER, rows: str = "1,health,3,2024-01-01\n") -> None:
    folder = root / "warehouse/raw/calls"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"{header}\n{rows}")


def run(root: Path) -> list[str]:
    message: list[str] = []
    refresh(root, Options(date(2026, 3, 5), validate=False), message.append)
    return [line for line in message if "warning" in line]


def test_warnings_that_differ_in_numbers_alone_are_one_line_a_feed() -> None:
    warnings = ["calls/2024.csv: 3 of 100 records rejected, see raw.rejects.", "calls/2025.csv: holds no records."]
    warnings += ["calls/2025-02.csv: 14 of 90 records rejected, see raw.rejects.", "chats/a.csv: holds no records."]
    warnings += ["calls: 2 of its deliveries hold nothing after 2020, past retention. See: kpi prune-raw"]
    assert list(grouped(warnings)) == [
        "calls: 2 files, the first is calls/2024.csv: 3 of 100 records rejected, see raw.rejects."
        " Each of them: kpi show raw.deliveries",
        *warnings[1:2],
        *warnings[3:],
    ]


def test_a_run_groups_the_warnings_of_deliveries_and_the_build_keeps_each(tmp_path: Path) -> None:
    root = write(tmp_path)
    for number in range(12):
        rows = f"{number},health,3,2024-01-01\n"
        deliver(root, f"{number:02}.csv", HEADER.replace(",waited_seconds", ""), rows.replace(",3,", ","))
    (line,) = [line for line in run(root) if "optional columns" in line]
    missing = "optional columns that are not there, taken as missing: waited_seconds."
    assert (
        line
        == f"  warning: calls: 12 files, the first is calls/00.csv: {missing} Each of them: kpi show raw.deliveries"
    )
    kept = recorded(Warehouse(root / "warehouse")).warnings
    assert [one for one in kept if "optional" in one] == [f"calls/{number:02}.csv: {missing}" for number in range(12)]


def test_a_refused_file_is_told_by_the_error_and_not_by_a_warning_too(tmp_path: Path) -> None:
    root = write(tmp_path)
    deliver(root, "bad.csv", "something,else")
    deliver(root, "fine.csv", f"{HEADER},more", "1,health,3,2024-01-01,x\n")
    message: list[str] = []
    with pytest.raises(DeliveryError, match=r"calls/bad.csv: refused") as caught:
        refresh(root, Options(date(2026, 3, 5), validate=False), message.append)
    assert caught.value.paths == ("calls/bad.csv",)
    assert [line for line in message if "bad.csv" in line] == []
    assert [line for line in message if "fine.csv" in line]
