"""What a run tells of its deliveries: each kind of warning once, and a refusal once."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.errors import ConfigError, DeliveryError, Place, Problem
from kpi.ingest.loader import LoadWarning
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


def test_warnings_of_deliveries_are_one_line_a_kind() -> None:
    def of_file(code: str, path: str, message: str) -> LoadWarning:
        return LoadWarning(Problem(code, message, Place(path)), Path(path).parts[0])

    past = Problem("feed.past_retention", "2 of its deliveries are past retention.", subject="calls")
    warnings = [
        of_file("file.rejected_records", "calls/2024.csv", "3 of 100 records rejected."),
        of_file("file.empty", "calls/2025.csv", "holds no records."),
        of_file("file.rejected_records", "calls/2025-02.csv", "14 of 90 records rejected."),
        of_file("file.empty", "chats/a.csv", "holds no records."),
        LoadWarning(past, "calls"),
        LoadWarning(Problem("file.ignored", "hidden; not read.", Place("calls/.a"))),
        LoadWarning(Problem("file.ignored", "hidden; not read.", Place("calls/.b"))),
    ]
    assert list(grouped(warnings)) == [
        "2 files, the first is calls/2024.csv: 3 of 100 records rejected. Each of them: kpi deliveries",
        "2 files of 2 feeds, the first is calls/2025.csv: holds no records. Each of them: kpi deliveries",
        "calls: 2 of its deliveries are past retention.",
        "2 files, the first is calls/.a: hidden; not read. Each of them: kpi deliveries",
    ]


def test_a_run_groups_the_warnings_of_deliveries_and_the_build_keeps_each(tmp_path: Path) -> None:
    root = write(tmp_path)
    for number in range(12):
        rows = f"{number},health,3,2024-01-01\n"
        deliver(root, f"{number:02}.csv", HEADER.replace(",waited_seconds", ""), rows.replace(",3,", ","))
    (line,) = [line for line in run(root) if "optional columns" in line]
    missing = "optional columns that are not there, taken as missing: waited_seconds."
    assert line == f"  warning: 12 files, the first is calls/00.csv: {missing} Each of them: kpi deliveries"
    kept = recorded(Warehouse(root / "warehouse")).warnings
    assert [str(one) for one in kept if one.code == "file.missing_columns"] == [
        f"calls/{number:02}.csv: {missing}" for number in range(12)
    ]
    words = ["deliveries", "--build", "latest", "--project-dir", str(root)]
    listed = CliRunner().invoke(cli, words, catch_exceptions=False).output
    assert listed.splitlines()[0] == "calls: 12 files, 12 records, 0 rejected, 13 warnings"
    assert [line for line in listed.splitlines() if "optional" in line] == [
        f"  {number:02}.csv: {missing}" for number in range(12)
    ]
    of_feed, *files = json.loads(CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False).output)
    assert (of_feed["file"], [one["code"] for one in of_feed["warnings"]]) == ("", ["feed.very_late"])
    assert [(one["feed"], one["file"], one["records"]) for one in files] == [
        ("calls", f"{number:02}.csv", 1) for number in range(12)
    ]
    assert files[0]["warnings"] == [{"code": "file.missing_columns", "message": missing}]
    with pytest.raises(ConfigError, match=r"there is no feed .cals.. Did you mean .calls.\?"):
        CliRunner().invoke(cli, [*words, "--feed", "cals"], catch_exceptions=False)


def test_a_refused_file_is_told_by_the_error_and_not_by_a_warning_too(tmp_path: Path) -> None:
    root = write(tmp_path)
    deliver(root, "bad.csv", "something,else")
    deliver(root, "fine.csv", f"{HEADER},more", "1,health,3,2024-01-01,x\n")
    message: list[str] = []
    with pytest.raises(DeliveryError, match=r"calls/bad.csv: refused") as caught:
        refresh(root, Options(date(2026, 3, 5), validate=False), message.append)
    assert caught.value.paths == {"calls/bad.csv"}
    assert [line for line in message if "bad.csv" in line] == []
    assert [line for line in message if "fine.csv" in line]
