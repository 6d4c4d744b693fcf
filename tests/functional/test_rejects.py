"""Rejected rows as people and senders see them, however hostile the delivery, and rows that come back."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.reader.deliveries import HEADER, NOT_SHOWN, sender_names
from small_project import FILES, write

CALLS_YML = "models/staging/calls.yml"
HEAD = "call_id,line,waited_seconds,arrived_on\n"
ROWS = HEAD + "1,health,3,2024-01-01\n2,health,soon,2024-01-01\n3,health,4,yesterday\n4,social,soon,tomorrow\n"
CODE = "131052-308T"
HOSTILE = (
    HEAD
    + '1,health,"=HYPERLINK(""http://x"")",2024-01-01\n'
    + "2,health,+1+1,2024-01-01\n3,health,-1-1,2024-01-01\n4,health,@SUM(A1),2024-01-01\n"
    + '5,health,"a;b\n""c""",2024-01-01\n6,health,\x1b]0;x\x07,2024-01-01\n'
    + f"7,health,{CODE},2024-01-01\n8,health,\u202e1,2024-01-01\n"
)


def project(
    root: Path,
    files: Mapping[str, str] = MappingProxyType({"2024.csv": ROWS}),
    changes: Mapping[str, str] | None = None,
) -> Path:
    """The small project with the deliveries of its feed, all rejects let through."""
    write(root, {CALLS_YML: contract(), **(changes or {})})
    folder = root / "warehouse" / "raw" / "calls"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return root


def contract(arrived_on: str = "date", call_id: str = "") -> str:
    """The contract of calls with another type of arrived_on, and more rules of call_id."""
    text = FILES[CALLS_YML].replace("data_type: date", f"data_type: {arrived_on}")
    return text.replace("{required: true}", f"{{required: true{call_id}}}").replace("[not_null, unique]", "[not_null]")


def run(root: Path, *words: str, code: int = 0) -> str:
    """What a command prints."""
    result = CliRunner().invoke(cli, [*words, "--project-dir", str(root)])
    assert (0 if result.exit_code == 0 else 1) == code, (result.output, result.exception)
    return result.output if not code else str(result.exception or result.output)


def refresh(root: Path) -> str:
    return run(root, "refresh", "--max-reject-share", "1", "--log-format", "plain")


def lines_of(path: Path) -> list[list[str]]:
    data = path.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.reader(stream, delimiter=";"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project with deliveries that mean harm."""
    names = ["=cmd|' calc'!A0.csv", "x\\..\\y.csv", "a\nb\x1b[2J.csv", "A.csv", "a.csv", "x" * 200 + ".csv"]
    root = project(tmp_path_factory.mktemp("hostile") / "project", dict.fromkeys(names, HOSTILE))
    refresh(root)
    return root


def test_rejects_by_reason_with_their_cells(tmp_path: Path) -> None:
    root = project(tmp_path, {"2024.csv": ROWS, "2025.csv": HEAD + "9,health,later,2025-01-01\n"})
    refresh(root)
    found = json.loads(run(root, "rejects", "--json"))
    about = {(one["column"], one["rows"], one["files"]): one["cells"] for one in found}
    assert about == {
        ("arrived_on", 2, 1): ["tomorrow", "yesterday"],
        ("waited_seconds", 3, 2): ["soon", "later"],
    }
    printed = run(root, "rejects")
    assert printed.startswith("calls:\n       3 x waited_seconds: ")
    assert printed.splitlines()[1].endswith(" in 2 files: 'soon', 'later'")
    (one,) = json.loads(run(root, "rejects", "--json", "--file", "calls/2025.csv"))
    assert (one["rows"], one["cells"]) == (1, ["later"])
    assert run(root, "rejects", "--feed", "calls") == printed
    assert "nothing is delivered for a feed 'cals'. Did you mean 'calls'?" in run(
        root, "rejects", "--feed", "cals", code=1
    )
    assert "there is no delivery 'calls/2026.csv'" in run(root, "rejects", "--file", "calls/2026.csv", code=1)


def test_a_build_without_rejects_says_so(tmp_path: Path) -> None:
    root = project(tmp_path, {"2024.csv": HEAD + "1,health,3,2024-01-01\n"})
    refresh(root)
    assert run(root, "rejects") == "No row is rejected.\n"
    assert run(root, "rejects", "--for-sender", str(tmp_path / "out")) == "No row is rejected: nothing is written.\n"


def test_a_sender_gets_a_file_that_a_spreadsheet_opens(tmp_path: Path) -> None:
    root, out = project(tmp_path / "project"), tmp_path / "out"
    refresh(root)
    printed = run(root, "rejects", "--for-sender", str(out))
    assert printed == f"{out / 'calls.2024.rejects.csv'}: 4 reasons of calls/2024.csv\n"
    (path,) = out.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    header, *rows = lines_of(path)
    assert tuple(header) == HEADER
    assert [row[:3] for row in rows] == [
        ["2", "waited_seconds", "soon"],
        ["3", "arrived_on", "yesterday"],
        ["4", "arrived_on", "tomorrow"],
        ["4", "waited_seconds", "soon"],
    ]
    assert all(row[3] for row in rows)
    assert "is there already" in run(root, "rejects", "--for-sender", str(out), code=1)


def test_no_cell_of_a_hostile_delivery_is_a_formula_or_a_command(hostile: Path, tmp_path: Path) -> None:
    run(hostile, "rejects", "--for-sender", str(tmp_path / "out"))
    files = sorted((tmp_path / "out").iterdir())
    assert len(files) == 6
    for path in files:
        rows = lines_of(path)[1:]
        assert [row[0] for row in rows] == [str(number) for number in range(1, 9)]
        cells = {row[0]: row[2] for row in rows}
        assert cells["1"] == '\'=HYPERLINK("http://x")'
        assert [cells[number] for number in "234"] == ["'+1+1", "'-1-1", "'@SUM(A1)"]
        assert cells["5"] == 'a;b\n"c"'
        assert cells["6"] == "\\u001b]0;x\\u0007"
        assert cells["7"] == "[henkilötunnus poistettu]"
        assert cells["8"] == "\\u202e1"
        assert not any(cell[:1] in tuple("=+-@\t\r") for row in rows for cell in row)
        assert CODE.encode() not in path.read_bytes()
    printed = run(hostile, "rejects")
    assert CODE not in printed
    assert "\x1b" not in printed


def test_names_of_hostile_deliveries_stay_in_the_folder(hostile: Path, tmp_path: Path) -> None:
    run(hostile, "rejects", "--for-sender", str(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len({name.casefold() for name in names}) == len(names) == 6
    for name in names:
        assert name.startswith("calls.")
        assert name.endswith(".rejects.csv")
        assert len(name) < 150
        assert not set(name) & set("/\\:*?\"<>|=;'\n\x1b ")


def test_every_delivery_has_a_file_name_of_its_own() -> None:
    deliveries = [
        ("calls", "2025.csv"),
        ("calls", "2025.csv.gz"),
        ("calls", "2025.CSV"),
        ("callbacks", "2025.csv"),
        ("calls", "../../etc/passwd"),
        ("calls", "x\\..\\y.csv"),
        ("calls", "ä ö.csv"),
        ("calls", "ä_ö.csv"),
        ("calls", "CON.csv"),
        ("calls", ".csv"),
        ("a", "b.c.csv"),
        ("a.b", "c.csv"),
    ]
    names = sender_names(deliveries)
    assert len({name.casefold() for name in names.values()}) == len(deliveries)
    assert not any(name.startswith(".") or set(name) & set("/\\") for name in names.values())
    assert names["callbacks", "2025.csv"] == "callbacks.2025.rejects.csv"
    assert names == sender_names(deliveries[::-1]) | names


def test_cells_of_pseudonyms_and_free_text_are_not_shown(tmp_path: Path) -> None:
    rows = HEAD + "P-1,health,3,2024-01-01\nP-1,health,4,2024-01-01\n"
    root, out = project(tmp_path / "p", {"2024.csv": rows}), tmp_path / "out"
    refresh(root)
    assert "'P-1'" in run(root, "rejects")
    write(root, {CALLS_YML: contract(call_id=", pseudonym: true")})
    printed = run(root, "rejects")
    assert "P-1" not in printed
    assert NOT_SHOWN in printed
    run(root, "rejects", "--for-sender", str(out))
    assert [row[2] for row in lines_of(out / "calls.2024.rejects.csv")[1:]] == [NOT_SHOWN]


def test_rows_restricted_to_stewards_need_the_word(tmp_path: Path) -> None:
    text = FILES["dbt_project.yml"].replace("vars:\n", "vars:\n  kpi_warehouse: {stewards_schemas: [raw, staging]}\n")
    root = project(tmp_path / "p", changes={"dbt_project.yml": text})
    refresh(root)
    assert "raw is left out of the file for all readers: --stewards opens the other." in run(root, "rejects", code=1)
    assert "'soon'" in run(root, "rejects", "--stewards")


def test_rows_come_back_when_their_contract_is_mended(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    assert " now: " not in refresh(root)
    assert " now: " not in refresh(root)
    project(root, changes={CALLS_YML: contract("varchar")})
    printed = refresh(root)
    (line,) = [line for line in printed.splitlines() if " now: " in line]
    assert line.startswith("calls: 1 reject is a row now: 1 x arrived_on: ")
    (left,) = json.loads(run(root, "rejects", "--json"))
    assert (left["column"], left["rows"]) == ("waited_seconds", 2), "record 4 had a second reason"
    events = [json.loads(one) for path in (root / "warehouse" / "runs").glob("*.jsonl") for one in path.open()]
    came_back = [event for event in events if str(event.get("event", "")).startswith("recovered")]
    assert [(event["event"], event["rows"]) for event in came_back] == [("recovered", 1), ("recovered.reason", 1)]
    assert came_back[1]["name"].startswith("calls: arrived_on: ")
    assert " now: " not in refresh(root), "only once"


def test_a_delivery_that_changed_too_says_nothing_of_its_rows(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    refresh(root)
    project(root, {"2024.csv": ROWS.replace("soon", "3").replace("yesterday", "2024-01-02")})
    assert " now: " not in refresh(root)
    project(root, {"2024.csv": ROWS}, changes={CALLS_YML: contract("varchar")})
    assert " now: " not in refresh(root)
