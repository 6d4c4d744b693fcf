"""LibreOffice opens the workbook of `kpi export` and has the numbers of the marts in it: `make office`.

No file of tests by its name: LibreOffice is 276 MB in 57 packages and takes 15 CPU seconds to install, which CI does
not spend. What it said last is in docs/guides/export-figures.md.
"""

from __future__ import annotations

import csv
import math
import shutil
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import kpi
from kpi.cli.main import cli
from kpi.presentation import LANGUAGES, words
from kpi.site.dataset import Role
from kpi.site.workbook import WORKBOOK

TABLES = {
    Role.INDICATORS: "marts.indicators",
    Role.CHANGES: "marts.indicator_changes",
    Role.SERIES: "marts.monthly_series",
    Role.BREAKS: "marts.comparability_breaks",
    Role.CODES: "seeds.code_lists",
}
# Comma, quotes around texts, UTF-8, from the first line, values and not what cells show, every sheet a file.
FILTER = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false,false,false,false,-1"


def sheets(workbook: Path, folder: Path) -> dict[str, list[list[str]]]:
    """The rows of each sheet from its header on, as LibreOffice writes them."""
    program = shutil.which("soffice")
    assert program, "there is no LibreOffice here: apt-get install --no-install-recommends libreoffice-calc-nogui"
    profile = f"-env:UserInstallation={(folder / 'profile').as_uri()}"
    command = [program, profile, "--headless", "--convert-to", FILTER, "--outdir", str(folder), str(workbook)]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    found = {}
    for path in folder.glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as stream:
            found[path.stem.removeprefix(f"{workbook.stem}-")] = list(csv.reader(stream))[2:]
    return found


def as_written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    return "" if value is None else str(value)


def is_same(cell: str, value: Any) -> bool:
    """Tell whether a cell is a value of the mart, a number to the 15 digits that LibreOffice writes."""
    if isinstance(value, str | bool | date) or value is None:
        return cell == as_written(value)
    return math.isclose(float(cell), float(value), rel_tol=1e-14, abs_tol=1e-300)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_libreoffice_reads_the_marts_from_the_workbook(small_demo: Path, tmp_path: Path, lang: str) -> None:
    asked = ["export", str(tmp_path / "out"), "--format", "xlsx", "--lang", lang, "--project-dir", str(small_demo)]
    result = CliRunner().invoke(cli, asked)
    assert result.exit_code == 0, result.output
    found = sheets(tmp_path / "out" / WORKBOOK, tmp_path)
    assert {words("workbook")[key][lang] for key in ("cover", "contents", "notes")} < set(found)
    for role, table in TABLES.items():
        header, *rows = found[words("sheets")[role.upper()][lang]]
        with kpi.open(project_dir=small_demo) as con:
            mart = con.execute(f"from {table} order by all")
            names = [column[0] for column in mart.description or []]
            wanted = mart.fetchall()
        assert header[-len(names) :] == names, role
        assert len(rows) == len(wanted) > 0, role
        for row, of_mart in zip(rows, wanted, strict=True):
            for name, cell, value in zip(names, row[-len(names) :], of_mart, strict=True):
                if name == "value" and value is None:
                    assert cell == "[x]"
                else:
                    assert is_same(cell, value), (role, name, cell, value)
